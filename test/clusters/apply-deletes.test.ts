import { DatabaseSync } from "node:sqlite";
import { expect, test } from "vitest";
import { keyOf } from "../../src/objects/key.ts";
import { applyBench, atEast, configMap, eventually, never, ns } from "./apply-harness.ts";

const guard = { deletes: { guard: { percent: 30, minObjects: 3, window: "1m" } } };
const names = ["a", "b", "c", "d", "e", "f"];

test("more deletes at once than the guard allows pause, also over a restart, until a person confirms them", async () => {
  await using bench = await applyBench(guard);
  const { namespace, west } = bench;
  const objects = await Promise.all(names.map((name) => atEast(bench, configMap(namespace, name, { name }))));
  await bench.send(ns(namespace), ...objects);
  await bench.settled();

  await bench.sendDeletes(...objects.map(keyOf));
  await bench.send(await atEast(bench, configMap(namespace, "new", { a: "1" })));
  await eventually(async () => (await west.get(configMap(namespace, "new", {}))) !== undefined);
  expect(bench.applier.status().deletesPaused).toMatchObject({ count: 6, of: 8, pending: 6 });
  await bench.restart();
  await eventually(() => bench.applier.status().phase === "following");
  expect(bench.applier.status().deletesPaused).toMatchObject({ pending: 6 });
  for (const object of objects) expect(await west.get(object)).toBeDefined();

  expect(await bench.applier.confirmDeletes()).toBe(6);
  await eventually(() => bench.journal.pendingDeletes === 0);
  for (const object of objects) expect(await west.get(object)).toBeUndefined();
  expect(bench.applier.status().deletesPaused).toBeUndefined();
});

test("what came and went while nothing was heard of it is no delete that the guard counts", async () => {
  await using bench = await applyBench(guard);
  const { namespace } = bench;
  await bench.send(ns(namespace), await atEast(bench, configMap(namespace, "stays", {})));
  await bench.settled();
  await bench.sendDeletes(...names.map((name) => keyOf(configMap(namespace, name, {}))));
  await eventually(() => bench.journal.pendingDeletes === 0);
  expect(bench.applier.status().deletesPaused).toBeUndefined();
});

test("a pause ends by itself when the objects come back at the source", async () => {
  await using bench = await applyBench(guard);
  const { namespace, west } = bench;
  const objects = await Promise.all(names.map((name) => atEast(bench, configMap(namespace, name, { name }))));
  await bench.send(ns(namespace), ...objects);
  await bench.settled();
  const [first] = objects;
  if (first === undefined) throw new Error("no object");
  const uid = (await west.get(first))?.metadata.uid;
  await bench.sendDeletes(...objects.map(keyOf));
  await eventually(() => bench.applier.status().deletesPaused !== undefined);
  await bench.send(...objects);
  await bench.settled();
  expect(bench.applier.status().deletesPaused).toBeUndefined();
  expect((await west.get(first))?.metadata.uid).toBe(uid);
});

test("a delete that is forgotten while everything is looked at once more does not wait for ever", async () => {
  await using bench = await applyBench();
  const { namespace } = bench;
  const object = await atEast(bench, configMap(namespace, "gone", {}));
  await bench.send(ns(namespace), object);
  await bench.settled();
  const settle = bench.journal.settle.bind(bench.journal);
  let raced = 0;
  // Between a delete's end and its being forgotten are some milliseconds: the new spec is made to come in them.
  bench.journal.settle = (tombstones) => {
    if (tombstones.length > 0 && raced++ === 0) void bench.sendSpec({ objectives: { rpo: "7s" } });
    return settle(tombstones);
  };
  await bench.sendDeletes(keyOf(object));
  await eventually(() => raced > 0 && bench.journal.pendingDeletes === 0);
  await bench.settled();
  expect(bench.applier.status()).toMatchObject({ pending: 0, failing: [] });
});

test("a namespace goes after everything in it", async () => {
  await using bench = await applyBench();
  const { namespace, west } = bench;
  const objects = await Promise.all(names.map((name) => atEast(bench, configMap(namespace, name, { name }))));
  await bench.send(ns(namespace), ...objects);
  await bench.settled();
  await bench.sendDeletes(keyOf(ns(namespace)));
  await eventually(() => bench.applier.status().failing.some((entry) => entry.reason === "Needed"), 15_000);
  expect((await west.get(ns(namespace)))?.metadata.deletionTimestamp).toBeUndefined();
  await bench.sendDeletes(...objects.map(keyOf));
  await eventually(async () => {
    const left = await west.get(ns(namespace));
    return left === undefined || left.metadata.deletionTimestamp !== undefined;
  }, 45_000);
});

test("with the group goes none of its copies, also where they were deleted in the same breath", async () => {
  await using bench = await applyBench();
  const { namespace, group, west } = bench;
  const objects = await Promise.all(names.map((name) => atEast(bench, configMap(namespace, name, { name }))));
  await bench.send(ns(namespace), ...objects);
  await bench.settled();
  const [before, together, after] = [objects.slice(0, 2), objects.slice(2, 4), objects.slice(4)];
  await bench.sendDeletes(...before.map(keyOf));
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  await bench.sendDeletes(`lifeboat.dev/ProtectionGroup//${group}`, ...together.map(keyOf));
  await bench.sendDeletes(...after.map(keyOf), keyOf(ns(namespace)));
  await new Promise((resolve) => setTimeout(resolve, 4_000));
  for (const object of [...objects, ns(namespace)]) {
    expect((await west.get(object))?.metadata).toMatchObject({ name: object.metadata.name });
  }
});

test("a namespace that holds what is not the group's stays, and says what, until that is gone", async () => {
  await using bench = await applyBench();
  const { namespace, west } = bench;
  const ours = await atEast(bench, configMap(namespace, "ours", { a: "1" }));
  await bench.send(ns(namespace), ours);
  await bench.settled();
  const theirs = configMap(namespace, "theirs", { a: "1" });
  await west.client.create(west.resource(theirs), theirs, { fieldManager: "kubectl", signal: never });
  await bench.sendDeletes(keyOf(ours), keyOf(ns(namespace)));
  const failing = await eventually(() =>
    bench.applier.status().failing.find(({ key, reason }) => key === keyOf(ns(namespace)) && reason === "Occupied"),
  );
  expect(failing?.message).toContain(keyOf(theirs));
  expect(await west.get(ours)).toBeUndefined();
  expect((await west.get(ns(namespace)))?.metadata.deletionTimestamp).toBeUndefined();

  await west.client.delete(west.resource(theirs), theirs.metadata, { signal: never });
  // It is looked at again twice a minute, and after a restart at once.
  await bench.restart();
  await eventually(async () => (await west.get(ns(namespace))) === undefined, 60_000);
});

test("deletes that came while nobody followed the journal pause like any others", async () => {
  await using bench = await applyBench(guard);
  const { namespace, west } = bench;
  const objects = await Promise.all(names.map((name) => atEast(bench, configMap(namespace, name, { name }))));
  await bench.send(ns(namespace), ...objects);
  await bench.settled();
  await bench.restart("held");
  await bench.sendDeletes(...objects.map(keyOf));
  bench.applier.follow();
  await eventually(() => bench.applier.status().deletesPaused !== undefined);
  for (const object of objects) expect(await west.get(object)).toBeDefined();
});

test("a copy whose record in the journal is damaged is reported and stays", async () => {
  await using bench = await applyBench();
  const { namespace, west } = bench;
  const [good, bad] = await Promise.all(
    ["good", "bad"].map((name) => atEast(bench, configMap(namespace, name, { name }))),
  );
  if (good === undefined || bad === undefined) throw new Error("no object");
  await bench.send(ns(namespace), good, bad);
  await bench.settled();
  const { path } = bench.journal;
  await bench.stop();
  const db = new DatabaseSync(path);
  db.prepare("UPDATE objects SET object = (SELECT object FROM objects WHERE key = ?) WHERE key = ?").run(
    keyOf(good),
    keyOf(bad),
  );
  db.close();
  await bench.reopen();
  await eventually(() => bench.applier.status().failing.some(({ key }) => key === keyOf(bad)));
  await bench.send(await atEast(bench, configMap(namespace, "new", { a: "1" })));
  await eventually(async () => (await west.get(configMap(namespace, "new", {}))) !== undefined);
  await new Promise((resolve) => setTimeout(resolve, 1000));
  expect(await west.get(bad)).toBeDefined();
});
