import { afterAll, beforeAll, expect, test } from "vitest";
import { keyOf } from "../../src/objects/key.ts";
import { type KubeObject, marks } from "../../src/objects/object.ts";
import { removedObjects } from "../../src/apply/removed.ts";
import { startBed } from "../bed/bed.ts";
import type { Bed } from "../bed/running.ts";
import type { Kubeconfigs } from "../clusters/sites.ts";
import { definitionOf } from "../definition.ts";
import {
  type ApplyBench,
  applyBench,
  atEast,
  type Cluster,
  eventually,
  local,
  never,
  ns,
  type Workload,
} from "../clusters/apply-harness.ts";
import { selecting, startSource } from "../clusters/capture-harness.ts";

/**
 * What operators run at a site that stops. Their kinds stand in for them; what they would do, the tests do. On a bed of
 * its own: the kinds come and go, which an API server that serves other tests' broken kinds as well is slow to show.
 */

const definitions = [
  definitionOf({ group: "elasticsearch.k8s.elastic.co", kind: "Elasticsearch", plural: "elasticsearches" }),
  definitionOf({ group: "kafka.strimzi.io", kind: "Kafka", plural: "kafkas" }),
  definitionOf({ group: "core.strimzi.io", kind: "StrimziPodSet", plural: "strimzipodsets" }),
  definitionOf({ group: "tekton.dev", kind: "TaskRun", plural: "taskruns" }),
];

let bed: Bed | undefined;
let sites: Kubeconfigs = { east: "", west: "" };
let setUp: (ApplyBench & AsyncDisposable) | undefined;

beforeAll(async () => {
  bed = await startBed({ nodes: "simulated", install: true });
  sites = { east: bed.site("east").kubeconfigPath, west: bed.site("west").kubeconfigPath };
  setUp = await applyBench({}, sites);
  for (const site of [setUp.east, setUp.west]) {
    await define(site);
  }
});
afterAll(async () => {
  await setUp?.[Symbol.asyncDispose]();
  await bed?.stop();
});

/** An API server takes its time to serve new definitions. */
const servedLimitMs = 60_000;

async function served({ discovery }: Cluster): Promise<boolean> {
  await discovery.refresh({ signal: never });
  return definitions.every((object) => {
    const { group, names } = object["spec"] as { group: string; names: { kind: string } };
    return discovery.find(group, names.kind) !== undefined;
  });
}

async function define(site: Cluster): Promise<void> {
  for (const object of definitions) {
    await site.client.apply(site.resource(object), object, { fieldManager: "test", force: true, signal: never });
  }
  await eventually(() => served(site), servedLimitMs);
}

async function start(spec: Parameters<typeof applyBench>[0] = {}): Promise<ApplyBench & AsyncDisposable> {
  const bench = await applyBench(spec, sites);
  await define(bench.west);
  await bench.restart("active");
  return bench;
}

async function create({ west }: ApplyBench, object: KubeObject, owner?: KubeObject): Promise<KubeObject> {
  const { apiVersion = "", kind = "", metadata } = owner ?? {};
  const reference = { apiVersion, kind, name: metadata?.name ?? "", uid: metadata?.uid ?? "", controller: true };
  const owned = owner === undefined ? {} : { ownerReferences: [reference] };
  const made = { ...object, metadata: { ...object.metadata, ...owned } };
  return west.client.create(west.resource(made), made, { fieldManager: "kubectl", signal: never });
}

const custom = (apiVersion: string, kind: string, namespace: string, spec: unknown): KubeObject => ({
  apiVersion,
  kind,
  metadata: { name: kind.toLowerCase(), namespace },
  spec,
});
const containers = [{ name: "c", image: "any/image:1" }];
const pod = (namespace: string, name: string): KubeObject => ({
  apiVersion: "v1",
  kind: "Pod",
  metadata: { name, namespace, labels: { app: name } },
  spec: { terminationGracePeriodSeconds: 0, containers },
});
const statefulSet = (namespace: string): KubeObject => ({
  apiVersion: "apps/v1",
  kind: "StatefulSet",
  metadata: { name: "nodes", namespace },
  spec: {
    replicas: 2,
    podManagementPolicy: "Parallel",
    selector: { matchLabels: { app: "nodes" } },
    template: { metadata: { labels: { app: "nodes" } }, spec: { containers } },
  },
});

async function podsOf({ west, namespace }: ApplyBench): Promise<string[]> {
  const names: string[] = [];
  const resource = west.resource({ apiVersion: "v1", kind: "Pod" });
  for await (const page of west.client.list(resource, { namespace, signal: never })) {
    names.push(...page.items.map(({ metadata }) => metadata.name));
  }
  return names.sort();
}

test("what an operator without a switch runs is stopped with its resource, and runs again when that does", async () => {
  await using bench = await start();
  const { namespace, west } = bench;
  await create(bench, ns(namespace));
  const elastic = await create(bench, custom("elasticsearch.k8s.elastic.co/v1", "Elasticsearch", namespace, {}));
  const nodes = await create(bench, statefulSet(namespace), elastic);
  const kafka = await create(bench, custom("kafka.strimzi.io/v1", "Kafka", namespace, {}));
  const brokers = [pod(namespace, "kafka-0"), pod(namespace, "kafka-1")];
  const podSet = await create(
    bench,
    custom("core.strimzi.io/v1", "StrimziPodSet", namespace, { pods: brokers }),
    kafka,
  );
  for (const broker of brokers) await create(bench, broker, podSet);
  const foreign = await create(bench, pod(namespace, "somebody-elses"));
  const all = ["kafka-0", "kafka-1", "nodes-0", "nodes-1", "somebody-elses"];
  await eventually(async () => {
    expect(await podsOf(bench)).toEqual(all);
    return true;
  });

  const objects = [elastic, kafka];
  const down = await bench.applier.demote({
    epoch: "11.0",
    local: await local(bench, ...objects),
    untilGone: true,
    signal: never,
  });
  expect(down.failed).toEqual([]);
  expect(await podsOf(bench)).toEqual([foreign.metadata.name]);
  const set = await west.get<Workload>(nodes);
  expect(set).toMatchObject({ spec: { replicas: 0 } });
  // No copy: as one it would be removed here, and might take its claims along.
  expect(set?.metadata.labels?.[marks.group]).toBeUndefined();
  expect(await west.get(podSet)).toMatchObject({ spec: { pods: [] } });

  // Asked for once more, as after a crash in the middle.
  await bench.restart("held");
  await bench.applier.demote({ epoch: "11.0", local: await local(bench, ...objects), signal: never });
  expect((await bench.applier.release({ epoch: "11.0", signal: never })).failed).toEqual([]);
  const back = await west.get<Workload>(nodes);
  expect(back).toMatchObject({ spec: { replicas: 2 } });
  expect(back?.metadata.annotations?.[marks.held]).toBeUndefined();
  expect(await west.get(podSet)).toMatchObject({ spec: { pods: brokers } });
});

test("what an operator should stop and does not, since it was stopped itself, is stopped all the same", async () => {
  const kind = "elasticsearch.k8s.elastic.co/Elasticsearch";
  await using bench = await applyBench({ profiles: [{ kind, set: [{ path: "/spec/paused", value: true }] }] }, sites);
  const { namespace, west } = bench;
  await bench.restart("active");
  await create(bench, ns(namespace));
  const elastic = await create(bench, custom("elasticsearch.k8s.elastic.co/v1", "Elasticsearch", namespace, {}));
  const nodes = await create(bench, statefulSet(namespace), elastic);
  await eventually(async () => (await podsOf(bench)).length === 2);
  const objects = await local(bench, ns(namespace), elastic);
  await bench.applier.demote({ epoch: "11.0", local: objects, untilGone: true, signal: never });
  expect(await podsOf(bench)).toEqual([]);
  expect((await west.get<Workload>(nodes))?.spec.replicas).toBe(0);
  expect((await bench.applier.release({ epoch: "11.0", signal: never })).failed).toEqual([]);
  expect((await west.get<Workload>(nodes))?.spec.replicas).toBe(2);
});

test("what a profile keeps from a standby is not lost by taking its site down", async () => {
  await using bench = await start();
  const { namespace, group, west } = bench;
  await create(bench, ns(namespace));
  const run = await create(bench, custom("tekton.dev/v1", "TaskRun", namespace, { taskRef: { name: "build" } }));
  let isHeld = false;
  const source = await startSource(sites.west);
  const served = source.capture(group, selecting({ namespaces: { names: [namespace] } }), {
    site: "west",
    isHeld: () => isHeld,
    isRemoved: (key) => removedObjects(bench.journal).some((removed) => removed.key === key),
  });
  try {
    await eventually(() => served.held.has(keyOf(run)));
    isHeld = true;
    await bench.applier.demote({ epoch: "11.0", local: await local(bench, run), signal: never });
    expect(await west.get(run)).toBeUndefined();
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    expect(served.held.has(keyOf(run))).toBe(true);
  } finally {
    served.stop();
    await source.stop();
  }
  expect((await bench.applier.release({ epoch: "11.0", signal: never })).failed).toEqual([]);
  expect(await west.get(run)).toMatchObject({ spec: { taskRef: { name: "build" } } });
});

test("pods of the group at a site that must not run it are named, and stopped again where their owner is held", async () => {
  await using bench = await start();
  const { namespace, west } = bench;
  await create(bench, ns(namespace));
  const elastic = await create(bench, custom("elasticsearch.k8s.elastic.co/v1", "Elasticsearch", namespace, {}));
  const nodes = await create(bench, statefulSet(namespace), elastic);
  await eventually(async () => (await podsOf(bench)).length === 2);
  await bench.applier.demote({
    epoch: "11.0",
    local: await local(bench, ns(namespace), elastic),
    untilGone: true,
    signal: never,
  });
  expect(bench.applier.status().podsLeft).toEqual([]);

  // An operator that does not look away undoes it.
  const body = { spec: { replicas: 1 } };
  await west.client.patch(
    west.resource(nodes),
    nodes.metadata,
    { type: "merge", body },
    { fieldManager: "eck", signal: never },
  );
  await eventually(() => bench.applier.status().podsLeft.includes(`/Pod/${namespace}/nodes-0`), 30_000);
  await eventually(async () => (await west.get<Workload>(nodes))?.spec.replicas === 0, 30_000);
  await eventually(() => bench.applier.status().podsLeft.length === 0, 60_000);

  // As a standby's copy too, and what nothing can stop stays named.
  bench.applier.follow();
  bench.epoch = "11.0";
  bench.ring = "r2";
  await bench.send(ns(namespace), await atEast(bench, custom("kafka.strimzi.io/v1", "Kafka", namespace, {})));
  await bench.settled();
  const copy = await west.get(custom("kafka.strimzi.io/v1", "Kafka", namespace, {}));
  await create(bench, pod(namespace, "kafka-0"), copy);
  await create(bench, pod(namespace, "somebody-elses"));
  await eventually(() => bench.applier.status().podsLeft.length > 0, 45_000);
  expect(bench.applier.status().podsLeft).toEqual([`/Pod/${namespace}/kafka-0`]);
  expect(bench.applier.status().findings).toContainEqual(expect.objectContaining({ code: "PodsLeft" }));
});
