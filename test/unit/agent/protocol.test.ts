import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { AgentParts } from "../../../src/agent/parts.ts";
import { GroupProtocol } from "../../../src/agent/protocol.ts";
import { parseGroup } from "../../../src/config/parse-group.ts";
import { emptyRecord } from "../../../src/failover/agent-state.ts";
import type { Cert } from "../../../src/failover/epoch.ts";
import type { CommandOutcome, GroupActions } from "../../../src/failover/runner/actions.ts";
import type { GroupListener, GroupLinks } from "../../../src/failover/runner/links.ts";
import { GroupRecords } from "../../../src/failover/runner/records.ts";
import type { Renew, RenewAck, ToWitness } from "../../../src/failover/messages.ts";
import { StateFile } from "../../../src/journal/state.ts";
import { silentLog } from "../../../src/telemetry/log.ts";
import { ManualClock } from "../failover-runner/manual-clock.ts";

const { group } = parseGroup({
  apiVersion: "lifeboat.dev/v1alpha1",
  kind: "ProtectionGroup",
  metadata: { name: "shop" },
  spec: {
    sites: [{ name: "east" }, { name: "west" }],
    select: { namespaces: { names: ["shop"] } },
    failover: { profile: "test" },
  },
});

/** Of a witness that has heard this incarnation of the same site. */
function answer(renew: Renew, incarnationSeen: number): RenewAck {
  return {
    type: "RenewAck",
    group: renew.group,
    from: "witness",
    incarnation: renew.incarnation,
    seq: renew.seq,
    ok: false,
    refusal: { code: "OlderIncarnation", reason: "", retryInMs: null },
    cert: null,
    generation: 1,
    leaseMs: 0,
    guardMs: 0,
    disarmRecorded: false,
    seesReadyPeer: false,
    hearsOther: false,
    seesWitness: true,
    fenceCap: "none",
    incarnationSeen,
    op: "none",
    stamp: { by: "witness", timeMs: 0 },
  };
}

interface Scene {
  readonly protocol: GroupProtocol;
  readonly clock: ManualClock;
  readonly records: StateFile;
  readonly outcomes: CommandOutcome[];
  /** Of each beginning. */
  readonly incarnations: number[];
  /** What the witness says that it has heard of the site; undefined: it does not answer. */
  heard: ((incarnation: number) => number) | undefined;
}

/** An agent of east and its witness. */
async function withProtocol(work: (scene: Scene) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "lifeboat-protocol-"));
  const records = StateFile.open({ path: join(folder, "agent.db") });
  const clock = new ManualClock();
  const incarnations: number[] = [];
  const outcomes: CommandOutcome[] = [];
  let listener: GroupListener | undefined;
  const links: GroupLinks = {
    register: (_group, _peer, registered) => {
      listener = registered;
      return { [Symbol.dispose]: () => (listener = undefined) };
    },
    toWitness: (message: ToWitness) => {
      if (message.type !== "Renew") return;
      if (incarnations.at(-1) !== message.incarnation) incarnations.push(message.incarnation);
      const seen = scene.heard?.(message.incarnation);
      if (seen !== undefined) queueMicrotask(() => listener?.fromWitness(answer(message, seen)));
    },
    toPeer: () => undefined,
    status: () => {
      const link = { connected: true, heardAgoMs: 0, error: undefined };
      return { witness: link, peer: link };
    },
  };
  const stopping = new AbortController();
  const guards = {
    begin: () => ({ cap: "api", stopBoundMs: 0 }),
    release: async () => undefined,
    end: () => undefined,
  };
  const parts = { config: { site: "east" }, records, bootIds: ["boot"], links, guards, clock, random: () => 0.5 };
  const protocol = new GroupProtocol({
    name: "shop",
    parts: parts as unknown as AgentParts,
    actions: {
      notice: () => undefined,
      outcome: (outcome: CommandOutcome) => outcomes.push(outcome),
    } as unknown as GroupActions,
    isSource: () => false,
    onAdopting: async () => undefined,
    onReleased: async () => false,
    keptData: () => undefined,
    log: silentLog,
    signal: stopping.signal,
    onChange: () => undefined,
  });
  const scene: Scene = { protocol, clock, records, outcomes, incarnations, heard: undefined };
  try {
    await work(scene);
  } finally {
    stopping.abort(new Error("the test is over"));
    await protocol.stop();
    records.close();
    rmSync(folder, { recursive: true });
  }
}

async function pass(clock: ManualClock, seconds: number): Promise<void> {
  for (let second = 0; second < seconds; second++) await clock.advance(1000);
}

test("an agent that is deposed begins above what was heard, and the third time leaves the group to the other one", async () => {
  await withProtocol(async (scene) => {
    // Whoever takes over is always later than the agent in question.
    scene.heard = (incarnation) => incarnation + 1000;
    scene.protocol.take(group);
    await pass(scene.clock, 60);
    const [first = 0, second = 0, third = 0] = scene.incarnations;
    expect(scene.incarnations).toHaveLength(3);
    expect(second).toBeGreaterThan(first + 1000);
    expect(third).toBeGreaterThan(second + 1000);
  });
});

test("an agent that is alone gets above what witness and peer have heard, also where that is not the same", async () => {
  await withProtocol(async (scene) => {
    const ahead = Math.floor(scene.clock.wallMs() / 1000) + 1000;
    const [lower, higher] = [ahead, ahead + 1000];
    scene.heard = (incarnation) => Math.max(incarnation, incarnation <= lower ? lower : higher);
    scene.protocol.take(group);
    await pass(scene.clock, 60);
    expect(scene.incarnations).toEqual([ahead - 1000, lower + 1, higher + 1]);
    expect(scene.protocol.snapshot()?.incarnation).toBe(higher + 1);
  });
});

test("an order is answered when the agent begins anew in the middle of it", async () => {
  await withProtocol(async (scene) => {
    const cert: Cert = { epoch: { generation: 7, nonce: "n", counter: 1, forcedBy: "" }, holder: "west", sig: "" };
    await new GroupRecords(scene.records, "shop").write({ ...emptyRecord, incarnation: 1, cert });
    scene.protocol.take(group);
    await pass(scene.clock, 1);
    scene.protocol.command({ verb: "failover", to: "east", epoch: "7.1", nonce: "1" });
    await pass(scene.clock, 1);
    expect(scene.outcomes).toEqual([]);
    const [first = 0] = scene.incarnations;
    scene.heard = () => first + 1000;
    await pass(scene.clock, 10);
    expect(scene.incarnations).toHaveLength(2);
    expect(scene.outcomes).toMatchObject([{ nonce: "1", ok: false, code: "Interrupted" }]);
  });
});
