import { mkdtemp, rm } from "node:fs/promises";
import { DatabaseSync } from "node:sqlite";
import { setImmediate, setTimeout } from "node:timers/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { mkdirSync } from "node:fs";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { AdmissionGates } from "../../../src/admission/gates.ts";
import type { GroupRuntime } from "../../../src/agent/group-runtime.ts";
import { GroupSet } from "../../../src/agent/group-set.ts";
import { journalPath } from "../../../src/agent/group-journal.ts";
import { GuardDesk } from "../../../src/agent/guards.ts";
import { rememberRemoved } from "../../../src/apply/removed.ts";
import { AgentMetrics } from "../../../src/agent/metrics.ts";
import { readOrigin, writeOrigin } from "../../../src/agent/origin.ts";
import type { AgentParts } from "../../../src/agent/parts.ts";
import { PeerVersions } from "../../../src/agent/peer-versions.ts";
import { ServedGroups } from "../../../src/agent/served-groups.ts";
import { WatchPool } from "../../../src/capture/pool.ts";
import { systemClock } from "../../../src/clock.ts";
import { agentConfigSchema } from "../../../src/config/agent.ts";
import { requestAnnotation } from "../../../src/config/requests.ts";
import { parseStoredStatus } from "../../../src/config/stored.ts";
import { emptyRecord } from "../../../src/failover/agent-state.ts";
import type { Cert } from "../../../src/failover/epoch.ts";
import type { GroupLinks } from "../../../src/failover/runner/links.ts";
import { GroupRecords } from "../../../src/failover/runner/records.ts";
import { Journal } from "../../../src/journal/journal.ts";
import { StateFile } from "../../../src/journal/state.ts";
import { Discovery } from "../../../src/kube/discovery.ts";
import { EventWriter } from "../../../src/kube/events.ts";
import { type KubeObject, marks } from "../../../src/objects/object.ts";
import { hashOf } from "../../../src/objects/record.ts";
import { silentLog } from "../../../src/telemetry/log.ts";
import { GroupsServer } from "./groups-server.ts";

/** The groups of one site, with journals on disk and an API server that has their objects and nothing else. */

const waitMs = { timeout: 10_000, interval: 10 };
const never = new AbortController().signal;
const key = "lifeboat.dev/ProtectionGroup//shop";

let server: GroupsServer;
let root: string;
let records: StateFile;
let set: GroupSet;
let stopping: AbortController;
let following: Promise<void> | undefined;

const silent: GroupLinks = {
  register: () => ({ [Symbol.dispose]: () => undefined }),
  toWitness: () => undefined,
  toPeer: () => undefined,
  status: () => {
    const link = { connected: false, heardAgoMs: null, error: undefined };
    return { witness: link, peer: link };
  },
};

beforeEach(async () => {
  server = await GroupsServer.start();
  root = await mkdtemp(join(tmpdir(), "lifeboat-groups-"));
  mkdirSync(dirname(journalPath(root, "shop")), { recursive: true });
  records = StateFile.open({ path: join(root, "agent.db") });
  stopping = new AbortController();
  following = undefined;
  set = new GroupSet(parts(), stopping.signal);
});

afterEach(async () => {
  stopping.abort(new Error("the test is over"));
  await following?.catch(() => undefined);
  await set.close();
  records.close();
  await server[Symbol.asyncDispose]();
  await rm(root, { recursive: true });
});

function parts(): AgentParts {
  const { client } = server;
  const common = { clock: systemClock, random: Math.random, log: silentLog };
  const config = agentConfigSchema.parse({
    site: "east",
    pair: "shop",
    peers: [{ site: "west" }],
    dataDir: root,
    tls: { cert: "c", key: "k", ca: "a" },
  });
  const discovery = new Discovery({ client, ...common });
  return {
    config,
    client,
    discovery,
    pool: new WatchPool({ client, discovery, ...common }),
    mayFollowRestored: () => false,
    peerVersions: new PeerVersions(),
    served: new ServedGroups({ site: "east", clock: systemClock }),
    gates: new AdmissionGates({ client, site: "east", ...common }),
    guards: new GuardDesk({ records, groups: () => [], clock: systemClock, log: silentLog }),
    links: silent,
    dataLinks: new Map(),
    records,
    events: new EventWriter({ client, component: "test", instance: "test", ...common }),
    metrics: new AgentMetrics({ site: "east", clock: systemClock }),
    incarnation: 1,
    bootIds: ["boot"],
    shared: undefined,
    onDeposed: undefined,
    journalKey: undefined,
    ...common,
  };
}

/** The API server has said which groups there are. */
async function listed(): Promise<void> {
  following = set.followObjects({ signal: stopping.signal });
  await vi.waitUntil(() => set.kept, waitMs);
}

/** The agent starts. */
async function start(): Promise<void> {
  await set.openJournals();
  following = set.followObjects({ signal: stopping.signal });
}

function shop(status?: Record<string, unknown>): KubeObject {
  return {
    apiVersion: "lifeboat.dev/v1alpha1",
    kind: "ProtectionGroup",
    metadata: { name: "shop", uid: "1" },
    spec: {
      sites: [{ name: "east" }, { name: "west" }],
      select: { namespaces: { names: ["shop"] } },
      failover: { profile: "test" },
    },
    ...(status === undefined ? {} : { status }),
  };
}

function execute(sql: string): void {
  const database = new DatabaseSync(journalPath(root, "shop"));
  try {
    database.exec(sql);
  } finally {
    database.close();
  }
}

const origins = () => set.runtimes.map(({ journal }) => readOrigin(journal));
const cert: Cert = { epoch: { generation: 7, nonce: "n", counter: 1, forcedBy: "" }, holder: "east", sig: "" };

test("a group that is created while what another of its name left behind is closed begins after it", async () => {
  const left = Journal.open({ path: journalPath(root, "shop"), group: "shop" });
  const tombstone = { key, seq: 1, hash: "", object: undefined, managers: "[]" };
  const position = { ring: "r", seq: 1 };
  await left.commit({ epoch: "7.1", position, records: [tombstone], complete: true }, { signal: never });
  await writeOrigin(left, "copy");
  left.close();
  server.put(shop());
  await start();
  await vi.waitFor(() => expect(set.runtimes[0]?.object).toBeDefined(), waitMs);
  expect(set.runtimes[0]?.orphaned).toBe(true);
  server.remove("shop");
  server.put({ ...shop(), metadata: { name: "shop", uid: "2" } });
  await vi.waitFor(() => expect(set.runtimes[0]?.orphaned).toBe(false), waitMs);
  expect(set.runtimes[0]?.object?.metadata.uid).toBe("2");
  expect(set.runtimes[0]?.journal.synced).toBe(false);
});

const bothText = JSON.stringify({ ...shop(), spec: { ...(shop()["spec"] as object), mode: "ActiveActive" } });
const spec = { key, hash: hashOf(bothText, "[]"), object: bothText, managers: "[]" };
const end = { key, hash: "", object: undefined, managers: "[]" };

/** What comes next from the source. */
async function receive(journal: Journal, record: typeof spec | typeof end): Promise<void> {
  const seq = (journal.position()?.seq ?? 0) + 1;
  const position = { ring: "r", seq };
  await journal.commit({ epoch: "7.1", position, records: [{ ...record, seq }], complete: true }, { signal: never });
}

async function opened(...received: readonly (typeof spec | typeof end)[]): Promise<GroupRuntime> {
  const journal = Journal.open({ path: journalPath(root, "shop"), group: "shop" });
  for (const record of received) await receive(journal, record);
  await writeOrigin(journal, "copy");
  journal.close();
  await set.openJournals();
  const [runtime] = set.runtimes;
  if (runtime === undefined) throw new Error("the group was not opened");
  return runtime;
}

test("a site that runs a group beside its peer serves nothing of it any more once it knows of its end", async () => {
  const runtime = await opened(spec);
  // The peer was asked before it had opened the group.
  runtime.withdrawn("west");
  runtime.offered();
  expect(runtime.view().serving).toBe(true);
  await receive(runtime.journal, end);
  expect(runtime.view().serving).toBe(false);
  // The peer goes on offering it until it has heard everybody.
  runtime.withdrawn("north");
  runtime.offered();
  expect(runtime.view().serving).toBe(false);
});

test("a standby takes over nothing from the moment it has the group's end on its disk", async () => {
  const runtime = await opened(spec);
  await vi.waitFor(() => expect(runtime.view().failover).toBeDefined(), waitMs);
  await receive(runtime.journal, end);
  runtime.command({ verb: "failover", to: "east", epoch: "", nonce: "1" });
  expect(runtime.outcomes).toMatchObject([{ ok: false, code: "Ending" }]);
});

test("what an ended group left behind can be a group again, and end again", async () => {
  const runtime = await opened(end);
  expect(runtime.orphaned).toBe(true);
  runtime.offered();
  await receive(runtime.journal, spec);
  expect(runtime.orphaned).toBe(false);
  expect(runtime.view().serving).toBe(true);
  await receive(runtime.journal, end);
  expect(runtime.view().serving).toBe(false);
});

test("a site says which groups it keeps as soon as it knows all of them", async () => {
  const runtime = await opened(spec);
  // What an agent has lost, the group's object may know.
  expect(set.kept).toBeUndefined();
  await listed();
  expect(set.kept).toEqual(["shop"]);
  await receive(runtime.journal, end);
  // Until nobody has anything to say of its end.
  expect(set.kept).toEqual(["shop"]);
});

test("what an ended group left behind is nothing that a site keeps", async () => {
  await opened(end);
  await listed();
  expect(set.kept).toEqual([]);
});

const pod = {
  key: "/Pod/shop/bare" as const,
  object: JSON.stringify({ apiVersion: "v1", kind: "Pod", metadata: { name: "bare", namespace: "shop" } }),
};

/** A group that was taken down here, of which west once had everything. */
async function stopped(holder: string): Promise<GroupRuntime> {
  await new GroupRecords(records, "shop").write({ ...emptyRecord, incarnation: 1, cert: { ...cert, holder } });
  const journal = Journal.open({ path: journalPath(root, "shop"), group: "shop" });
  await writeOrigin(journal, "held");
  await journal.putState("agent/standby", true);
  await journal.putState("agent/object", JSON.stringify(shop()));
  await rememberRemoved(journal, [pod]);
  journal.close();
  server.put(shop());
  await start();
  return vi.waitUntil(() => set.runtimes.find(({ group }) => group !== undefined), waitMs);
}

/** Whether the group is offered, once all that has just been heard has had its effect. */
async function isServed(runtime: GroupRuntime): Promise<boolean> {
  for (let turn = 0; turn < 20; turn++) await setImmediate();
  return runtime.view().serving;
}

test("a site that has stopped a group is silent to a standby that has it, and serves one that has let go of it", async () => {
  const runtime = await stopped("east");
  set.peerKeeps("west", ["shop", "other"]);
  expect(await isServed(runtime)).toBe(false);
  set.peerKeeps("north", []);
  expect(await isServed(runtime)).toBe(false);
  set.peerKeeps("west", ["other"]);
  await vi.waitFor(() => expect(runtime.view().serving).toBe(true), waitMs);
  // The group's own object, and what was deleted here to take the group down.
  expect(runtime.view().capture?.objectCount).toBe(2);
});

test("a site that is to follow serves nothing, whatever its source has lost", async () => {
  const runtime = await stopped("west");
  set.peerKeeps("west", []);
  expect(await isServed(runtime)).toBe(false);
});

test("what a peer says before the journals are open counts", async () => {
  set.peerKeeps("west", []);
  const runtime = await stopped("east");
  await vi.waitFor(() => expect(runtime.view().serving).toBe(true), waitMs);
});

test("the mirror of an ended group that a backup brings back begins nothing, and can be deleted", async () => {
  await new GroupRecords(records, "shop").write({ ...emptyRecord, incarnation: 1, cert: { ...cert, holder: "west" } });
  const object = shop({ epoch: "7.1", active: "west", role: "standby" });
  server.put({ ...object, metadata: { ...object.metadata, annotations: { [marks.mirror]: "west" } } });
  const runtime = await opened(end);
  await start();
  await vi.waitFor(() => expect(runtime.object).toBeDefined(), waitMs);
  // The protocol begins with a spec, which only the journal can give to a standby.
  expect(runtime.group).toBeUndefined();
  expect(runtime.view().failover).toBeUndefined();
  expect(set.kept).toEqual([]);
  server.remove("shop");
  await vi.waitFor(() => expect(set.runtimes).toEqual([]), waitMs);
});

test("a group of which it cannot be noted that it ran here is left alone, and opened when that can be", async () => {
  await new GroupRecords(records, "shop").write({ ...emptyRecord, incarnation: 1, cert });
  Journal.open({ path: journalPath(root, "shop"), group: "shop" }).close();
  const origin = "NEW.name = 'agent/origin'";
  execute(`CREATE TRIGGER full BEFORE INSERT ON state WHEN ${origin} BEGIN SELECT RAISE(FAIL, 'disk full'); END`);
  await set.openJournals();
  expect(set.runtimes).toHaveLength(1);
  await vi.waitFor(() => expect(set.runtimes).toEqual([]), waitMs);
  // Only then is its journal closed.
  await vi.waitFor(() => execute("DROP TRIGGER full"), waitMs);
  server.put(shop());
  await start();
  await vi.waitFor(() => expect(origins()).toEqual(["own"]), waitMs);
});

test.each([
  ["which it did when the agent was lost", { epoch: "7.1", active: "east", role: "active" }, "own"],
  ["and was stopped by then", { epoch: "7.1", active: "east", role: "unknown" }, "held"],
])(
  "an agent that has lost its disk knows by the group's object that the site ran it, %s",
  async (_, status, origin) => {
    server.put(shop(status));
    await start();
    await vi.waitFor(() => expect(origins()).toEqual([origin]), waitMs);
  },
);

test.each([
  ["a mirror", { epoch: "7.1", active: "east", role: "active" }, { [marks.mirror]: "west" }],
  ["one that was granted to the other site", { epoch: "7.1", active: "west", role: "standby" }, {}],
  ["one that was never granted", { active: "east", role: "active" }, {}],
])("%s says no such thing", async (_, status, annotations) => {
  const object = shop(status);
  server.put({ ...object, metadata: { ...object.metadata, annotations } });
  await start();
  await vi.waitFor(() => expect(set.runtimes[0]?.object).toBeDefined(), waitMs);
  expect(origins()).toEqual(["none"]);
  expect(set.kept).toEqual([]);
});

/** The agent ends, as a crash leaves it, and another process begins. */
async function restart(): Promise<void> {
  stopping.abort(new Error("the agent ends"));
  await following?.catch(() => undefined);
  await set.close();
  stopping = new AbortController();
  set = new GroupSet(parts(), stopping.signal);
  await start();
}

const lastRequest = () => parseStoredStatus(server.get("shop")?.["status"]).lastRequest;
const answered = async () =>
  vi.waitUntil(() => {
    const last = lastRequest();
    return last?.outcome === "Running" ? undefined : last;
  }, waitMs);

/** The site is the standby of a group that west holds; `status` is what it last said of it. */
async function asStandby(status?: Record<string, unknown>): Promise<void> {
  await new GroupRecords(records, "shop").write({ ...emptyRecord, incarnation: 1, cert: { ...cert, holder: "west" } });
  const object = JSON.stringify(shop());
  const journal = Journal.open({ path: journalPath(root, "shop"), group: "shop" });
  await receive(journal, { key, hash: hashOf(object, "[]"), object, managers: "[]" });
  await writeOrigin(journal, "copy");
  journal.close();
  server.put({ ...shop(status), metadata: { name: "shop", uid: "1", annotations: { [marks.mirror]: "west" } } });
}

test.each(["east@7.1", "east"])(
  "an order that is lost with the agent's process is answered by the next one: %s",
  async (text) => {
    await asStandby();
    await start();
    await vi.waitFor(() => expect(set.runtimes[0]?.failover?.holder).toBe("west"), waitMs);
    server.annotate("shop", { [marks.failover]: text });
    await vi.waitFor(() => expect(lastRequest()?.outcome).toBe("Running"), waitMs);
    await vi.waitFor(
      () => expect(server.get("shop")?.metadata.annotations).not.toHaveProperty([marks.failover]),
      waitMs,
    );
    // While a process works on it, what is read back changes nothing.
    const read = lastRequest();
    server.put(server.get("shop") ?? shop());
    await setTimeout(1000);
    expect(set.runtimes[0]?.failover?.order).toContain(`failover ${text}`);
    expect(lastRequest()).toEqual(read);

    using told = vi.spyOn(EventWriter.prototype, "note");
    await restart();
    const answer = await answered();
    expect(answer).toMatchObject({ id: text, verb: "failover", outcome: "Refused" });
    expect(answer.message).toMatch(
      /may have been carried out or not.*`lifeboat status shop`.*east@EPOCH \[Interrupted\]$/,
    );
    expect(told).toHaveBeenCalledWith(expect.objectContaining({ type: "Warning", reason: "RequestRefused" }));
    expect(set.runtimes[0]?.failover?.order).toBeUndefined();
  },
);

const running = (verb: string, id: string) => ({
  lastRequest: { id, verb, outcome: "Running", message: "", at: "then" },
});

test("an order whose process is gone is said to be done where the group came to the site that it named", async () => {
  await asStandby(running("switchover", "west@7.0"));
  await start();
  expect(await answered()).toMatchObject({ outcome: "Done", message: "west holds the group under epoch 7.1" });
});

test("a request that still stands is taken again, not answered as lost", async () => {
  const request = { id: "1", verb: "preflight" };
  await asStandby(running(request.verb, request.id));
  server.annotate("shop", { [requestAnnotation]: JSON.stringify(request) });
  using told = vi.spyOn(EventWriter.prototype, "note");
  await start();
  await vi.waitFor(
    () => expect(server.get("shop")?.metadata.annotations).not.toHaveProperty([requestAnnotation]),
    waitMs,
  );
  expect(told).not.toHaveBeenCalledWith(expect.objectContaining({ message: expect.stringContaining("Interrupted") }));
  expect(await answered()).toMatchObject({ id: "1" });
});
