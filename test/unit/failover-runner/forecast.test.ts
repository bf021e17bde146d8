import { describe, expect, it } from "vitest";
import type { Forecasts } from "../../../src/failover/runner/forecast.ts";
import { eventually } from "../rpc/pair.ts";
import { timing, Trio, type SiteName } from "./trio.ts";

/** What `lifeboat status` says of each of the three at both sites. */
const ifDied = (trio: Trio, name: SiteName): Forecasts => trio.agent(name).runner.snapshot().ifDied;

const takesOver = `west takes over by itself within ${Math.ceil(timing.startBoundMs / 1000)} s, plus the pods' own start`;
const stopsSoon = `east stops within ${timing.leaseMs / 1000} s: its only lease is`;
const byHand = "nobody takes over by itself; a person moves the group to west";

/** With room for a grantor to be silent for long enough that the other one is asked. */
const disarmedWithinMs = timing.disarmAfterMs + 3000;

describe.concurrent("what would happen if it died now", () => {
  it("before the first grant is nothing; from then on each site says the same of all three", async () => {
    await using trio = await Trio.prepare();
    trio.sites.east.running = true;
    await Promise.all([trio.startAgent("east"), trio.startAgent("west")]);
    const nothing = "nothing: the group has never been granted to a site, and its workloads are not touched";
    for (const site of ["east", "west"] as const) {
      expect(ifDied(trio, site)).toEqual({ site: nothing, peer: nothing, witness: nothing });
    }
    await trio.startWitness();
    await trio.untilArmed("east");
    expect(ifDied(trio, "east")).toEqual({
      site: takesOver,
      peer: "east goes on; there is no standby then",
      witness: "east goes on; no automatic failover then",
    });
    expect(ifDied(trio, "west")).toEqual({
      site: "east goes on by the witness's lease",
      peer: takesOver,
      witness: "east goes on by this site's lease; this site cannot take over without the witness",
    });
  }, 30_000);

  it("takes as long as the longest stop that was measured", async () => {
    await using trio = await Trio.start();
    await trio.untilArmed("east");
    const extraMs = 30_000;
    trio.agent("east").runner.setFence({ cap: "api", stopBoundMs: timing.stopBoundMs + extraMs });
    const isLonger = (said: string): boolean => {
      const seconds = Number(/within (\d+) s/.exec(said)?.[1]);
      return seconds * 1000 > timing.startBoundMs + extraMs && seconds * 1000 < timing.startBoundMs + 1.1 * extraMs;
    };
    expect(ifDied(trio, "east").site).toSatisfy(isLonger);
    // The other site knows it by what it has promised since.
    await eventually(() => isLonger(ifDied(trio, "west").peer), timing.leaseMs);
  }, 30_000);

  it("without the witness goes on without a lease, once the standby has recorded that it takes nothing over", async () => {
    await using trio = await Trio.start();
    await trio.untilArmed("east");
    await trio.stopWitness();
    // Until then one lease is left.
    await eventually(() => ifDied(trio, "east").peer === `${stopsSoon} that of west`, timing.leaseMs + 2000);
    expect(ifDied(trio, "east").site).toBe(byHand);
    await eventually(() => trio.agent("east").runner.snapshot().running === "leaseFree", disarmedWithinMs);
    expect(ifDied(trio, "east")).toEqual({
      site: `${byHand} with force-fenced, since east runs without a lease`,
      peer: "east goes on; there is no standby then",
      witness: "east goes on; no automatic failover then",
    });
    expect(trio.agent("west").runner.snapshot().veto).toBe(true);
    expect(ifDied(trio, "west")).toEqual({
      site: "east goes on without a lease",
      peer: `${byHand} with force-fenced, since east runs without a lease`,
      witness: "east goes on without a lease; this site cannot take over without the witness",
    });
  }, 40_000);

  it("without the standby goes on by the witness's lease, and then without one", async () => {
    await using trio = await Trio.start();
    await trio.untilArmed("east");
    await trio.killSite("west");
    await eventually(() => ifDied(trio, "east").witness === `${stopsSoon} the witness's`, timing.leaseMs + 2000);
    expect(ifDied(trio, "east").site).toBe(byHand);
    await eventually(() => trio.agent("east").runner.snapshot().running === "leaseFree", disarmedWithinMs);
    expect(ifDied(trio, "east")).toMatchObject({
      peer: "east goes on; there is no standby then",
      witness: "east goes on; no automatic failover then",
    });
    expect(trio.sites.east.intervals).toHaveLength(1);
    expect(trio.sites.east.running).toBe(true);
  }, 40_000);

  it("is a person's to decide where automatic failover is not wanted, or the standby is not fit", async () => {
    await using trio = await Trio.start();
    await trio.untilArmed("east");
    trio.sites.west.data = { readiness: "Syncing", lagMs: 100 };
    await eventually(() => ifDied(trio, "east").site === byHand && ifDied(trio, "west").peer === byHand);
    trio.sites.west.data = { readiness: "Ready", lagMs: 100 };
    await eventually(() => ifDied(trio, "east").site === takesOver && ifDied(trio, "west").peer === takesOver);
    trio.sites.west.data = { readiness: "Ready", lagMs: 30_001 };
    await eventually(() => ifDied(trio, "east").site === byHand && ifDied(trio, "west").peer === byHand);
    for (const site of ["east", "west"] as const) {
      const { notArmed } = trio.agent(site).runner.snapshot();
      expect(notArmed).toEqual(["west lags by more than the 30000 ms allowed"]);
    }
    trio.sites.west.data = { readiness: "Ready", lagMs: 100 };
    await eventually(() => ifDied(trio, "east").site === takesOver && ifDied(trio, "west").peer === takesOver);
    for (const site of ["east", "west"] as const) {
      trio.agent(site).runner.setPolicy({ ...trio.policy, automatic: false });
    }
    expect(ifDied(trio, "east").site).toBe(byHand);
    expect(ifDied(trio, "west").peer).toBe(byHand);
  }, 30_000);
});
