import { expect, test } from "vitest";
import { keyOf } from "../../src/objects/key.ts";
import type { KubeObject } from "../../src/objects/object.ts";
import { appliedAtEast, applyBench, configMap, eventually, never, ns } from "./apply-harness.ts";

/** Fields that could not be given back to who owns them at the source. */

test("an object whose owners may not be put back is reported with the reason, soon, and everything else is done", async () => {
  await using bench = await applyBench();
  const { namespace, west, group } = bench;
  const [locked, free] = [configMap(namespace, "locked", { a: "1" }), configMap(namespace, "free", { a: "1" })];
  await bench.send(ns(namespace), await appliedAtEast(bench, locked, "argo"), await appliedAtEast(bench, free, "argo"));
  await bench.settled();
  const policy: KubeObject = {
    apiVersion: "admissionregistration.k8s.io/v1",
    kind: "ValidatingAdmissionPolicy",
    metadata: { name: group },
    spec: {
      failurePolicy: "Fail",
      matchConstraints: {
        resourceRules: [{ apiGroups: [""], apiVersions: ["v1"], operations: ["UPDATE"], resources: ["configmaps"] }],
      },
      validations: [{ expression: "object.metadata.name != 'locked'", message: "nobody touches this" }],
    },
  };
  const namespaceSelector = { matchLabels: { "kubernetes.io/metadata.name": namespace } };
  const binding: KubeObject = {
    apiVersion: "admissionregistration.k8s.io/v1",
    kind: "ValidatingAdmissionPolicyBinding",
    metadata: { name: group },
    spec: { policyName: group, validationActions: ["Deny"], matchResources: { namespaceSelector } },
  };
  const write = { fieldManager: "test", signal: never };
  for (const object of [policy, binding]) await west.client.create(west.resource(object), object, write);
  try {
    const touch = { type: "merge", body: { metadata: { labels: { a: "b" } } } } as const;
    await eventually(async () => {
      const dry = { ...write, dryRun: true };
      const touching = west.client.patch(west.resource(locked), locked.metadata, touch, dry);
      await expect(touching).rejects.toThrow(/nobody touches this/);
      return true;
    });
    const report = await bench.applier.promote({ epoch: "11.0", signal: never });
    expect(report).toMatchObject({ failed: [], notReady: [] });
    expect(report.ownersFailed).toEqual([
      {
        key: keyOf(locked),
        failure: expect.objectContaining({
          reason: "WebhookRefused",
          message: expect.stringContaining("nobody touches this") as string,
        }) as unknown,
      },
    ]);
    expect(report.durationMs).toBeLessThan(60_000);
    const managers = (await west.get(free))?.metadata.managedFields?.map(({ manager }) => manager);
    expect(managers).toEqual(["argo"]);
  } finally {
    for (const object of [binding, policy]) await west.client.delete(west.resource(object), object.metadata, write);
  }
});
