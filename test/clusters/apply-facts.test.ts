import { expect, test } from "vitest";
import { keyOf } from "../../src/objects/key.ts";
import type { KubeObject } from "../../src/objects/object.ts";
import { anyKind, type ApplyBench, applyBench, atEast, deployment, eventually, never, ns } from "./apply-harness.ts";
import { type Follower, selecting, startSource } from "./capture-harness.ts";
import { kubeconfigs } from "./sites.ts";

/** What a site knows that matters to rendering at the other one, all the way. */

/** Hands on what a capture at east reads, as a stream would. */
async function handOn(bench: ApplyBench, served: Follower): Promise<void> {
  const records = served.records.filter(({ key }) => !key.startsWith("lifeboat.dev/"));
  const seq = Math.max(...records.map((record) => record.seq));
  const batch = { epoch: bench.epoch, position: { ring: "east", seq }, records, complete: true };
  await bench.journal.commit(batch, { signal: never });
}

test("a custom resource that runs pods at the source and has no profile is found at the standby", async () => {
  await using bench = await applyBench();
  const { namespace, group, east } = bench;
  const { definition, one } = anyKind("broker");
  const create = (object: KubeObject): Promise<KubeObject> =>
    east.client.create(east.resource(object), object, { fieldManager: "kubectl", signal: never });
  await create(definition);
  const broker = await eventually(async () => {
    await east.discovery.refresh({ signal: never });
    return create(one(namespace, { size: 3 }));
  });
  const source = await startSource(kubeconfigs().east);
  const served = source.capture(group, selecting({ namespaces: { names: [namespace] } }));
  try {
    await served.capture.whenSynced({ signal: never });
    await eventually(() => served.held.has(keyOf(broker)));
    await handOn(bench, served);
    await bench.settled();
    expect(bench.applier.status().findings).toEqual([]);

    // Its operator begins to work: a Deployment of its own.
    const { apiVersion, kind, metadata } = broker;
    const owner = { apiVersion, kind, name: metadata.name, uid: metadata.uid ?? "", controller: true };
    const web = deployment(namespace, "web", { replicas: 1 });
    await create({ ...web, metadata: { ...web.metadata, ownerReferences: [owner] } });
    await eventually(() => served.capture.report().podOwners.length > 0);
    const found = await eventually(async () => {
      await handOn(bench, served);
      const { findings } = bench.applier.status();
      return findings.length > 0 ? findings : undefined;
    });
    expect(found).toMatchObject([{ code: "MayRunOnStandby", key: keyOf(broker) }]);
    await bench.sendSpec({ profiles: [{ kind: `${apiVersion.split("/")[0]}/${kind}`, withhold: true }] });
    await eventually(() => bench.applier.status().findings.length === 0);
  } finally {
    served.stop();
    await source.stop();
    await east.client.delete(east.resource(definition), definition.metadata, { signal: never });
    await bench.west.client.delete(bench.west.resource(definition), definition.metadata, { signal: never });
  }
});

test("a claim that has grown at the standby is not asked to shrink", async () => {
  await using bench = await applyBench();
  const { namespace, west } = bench;
  const storage: KubeObject = {
    apiVersion: "storage.k8s.io/v1",
    kind: "StorageClass",
    metadata: { name: `grows-${namespace}` },
    provisioner: "example.com/none",
    allowVolumeExpansion: true,
  };
  const claim = (size: string): KubeObject => ({
    apiVersion: "v1",
    kind: "PersistentVolumeClaim",
    metadata: { name: "data", namespace },
    spec: {
      accessModes: ["ReadWriteOnce"],
      storageClassName: storage.metadata.name,
      volumeName: `data-${namespace}`,
      resources: { requests: { storage: size } },
    },
  });
  const volume: KubeObject = {
    apiVersion: "v1",
    kind: "PersistentVolume",
    metadata: { name: `data-${namespace}` },
    spec: {
      capacity: { storage: "10Gi" },
      accessModes: ["ReadWriteOnce"],
      storageClassName: storage.metadata.name,
      hostPath: { path: "/nowhere" },
      claimRef: { namespace, name: "data" },
    },
  };
  for (const object of [storage, volume]) {
    await west.client.create(west.resource(object), object, { fieldManager: "admin", signal: never });
  }
  try {
    await bench.send(ns(namespace), await atEast(bench, claim("1Gi")));
    await bench.settled();
    interface Claim {
      spec: { resources: { requests: { storage: string } } };
      status?: { phase?: string };
    }
    const live = () => west.get<Claim>(claim("1Gi"));
    await eventually(async () => (await live())?.status?.phase === "Bound");
    const body = { spec: { resources: { requests: { storage: "2Gi" } } } };
    const patch = { type: "merge", body } as const;
    await west.client.patch(west.resource(claim("")), claim("").metadata, patch, {
      fieldManager: "ops",
      signal: never,
    });
    await bench.settled();
    const labelled = { ...claim("1Gi"), metadata: { name: "data", namespace, labels: { tier: "gold" } } };
    await bench.send(await atEast(bench, labelled));
    await eventually(async () => (await live())?.metadata.labels?.["tier"] === "gold");
    await bench.settled();
    expect(bench.applier.status()).toMatchObject({ failingCount: 0, contested: [] });
    expect((await live())?.spec.resources.requests.storage).toBe("2Gi");
    await bench.send(await atEast(bench, claim("3Gi")));
    await eventually(async () => (await live())?.spec.resources.requests.storage === "3Gi");
  } finally {
    for (const object of [volume, storage]) {
      await west.client.delete(west.resource(object), object.metadata, { signal: never });
    }
  }
});
