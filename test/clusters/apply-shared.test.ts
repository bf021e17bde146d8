import { expect, test } from "vitest";
import { keyOf } from "../../src/objects/key.ts";
import { type KubeObject, marks } from "../../src/objects/object.ts";
import { type ApplyBench, applyBench, atEast, eventually, never, ns } from "./apply-harness.ts";

function clusterRole(name: string, verbs: string[]): KubeObject {
  return {
    apiVersion: "rbac.authorization.k8s.io/v1",
    kind: "ClusterRole",
    metadata: { name },
    rules: [{ apiGroups: [""], resources: ["configmaps"], verbs }],
  };
}

type Role = { rules: { verbs: string[] }[] };

async function groupsAt(bench: ApplyBench, object: KubeObject): Promise<string | undefined> {
  return (await bench.west.get(object))?.metadata.annotations?.[marks.groups];
}

test("a shared object carries the groups that need it, and goes with the last of them", async () => {
  await using one = await applyBench();
  await using two = await applyBench();
  const role = clusterRole(`shared-${one.group}`, ["get"]);
  await one.send(ns(one.namespace), await atEast(one, role));
  await one.settled();
  await two.send(ns(two.namespace), await atEast(two, role));
  await two.settled();
  expect(await groupsAt(one, role)).toBe([one.group, two.group].sort().join(","));

  // A change reaches it through the group that made it, and the other agrees.
  const changed = clusterRole(role.metadata.name, ["get", "list"]);
  await one.send(await atEast(one, changed));
  await two.send(await atEast(two, changed));
  await one.settled();
  await two.settled();
  expect((await one.west.get<Role>(role))?.rules[0]?.verbs).toEqual(["get", "list"]);

  await one.sendDeletes(keyOf(role));
  await eventually(async () => (await groupsAt(two, role)) === two.group);
  await two.sendDeletes(keyOf(role));
  await eventually(async () => (await two.west.get(role)) === undefined);
});

test("what the source takes out of a shared object goes, with one group and with several", async () => {
  await using one = await applyBench();
  await using two = await applyBench();
  const role = clusterRole(`narrower-${one.group}`, ["get", "list", "watch"]);
  const now = async (bench: ApplyBench, verbs: string[]): Promise<void> => {
    await bench.send(ns(bench.namespace), await atEast(bench, clusterRole(role.metadata.name, verbs)));
    await bench.settled();
  };
  const verbsThere = async () => (await one.west.get<Role>(role))?.rules[0]?.verbs;
  await now(one, ["get", "list", "watch"]);
  await now(one, ["get", "list"]);
  expect(await verbsThere()).toEqual(["get", "list"]);
  await now(two, ["get", "list"]);
  for (const bench of [one, two]) await now(bench, ["get"]);
  expect(await verbsThere()).toEqual(["get"]);
  expect(await groupsAt(one, role)).toBe([one.group, two.group].sort().join(","));
  for (const bench of [one, two]) expect(await bench.applier.diff({ signal: never })).toEqual([]);
  for (const bench of [one, two]) await bench.sendDeletes(keyOf(role));
  await eventually(async () => (await one.west.get(role)) === undefined);
});

test("a cluster-scoped object that others made is used where it fits, reported where it does not, never forced", async () => {
  await using bench = await applyBench();
  const { west } = bench;
  const fitting = clusterRole(`fits-${bench.group}`, ["get"]);
  const other = clusterRole(`differs-${bench.group}`, ["get"]);
  const options = { fieldManager: "helm", signal: never };
  try {
    await west.client.create(west.resource(fitting), clusterRole(fitting.metadata.name, ["get"]), options);
    await west.client.create(west.resource(other), clusterRole(other.metadata.name, ["delete"]), options);
    await bench.send(ns(bench.namespace), await atEast(bench, fitting), await atEast(bench, other));
    await eventually(() => bench.applier.status().conflictCount === 1);
    expect(bench.applier.status().conflicts).toMatchObject([{ key: keyOf(other), message: /differs in rules/ }]);
    expect((await west.get<Role>(other))?.rules[0]?.verbs).toEqual(["delete"]);
    expect(await groupsAt(bench, fitting)).toBeUndefined();
    await bench.sendDeletes(keyOf(fitting), keyOf(other));
    await eventually(() => bench.journal.pendingDeletes === 0);
    expect(await west.get(fitting)).toBeDefined();
    expect(await west.get(other)).toBeDefined();
  } finally {
    for (const role of [fitting, other]) {
      await west.client.delete(west.resource(role), role.metadata, { signal: never });
    }
  }
});

test("endpoints that a controller makes for a copied Service are nobody's leftovers", async () => {
  await using bench = await applyBench();
  const { namespace, west } = bench;
  const service: KubeObject = {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: "web", namespace },
    spec: { selector: { app: "web" }, ports: [{ port: 80, protocol: "TCP" }] },
  };
  const own: KubeObject = {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: { name: "by-hand", namespace, labels: { "kubernetes.io/service-name": "outside" } },
    addressType: "IPv4",
    endpoints: [{ addresses: ["192.0.2.1"] }],
    ports: [{ port: 80, name: "", protocol: "TCP" }],
  };
  await bench.send(ns(namespace), await atEast(bench, service), await atEast(bench, own));
  await bench.settled();
  const slices = west.resource(own);
  const generated = async (): Promise<string | undefined> => {
    const labelSelector = "kubernetes.io/service-name=web";
    for await (const page of west.client.list(slices, { namespace, labelSelector, signal: never }))
      return page.items[0]?.metadata.uid;
    return undefined;
  };
  const uid = await eventually(generated);
  await bench.restart();
  await bench.settled();
  expect(await generated()).toBe(uid);
  expect(await west.get(own)).toBeDefined();
});
