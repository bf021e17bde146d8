import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { SharedRecords } from "../../src/agent/shared-records.ts";
import { systemClock } from "../../src/clock.ts";
import { emptyRecord } from "../../src/failover/agent-state.ts";
import { claimIncarnation, GroupRecords } from "../../src/failover/runner/records.ts";
import { StateFile } from "../../src/journal/state.ts";
import { connect, type KubeClient } from "../../src/kube/client.ts";
import { resources } from "../../src/kube/resource.ts";
import { silentLog } from "../../src/telemetry/log.ts";
import { namespace } from "./capture-harness.ts";
import { kubeconfigs } from "./sites.ts";

/** What two agents of a site know in turn, on a real API server. */

let client: KubeClient;
const stopping = new AbortController();
const { signal } = stopping;
let ns = "";
let count = 0;
let folder = "";
/** Terms of later leaders, as a former one was told. */
let followedBy: number[] = [];
const disks: StateFile[] = [];

beforeAll(async () => {
  client = await connect({ from: "files", paths: [kubeconfigs().east] });
});
afterAll(async () => {
  stopping.abort();
  await client.close();
});
beforeEach(async () => {
  ns = `records-${process.pid}-${count++}`;
  followedBy = [];
  folder = mkdtempSync(join(tmpdir(), "lifeboat-records-"));
  await client.create(resources.namespaces, namespace(ns), { fieldManager: "tester", signal });
});
afterEach(() => {
  for (const disk of disks.splice(0)) disk.close();
  rmSync(folder, { recursive: true });
});

function disk(name: string): StateFile {
  const file = StateFile.open({ path: join(folder, `${name}.db`) });
  disks.push(file);
  return file;
}

function lead(local: StateFile): Promise<SharedRecords> {
  const onFollowed = (term: number): void => void followedBy.push(term);
  const options = { client, namespace: ns, site: "east", local, onFollowed, clock: systemClock, log: silentLog };
  return SharedRecords.open(options, { signal });
}

const at = (group: string) => ({ namespace: ns, name: `lifeboat-group-${group}` });

test("the next leader knows what the last one wrote, of the site, of a group and of its journal", async () => {
  const first = await lead(disk("a"));
  const incarnation = await claimIncarnation(first, systemClock);
  const record = { ...emptyRecord, incarnation, veto: { incarnation: 7 } };
  await new GroupRecords(first, "shop").claim(record);
  await first.journal("shop").putState("agent/origin", "copy");
  const second = await lead(disk("b"));
  expect(new GroupRecords(second, "shop").read()).toEqual(record);
  expect(second.journal("shop").getState("agent/origin")).toBe("copy");
  expect(second.groups()).toEqual(["shop"]);
  expect(await claimIncarnation(second, systemClock)).toBeGreaterThan(incarnation);
  await second.forgetJournal("shop");
  expect(second.groups()).toEqual([]);
  expect(new GroupRecords(second, "shop").read()).toEqual(record);
});

test("a former leader writes nothing any more, neither of what it knew nor of a group that is new to both", async () => {
  const sleeper = await lead(disk("a"));
  await sleeper.putState("failover/group/shop", { ...emptyRecord, incarnation: 1 });
  const leader = await lead(disk("b"));
  const write = sleeper.putState("failover/group/shop", { ...emptyRecord, incarnation: 9 });
  await expect(write).rejects.toMatchObject({ code: "FailoverRefused" });
  expect(followedBy).toEqual([leader.term]);
  await leader.putState("failover/group/new", { ...emptyRecord, incarnation: 2 });
  const another = sleeper.putState("failover/group/new", { ...emptyRecord, incarnation: 9 });
  await expect(another).rejects.toMatchObject({ code: "FailoverRefused" });
  const third = await lead(disk("c"));
  expect(new GroupRecords(third, "shop").read().incarnation).toBe(1);
  expect(new GroupRecords(third, "new").read().incarnation).toBe(2);
});

test("what is being written is read as if it were, and many writes at once become few", async () => {
  const records = await lead(disk("a"));
  const values = Array.from({ length: 50 }, (_, value) => value);
  const writes = values.map((value) => records.putState("agent/versions", { value }));
  expect(records.getState("agent/versions")).toEqual({ value: 49 });
  await Promise.all(writes);
  const secret = await client.get(resources.secrets, { namespace: ns, name: "lifeboat-site" }, { signal });
  const { data } = secret as unknown as { data: { records: string } };
  expect(JSON.parse(Buffer.from(data.records, "base64").toString())).toMatchObject({ writes: 3 });
});

test("an API server that is set back brings nothing back: the leader and its own disk know better", async () => {
  const own = disk("a");
  const leader = await lead(own);
  await leader.putState("failover/group/shop", { ...emptyRecord, incarnation: 1 });
  const backup = await client.get(resources.secrets, at("shop"), { signal });
  await leader.putState("failover/group/shop", { ...emptyRecord, incarnation: 2 });
  const setBack = async (): Promise<void> => {
    const { resourceVersion: _then, uid: _uid, ...metadata } = backup.metadata;
    await client.delete(resources.secrets, at("shop"), { signal });
    await client.create(resources.secrets, { ...backup, metadata }, { fieldManager: "tester", signal });
  };
  await setBack();
  expect(new GroupRecords(await lead(own), "shop").read().incarnation).toBe(2);
  const next = await lead(disk("b"));
  expect(new GroupRecords(next, "shop").read().incarnation).toBe(2);
  await setBack();
  await next.putState("failover/running/shop", { bootIds: ["b"] });
  expect(new GroupRecords(await lead(disk("c")), "shop").read().incarnation).toBe(2);
});

test("an agent that was alone until now brings what it kept on its disk", async () => {
  const own = disk("a");
  await new GroupRecords(own, "shop").claim({ ...emptyRecord, incarnation: 5 });
  const incarnation = await claimIncarnation(own, systemClock);
  const leader = await lead(own);
  expect(leader.isFirst).toBe(true);
  expect(await claimIncarnation(leader, systemClock)).toBeGreaterThan(incarnation);
  const next = await lead(disk("b"));
  expect(next.isFirst).toBe(false);
  expect(new GroupRecords(next, "shop").read().incarnation).toBe(5);
});
