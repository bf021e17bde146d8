import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { bootAgent, stepAgent } from "../../../src/failover/agent.ts";
import { emptyRecord, type AgentState } from "../../../src/failover/agent-state.ts";
import { formatEpoch } from "../../../src/failover/epoch.ts";
import type { SiteState } from "../../../src/failover/messages.ts";
import { whatBlocks } from "../../../src/failover/runner/blocked.ts";
import { eventually } from "../rpc/pair.ts";
import { group, timing, Trio } from "./trio.ts";

const policy = { timing, automatic: true, unproven: false, maxLagMs: 30_000, cooldownMs: 0 };
const silenceMs = timing.startBoundMs + 5_000;

describe("what only a person can end", () => {
  it("is told with the command, once witness and active site are both lost", async () => {
    await using trio = await Trio.start({ witnessProcess: true });
    await trio.untilArmed("east");
    const west = trio.agent("west").runner;
    expect(west.snapshot().blocked).toBeUndefined();
    await trio.killWitness();
    await eventually(() => trio.agent("east").runner.snapshot().running === "leaseFree", silenceMs);
    await trio.killSite("east");
    await eventually(() => west.snapshot().blocked !== undefined, silenceMs);
    const { cert } = west.state.record;
    const epoch = cert === null ? "" : formatEpoch(cert.epoch);
    expect(west.snapshot().blocked).toEqual({
      code: "Veto",
      message:
        `east is silent and east runs without a lease; if it is off, use force-fenced; ` +
        `\`lifeboat failover ${group} --to west --force-fenced ${epoch}\`, asked at west, starts it if east is off`,
    });
    west.command({ verb: "force-fenced", epoch, operator: "ada", nonce: "by-word" });
    await eventually(() => trio.sites.west.running, timing.leaseMs);
    expect(west.snapshot().blocked).toBeUndefined();
  }, 60_000);

  it("is not said of a site that only does not hear the other one, which the witness hears", async () => {
    await using trio = await Trio.start();
    await trio.untilArmed("east");
    for (const path of trio.peerPaths()) path.mode = "silent";
    const west = trio.agent("west").runner;
    await sleep(silenceMs);
    expect(west.state.lastRefusal).not.toBeNull();
    expect(trio.sites.east.running).toBe(true);
    expect(west.snapshot().blocked).toBeUndefined();
    expect(trio.agent("east").runner.snapshot().blocked).toBeUndefined();
  }, 60_000);

  it("is told of a group that nobody is to move by itself, with the command that the witness grants", async () => {
    await using trio = await Trio.start({ policy: { automatic: false } });
    await eventually(() => trio.agent("west").runner.state.record.cert?.holder === "east");
    await trio.killSite("east");
    const west = trio.agent("west").runner;
    await eventually(() => west.snapshot().blocked !== undefined, silenceMs);
    expect(west.snapshot().blocked).toEqual({
      code: "NotArmed",
      message: `east is silent and spec.failover.automatic is false; \`lifeboat failover ${group} --to west\` moves it`,
    });
  }, 60_000);
});

describe("from what a site knows", () => {
  const cert = { epoch: { generation: 7, counter: 3, nonce: "n", forcedBy: "" }, holder: "east", sig: "" };
  const config = { group, site: "east", peer: "west", source: true, policy } as const;
  const fenced = stepAgent(
    stepAgent(bootAgent(config, { ...emptyRecord, cert, incarnation: 1 }, 0, false).state, { type: "tick" }, 1).state,
    { type: "tick" },
    timing.leaseMs + 1,
  ).state;
  const later = timing.leaseMs + timing.startBoundMs;
  const waiting: AgentState = { ...fenced, peer: peerThat("Standby", later) };

  it("a holder that has lost its lease, without a witness, is told so also when the other site waits", () => {
    expect(fenced.phase.type).toBe("Fenced");
    expect(whatBlocks(waiting, later)).toEqual({
      code: "NoEcho",
      message: `the witness is not heard; \`lifeboat failover ${group} --to east --force-fenced 7.3\`, asked at east, starts it if west is off`,
    });
    expect(whatBlocks(waiting, timing.startBoundMs - 1)).toBeUndefined();
  });

  it("and never while what runs there is asked for again: nothing of it is stopped", () => {
    const asks = { type: "Acquiring", kind: "resume", nonce: "n", sentAtMs: 0, lastSentAtMs: 0 } as const;
    expect(whatBlocks({ ...waiting, phase: { ...asks, ungated: false } }, later)).toBeDefined();
    expect(whatBlocks({ ...waiting, phase: { ...asks, ungated: true } }, later)).toBeUndefined();
  });

  it("and never while the other site says that it runs", () => {
    for (const state of ["Active", "Quiescing", "Acquiring"] as const) {
      expect(whatBlocks({ ...fenced, peer: peerThat(state, later) }, later)).toBeUndefined();
    }
  });

  it("a refusal that the witness would lift by hand needs a witness to do so", () => {
    const standby: AgentState = {
      ...fenced,
      phase: { type: "Standby" },
      record: { ...fenced.record, cert: { ...cert, holder: "west" } },
      lastRefusal: { code: "NotReady", reason: "east is Stale", retryInMs: null },
    };
    expect(whatBlocks(standby, later)?.message).toContain("--force-fenced 7.3");
    const heard: AgentState = { ...standby, witness: { ...standby.witness, heardAtMs: later } };
    expect(whatBlocks(heard, later)?.message).toBe(
      `west is silent and east is Stale; \`lifeboat failover ${group} --to east\` moves it`,
    );
    const alive: AgentState = { ...heard, witness: { ...heard.witness, hearsOther: true } };
    expect(whatBlocks(alive, later)).toBeUndefined();
  });
});

function peerThat(state: SiteState, heardAtMs: number): AgentState["peer"] {
  return {
    heardAtMs,
    incarnation: 1,
    seq: 1,
    state,
    ready: "Ready",
    lagMs: 0,
    obstacle: "",
    paused: false,
    cert: null,
  };
}
