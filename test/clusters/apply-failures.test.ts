import { expect, test } from "vitest";
import type { FailingKey } from "../../src/apply/notes.ts";
import { systemClock } from "../../src/clock.ts";
import { keyOf } from "../../src/objects/key.ts";
import { pathOf } from "../../src/kube/resource.ts";
import { parseJson } from "../../src/objects/json.ts";
import { type KubeObject, marks } from "../../src/objects/object.ts";
import {
  anyKind,
  type ApplyBench,
  applyBench,
  atEast,
  configMap,
  deployment,
  eventually,
  never,
  ns,
  type Workload,
} from "./apply-harness.ts";
import { kubeconfigs } from "./sites.ts";

/** The reason for which this object is reported as failing. */
async function failure(bench: ApplyBench, object: KubeObject): Promise<FailingKey> {
  return eventually<FailingKey>(() => {
    const found = bench.applier.status().failing.find((entry) => entry.key === keyOf(object));
    if (found === undefined) throw new Error(`${keyOf(object)} does not fail`);
    return found;
  }, 30_000);
}

async function createAtWest(bench: ApplyBench, object: KubeObject): Promise<void> {
  const { client, resource } = bench.west;
  await client.create(resource(object), object, { fieldManager: "kubectl", signal: never });
}

test("an object waits for its namespace, is reported meanwhile, and comes as soon as the namespace does", async () => {
  await using bench = await applyBench();
  const settings = await atEast(bench, configMap(bench.namespace, "settings", { a: "1" }));
  await bench.send(settings);
  expect(await failure(bench, settings)).toMatchObject({ reason: "NamespaceMissing" });
  expect(bench.journal.applied()).toBe(bench.journal.position()?.seq);
  const sent = Date.now();
  await bench.send(ns(bench.namespace));
  await eventually(async () => (await bench.west.get(settings)) !== undefined, 5_000);
  expect(Date.now() - sent).toBeLessThan(1_500);
  await bench.settled();
  expect(bench.applier.status().failingCount).toBe(0);
});

test("a quota that is used up is named, and the object comes when there is room", async () => {
  await using bench = await applyBench();
  const { namespace, west } = bench;
  await bench.send(ns(namespace));
  await bench.settled();
  const quota = {
    apiVersion: "v1",
    kind: "ResourceQuota",
    metadata: { name: "small", namespace },
    spec: { hard: { "count/secrets": "0" } },
  };
  await createAtWest(bench, quota);
  const secret = {
    apiVersion: "v1",
    kind: "Secret",
    metadata: { name: "s", namespace },
    stringData: { password: "topsecret" },
  };
  await bench.send(await atEast(bench, secret));
  const reported = await failure(bench, secret);
  expect(reported).toMatchObject({
    reason: "QuotaExceeded",
    message: expect.stringContaining("exceeded quota: small"),
  });
  expect(JSON.stringify(bench.applier.status())).not.toContain("topsecret");
  await west.client.delete(west.resource(quota), quota.metadata, { signal: never });
  await eventually(async () => (await west.get(secret)) !== undefined, 45_000);
});

test("what is there already is brought up to date where a full quota lets nothing new in", async () => {
  await using bench = await applyBench({ adopt: true });
  const { namespace, west } = bench;
  await bench.send(ns(namespace));
  await bench.settled();
  const theirs = configMap(namespace, "settings", { a: "old" });
  await createAtWest(bench, theirs);
  const quota = { apiVersion: "v1", kind: "ResourceQuota", metadata: { name: "full", namespace } };
  await createAtWest(bench, { ...quota, spec: { hard: { "count/configmaps": "1" } } });
  const refused = configMap(namespace, "one-more", {});
  await eventually(async () => {
    const why = await createAtWest(bench, refused).then(
      () => "created",
      (error: unknown) => String(error),
    );
    if (why === "created") await west.client.delete(west.resource(refused), refused.metadata, { signal: never });
    return why.includes("exceeded quota");
  });
  await bench.send(await atEast(bench, configMap(namespace, "settings", { a: "new" })));
  await bench.settled();
  expect((await west.get<{ data: unknown }>(theirs))?.data).toEqual({ a: "new" });
  expect(bench.applier.status().failing).toEqual([]);
});

test("a webhook or policy that refuses on the standby is named", async () => {
  await using bench = await applyBench();
  const { namespace, group, west } = bench;
  await bench.send(ns(namespace));
  await bench.settled();
  const policy = {
    apiVersion: "admissionregistration.k8s.io/v1",
    kind: "ValidatingAdmissionPolicy",
    metadata: { name: group },
    spec: {
      failurePolicy: "Fail",
      matchConstraints: {
        resourceRules: [
          { apiGroups: [""], apiVersions: ["v1"], operations: ["CREATE", "UPDATE"], resources: ["configmaps"] },
        ],
      },
      validations: [{ expression: "object.metadata.name != 'refused'", message: "no such name here" }],
    },
  };
  const binding = {
    apiVersion: "admissionregistration.k8s.io/v1",
    kind: "ValidatingAdmissionPolicyBinding",
    metadata: { name: group },
    spec: {
      policyName: group,
      validationActions: ["Deny"],
      matchResources: { namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": namespace } } },
    },
  };
  await createAtWest(bench, policy);
  await createAtWest(bench, binding);
  try {
    const probe = configMap(namespace, "refused", {});
    await eventually(async () => {
      const options = { fieldManager: "test", dryRun: true, signal: never };
      await expect(west.client.create(west.resource(probe), probe, options)).rejects.toThrow(/no such name/);
      return true;
    });
    const refused = await atEast(bench, probe);
    await bench.send(refused, await atEast(bench, configMap(namespace, "fine", { a: "1" })));
    expect(await failure(bench, refused)).toMatchObject({ reason: "WebhookRefused" });
    expect(await west.get(configMap(namespace, "fine", {}))).toBeDefined();
  } finally {
    for (const object of [binding, policy]) {
      await west.client.delete(west.resource(object), object.metadata, { signal: never });
    }
  }
});

test("a changed immutable field recreates a copy on the standby, but never a claim", async () => {
  await using bench = await applyBench();
  const { namespace, west } = bench;
  const before = await atEast(bench, deployment(namespace, "web", { app: "one" }));
  await bench.send(ns(namespace), before);
  await bench.settled();
  const uid = (await west.get(before))?.metadata.uid;
  await bench.send(await atEast(bench, deployment(namespace, "web", { app: "two" })));
  await bench.settled();
  const copy = await west.get<{ spec: { selector: unknown } }>(before);
  expect(copy?.spec.selector).toEqual({ matchLabels: { app: "two" } });
  expect(copy?.metadata.uid).not.toBe(uid);

  const claim = (mode: string): KubeObject => ({
    apiVersion: "v1",
    kind: "PersistentVolumeClaim",
    metadata: { name: "data", namespace },
    spec: { accessModes: [mode], resources: { requests: { storage: "1Gi" } } },
  });
  await bench.send(await atEast(bench, claim("ReadWriteOnce")));
  await bench.settled();
  const claimUid = (await west.get(claim("")))?.metadata.uid;
  await bench.send(await atEast(bench, claim("ReadWriteMany")));
  expect(await failure(bench, claim(""))).toMatchObject({ reason: "Immutable" });
  expect((await west.get(claim("")))?.metadata.uid).toBe(claimUid);
});

test("fields that the standby cannot hold are named, and the rest of the object is there and stays current", async () => {
  await using bench = await applyBench();
  const { namespace, west } = bench;
  const env = [
    { name: "A", value: "1" },
    { name: "A", value: "2" },
  ];
  const odd = await atEast(bench, deployment(namespace, "odd", { env }));
  (odd["spec"] as Record<string, unknown>)["fieldOfTheFuture"] = { a: 1 };
  await bench.send(ns(namespace), odd);
  await bench.settled();
  expect(bench.applier.status().fieldsDropped).toEqual([{ key: keyOf(odd), fields: ["spec.fieldOfTheFuture"] }]);

  const changed = structuredClone(odd) as KubeObject & Workload;
  for (const container of changed.spec.template.spec.containers) container.image = "any/image:2";
  await bench.send(changed);
  await bench.settled();
  const container = (await west.get<Workload>(odd))?.spec.template.spec.containers[0];
  expect(container).toMatchObject({ image: "any/image:2", env });
  expect(bench.applier.status().fieldsDroppedCount).toBe(1);
  await bench.send(await atEast(bench, deployment(namespace, "odd")));
  await bench.settled();
  expect(bench.applier.status().fieldsDroppedCount).toBe(0);
});

test("an object over the size limit fails by itself, 5,000 keys and a name with dots do not", async () => {
  await using bench = await applyBench();
  const { namespace, west } = bench;
  const keys = Object.fromEntries(Array.from({ length: 5000 }, (_, i) => [`key-${i}`, "v"]));
  const many = await atEast(bench, configMap(namespace, "many.keys.with.dots", keys));
  const large = configMap(namespace, "large", { text: "x".repeat(1_040_000) });
  await bench.send(ns(namespace), many, large);
  await eventually(async () => (await west.get(many)) !== undefined);
  await bench.sendDeletes(keyOf(large));
  await bench.settled();
});

test("custom resources wait for their definition, which is established when it comes, and go before it goes", async () => {
  await using bench = await applyBench();
  const { namespace, west } = bench;
  const { definition, one } = anyKind("thing");
  const thing = (value: unknown): KubeObject => one(namespace, { value });
  await bench.send(ns(namespace), thing(1));
  await eventually(() => bench.applier.status().failingCount === 1 || bench.applier.status().withheld["Refused"] === 1);
  await bench.send(await atEast(bench, definition));
  await eventually(async () => {
    await west.discovery.refresh({ signal: never });
    return (await west.get<{ spec: { value: number } }>(thing(1)))?.spec.value === 1;
  });
  expect((await west.get(definition))?.metadata.annotations?.[marks.groups]).toBe(bench.group);
  await bench.settled();
  await bench.sendDeletes(keyOf(definition), keyOf(thing(1)));
  await eventually(async () => (await west.get(definition)) === undefined, 40_000);
  await eventually(() => bench.journal.pendingDeletes === 0);
});

test("integers of 64 bits arrive exactly, larger ones are named as rounded by the API server", async () => {
  await using bench = await applyBench();
  const { namespace, west } = bench;
  const { definition, one } = anyKind("number");
  await bench.send(ns(namespace), await atEast(bench, definition));
  await bench.settled();
  await west.discovery.refresh({ signal: never });
  const spec = parseJson('{"exact":9223372036854775807,"fraction":0.1,"tooBig":18446744073709551616}');
  const object = one(namespace, spec);
  await bench.send(object);
  await bench.settled();
  const text = await west.client.request("GET", pathOf(west.resource(object), object.metadata), { signal: never });
  expect(text).toContain('"exact":9223372036854775807');
  expect(bench.applier.status().fieldsDropped).toEqual([{ key: keyOf(object), fields: ["spec.tooBig"] }]);
  await bench.sendDeletes(keyOf(object), keyOf(definition));
  await eventually(() => bench.journal.pendingDeletes === 0);
});

test("what would be refused only when the site is active is known before", async () => {
  let aheadMs = 0;
  const clock = { ...systemClock, monotonicMs: () => systemClock.monotonicMs() + aheadMs };
  await using bench = await applyBench({}, kubeconfigs(), clock);
  const { namespace, group, west } = bench;
  await bench.send(ns(namespace), await atEast(bench, deployment(namespace, "fine", { replicas: 6 })));
  await bench.settled();
  await eventually(() => bench.applier.status().promotable?.ok === true);
  const policy = {
    apiVersion: "admissionregistration.k8s.io/v1",
    kind: "ValidatingAdmissionPolicy",
    metadata: { name: group },
    spec: {
      failurePolicy: "Fail",
      matchConstraints: {
        resourceRules: [
          { apiGroups: ["apps"], apiVersions: ["v1"], operations: ["CREATE", "UPDATE"], resources: ["deployments"] },
        ],
      },
      validations: [{ expression: "object.spec.replicas < 5", message: "too many" }],
    },
  };
  const namespaceSelector = { matchLabels: { "kubernetes.io/metadata.name": namespace } };
  const binding = {
    apiVersion: "admissionregistration.k8s.io/v1",
    kind: "ValidatingAdmissionPolicyBinding",
    metadata: { name: group },
    spec: { policyName: group, validationActions: ["Deny"], matchResources: { namespaceSelector } },
  };
  await createAtWest(bench, policy);
  await createAtWest(bench, binding);
  try {
    await eventually(async () => {
      const options = { fieldManager: "test", dryRun: true, signal: never };
      const probe = deployment(namespace, "probe", { replicas: 9 });
      await expect(west.client.create(west.resource(probe), probe, options)).rejects.toThrow(/too many/);
      return true;
    });
    const big = await atEast(bench, deployment(namespace, "big", { replicas: 7 }));
    await bench.send(big);
    await bench.settled();
    expect((await west.get<Workload>(big))?.spec.replicas).toBe(0);
    const findings = await eventually(() => bench.applier.status().promotable?.findings[0]);
    expect(findings).toMatchObject({
      key: keyOf(big),
      reason: "WebhookRefused",
      message: expect.stringContaining("too many"),
    });
    expect(bench.applier.status().failingCount).toBe(0);
    // What was accepted before is asked anew within the hour.
    expect(bench.applier.status().promotable?.findings).toHaveLength(1);
    aheadMs = 3_600_000;
    await eventually(() => bench.applier.status().promotable?.findings.length === 2);
  } finally {
    for (const object of [binding, policy]) {
      await west.client.delete(west.resource(object), object.metadata, { signal: never });
    }
  }
  // Nothing of the object has changed; what refused it has.
  await eventually(() => bench.applier.status().promotable?.ok === true, 40_000);
});
