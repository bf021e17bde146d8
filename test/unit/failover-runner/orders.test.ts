import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { formatEpoch } from "../../../src/failover/epoch.ts";
import { eventually } from "../rpc/pair.ts";
import { outcomeOf, overlapMs } from "./site.ts";
import { systemClock } from "../../../src/clock.ts";
import { slackMs, timing, Trio, type SiteName } from "./trio.ts";

const epochAt = (trio: Trio, name: SiteName) => {
  const { cert } = trio.agent(name).runner.state.record;
  return cert === null ? "" : formatEpoch(cert.epoch);
};

describe.concurrent("a person's order", () => {
  it("moves the group when the other site is dead, without automatic failover", async () => {
    await using trio = await Trio.start({ policy: { automatic: false } });
    await eventually(() => trio.sites.west.following?.holder === "east", 15_000);
    const epoch = epochAt(trio, "west");
    // The witness has heard that its grant has arrived: what may run on without it is not moved.
    const followedAtMs = systemClock.monotonicMs();
    await eventually(() => trio.agent("east").runner.state.witness.promisedAtMs > followedAtMs);
    await trio.killSite("east");
    const { runner } = trio.agent("west");
    runner.command({ verb: "failover", to: "west", epoch: "1.1", nonce: "typo" });
    expect(await outcomeOf(trio.sites.west, "typo")).toMatchObject({ ok: false, code: "StaleEpoch" });

    // Once the holder has been silent for a lease: until then the order is taken for a switchover.
    await eventually(() => (runner.snapshot().peerGrantor.linkHeardAgoMs ?? 0) > timing.leaseMs + 500, 10_000);
    runner.command({ verb: "failover", to: "west", epoch, nonce: "one" });
    expect(await outcomeOf(trio.sites.west, "one", timing.startBoundMs + slackMs)).toMatchObject({ ok: true });
    expect(trio.sites.west.asked).toContain("start manual");
    expect(overlapMs(trio.sites.east, trio.sites.west)).toBe(0);
    expect(runner.snapshot().outcomes.map(({ nonce, ok }) => [nonce, ok])).toEqual([
      ["typo", false],
      ["one", true],
    ]);
  }, 60_000);

  it("is obeyed once: the same nonce is refused, also after a restart of the agent", async () => {
    await using trio = await Trio.start();
    await trio.untilArmed("east");
    const order = { verb: "pause", nonce: "pause-1" } as const;
    trio.agent("east").runner.command(order);
    expect(await outcomeOf(trio.sites.east, "pause-1")).toMatchObject({ ok: true });
    await eventually(() =>
      trio
        .agent("east")
        .runner.snapshot()
        .notArmed.some((why) => why.includes("paused")),
    );
    await trio.killAgent("east");
    trio.sites.east.outcomes.length = 0;
    await trio.startAgent("east");
    trio.agent("east").runner.command(order);
    expect(await outcomeOf(trio.sites.east, "pause-1")).toMatchObject({ ok: false, code: "Replayed" });
    expect(trio.agent("east").runner.snapshot().notArmed).toContain(
      "automatic failover is paused at east; `lifeboat resume`, asked there, lifts it",
    );
  }, 30_000);

  it("given to the standby is kept as well: it takes nothing over until it is asked to resume", async () => {
    await using trio = await Trio.start();
    await trio.untilArmed("east");
    const west = trio.agent("west").runner;
    west.command({ verb: "pause", nonce: "pause-west" });
    expect(await outcomeOf(trio.sites.west, "pause-west")).toMatchObject({ ok: true });
    const why = "automatic failover is paused at west; `lifeboat resume`, asked there, lifts it";
    for (const site of ["east", "west"] as const) {
      await eventually(() => trio.agent(site).runner.snapshot().notArmed.includes(why));
    }
    await trio.killSite("east");
    await sleep(2 * timing.startBoundMs);
    expect(west.state.phase.type).toBe("Standby");
    expect(trio.sites.west.running).toBe(false);
    west.command({ verb: "resume", nonce: "resume-west" });
    await eventually(() => west.snapshot().notArmed.every((reason) => reason !== why));
  }, 60_000);

  it("is armed only by what the witness has heard of how the group is stopped", async () => {
    await using trio = await Trio.start();
    await trio.untilArmed("east");
    const { runner } = trio.agent("east");
    const { fenceCap: cap, stopBoundMs } = runner.snapshot();
    const said = (why: string) => runner.snapshot().notArmed.join() === why;
    runner.setFence({ cap: "none", stopBoundMs });
    await eventually(() => said("nothing can stop the group's processes here without the API server"));
    // Once the witness has heard that as well.
    await eventually(() => runner.state.witness.fenceCap === "none");
    runner.setFence({ cap, stopBoundMs });
    await eventually(() => runner.snapshot().fenceCap === cap);
    await eventually(() => said("the witness has not heard yet how the group is stopped here"));
    await trio.untilArmed("east");
  }, 30_000);

  it("is a switchover when both sites answer: east stops, seals, west starts, and back again", async () => {
    await using trio = await Trio.start();
    await trio.untilArmed("east");
    const { east, west } = trio.sites;
    trio.agent("west").runner.command({ verb: "failover", to: "west", epoch: epochAt(trio, "west"), nonce: "there" });
    await eventually(() => west.running, 15_000);
    expect(east.asked).toEqual(["start adopt", "quiesce", "prepareSeal", "stop"]);
    expect(west.asked).toContain("applySeal");
    expect(west.asked.at(-1)).toBe("start commit");
    expect(overlapMs(east, west)).toBe(0);
    await trio.untilArmed("west", 15_000);

    trio.agent("west").runner.command({ verb: "switchover", to: "east", epoch: epochAt(trio, "west"), nonce: "back" });
    await eventually(() => east.running, 15_000);
    expect(overlapMs(east, west)).toBe(0);
    await trio.untilArmed("east", 15_000);
    expect(trio.agent("east").runner.snapshot().divergence).toBeUndefined();
  }, 60_000);

  it("never moves the group by failover while the active site runs without a lease", async () => {
    await using trio = await Trio.start();
    await trio.untilArmed("east");
    await trio.stopWitness();
    await eventually(() => trio.agent("east").runner.snapshot().running === "leaseFree", timing.disarmAfterMs + 3000);
    for (const path of trio.peerPaths()) path.mode = "silent";
    await trio.startWitness();
    const { runner } = trio.agent("west");
    await eventually(() => (runner.snapshot().peerGrantor.linkHeardAgoMs ?? 0) > timing.leaseMs + 500, 10_000);
    runner.command({ verb: "failover", to: "west", epoch: epochAt(trio, "west"), nonce: "no" });
    expect(await outcomeOf(trio.sites.west, "no")).toMatchObject({ ok: false, code: "Veto" });
    expect(trio.sites.west.running).toBe(false);
    expect(trio.sites.east.intervals).toHaveLength(1);
    expect(trio.sites.east.running).toBe(true);
  }, 60_000);

  it("force-fenced runs at west under an epoch that names it, without the witness", async () => {
    await using trio = await Trio.start();
    await trio.untilArmed("east");
    const epoch = epochAt(trio, "west");
    await trio.stopWitness();
    await trio.killSite("east");
    const { runner } = trio.agent("west");
    await eventually(() => (runner.snapshot().peerGrantor.linkHeardAgoMs ?? 0) > timing.leaseMs + 500, 10_000);
    runner.command({ verb: "force-fenced", epoch, operator: "ann", nonce: "off" });
    expect(await outcomeOf(trio.sites.west, "off")).toMatchObject({ ok: true });
    await eventually(() => trio.sites.west.running, 1000);
    expect(epochAt(trio, "west")).toMatch(/\.west$/);
    expect(runner.snapshot().running).toBe("leaseFree");
  }, 30_000);
});
