import { describe, expect, it } from "vitest";
import { systemClock } from "../../../src/clock.ts";
import { eventually } from "../rpc/pair.ts";
import { overlapMs } from "./site.ts";
import { slackMs, timing, Trio } from "./trio.ts";

describe("two sites and a witness over real connections", () => {
  it("adopt what runs at east without stopping it, and arm", async () => {
    await using trio = await Trio.start();
    await trio.untilArmed("east");
    const { east, west } = trio.sites;
    expect(east.asked).toEqual(["start adopt"]);
    expect(east.intervals).toHaveLength(1);
    expect(west.running).toBe(false);
    expect(trio.agent("east").runner.snapshot()).toMatchObject({ state: "Active", running: "leased", holder: "east" });
    expect(trio.agent("west").runner.snapshot()).toMatchObject({
      state: "Standby",
      holder: "east",
      readiness: "Ready",
    });
  });

  it("move the group to west within the bound when east dies", async () => {
    await using trio = await Trio.start();
    await trio.untilArmed("east");
    const killedAtMs = systemClock.monotonicMs();
    await trio.killSite("east");
    const { east, west } = trio.sites;
    await eventually(() => west.running, timing.startBoundMs + slackMs);
    const startedAtMs = west.intervals[0]?.[0] ?? Infinity;
    expect(startedAtMs - killedAtMs).toBeGreaterThan(timing.promiseMs - timing.heartbeatMs);
    expect(startedAtMs - killedAtMs).toBeLessThan(timing.startBoundMs + timing.heartbeatMs);
    expect(overlapMs(east, west)).toBe(0);
    const events = trio
      .agent("west")
      .runner.snapshot()
      .timeline.map(({ event }) => event);
    // An attempt may come a moment too early for the witness, and is repeated then.
    expect([...new Set(events)].filter((event) => event !== "acquireRefused").slice(-6)).toEqual([
      "lastPeerHeartbeat",
      "peerPromiseEnded",
      "acquireSent",
      "grantReceived",
      "startRequested",
      "started",
    ]);
  }, 30_000);
});
