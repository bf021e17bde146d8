import { describe, expect, it } from "vitest";
import { systemClock } from "../../../src/clock.ts";
import { eventually } from "../rpc/pair.ts";
import { overlapMs } from "./site.ts";
import { slackMs, timing, Trio } from "./trio.ts";

const waitMs = (ms: number) => systemClock.sleep(ms, { signal: new AbortController().signal });
const epochAt = (trio: Trio, name: "east" | "west") => trio.agent(name).runner.snapshot().epoch;

describe.concurrent("an armed group at east", () => {
  it("stops there before it starts at west when east is isolated both ways", async () => {
    await using trio = await Trio.start();
    await trio.untilArmed("east");
    const { east, west } = trio.sites;
    trio.isolate("east");
    const isolatedAtMs = systemClock.monotonicMs();
    await eventually(() => !east.running, timing.leaseMs + timing.heartbeatMs + slackMs);
    await eventually(() => west.running, timing.startBoundMs + slackMs);
    const startedAtMs = west.intervals[0]?.[0] ?? Infinity;
    expect(startedAtMs - isolatedAtMs).toBeLessThan(timing.startBoundMs + timing.heartbeatMs);
    expect(overlapMs(east, west)).toBe(0);
    const lead = trio
      .agent("east")
      .runner.snapshot()
      .timeline.map(({ event }) => event);
    expect(lead).toEqual(expect.arrayContaining(["lastRenewAccepted", "leaseEnded", "stopRequested", "stopped"]));

    trio.heal();
    await eventually(() => trio.agent("east").runner.snapshot().state === "Standby", 10_000);
    await eventually(() => east.following?.holder === "west", 15_000);
    expect(east.asked).toEqual(["start adopt", "stop", "saveDivergence", "follow"]);
    expect(east.running).toBe(false);
    expect(epochAt(trio, "east")).toBe(epochAt(trio, "west"));
  }, 60_000);

  it("stays there when only the witness dies, later without a lease, and is armed again when it is back", async () => {
    await using trio = await Trio.start({ witnessProcess: true });
    await trio.untilArmed("east");
    const { east, west } = trio.sites;
    await trio.killWitness();
    await eventually(
      () => trio.agent("east").runner.snapshot().running === "leaseFree",
      timing.disarmAfterMs + 3 * timing.heartbeatMs + slackMs,
    );
    expect(trio.agent("west").runner.snapshot()).toMatchObject({ state: "Standby", veto: true });
    await trio.killSite("west");
    await waitMs(timing.promiseMs + 1000);
    expect(east.asked).toEqual(["start adopt"]);
    expect(east.running).toBe(true);

    await trio.startWitness();
    await trio.startAgent("west");
    await trio.untilArmed("east", 15_000);
    expect(trio.agent("west").runner.snapshot().veto).toBe(false);
    expect(trio.agent("east").runner.snapshot().running).toBe("leased");
    expect(east.intervals).toHaveLength(1);
    expect(west.intervals).toHaveLength(0);
  }, 60_000);

  it("stays there when the sites cannot see each other", async () => {
    await using trio = await Trio.start();
    await trio.untilArmed("east");
    for (const path of trio.peerPaths()) path.mode = "silent";
    await waitMs(timing.startBoundMs);
    expect(trio.sites.east.asked).toEqual(["start adopt"]);
    expect(trio.sites.west.running).toBe(false);
    expect(trio.agent("east").runner.snapshot()).toMatchObject({ state: "Active", armed: false });
    const { ifDied } = trio.agent("east").runner.snapshot();
    expect(ifDied.site).toContain("nobody takes over by itself");
  }, 60_000);

  it("stays there through kills of the witness process, and moves afterwards when east dies", async () => {
    await using trio = await Trio.start({ witnessProcess: true });
    await trio.untilArmed("east");
    for (let round = 0; round < 3; round++) {
      await trio.killWitness();
      await trio.startWitness();
      await trio.untilPromisedAnew("east");
    }
    expect(trio.sites.east.asked).toEqual(["start adopt"]);
    await trio.killSite("east");
    await eventually(() => trio.sites.west.running, timing.startBoundMs + timing.promiseMs + slackMs);
    expect(overlapMs(trio.sites.east, trio.sites.west)).toBe(0);
  }, 60_000);

  it("stays there when the witness loses its disk, under the same epoch, and moves afterwards when east dies", async () => {
    await using trio = await Trio.start();
    await trio.untilArmed("east");
    const before = epochAt(trio, "east");
    await trio.stopWitness();
    await trio.loseWitnessDisk();
    await trio.startWitness();
    await trio.untilPromisedAnew("east");
    expect(epochAt(trio, "east")).toBe(before);
    expect(trio.sites.east.asked).toEqual(["start adopt"]);
    await trio.killSite("east");
    await eventually(() => trio.sites.west.running, timing.startBoundMs + timing.promiseMs + slackMs);
    const generation = (epoch: string | undefined) => Number(epoch?.split(".")[0]);
    expect(generation(epochAt(trio, "west"))).toBeGreaterThan(generation(before));
  }, 60_000);

  it("stays at west when east comes back from the dead: east stops what its machine started by itself", async () => {
    await using trio = await Trio.start();
    await trio.untilArmed("east");
    await trio.killSite("east");
    await eventually(() => trio.sites.west.running, timing.startBoundMs + slackMs);
    // Its kubelet restarts the pods that are bound to it before any agent runs.
    trio.sites.east.running = true;
    await trio.startAgent("east", { bootId: "another boot" });
    const east = trio.agent("east").runner;
    await eventually(() => trio.sites.east.following?.holder === "west", 10_000);
    expect(trio.sites.east.running).toBe(false);
    expect(trio.sites.east.asked.slice(1)).toEqual(["stop", "saveDivergence", "follow"]);
    expect(east.snapshot()).toMatchObject({ state: "Standby", holder: "west", divergence: { saved: true } });
    await trio.untilArmed("west");
    expect(trio.sites.west.intervals).toHaveLength(1);
  }, 60_000);
});

describe.concurrent("an agent that is started again", () => {
  it("goes on under its epoch and stops nothing when its machine was not booted", async () => {
    await using trio = await Trio.start();
    await trio.untilArmed("east");
    const before = epochAt(trio, "east");
    await trio.killAgent("east");
    await waitMs(500);
    await trio.startAgent("east");
    await trio.untilArmed("east");
    expect(trio.sites.east.asked).toEqual(["start adopt", "start warm"]);
    expect(trio.sites.east.intervals).toHaveLength(1);
    expect(epochAt(trio, "east")).toBe(before);
  }, 30_000);

  it("stops, and starts under a new epoch, when its machine was booted", async () => {
    await using trio = await Trio.start();
    await trio.untilArmed("east");
    const before = trio.agent("east").runner.state.record.cert;
    await trio.killAgent("east");
    await trio.startAgent("east", { bootId: "another boot" });
    await eventually(() => trio.sites.east.asked.at(-1) === "start resume", 15_000);
    expect(trio.sites.east.asked).toEqual(["start adopt", "stop", "start resume"]);
    const after = trio.agent("east").runner.state.record.cert;
    expect(after?.holder).toBe("east");
    expect(after?.epoch.counter).toBe((before?.epoch.counter ?? 0) + 1);
  }, 30_000);
});
