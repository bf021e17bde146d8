import { expect, test } from "vitest";
import { keyOf } from "../../src/objects/key.ts";
import type { KubeObject } from "../../src/objects/object.ts";
import {
  type ApplyBench,
  applyBench,
  atEast,
  configMap,
  deployment,
  eventually,
  never,
  ns,
  refusePods,
  type Workload,
} from "./apply-harness.ts";
import { selecting, startSource } from "./capture-harness.ts";
import { kubeconfigs } from "./sites.ts";

/** What a promotion cannot bring up, and what people do while a promotion is under way. */

function pod(namespace: string): KubeObject {
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name: "bare", namespace },
    spec: { terminationGracePeriodSeconds: 0, containers: [{ name: "c", image: "any/image:1" }] },
  };
}

async function edit({ west }: ApplyBench, object: KubeObject, body: unknown): Promise<void> {
  const options = { fieldManager: "kubectl-edit", signal: never };
  await west.client.patch(west.resource(object), object.metadata, { type: "merge", body }, options);
}

test("what could not be brought up is no deleted object: it is named, travels, and comes when it can", async () => {
  await using bench = await applyBench();
  const { namespace, group, west } = bench;
  await bench.send(
    ns(namespace),
    await atEast(bench, pod(namespace)),
    await atEast(bench, configMap(namespace, "c", {})),
  );
  await bench.settled();
  const allowPods = await refusePods(bench);
  const report = await bench.applier.promote({ epoch: "11.0", applyTimeoutMs: 1_000, signal: never });
  const key = keyOf(pod(namespace));
  expect(report.failed).toMatchObject([{ key, failure: { reason: "QuotaExceeded" } }]);

  // Also by another process, which knows that the site is active only when it is told so.
  await bench.restart("active");
  expect(bench.applier.status()).toMatchObject({ failingCount: 1, failing: [{ key, reason: "QuotaExceeded" }] });
  const source = await startSource(kubeconfigs().west);
  const spec = selecting({ namespaces: { names: [namespace] } });
  const served = source.capture(group, spec, { site: "west", lacking: bench.applier.absent });
  try {
    await served.capture.whenSynced({ signal: never });
    await eventually(() => served.held.has(keyOf(configMap(namespace, "c", {}))));
    expect(served.held.get(key)?.["spec"]).toMatchObject({ containers: [{ image: "any/image:1" }] });
    expect(served.capture.isLacking(key)).toBe(true);

    await allowPods();
    await new Promise((resolve) => setTimeout(resolve, 4_000));
    expect(await west.get(pod(namespace))).toBeUndefined();
    await bench.applier.activate();
    await eventually(async () => (await west.get(pod(namespace))) !== undefined, 40_000);
    await eventually(() => bench.applier.status().failingCount === 0);
    served.capture.lacks(bench.applier.absent);
    await eventually(() => !served.capture.isLacking(key));
    expect(served.records.filter((record) => record.key === key && record.hash === "")).toEqual([]);
    expect(served.held.has(key)).toBe(true);

    // From here on it is an object like any other.
    await west.client.delete(west.resource(pod(namespace)), pod(namespace).metadata, { signal: never });
    await eventually(() => !served.held.has(key));
  } finally {
    served.stop();
    await source.stop();
  }
});

test("what a site keeps back when it takes over counts as not brought up, and comes with what it waits for", async () => {
  await using bench = await applyBench();
  const { namespace, group, west } = bench;
  const service: KubeObject = {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: "hook", namespace },
    spec: { ports: [{ port: 443, protocol: "TCP" }] },
  };
  const webhook = {
    name: "hook.late.test",
    clientConfig: { service: { name: "hook", namespace } },
    rules: [{ apiGroups: ["nothing.late.test"], apiVersions: ["v1"], operations: ["CREATE"], resources: ["things"] }],
    sideEffects: "None",
    admissionReviewVersions: ["v1"],
  };
  const hooks: KubeObject = {
    apiVersion: "admissionregistration.k8s.io/v1",
    kind: "ValidatingWebhookConfiguration",
    metadata: { name: group },
    webhooks: [webhook],
  };
  await bench.send(ns(namespace), await atEast(bench, service), await atEast(bench, hooks));
  await bench.settled();
  const report = await bench.applier.promote({ epoch: "11.0", readyTimeoutMs: 500, signal: never });
  expect(report.failed).toMatchObject([{ key: keyOf(hooks), failure: { reason: "Withheld" } }]);
  expect(bench.applier.absent.get(keyOf(hooks))).toMatchObject({ webhooks: [{ name: "hook.late.test" }] });

  const slice: KubeObject = {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: { name: "hook-1", namespace, labels: { "kubernetes.io/service-name": "hook" } },
    addressType: "IPv4",
    endpoints: [{ addresses: ["10.1.2.3"], conditions: { ready: true } }],
    ports: [{ port: 443, protocol: "TCP" }],
  };
  await west.client.create(west.resource(slice), slice, { fieldManager: "kubectl", signal: never });
  await eventually(async () => (await west.get(hooks)) !== undefined, 40_000);
  await eventually(() => bench.applier.absent.size === 0);
  await west.client.delete(west.resource(hooks), hooks.metadata, { signal: never });
});

test("what the source had deleted a moment before does not come back with a promotion, what the guard holds back stays", async () => {
  await using bench = await applyBench({ deletes: { guard: { percent: 10, minObjects: 2, window: "1m" } } });
  const { namespace, west } = bench;
  const web = await atEast(bench, deployment(namespace, "web", { replicas: 1 }));
  const maps = await Promise.all(["a", "b", "c"].map((name) => atEast(bench, configMap(namespace, name, {}))));
  await bench.send(ns(namespace), web, ...maps);
  await bench.settled();
  await bench.sendDeletes(keyOf(web));
  const first = await bench.applier.promote({ epoch: "11.0", readyTimeoutMs: 1_000, signal: never });
  expect(first.failed).toEqual([]);
  await eventually(async () => (await west.get(web)) === undefined);

  await bench.restart();
  bench.epoch = "11.0";
  await bench.sendDeletes(...maps.map(keyOf));
  await eventually(() => bench.applier.status().deletesPaused);
  const second = await bench.applier.promote({ epoch: "12.0", readyTimeoutMs: 1_000, signal: never });
  expect(second.failed).toEqual([]);
  for (const object of maps) expect((await west.get(object))?.metadata.name).toBe(object.metadata.name);
  expect(bench.applier.status().deletesPaused).toBeUndefined();
});

test("what people write during a promotion stays when another process goes on with it", async () => {
  await using bench = await applyBench();
  const { namespace, west } = bench;
  const [web, api] = [deployment(namespace, "web", { replicas: 4 }), deployment(namespace, "api", { replicas: 3 })];
  const settings = configMap(namespace, "settings", { a: "1" });
  const old = configMap(namespace, "old", { a: "1" });
  await bench.send(ns(namespace), ...(await Promise.all([web, api, settings, old].map((item) => atEast(bench, item)))));
  await bench.settled();
  // Written before the promotion began: that goes.
  await edit(bench, old, { data: { a: "tampered" } });
  const stop = new AbortController();
  const onProgress = ({ step }: { step: string }): void => {
    if (step === "opened") stop.abort(new Error("the process ends"));
  };
  await eventually(async () => (await west.get<{ data: unknown }>(old))?.data);
  await expect(bench.applier.promote({ epoch: "11.0", signal: stop.signal, onProgress })).rejects.toThrow("ends");
  await edit(bench, settings, { data: { a: "2" } });
  await edit(bench, web, { spec: { replicas: 1 } });
  await edit(bench, api, { metadata: { labels: { mine: "too" } } });

  await bench.restart("active");
  const report = await bench.applier.promote({ epoch: "11.0", readyTimeoutMs: 5_000, signal: never });
  expect(report.failed).toEqual([]);
  expect((await west.get<{ data: unknown }>(settings))?.data).toEqual({ a: "2" });
  expect((await west.get<Workload>(web))?.spec.replicas).toBe(1);
  expect(await west.get<Workload>(api)).toMatchObject({ metadata: { labels: { mine: "too" } }, spec: { replicas: 3 } });
  expect((await west.get<{ data: unknown }>(old))?.data).toEqual({ a: "1" });
});

test("the group is offered to the other site while what started last is not ready yet", async () => {
  await using bench = await applyBench();
  const { namespace, west } = bench;
  const web = deployment(namespace, "web", { replicas: 1 });
  await bench.send(ns(namespace), await atEast(bench, web));
  await bench.settled();
  // It starts, and never gets ready.
  await refusePods(bench);
  const told: string[] = [];
  const report = await bench.applier.promote({
    epoch: "11.0",
    readyTimeoutMs: 3_000,
    signal: never,
    onUp: async (failures) => {
      expect((await west.get<Workload>(web))?.spec.replicas).toBe(1);
      expect(failures.size).toBe(0);
      told.push("up");
    },
    onProgress: ({ step }) => void (step === "ready" && told.push("ready")),
  });
  expect(told).toEqual(["ready", "up", "ready"]);
  expect(report.notReady.map(({ key }) => key)).toEqual([keyOf(web)]);
  expect(report.readyMs).toBeGreaterThanOrEqual(3_000);
});

test("what people write at a site that loses its right in the middle of a promotion is listed as divergence", async () => {
  await using bench = await applyBench();
  const { namespace, west } = bench;
  const web = deployment(namespace, "web", { replicas: 2 });
  const settings = configMap(namespace, "settings", { a: "1" });
  const same = configMap(namespace, "same", { a: "1" });
  const sent = await Promise.all([web, settings, same].map((item) => atEast(bench, item)));
  await bench.send(ns(namespace), ...sent);
  await bench.settled();
  const stop = new AbortController();
  const onProgress = ({ step }: { step: string }): void => {
    if (step === "applied") stop.abort(new Error("the process ends"));
  };
  await expect(bench.applier.promote({ epoch: "11.0", signal: stop.signal, onProgress })).rejects.toThrow("ends");
  await edit(bench, settings, { data: { a: "2" } });
  const source = await startSource(kubeconfigs().west);
  const local = source.capture(bench.group, selecting({ namespaces: { names: [namespace] } }), { site: "west" });
  try {
    await local.capture.whenSynced({ signal: never });
    await eventually(() => local.held.get(keyOf(settings))?.["data"] !== undefined);
    const records = local.capture
      .read(0, { maxCount: 1_000, maxBytes: 1_000_000 })
      .flatMap(({ key, object, managers }) =>
        object === undefined || key.startsWith("lifeboat") || key.includes("/default/")
          ? []
          : [{ key, object, managers }],
      );
    await bench.applier.demote({ epoch: "12.0", local: records, signal: never });
  } finally {
    local.stop();
    await source.stop();
  }
  bench.applier.follow();
  bench.epoch = "12.0";
  bench.ring = "r2";
  const space = await bench.east.get(ns(namespace));
  if (space === undefined) throw new Error("no namespace");
  await bench.send(space, ...sent);
  await bench.settled();
  const diverged = await eventually(() => {
    const keys = bench.journal.divergentKeys();
    return keys.every(({ what }) => what !== "unknown") ? keys : undefined;
  });
  expect(diverged).toEqual([{ key: keyOf(settings), what: "changed" }]);
  expect((await west.get<{ data: unknown }>(settings))?.data).toEqual({ a: "1" });
});
