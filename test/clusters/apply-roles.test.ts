import { expect, test } from "vitest";
import { formatKey, keyOf } from "../../src/objects/key.ts";
import { type KubeObject, marks } from "../../src/objects/object.ts";
import {
  type ApplyBench,
  applyBench,
  appliedAtEast,
  atEast,
  configMap,
  deployment,
  eventually,
  local,
  never,
  ns,
  type Workload,
} from "./apply-harness.ts";

function cronJob(namespace: string): KubeObject {
  const template = { spec: { restartPolicy: "Never", containers: [{ name: "c", image: "any/image:1" }] } };
  return {
    apiVersion: "batch/v1",
    kind: "CronJob",
    metadata: { name: "nightly", namespace },
    spec: { schedule: "0 0 1 1 *", jobTemplate: { spec: { template } } },
  };
}

function pod(namespace: string): KubeObject {
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name: "bare", namespace },
    spec: { containers: [{ name: "c", image: "any/image:1" }] },
  };
}

/** Managers of an object, status left out. */
function managersOf(object: KubeObject | undefined): string[] {
  const entries = object?.metadata.managedFields ?? [];
  return entries
    .filter((entry) => (entry.subresource ?? "") === "")
    .map((entry) => `${entry.manager} ${entry.operation}`);
}

test("a promotion starts what the source ran, and gives the fields back to who owned them there", async () => {
  await using bench = await applyBench();
  const { namespace, west } = bench;
  const wanted = deployment(namespace, "web", { replicas: 2, env: [{ name: "A", value: "1" }] });
  const web = await appliedAtEast(bench, wanted, "argo");
  const objects = [
    web,
    await atEast(bench, cronJob(namespace)),
    await atEast(bench, configMap(namespace, "c", { a: "1" })),
  ];
  await bench.send(ns(namespace), ...objects, await atEast(bench, pod(namespace)));
  await bench.settled();
  expect(await west.get(pod(namespace))).toBeUndefined();
  expect((await west.get<{ spec: { suspend: boolean } }>(cronJob(namespace)))?.spec.suspend).toBe(true);
  // Somebody has tampered with the copy just now.
  const body = { metadata: { labels: { left: "behind" } }, spec: { template: { spec: { hostNetwork: true } } } };
  await west.client.patch(
    west.resource(web),
    web.metadata,
    { type: "merge", body },
    { fieldManager: "x", signal: never },
  );

  const report = await bench.applier.promote({ epoch: "11.0", signal: never });
  expect(report).toMatchObject({ failed: [], notReady: [], ownersFailed: [], objects: 5 });
  const running = await west.get<Workload>(web);
  expect(running).toMatchObject({ spec: { replicas: 2 }, status: { readyReplicas: 2 } });
  expect(running?.metadata.labels?.["left"]).toBeUndefined();
  expect(running?.spec.template.spec).not.toHaveProperty("hostNetwork");
  expect(managersOf(running)).toEqual(expect.arrayContaining(["argo Apply"]));
  expect(managersOf(running).join()).not.toContain("lifeboat");
  expect((await west.get<{ spec: { suspend: boolean } }>(cronJob(namespace)))?.spec.suspend).toBe(false);
  expect(await west.get(pod(namespace))).toBeDefined();
  expect(bench.applier.status().phase).toBe("active");
  expect(await bench.applier.diff({ signal: never })).toEqual([]);

  // The source's own manager goes on as if nothing had happened: no conflict, and what it leaves out goes.
  const scaled = { ...deployment(namespace, "web", { replicas: 3 }) };
  await west.client.apply(west.resource(web), scaled, { fieldManager: "argo", signal: never });
  expect((await west.get<Workload>(web))?.spec.replicas).toBe(3);

  // An older epoch is refused from now on.
  await expect(bench.send(web)).rejects.toMatchObject({ code: "FailoverRefused" });
});

test("a promotion may be repeated by another process in the middle, and reports what it could not bring up", async () => {
  await using bench = await applyBench();
  const { namespace, west } = bench;
  const web = await atEast(bench, deployment(namespace, "web", { replicas: 1 }));
  const taken = await atEast(bench, configMap(namespace, "taken", { a: "ours" }));
  await bench.send(ns(namespace), web);
  await bench.settled();
  const theirs = configMap(namespace, "taken", { a: "theirs" });
  await west.client.create(west.resource(theirs), theirs, { fieldManager: "kubectl", signal: never });
  await bench.send(taken);
  await eventually(() => bench.applier.status().conflictCount === 1);

  const stop = new AbortController();
  const first = bench.applier.promote({
    epoch: "11.0",
    signal: stop.signal,
    onProgress: (event) => {
      if (event.step === "applied" && event.wave >= 700) stop.abort(new Error("the process ends"));
    },
  });
  await expect(first).rejects.toThrow("the process ends");
  await bench.restart("active");
  const report = await bench.applier.promote({ epoch: "11.0", signal: never });
  expect(report.failed).toMatchObject([{ key: keyOf(taken), failure: { reason: "Exists" } }]);
  expect((await west.get<Workload>(web))?.status?.readyReplicas).toBe(1);
  expect((await west.get<{ data: unknown }>(theirs))?.data).toEqual({ a: "theirs" });
});

test("a site that ran the group stops it at once, keeps what diverged, and becomes the other's standby", async () => {
  await using bench = await applyBench();
  const { namespace, west } = bench;
  await bench.restart("active");
  const mine = [
    ns(namespace),
    deployment(namespace, "web", { replicas: 2, image: "any/image:old" }),
    cronJob(namespace),
    pod(namespace),
    configMap(namespace, "same", { a: "1" }),
    configMap(namespace, "extra", { only: "here" }),
  ];
  for (const object of mine)
    await west.client.create(west.resource(object), object, { fieldManager: "kubectl", signal: never });
  await eventually(async () => (await west.get<Workload>(deployment(namespace, "web")))?.status?.readyReplicas === 2);

  const report = await bench.applier.demote({ epoch: "11.0", local: await local(bench, ...mine), signal: never });
  expect(report.failed).toEqual([]);
  // Until it follows, nothing is known to be as the journal says.
  const { pending, objects } = bench.applier.status();
  expect(pending).toBe(objects);
  expect(objects).toBeGreaterThan(0);
  bench.applier.follow();
  const web = deployment(namespace, "web");
  expect((await west.get<Workload>(web))?.spec.replicas).toBe(0);
  expect((await west.get<{ spec: { suspend: boolean } }>(cronJob(namespace)))?.spec.suspend).toBe(true);
  await eventually(async () => (await west.get(pod(namespace))) === undefined, 45_000);
  await eventually(async () => ((await west.get<Workload>(web))?.status?.readyReplicas ?? 0) === 0);

  const space = await bench.east.get(ns(namespace));
  if (space === undefined) throw new Error("no namespace");
  bench.epoch = "11.0";
  bench.ring = "r2";
  await bench.send(
    space,
    await atEast(bench, deployment(namespace, "web", { replicas: 4, image: "any/image:new" })),
    await atEast(bench, configMap(namespace, "same", { a: "1" })),
  );
  await bench.settled();
  const copy = await west.get<Workload>(web);
  expect(copy?.spec).toMatchObject({ replicas: 0, template: { spec: { containers: [{ image: "any/image:new" }] } } });
  expect(JSON.parse(copy?.metadata.annotations?.[marks.held] ?? "{}")).toEqual({ "/spec/replicas": 4 });
  const diverged = await eventually(() => {
    const keys = bench.journal.divergentKeys();
    return keys.every(({ what }) => what !== "unknown") ? keys : undefined;
  });
  expect(diverged).toEqual([
    { key: keyOf(configMap(namespace, "extra", {})), what: "extra" },
    { key: keyOf(pod(namespace)), what: "extra" },
    { key: keyOf(web), what: "changed" },
    { key: keyOf(cronJob(namespace)), what: "extra" },
  ]);
  expect(bench.journal.divergent(keyOf(web))?.object).toContain("any/image:old");
});

/** The group was deleted at its source; what follows nothing any more begins with what it left behind, as agents do. */
async function end(bench: ApplyBench): Promise<void> {
  const key = formatKey({ group: "lifeboat.dev", kind: "ProtectionGroup", namespace: "", name: bench.group });
  await bench.sendDeletes(key);
  const head = bench.journal.head(key);
  if (head !== undefined) await bench.journal.settle([{ key, seq: head.seq }]);
  await bench.restart();
}

test("a purge lists, then removes, what Lifeboat has put there and nothing else", async () => {
  await using bench = await applyBench();
  const { namespace, west } = bench;
  const objects = [
    await atEast(bench, deployment(namespace, "web")),
    await atEast(bench, configMap(namespace, "c", { a: "1" })),
  ];
  await bench.send(ns(namespace), ...objects);
  await bench.settled();
  const listed = await bench.applier.purge({ dryRun: true, signal: never });
  const keys = [...objects.map(keyOf), keyOf(ns(namespace))];
  expect(listed.keys).toEqual(keys);
  expect(await west.get(configMap(namespace, "c", {}))).toBeDefined();
  await expect(bench.applier.purge({ signal: never })).rejects.toThrow("its copies would come back");
  await end(bench);
  const report = await bench.applier.purge({ signal: never });
  expect(report.keys).toEqual(keys);
  for (const object of objects) expect(await west.get(object)).toBeUndefined();
});

test("a purge takes nothing that merely looks like the group's, nor a namespace with such in it", async () => {
  await using bench = await applyBench();
  await using other = await applyBench();
  const { namespace, group, west } = bench;
  const copy = await atEast(bench, configMap(namespace, "copy", { a: "1" }));
  await bench.send(ns(namespace), copy);
  await other.send(ns(other.namespace), await atEast(other, configMap(other.namespace, "others", { a: "1" })));
  await bench.settled();
  await other.settled();
  const create = (object: KubeObject): Promise<KubeObject> =>
    west.client.create(west.resource(object), object, { fieldManager: "kubectl", signal: never });
  const labels = { [marks.group]: group };
  const byHand = configMap(namespace, "by-hand", { a: "1" });
  const cloned = configMap(namespace, "cloned", { a: "1" });
  const { annotations = {} } = (await west.get(copy))?.metadata ?? {};
  await create({ ...byHand, metadata: { ...byHand.metadata, labels } });
  await create({ ...cloned, metadata: { ...cloned.metadata, labels, annotations } });
  const others = configMap(other.namespace, "others", {});
  await other.stop();
  const patch = { type: "merge", body: { metadata: { labels } } } as const;
  await west.client.patch(west.resource(others), others.metadata, patch, { fieldManager: "kubectl", signal: never });

  const listed = await bench.applier.purge({ dryRun: true, signal: never });
  expect(listed.keys).toEqual([keyOf(copy)]);
  const stay = [keyOf(ns(namespace)), keyOf(byHand), keyOf(cloned), keyOf(others)].sort();
  expect(listed.failed.map(({ key }) => key).sort()).toEqual(stay);
  await end(bench);
  const report = await bench.applier.purge({ signal: never });
  expect(report.keys).toEqual([keyOf(copy)]);
  expect(await west.get(copy)).toBeUndefined();
  for (const object of [byHand, cloned, others, ns(namespace)]) {
    expect((await west.get(object))?.metadata).toMatchObject({ name: object.metadata.name });
  }
  await other.reopen();
});

test("with journal and source both lost, a promotion brings up what the copies say of themselves", async () => {
  await using bench = await applyBench();
  const { namespace, west } = bench;
  const web = await atEast(bench, deployment(namespace, "web", { replicas: 2 }));
  await bench.send(ns(namespace), web, await atEast(bench, cronJob(namespace)));
  await bench.settled();
  await bench.stop();
  bench.loseJournal();
  await bench.reopen();
  const report = await bench.applier.promote({ epoch: "11.0", signal: never });
  expect(report).toMatchObject({ failed: [], notReady: [], objects: 3 });
  const running = await west.get<Workload>(web);
  expect(running).toMatchObject({ spec: { replicas: 2 }, status: { readyReplicas: 2 } });
  expect(running?.metadata.annotations?.[marks.held]).toBeUndefined();
  expect((await west.get<{ spec: { suspend: boolean } }>(cronJob(namespace)))?.spec.suspend).toBe(false);
});

test("a webhook comes with its pods: not to the standby, last at a promotion, gone first when the site is taken down", async () => {
  await using bench = await applyBench();
  const { namespace, group, west } = bench;
  const service: KubeObject = {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: "hook", namespace },
    spec: { selector: { app: "hook" }, ports: [{ port: 443, protocol: "TCP" }] },
  };
  const webhook = {
    name: "hook.lifeboat.test",
    clientConfig: { service: { name: "hook", namespace, path: "/" } },
    rules: [
      { apiGroups: ["nothing.lifeboat.test"], apiVersions: ["v1"], operations: ["CREATE"], resources: ["things"] },
    ],
    sideEffects: "None",
    admissionReviewVersions: ["v1"],
  };
  const hooks: KubeObject = {
    apiVersion: "admissionregistration.k8s.io/v1",
    kind: "ValidatingWebhookConfiguration",
    metadata: { name: group },
    webhooks: [webhook],
  };
  const objects = [service, deployment(namespace, "hook", { replicas: 1 }), hooks];
  const sent = await Promise.all(objects.map((object) => atEast(bench, object)));
  await bench.send(ns(namespace), ...sent);
  await bench.settled();
  expect(bench.applier.status().withheld).toEqual({ ServiceNotReady: 1 });
  expect(await west.get(hooks)).toBeUndefined();

  const report = await bench.applier.promote({ epoch: "11.0", signal: never });
  expect(report).toMatchObject({ failed: [], notReady: [] });
  expect(await west.get(hooks)).toBeDefined();

  const steps: string[] = [];
  await bench.applier.demote({
    epoch: "12.0",
    local: await local(bench, ...objects),
    signal: never,
    onProgress: ({ step }) => steps.push(step),
  });
  expect(steps[0]).toBe("webhooks");
  expect(await west.get(hooks)).toBeUndefined();
  expect((await west.get<Workload>(deployment(namespace, "hook")))?.spec.replicas).toBe(0);
});
