import { closeSync, openSync, readFileSync, statSync, writeSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { expect, test } from "vitest";
import { Journal } from "../../../src/journal/journal.ts";
import { readKeyFile } from "../../../src/journal/codec.ts";
import { StateFile } from "../../../src/journal/state.ts";
import { batch, change, configMap, never, rejection, scratchFolder, tombstone } from "./helpers.ts";

const group = "shop";

test("what was committed is there after reopening, position and epoch with it", async () => {
  using folder = scratchFolder();
  const path = folder.path("shop.db");
  const first = Journal.open({ path, group });
  await first.commit(batch([change(1, "a", "1"), change(2, "b", "1")]), { signal: never });
  await first.commit(batch([change(3, "a", "2"), tombstone(4, "b")], { complete: true }), { signal: never });
  const digest = first.digest.bytes();
  first.close();

  const second = Journal.open({ path, group });
  expect(second.position()).toEqual({ ring: "r1", seq: 4 });
  expect(second.epoch()).toBe("10.1");
  expect(second.read("/ConfigMap/shop/a")).toMatchObject({ seq: 3, deleted: false, object: configMap("a", "2") });
  expect(second.read("/ConfigMap/shop/b")).toMatchObject({ seq: 4, deleted: true, object: configMap("b", "1") });
  expect(second.digest.bytes()).toEqual(digest);
  expect([second.size, second.pendingDeletes, second.synced, second.current]).toEqual([1, 1, true, true]);
  second.close();
});

test("never synced is a state of its own, and a new ring is not current before its comparison is complete", async () => {
  using folder = scratchFolder();
  const journal = Journal.open({ path: folder.path("shop.db"), group });
  await journal.commit(batch([change(1, "a", "1")]), { signal: never });
  expect([journal.synced, journal.current]).toEqual([false, false]);
  await journal.commit(batch([], { complete: true }), { signal: never });
  expect([journal.synced, journal.current]).toEqual([true, true]);
  await journal.commit(batch([], { position: { ring: "r2", seq: 7 } }), { signal: never });
  expect([journal.synced, journal.current]).toEqual([true, false]);
  await journal.commit(batch([], { position: { ring: "r2", seq: 7 }, complete: true }), { signal: never });
  expect(journal.current).toBe(true);
  journal.close();
});

test("a batch of an older epoch is refused and changes nothing", async () => {
  using folder = scratchFolder();
  const journal = Journal.open({ path: folder.path("shop.db"), group });
  await journal.commit(batch([change(1, "a", "1")], { epoch: "10.2" }), { signal: never });
  const refused = journal.commit(batch([change(2, "a", "old")], { epoch: "10.1" }), { signal: never });
  await expect(refused).rejects.toMatchObject({ code: "FailoverRefused" });
  expect(journal.position()?.seq).toBe(1);
  expect(journal.read("/ConfigMap/shop/a")?.object).toBe(configMap("a", "1"));

  await journal.raiseEpoch("11.0");
  await expect(journal.commit(batch([], { epoch: "10.2" }), { signal: never })).rejects.toMatchObject({
    code: "FailoverRefused",
  });
  expect([journal.epoch(), journal.position(), journal.current]).toEqual(["11.0", undefined, false]);
  await expect(journal.raiseEpoch("10.9")).rejects.toMatchObject({ code: "FailoverRefused" });
  journal.close();
});

test("a pending delete survives until it is settled, and a newer state of the key is not settled by mistake", async () => {
  using folder = scratchFolder();
  const path = folder.path("shop.db");
  const journal = Journal.open({ path, group });
  await journal.commit(batch([change(1, "a", "1"), change(2, "b", "1"), tombstone(3, "a"), tombstone(4, "b")]), {
    signal: never,
  });
  await journal.commit(batch([change(5, "a", "2")]), { signal: never });
  await journal.settle([
    { key: "/ConfigMap/shop/a", seq: 3 },
    { key: "/ConfigMap/shop/b", seq: 4 },
  ]);
  journal.close();
  const again = Journal.open({ path, group });
  expect([...again.entries()].map(([key]) => key)).toEqual(["/ConfigMap/shop/a"]);
  expect([again.size, again.pendingDeletes]).toEqual([1, 0]);
  again.close();
});

test("listeners are told of the keys of each commit, after it is durable", async () => {
  using folder = scratchFolder();
  const journal = Journal.open({ path: folder.path("shop.db"), group });
  const heard: string[][] = [];
  const stop = journal.onCommit((keys) => heard.push(keys.map((key) => `${key}=${journal.head(key)?.seq}`)));
  await journal.commit(batch([change(1, "a", "1")]), { signal: never });
  stop();
  await journal.commit(batch([change(2, "a", "2")]), { signal: never });
  expect(heard).toEqual([["/ConfigMap/shop/a=1"]]);
  journal.close();
});

test("waiters for an applied position resolve when it is passed and reject on abort", async () => {
  using folder = scratchFolder();
  const journal = Journal.open({ path: folder.path("shop.db"), group });
  const waiting = journal.whenAppliedBeyond(4, { signal: never });
  const aborted = new AbortController();
  const given = journal.whenAppliedBeyond(100, { signal: aborted.signal });
  aborted.abort(new Error("enough"));
  await expect(given).rejects.toThrow("enough");
  journal.reportApplied(5);
  await waiting;
  expect(journal.applied()).toBe(5);
  journal.close();
});

test("texts are kept verbatim: big integers, four-byte characters, a megabyte", async () => {
  using folder = scratchFolder();
  const journal = Journal.open({ path: folder.path("shop.db"), group });
  const records = [change(1, "long", "ä🚀".repeat(200_000)), change(2, "small", "18446744073709551616")];
  await journal.commit(batch(records), { signal: never });
  for (const record of records) expect(journal.read(record.key)?.object).toBe(record.object);
  expect(statSync(folder.path("shop.db-wal")).size).toBeLessThan(500_000);
  journal.close();
});

test("a full journal refuses a batch whole, loses nothing, and goes on when there is space", async () => {
  using folder = scratchFolder();
  const path = folder.path("shop.db");
  const small = Journal.open({ path, group, maxBytes: 200_000 });
  let acknowledged = 0;
  let refused: unknown;
  for (;;) {
    const records = [1, 2].map((n) => change(acknowledged + n, `n${acknowledged + n}`, "x".repeat(2700)));
    refused = await rejection(small.commit(batch(records), { signal: never }));
    if (refused !== undefined) break;
    acknowledged += 2;
  }
  expect(refused).toMatchObject({ code: "JournalFull", retryable: true });
  expect([small.position()?.seq, small.size]).toEqual([acknowledged, acknowledged]);
  small.close();

  const bigger = Journal.open({ path, group });
  expect([bigger.position()?.seq, bigger.size]).toEqual([acknowledged, acknowledged]);
  await bigger.commit(batch([change(acknowledged + 1, "more", "x")]), { signal: never });
  bigger.close();
});

test("a file whose pages are damaged is named as such, and so is one that is no journal", async () => {
  using folder = scratchFolder();
  const path = folder.path("shop.db");
  const journal = Journal.open({ path, group });
  await journal.commit(batch(Array.from({ length: 200 }, (_, i) => change(i + 1, `n${i}`, "x".repeat(500)))), {
    signal: never,
  });
  journal.close();
  scribble(path, 8192);
  expect(() => Journal.open({ path, group })).toThrow(expect.objectContaining({ code: "JournalCorrupt" }));

  const other = folder.path("other.db");
  const db = new DatabaseSync(other);
  db.exec("CREATE TABLE t (x); PRAGMA user_version = 1");
  db.close();
  expect(() => Journal.open({ path: other, group })).toThrow(expect.objectContaining({ code: "JournalCorrupt" }));
  scribble(other, 0);
  expect(() => Journal.open({ path: other, group })).toThrow(expect.objectContaining({ code: "JournalCorrupt" }));
});

test("one flipped byte inside an object's text is noticed when it is read", async () => {
  using folder = scratchFolder();
  const path = folder.path("shop.db");
  const journal = Journal.open({ path, group });
  await journal.commit(batch([change(1, "a", "needle-in-the-text")]), { signal: never });
  journal.close();
  const at = readFileSync(path).indexOf("needle-in-the-text");
  const file = openSync(path, "r+");
  writeSync(file, "N", at);
  closeSync(file);
  const again = Journal.open({ path, group });
  expect(() => again.read("/ConfigMap/shop/a")).toThrow(expect.objectContaining({ code: "JournalCorrupt" }));
  again.close();
});

test("a file of a newer version is refused and left as it is", () => {
  using folder = scratchFolder();
  const path = folder.path("shop.db");
  Journal.open({ path, group }).close();
  const db = new DatabaseSync(path);
  db.exec("PRAGMA user_version = 99");
  db.close();
  expect(() => Journal.open({ path, group })).toThrow(expect.objectContaining({ code: "JournalVersion" }));
});

test("the file is its owner's alone, one process's alone and one group's alone", () => {
  using folder = scratchFolder();
  const path = folder.path("deep/shop.db");
  const journal = Journal.open({ path, group });
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(() => Journal.open({ path, group })).toThrow(expect.objectContaining({ code: "ConfigInvalid" }));
  journal.close();
  expect(() => Journal.open({ path, group: "other" })).toThrow(/belongs to group shop/);
});

test("state records survive, are replaced and removed", async () => {
  using folder = scratchFolder();
  const path = folder.path("shop.db");
  const journal = Journal.open({ path, group });
  await journal.putState("lease", { until: 5 });
  await journal.putState("lease", { until: 6 });
  await journal.putState("gone", 1);
  await journal.putState("gone", undefined);
  journal.close();
  const again = Journal.open({ path, group });
  expect([again.getState("lease"), again.getState("gone")]).toEqual([{ until: 6 }, undefined]);
  again.close();

  const agent = StateFile.open({ path: folder.path("agent.db") });
  await agent.putState("incarnation", 3);
  agent.close();
  const agentAgain = StateFile.open({ path: folder.path("agent.db") });
  expect(agentAgain.getState("incarnation")).toBe(3);
  agentAgain.close();
});

test("what diverged is kept verbatim, the first record of a key winning, until it is cleared", async () => {
  using folder = scratchFolder();
  const journal = Journal.open({ path: folder.path("shop.db"), group });
  await journal.saveDivergence([{ key: "/ConfigMap/shop/a", what: "changed", object: configMap("a", "mine") }]);
  await journal.saveDivergence([{ key: "/ConfigMap/shop/a", what: "extra", object: "{}" }]);
  expect(journal.divergentKeys()).toEqual([{ key: "/ConfigMap/shop/a", what: "changed" }]);
  expect(journal.divergent("/ConfigMap/shop/a")?.object).toBe(configMap("a", "mine"));
  await journal.clearDivergence();
  expect(journal.divergentKeys()).toEqual([]);
  journal.close();
});

test("with a key file nothing readable is on the disk, and another key does not open it", async () => {
  using folder = scratchFolder();
  const path = folder.path("shop.db");
  const key = Buffer.alloc(32, 7);
  const journal = Journal.open({ path, group, key });
  await journal.commit(batch([change(1, "a", "topsecret"), change(2, "b", "topsecret".repeat(1000))]), {
    signal: never,
  });
  await journal.putState("held", "topsecret");
  const onDisk = Buffer.concat([readFileSync(path), readFileSync(`${path}-wal`)]).toString("latin1");
  expect(onDisk).not.toContain("topsecret");
  journal.close();
  const wrong = { path, group, key: Buffer.alloc(32, 8) };
  expect(() => Journal.open(wrong)).toThrow(/key file does not fit/);
  expect(() => Journal.open({ path, group })).toThrow(/no key file is configured/);
  const again = Journal.open({ path, group, key });
  expect(again.read("/ConfigMap/shop/a")?.object).toBe(configMap("a", "topsecret"));
  again.close();
});

test("a key file is 32 bytes or 64 hex digits", () => {
  using folder = scratchFolder();
  const path = folder.path("key");
  for (const content of [Buffer.alloc(32, 5), `${"05".repeat(32)}\n`]) {
    const file = openSync(path, "w");
    writeSync(file, Buffer.from(content as string));
    closeSync(file);
    expect(Buffer.from(readKeyFile(path))).toEqual(Buffer.alloc(32, 5));
  }
  const file = openSync(path, "w");
  writeSync(file, "short");
  closeSync(file);
  expect(() => readKeyFile(path)).toThrow(/neither 32 bytes nor 64 hex digits/);
});

function scribble(path: string, from: number): void {
  const file = openSync(path, "r+");
  writeSync(file, Buffer.alloc(4096, 0xa5), 0, 4096, from);
  closeSync(file);
}
