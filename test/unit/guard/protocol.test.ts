import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { GuardDesk, type Fence, type GuardedSide, type SiteNodes } from "../../../src/agent/guards.ts";
import type { Clock } from "../../../src/clock.ts";
import type { Cert } from "../../../src/failover/epoch.ts";
import type { GuardAnswer, GuardPoll } from "../../../src/failover/messages.ts";
import { profiles } from "../../../src/failover/timing.ts";
import { StateFile } from "../../../src/journal/state.ts";
import { guardService, openGuard } from "../../../src/rpc/guard.ts";
import type { GuardReport, ListProof, NodeFacts } from "../../../src/rpc/guard-messages.ts";
import type { PeerIdentity } from "../../../src/rpc/identity.ts";
import { silentLog } from "../../../src/telemetry/log.ts";
import { anySite, createPair, dial, pairName, serve, site } from "../rpc/pair.ts";

const { signal } = new AbortController();
const pair = await createPair();
const agentCertificates = await pair.certificatesFor(site("east"));
const guardOf = (name: string): PeerIdentity => ({ pair: pairName, role: "guard", site: name });
const guardCertificates = await pair.certificatesFor(guardOf("east"));
const expectGuard = { pair: pairName, roles: ["guard"], site: "east" } as const;

const facts: NodeFacts = { latenessMs: 20, deadMan: true, uncutPods: 0, unkillable: 0, runningPods: 1 };

function cert(counter: number): Cert {
  return { epoch: { generation: 1, nonce: "n", counter, forcedBy: "" }, holder: "east", sig: "" };
}

class Side implements GuardedSide {
  readonly name: string;
  readonly polls: GuardPoll[] = [];
  namespaces: readonly string[] = ["shop"];
  complete: ListProof | undefined;
  fence: Fence | undefined;
  nodes: SiteNodes | undefined;

  constructor(name = "shop") {
    this.name = name;
  }

  guarded() {
    const { name, namespaces, complete } = this;
    return { name, namespaces, timing: profiles.test, ...(complete === undefined ? {} : { complete }) };
  }

  poll(poll: GuardPoll): GuardAnswer {
    this.polls.push(poll);
    const { group, node, bootId, seq } = poll;
    return {
      type: "GuardAnswer",
      group,
      node,
      bootId,
      seq,
      verdict: "hold",
      cert: cert(1),
      incarnation: 1,
      remainingMs: 4000,
      agentNowMs: 1,
      leaseSentAtMs: 1,
      reason: "",
    };
  }

  /** As the protocol has it of a granted group: a guard that gates nothing yet keeps no pods. */
  mayPlace(node: string): boolean {
    const last = this.polls.findLast((each) => each.node === node);
    return last !== undefined && last.mode !== "open";
  }

  setNodes(nodes: SiteNodes): void {
    this.nodes = nodes;
  }

  setFence(fence: Fence): void {
    this.fence = fence;
  }
}

function poll(change: Partial<GuardPoll> = {}): GuardPoll {
  return {
    type: "GuardPoll",
    group: "shop",
    node: "n1",
    bootId: "b/1",
    seq: 7,
    applied: 6,
    mode: "leased",
    cert: cert(1),
    incarnation: 1,
    stopMs: null,
    ...change,
  };
}

function report(change: Partial<GuardReport> = {}): GuardReport {
  return { node: "n1", polls: [poll()], facts, ...change };
}

let root: string;
let records: StateFile;
let nowMs = 0;
const clock: Clock = { monotonicMs: () => nowMs, wallMs: () => nowMs, sleep: async () => {} };

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "lifeboat-desk-"));
  records = StateFile.open({ path: join(root, "agent.db") });
  nowMs = 0;
});

afterEach(async () => {
  records.close();
  await rm(root, { recursive: true });
});

function deskFor(...sides: Side[]): GuardDesk {
  return new GuardDesk({ records, groups: () => sides, clock, log: silentLog });
}

async function listen(desk: GuardDesk) {
  return serve(agentCertificates, [guardService(expectGuard, { connect: (...given) => desk.connect(...given) })]);
}

/** One report of a guard and its answer, over a real connection. */
async function ask(desk: GuardDesk, given: GuardReport, options: { version?: number; as?: PeerIdentity } = {}) {
  await using server = await listen(desk);
  const certificates = options.as === undefined ? guardCertificates : await pair.certificatesFor(options.as);
  using connection = await dial(certificates, server.port);
  const channel = openGuard(connection, options.version);
  await channel.send(given, { signal });
  const { value } = await channel.receive({ signal }).next();
  channel.close();
  return value;
}

describe("a guard's report", () => {
  it("is answered with all groups and what the protocol says of each", async () => {
    const orders = await ask(deskFor(new Side(), new Side("bank")), report());
    expect(orders).toMatchObject({
      groups: [{ name: "shop", namespaces: ["shop"], timing: profiles.test }, { name: "bank" }],
      answers: [{ group: "shop", verdict: "hold", seq: 7, remainingMs: 4000, cert: cert(1) }],
      released: [],
    });
  });

  it("is answered with the proof that a group has no other namespaces, where there is one", async () => {
    const side = new Side();
    side.complete = { cert: cert(4), incarnation: 7 };
    const orders = await ask(deskFor(side, new Side("bank")), report());
    expect(orders).toMatchObject({ groups: [{ name: "shop", complete: side.complete }, { name: "bank" }] });
    expect(orders?.groups[1]).not.toHaveProperty("complete");
  });

  it("for a group that nobody knows here is answered by nothing: its copy runs out", async () => {
    const orders = await ask(deskFor(), report());
    expect(orders).toEqual({ groups: [], answers: [], released: [] });
  });

  it("of another version of the protocol is refused, with what to do", async () => {
    await expect(ask(deskFor(new Side()), report(), { version: 2 })).rejects.toMatchObject({
      code: "PeerVersion",
      message: "the guard of node n1 speaks version 2 of the guard protocol, this agent 1",
      hint: expect.stringContaining("upgrade"),
    });
  });

  it.each([
    ["of another site", guardOf("west"), "expected site east"],
    ["with an agent's certificate", site("east"), "expected role guard"],
  ])("by a guard %s is refused", async (_who, as, message) => {
    await expect(ask(deskFor(new Side()), report(), { as })).rejects.toMatchObject({
      code: "PeerCertificate",
      message: expect.stringContaining(message),
    });
  });

  it("in which two nodes speak is refused", async () => {
    const mixed = report({ polls: [poll({ node: "n2" })] });
    await expect(ask(deskFor(new Side()), mixed)).rejects.toMatchObject({ code: "ConfigInvalid" });
  });
});

it("a guard's certificate is no agent's: it may not pull a group's objects, nor speak for a site", async () => {
  await using server = await serve(agentCertificates, [guardService(anySite, { connect: async () => {} })]);
  using connection = await dial(guardCertificates, server.port);
  const channel = openGuard(connection);
  await expect(channel.receive({ signal }).next()).rejects.toMatchObject({
    code: "PeerCertificate",
    message: expect.stringContaining("expected role site"),
  });
});

describe("a group's fence is", () => {
  const ready = (name: string) => ({ name, ready: true, exempt: false });

  it("its guards once every node has been heard, and until then its API server", async () => {
    const side = new Side();
    const desk = deskFor(side);
    desk.setNodes([ready("n1"), ready("n2")]);
    expect(side.fence?.cap).toBe("api");
    await ask(desk, report());
    expect(side.fence?.cap).toBe("api");
    expect(desk.unguarded).toEqual([{ node: "n2", why: "no guard has been heard" }]);
    expect(side.nodes?.guarded, "where its pods may be placed").toEqual(["n1"]);
    await ask(desk, report({ node: "n2", polls: [poll({ node: "n2" })] }));
    expect(side.fence?.cap).toBe("guard");
    expect(side.nodes).toEqual({ all: ["n1", "n2"], withPods: ["n1", "n2"], guarded: ["n1", "n2"] });
  });

  it("its guards, and its pods are placed on a node only when its guard keeps them", async () => {
    const side = new Side();
    const desk = deskFor(side);
    desk.setNodes([ready("n1"), ready("n2")]);
    await ask(desk, report());
    await ask(desk, report({ node: "n2", polls: [poll({ node: "n2", mode: "open" })] }));
    expect(side.fence?.cap).toBe("guard");
    expect(side.nodes?.guarded).toEqual(["n1"]);
    await ask(desk, report({ node: "n2", polls: [poll({ node: "n2", seq: 8 })] }));
    expect(side.nodes?.guarded).toEqual(["n1", "n2"]);
  });

  it("no guard's business where guards cannot tell its pods from others", async () => {
    const side = new Side();
    side.namespaces = [];
    const desk = deskFor(side);
    desk.setNodes([ready("n1")]);
    await ask(desk, report());
    expect(side.fence?.cap).toBe("api");
  });

  it.each([
    ["has no dead-man in its kernel", { ...facts, deadMan: false }, "would not cut the traffic"],
    ["has pods in its own network", { ...facts, uncutPods: 2 }, "2 pods of groups use the node's own network"],
  ])("its API server when a node %s", async (_what, found, why) => {
    const side = new Side();
    const desk = deskFor(side);
    await ask(desk, report({ facts: found }));
    desk.setNodes([ready("n1")]);
    expect(side.fence?.cap).toBe("api");
    expect(desk.unguarded[0]?.why).toContain(why);
  });

  it("its guards while one is silent on a node that is down, not on one that is well", async () => {
    const side = new Side();
    const desk = deskFor(side);
    desk.setNodes([ready("n1")]);
    await ask(desk, report());
    nowMs = 60_000;
    desk.setNodes([{ name: "n1", ready: false, exempt: false }]);
    expect(side.fence?.cap).toBe("guard");
    desk.setNodes([ready("n1")]);
    expect(side.fence?.cap).toBe("api");
    expect(desk.unguarded[0]?.why).toContain("silent for 60 s");
  });

  it("its API server as soon as a node joins that nobody guards", async () => {
    const side = new Side();
    const desk = deskFor(side);
    desk.setNodes([ready("n1")]);
    nowMs = 20_000;
    await ask(desk, report());
    desk.setNodes([ready("n1"), ready("n3")]);
    expect(side.fence?.cap).toBe("api");
    desk.setNodes([ready("n1"), { ...ready("n3"), exempt: true }]);
    expect(side.fence?.cap).toBe("guard");
  });

  it("what the last process relied on, until the guards have had time to come back to a new one", async () => {
    const side = new Side();
    const first = deskFor(side);
    first.setNodes([ready("n1")]);
    await ask(first, report());
    expect(first.begin("shop", 5000).cap).toBe("guard");
    const later = new Side();
    const second = deskFor(later);
    expect(second.begin("shop", 5000)).toEqual({ cap: "guard", stopBoundMs: 5000 });
    second.setNodes([ready("n1")]);
    expect(later.fence?.cap).toBe("guard");
    nowMs += 20_000;
    second.review();
    expect(later.fence?.cap).toBe("api");
  });

  it("with the time that stopping took as measured, the profile's where nothing had to be stopped", async () => {
    const side = new Side();
    const desk = deskFor(side);
    await ask(desk, report());
    desk.setNodes([ready("n1")]);
    expect(side.fence).toEqual({ cap: "guard", stopBoundMs: 250 + 20 + 2000 });
    await ask(desk, report({ polls: [poll({ stopMs: 140 })], facts: { ...facts, latenessMs: 60 } }));
    desk.review();
    expect(side.fence).toEqual({ cap: "guard", stopBoundMs: 250 + 60 + 140 });
  });
});

describe("a group that has ended in order", () => {
  it("is let go of by guards that come back later, also by a new process's word", async () => {
    await deskFor(new Side()).release("shop", cert(4));
    const orders = await ask(deskFor(), report({ polls: [poll({ cert: cert(4), mode: "fenced" })] }));
    expect(orders).toMatchObject({ released: ["shop"], answers: [] });
  });

  it("and was created anew is guarded from its own grants on", async () => {
    const side = new Side();
    const desk = deskFor(side);
    await desk.release("shop", cert(4));
    expect(await ask(desk, report({ polls: [poll({ cert: null })] }))).toMatchObject({
      answers: [{ verdict: "hold" }],
    });
    expect(await ask(desk, report({ polls: [poll({ cert: cert(5) })] }))).toMatchObject({ released: [] });
  });
});
