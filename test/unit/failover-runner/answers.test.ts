import { describe, expect, it } from "vitest";
import { bootAgent, stepAgent } from "../../../src/failover/agent.ts";
import { preflight } from "../../../src/failover/agent-switch.ts";
import {
  emptyRecord,
  type AgentEffect,
  type AgentEvent,
  type AgentState,
  type SiteRecord,
} from "../../../src/failover/agent-state.ts";
import { formatEpoch, type Cert } from "../../../src/failover/epoch.ts";
import type { Seal } from "../../../src/failover/messages.ts";
import { group, timing } from "./trio.ts";

/** What a person is answered, step by step. */

const policy = { timing, automatic: true, unproven: false, maxLagMs: 30_000, cooldownMs: 0 };
const config = { group, site: "east", peer: "west", source: false, policy };
const epoch = { generation: 7, counter: 3, forcedBy: "", nonce: "n" };
const own: Cert = { epoch, holder: "east", sig: "" };
const other: Cert = { epoch, holder: "west", sig: "" };
const seal: Seal = { opId: "op", cert: own, objectsRevision: "1", objectsHash: "h", volumes: {} };

function booted(record: Partial<SiteRecord>): AgentState {
  return bootAgent(config, { ...emptyRecord, incarnation: 1, ...record }, 0, false).state;
}

/** The state after these events, and every outcome on the way. */
function after(
  state: AgentState,
  ...events: readonly (readonly [number, AgentEvent])[]
): { readonly state: AgentState; readonly outcomes: readonly Extract<AgentEffect, { type: "outcome" }>[] } {
  let now = state;
  const outcomes: Extract<AgentEffect, { type: "outcome" }>[] = [];
  for (const [atMs, event] of events) {
    const step = stepAgent(now, event, atMs);
    now = step.state;
    for (const effect of step.effects) if (effect.type === "outcome") outcomes.push(effect);
  }
  return { state: now, outcomes };
}

const token = (state: AgentState): number => state.pending?.token ?? -1;

describe("a pause", () => {
  const command: AgentEvent = { type: "command", command: { verb: "pause", nonce: "p" } };
  const asked = after(booted({ cert: other }), [1, command]);

  it("is answered once it is durable, and not before", () => {
    expect(asked.outcomes).toEqual([]);
    const done = after(asked.state, [2, { type: "persisted", token: token(asked.state) }]);
    expect(done.outcomes).toMatchObject([{ nonce: "p", ok: true, code: "Done" }]);
    expect(done.state.record.paused).toBe(true);
  });

  it("that could not be written is to be ordered again", () => {
    const failed = after(asked.state, [
      2,
      { type: "persistFailed", token: token(asked.state), reason: "the API server does not answer" },
    ]);
    expect(failed.outcomes).toMatchObject([{ nonce: "p", ok: false, code: "Busy" }]);
    expect(failed.state.record.paused).toBe(false);
  });
});

describe("a switchover", () => {
  const sealing: AgentState = {
    ...booted({ cert: own }),
    phase: { type: "Quiescing", opId: "op", stage: "sealing", untilMs: 100_000, seal },
    pending: {
      token: 9,
      record: { ...emptyRecord, incarnation: 1, cert: own, seal },
      next: { type: "sealed", opId: "op" },
    },
    nextToken: 10,
  };

  it("that is called off while its seal is being written is not said to be off, and the witness is asked", () => {
    const aborted = after(sealing, [10, { type: "command", command: { verb: "abort", nonce: "a" } }]);
    expect(aborted.outcomes).toMatchObject([{ nonce: "a", ok: true, code: "Asked" }]);
    const written = after(aborted.state, [11, { type: "persisted", token: 9 }]);
    expect(written.state.phase.type).toBe("Sealed");
    expect(written.state.aborting).toBe("op");
  });

  it("that nobody called off is only sealed", () => {
    const written = after(sealing, [11, { type: "persisted", token: 9 }]);
    expect(written.state.phase.type).toBe("Sealed");
    expect(written.state.aborting).toBe("");
  });

  it("that takes longer than its order is not said to be given up once it is sealed", () => {
    const order = { verb: "switchover", nonce: "o", untilMs: 20 } as const;
    const sealed = after(sealing, [11, { type: "persisted", token: 9 }]).state;
    const late = after({ ...sealed, order }, [21, { type: "tick" }]);
    expect(late.outcomes).toMatchObject([
      { nonce: "o", ok: false, code: "Timeout", message: expect.stringContaining("may still go through") as string },
    ]);
  });

  it("is refused while the group is still being started here", () => {
    const found = (state: AgentState): boolean => preflight({ s: state, now: 1 }).join().includes("still starting");
    const starting: AgentState = { ...booted({ cert: own }), phase: { type: "Active" }, startingUntilMs: 100 };
    expect(found(starting)).toBe(true);
    expect(found(after(starting, [1, { type: "started" }]).state)).toBe(false);
    expect(found({ ...starting, startingUntilMs: 1 }), "what cannot be brought up keeps it for a time only").toBe(
      false,
    );
  });
});

describe("a forced start", () => {
  const command = { verb: "force-fenced", epoch: formatEpoch(epoch), operator: "ada", nonce: "f" } as const;

  it("whose record is being written is not given up meanwhile", () => {
    const asked = after(booted({ cert: other }), [1, { type: "command", command }]);
    const late = after(asked.state, [1 + timing.promiseMs, { type: "tick" }]);
    expect(late.outcomes).toEqual([]);
    const done = after(late.state, [2 + timing.promiseMs, { type: "persisted", token: token(late.state) }]);
    expect(done.outcomes).toMatchObject([{ nonce: "f", ok: true }]);
    expect(done.state.phase.type).toBe("Active");
    expect(done.state.startingUntilMs).toBeGreaterThan(timing.promiseMs);
  });
});
