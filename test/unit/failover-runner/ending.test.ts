import { describe, expect, it } from "vitest";
import { GroupRecords } from "../../../src/failover/runner/records.ts";
import { eventually } from "../rpc/pair.ts";
import { group, slackMs, timing, Trio } from "./trio.ts";

describe("a group that is deleted at the site that runs it", () => {
  it("ends at both sites once the witness has let go of it, and goes on running where it ran", async () => {
    await using trio = await Trio.start();
    await trio.untilArmed("east");
    const { east, west } = trio.sites;
    trio.agent("west").runner.setEnding(true);
    trio.agent("east").runner.setEnding(true);
    await eventually(() => trio.agent("east").runner.state.phase.type === "Released", timing.promiseMs);
    await eventually(() => trio.agent("west").runner.state.phase.type === "Released", timing.promiseMs);
    expect(east.running).toBe(true);
    expect(west.running).toBe(false);
    const left = (name: "east" | "west") => new GroupRecords(trio.agent(name).records, group).read();
    await eventually(() => left("east").cert === null && left("west").cert === null, slackMs);
    expect(left("east").released?.holder).toBe("east");
  });

  it("is adopted anew under a later epoch, and taken over as any other", async () => {
    await using trio = await Trio.start();
    await trio.untilArmed("east");
    const { east, west } = trio.sites;
    const before = trio.agent("east").runner.state.record.cert?.epoch.counter ?? 0;
    trio.agent("west").runner.setEnding(true);
    trio.agent("east").runner.setEnding(true);
    await eventually(() => trio.agent("west").runner.state.phase.type === "Released", timing.promiseMs);
    await trio.killAgent("east");
    await trio.killAgent("west");
    await Promise.all([trio.startAgent("east"), trio.startAgent("west")]);
    await trio.untilArmed("east");
    expect(east.asked).toEqual(["start adopt", "start adopt"]);
    expect(east.intervals).toHaveLength(1);
    expect(trio.agent("east").runner.state.record.cert?.epoch.counter).toBeGreaterThan(before);
    await trio.killSite("east");
    await eventually(() => west.running, timing.startBoundMs + slackMs);
  }, 40_000);
});
