import { expect, test } from "vitest";
import { marks } from "../../src/objects/object.ts";
import { keyOf } from "../../src/objects/key.ts";
import { applyBench, atEast, configMap, deployment, eventually, never, ns, type Workload } from "./apply-harness.ts";

test("objects arrive held, changed and deleted, in whatever order they come", async () => {
  await using bench = await applyBench();
  const { namespace, west } = bench;
  const web = await atEast(bench, deployment(namespace, "web", { replicas: 3 }));
  const settings = await atEast(bench, configMap(namespace, "settings", { a: "1", b: "2" }));
  await bench.send(web, settings);
  await bench.send(ns(namespace, { tier: "gold" }));
  await bench.settled();

  const copy = await west.get<Workload>(web);
  expect(copy?.spec.replicas).toBe(0);
  expect(copy?.metadata.labels?.[marks.group]).toBe(bench.group);
  expect(JSON.parse(copy?.metadata.annotations?.[marks.held] ?? "{}")).toEqual({ "/spec/replicas": 3 });
  expect((await west.get(ns(namespace)))?.metadata.labels).toMatchObject({ tier: "gold" });

  await bench.send(await atEast(bench, configMap(namespace, "settings", { a: "2" })));
  await bench.settled();
  expect((await west.get<{ data: unknown }>(settings))?.data).toEqual({ a: "2" });

  await bench.sendDeletes(keyOf(settings));
  await eventually(async () => (await west.get(settings)) === undefined);
  await eventually(() => bench.journal.pendingDeletes === 0);
  expect(bench.applier.status()).toMatchObject({ synced: true, pending: 0, failingCount: 0, objects: 3 });
  expect(bench.journal.applied()).toBe(bench.journal.position()?.seq);
});

test("a field that the source removed goes, also on an object that was created by POST", async () => {
  await using bench = await applyBench();
  const { namespace, west } = bench;
  const before = [
    { name: "A", value: "1" },
    { name: "B", value: "2" },
  ];
  await bench.send(ns(namespace), await atEast(bench, deployment(namespace, "web", { env: before })));
  await bench.settled();
  const after = await atEast(bench, deployment(namespace, "web", { env: before.slice(0, 1) }));
  await bench.send(after);
  await bench.settled();
  const copy = await west.get<Workload>(after);
  expect(copy?.spec.template.spec.containers[0]?.env).toEqual([{ name: "A", value: "1" }]);
  const own = (copy?.metadata.managedFields ?? []).filter((entry) => entry.manager.startsWith("lifeboat"));
  expect(own.map((entry) => entry.operation)).toEqual(["Apply"]);
});

test("what somebody changes, adds to or deletes from a copy is repaired", async () => {
  await using bench = await applyBench();
  const { namespace, west } = bench;
  const web = await atEast(bench, deployment(namespace, "web"));
  const settings = await atEast(bench, configMap(namespace, "settings", { a: "1" }));
  await bench.send(ns(namespace), web, settings);
  await bench.settled();

  const by = { fieldManager: "kubectl-edit", signal: never };
  await west.client.patch(west.resource(web), web.metadata, { type: "merge", body: { spec: { replicas: 5 } } }, by);
  await eventually(async () => (await west.get<Workload>(web))?.spec.replicas === 0);

  for (const data of [{ a: "9", extra: "x" }, { another: "y" }]) {
    await west.client.patch(west.resource(settings), settings.metadata, { type: "merge", body: { data } }, by);
    await eventually(async () => {
      expect((await west.get<{ data: unknown }>(settings))?.data).toEqual({ a: "1" });
      return true;
    });
  }

  // Kubernetes itself may write a field of ours too, and then owns it.
  const scaling = { fieldManager: "kube-controller-manager", signal: never };
  await west.client.patch(
    west.resource(web),
    web.metadata,
    { type: "merge", body: { spec: { replicas: 4 } } },
    scaling,
  );
  await eventually(async () => (await west.get<Workload>(web))?.spec.replicas === 0);

  await west.client.delete(west.resource(settings), settings.metadata, { signal: never });
  await eventually(async () => (await west.get(settings)) !== undefined);
  expect(await bench.applier.diff({ signal: never })).toEqual([]);
});

test("a manager that takes the same field again and again is reported as contested and left alone", async () => {
  await using bench = await applyBench();
  const { namespace, west } = bench;
  const settings = await atEast(bench, configMap(namespace, "settings", { a: "1" }));
  await bench.send(ns(namespace), settings);
  await bench.settled();
  const by = { fieldManager: "stubborn", signal: never };
  for (let round = 0; round < 4; round++) {
    const body = { data: { a: `theirs-${round}` } };
    await west.client.patch(west.resource(settings), settings.metadata, { type: "merge", body }, by);
    if (round < 3) {
      await eventually(async () => (await west.get<{ data: { a: string } }>(settings))?.data.a === "1");
    }
  }
  const contested = await eventually(() => bench.applier.status().contested[0]);
  expect(contested).toMatchObject({ key: keyOf(settings), manager: "stubborn", fields: ["data.a"] });
  expect((await west.get<{ data: { a: string } }>(settings))?.data.a).toBe("theirs-3");

  // A promotion is not the moment to give in.
  expect(await bench.applier.promote({ epoch: "11.0", signal: never })).toMatchObject({ failed: [] });
  expect((await west.get<{ data: { a: string } }>(settings))?.data.a).toBe("1");
});

test("an object that nobody of ours has put there is reported as a conflict, and taken over with adopt", async () => {
  await using bench = await applyBench();
  const { namespace, west } = bench;
  await bench.send(ns(namespace));
  await bench.settled();
  const theirs = configMap(namespace, "settings", { a: "theirs", c: "theirs" });
  await west.client.create(west.resource(theirs), theirs, { fieldManager: "kubectl", signal: never });
  await bench.send(await atEast(bench, configMap(namespace, "settings", { a: "ours" })));
  await eventually(() => bench.applier.status().conflictCount === 1);
  expect((await west.get<{ data: unknown }>(theirs))?.data).toEqual({ a: "theirs", c: "theirs" });
  expect(bench.applier.status().failing).toMatchObject([{ reason: "Exists" }]);
  expect(bench.journal.applied()).toBe(bench.journal.position()?.seq);

  await bench.sendSpec({ adopt: true });
  await eventually(async () => {
    expect((await west.get<{ data: unknown }>(theirs))?.data).toEqual({ a: "ours" });
    return true;
  });
  await bench.settled();
  expect(bench.applier.status()).toMatchObject({ conflictCount: 0, failingCount: 0 });
});

test("a restart finds right what is right, repairs what drifted meanwhile and removes what is left over", async () => {
  await using bench = await applyBench();
  const { namespace, west } = bench;
  const objects = await Promise.all(
    ["a", "b", "c"].map((name) => atEast(bench, configMap(namespace, name, { value: name }))),
  );
  await bench.send(ns(namespace), ...objects);
  await bench.settled();
  const versions = async (): Promise<unknown[]> =>
    Promise.all(objects.map(async (object) => (await west.get(object))?.metadata.resourceVersion));
  const before = await versions();
  await bench.restart();
  await bench.settled();
  expect(await versions()).toEqual(before);

  await bench.stop();
  const [a, b] = objects;
  if (a === undefined || b === undefined) throw new Error("no objects");
  const by = { fieldManager: "kubectl-edit", signal: never };
  await west.client.patch(west.resource(a), a.metadata, { type: "merge", body: { data: { value: "x" } } }, by);
  const left = configMap(namespace, "left-over", { value: "x" });
  left.metadata.labels = { [marks.group]: bench.group };
  await west.client.create(west.resource(left), left, { fieldManager: `lifeboat-${bench.group}`, signal: never });
  await bench.reopen();
  await eventually(async () => (await west.get<{ data: { value: string } }>(a))?.data.value === "a");
  await eventually(async () => (await west.get(left)) === undefined);
  expect((await versions()).slice(1)).toEqual(before.slice(1));
});

test("a namespace that somebody deletes at the standby comes back with everything in it", async () => {
  await using bench = await applyBench();
  const { namespace, west } = bench;
  const settings = await atEast(bench, configMap(namespace, "settings", { a: "1" }));
  await bench.send(ns(namespace), settings, await atEast(bench, deployment(namespace, "web")));
  await bench.settled();
  const uid = (await west.get(ns(namespace)))?.metadata.uid;
  await west.client.delete(west.resource(ns(namespace)), { name: namespace }, { signal: never });
  await eventually(async () => {
    const now = await west.get(ns(namespace));
    return now !== undefined && now.metadata.uid !== uid && (await west.get(settings)) !== undefined;
  }, 60_000);
  // What is repaired is not what was received: nothing but the comparison says when all of it is back.
  await eventually(async () => {
    const differs = await bench.applier.diff({ signal: never });
    expect(differs.filter(({ what }) => what !== "withheld")).toEqual([]);
    return true;
  });
});

test("while the group is suspended nothing is written, afterwards everything is", async () => {
  await using bench = await applyBench();
  const { namespace, west } = bench;
  const settings = await atEast(bench, configMap(namespace, "settings", { a: "1" }));
  await bench.send(ns(namespace), settings);
  await bench.settled();
  await bench.sendSpec({ suspend: true });
  await bench.send(await atEast(bench, configMap(namespace, "settings", { a: "2" })));
  await new Promise((resolve) => setTimeout(resolve, 500));
  expect((await west.get<{ data: unknown }>(settings))?.data).toEqual({ a: "1" });
  expect(bench.applier.status().suspended).toBe(true);
  await bench.sendSpec({ suspend: false });
  await bench.settled();
  expect((await west.get<{ data: unknown }>(settings))?.data).toEqual({ a: "2" });
});

test("an applier that ends in the middle of a first sync goes on where it was", async () => {
  await using bench = await applyBench();
  const { namespace, west } = bench;
  const names = Array.from({ length: 150 }, (_, i) => `c${i}`);
  const objects = await Promise.all(names.map((name) => atEast(bench, configMap(namespace, name, { name }))));
  await bench.send(ns(namespace), ...objects);
  await eventually(() => bench.applier.status().copies > 20);
  await bench.restart();
  await bench.settled();
  for (const object of objects) expect((await west.get(object))?.metadata.labels?.[marks.group]).toBe(bench.group);
});

test("a mapped namespace and a mutation take effect, and change when the spec does", async () => {
  const target = `mapped-${process.pid}-${Date.now().toString(36)}`;
  await using bench = await applyBench();
  const { namespace, west } = bench;
  const settings = await atEast(bench, configMap(namespace, "settings", { region: "east" }));
  await bench.send(ns(namespace), settings);
  await bench.settled();
  const jsonPatch = [{ op: "replace" as const, path: "/data/region", value: "west" }];
  await bench.sendSpec({
    mappings: { namespaces: [{ east: namespace, west: target }] },
    mutations: [{ match: { kinds: ["ConfigMap"], names: ["settings"] }, site: "west", jsonPatch }],
  });
  const moved = configMap(target, "settings", {});
  await eventually(async () => {
    expect((await west.get<{ data: unknown }>(moved))?.data).toEqual({ region: "west" });
    return true;
  });
  await eventually(async () => (await west.get(settings)) === undefined);
  await bench.settled();
  await west.client.delete(west.resource(ns(target)), { name: target }, { signal: never });
});

test("a pilot light applies nothing and can be promoted, and becomes warm when its spec says so", async () => {
  await using bench = await applyBench({ standby: "PilotLight" });
  const { namespace, west } = bench;
  const settings = await atEast(bench, configMap(namespace, "settings", { a: "1" }));
  await bench.send(ns(namespace), settings);
  await bench.settled();
  expect(bench.applier.status()).toMatchObject({ copies: 0, withheld: { PilotLight: 2 } });
  expect(await west.get(settings)).toBeUndefined();
  await bench.sendSpec({ standby: "Warm" });
  await bench.settled();
  expect(await west.get(settings)).toBeDefined();
  expect(bench.applier.status().withheld).toEqual({});
});

test("a malformed spec changes nothing, the last good one stays in force", async () => {
  await using bench = await applyBench({ adopt: true });
  const { namespace, west } = bench;
  await bench.send(ns(namespace));
  await bench.settled();
  await bench.sendSpec({ sites: [{ name: "only" }] });
  const settings = configMap(namespace, "settings", { a: "theirs" });
  await west.client.create(west.resource(settings), settings, { fieldManager: "kubectl", signal: never });
  await bench.send(await atEast(bench, configMap(namespace, "settings", { a: "ours" })));
  await bench.settled();
  expect((await west.get<{ data: unknown }>(settings))?.data).toEqual({ a: "ours" });
});
