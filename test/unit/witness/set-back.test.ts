import { cp, rm } from "node:fs/promises";
import { join } from "node:path";
import { Registry } from "prom-client";
import { describe, expect, it } from "vitest";
import { systemClock, type Clock } from "../../../src/clock.ts";
import { outcomeOf, overlapMs } from "../failover-runner/site.ts";
import { slackMs, timing, Trio, type SiteName } from "../failover-runner/trio.ts";
import { eventually } from "../rpc/pair.ts";

const hourMs = 3_600_000;
const certAt = (trio: Trio, name: SiteName) => trio.agent(name).runner.state.record.cert;
const waitMs = (ms: number) => systemClock.sleep(ms, { signal: new AbortController().signal });

/** A clock of people and machines that may be set while the process runs. */
function settableClock(): Clock & { offsetMs: number } {
  return {
    ...systemClock,
    offsetMs: 0,
    wallMs() {
      return systemClock.wallMs() + this.offsetMs;
    },
  };
}

async function generationOf(metrics: Registry): Promise<number> {
  const found = await metrics.getSingleMetric("lifeboat_witness_generation")?.get();
  return found?.values[0]?.value ?? 0;
}

describe.concurrent("a witness whose disk and clock are set back", () => {
  it("starts above what the sites know; the group goes on where it is, and moves when that dies", async () => {
    await using trio = await Trio.start();
    await trio.untilArmed("east");
    const { east, west } = trio.sites;
    const first = certAt(trio, "east");
    await trio.stopWitness();
    const [disk, copy] = [join(trio.folder, "witness"), join(trio.folder, "copy")];
    await cp(disk, copy, { recursive: true });

    // What the copy does not know: a later generation, and two moves.
    await trio.startWitness();
    await trio.untilPromisedAnew("east");
    const { runner } = trio.agent("east");
    for (const to of ["west", "east", "west"] as const) {
      await eventually(() => runner.preflight().length === 0, 15_000);
      const { epoch = "" } = runner.snapshot();
      runner.command({ verb: "switchover", to, epoch, nonce: `${to} ${epoch}` });
      expect(await outcomeOf(east, `${to} ${epoch}`, 15_000)).toMatchObject({ ok: true });
      await trio.untilArmed(to);
    }
    const last = certAt(trio, "west");
    expect(last).toMatchObject({ holder: "west" });
    expect(last?.epoch.generation).toBeGreaterThan(first?.epoch.generation ?? Infinity);
    await trio.stopWitness();
    await rm(disk, { recursive: true });
    await cp(copy, disk, { recursive: true });

    const before = [east.asked.length, west.asked.length];
    const clock = settableClock();
    clock.offsetMs = -hourMs;
    const metrics = new Registry();
    await trio.startWitness({ environment: { clock, metrics } });
    expect(await generationOf(metrics)).toBe((first?.epoch.generation ?? 0) + 1);
    await trio.untilPromisedAnew("west");
    expect(await generationOf(metrics)).toBeGreaterThan(last?.epoch.generation ?? Infinity);
    // Longer than any promise.
    await waitMs(timing.promiseMs);
    for (const site of ["east", "west"] as const) expect(certAt(trio, site)).toEqual(last);
    expect([east.asked.length, west.asked.length]).toEqual(before);
    expect([east.running, west.running]).toEqual([false, true]);

    await trio.killSite("west");
    await eventually(() => east.running, timing.startBoundMs + timing.promiseMs + slackMs);
    expect(certAt(trio, "east")?.epoch.generation).toBe(await generationOf(metrics));
    expect(overlapMs(east, west)).toBe(0);
  }, 120_000);
});

describe.concurrent("a witness whose wall clock jumps by an hour", () => {
  it.each([
    ["forward", hourMs],
    ["back", -hourMs],
  ])(
    "%s: nothing changes, and the group moves within its bound when its site dies",
    async (_way, offsetMs) => {
      await using trio = await Trio.prepare();
      const { east, west } = trio.sites;
      east.running = true;
      const clock = settableClock();
      await trio.startWitness({ environment: { clock } });
      await Promise.all([trio.startAgent("east"), trio.startAgent("west")]);
      await trio.untilArmed("east");
      const before = certAt(trio, "east");
      clock.offsetMs = offsetMs;
      await waitMs(timing.promiseMs);
      expect(trio.agent("east").runner.snapshot()).toMatchObject({ armed: true, running: "leased" });
      expect(certAt(trio, "east")).toEqual(before);
      expect(east.asked).toEqual(["start adopt"]);

      const killedAtMs = systemClock.monotonicMs();
      await trio.killSite("east");
      await eventually(() => west.running, timing.startBoundMs + slackMs);
      const startedAtMs = west.intervals[0]?.[0] ?? Infinity;
      expect(startedAtMs - killedAtMs).toBeGreaterThan(timing.promiseMs - timing.heartbeatMs);
      expect(overlapMs(east, west)).toBe(0);
    },
    60_000,
  );
});
