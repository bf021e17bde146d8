import { describe, expect, it } from "vitest";
import { systemClock } from "../../../src/clock.ts";
import { eventually } from "../rpc/pair.ts";
import { outcomeOf, overlapMs } from "./site.ts";
import { slackMs, timing, Trio, type SiteName } from "./trio.ts";

const waitMs = (ms: number) => systemClock.sleep(ms, { signal: new AbortController().signal });
const snapshotAt = (trio: Trio, name: SiteName) => trio.agent(name).runner.snapshot();

/** Gives the order to move the group, at `at`. */
function order(trio: Trio, at: SiteName, to: SiteName, nonce: string): void {
  const epoch = snapshotAt(trio, at).epoch ?? "";
  trio.agent(at).runner.command({ verb: "switchover", to, epoch, nonce });
}

const abort = (trio: Trio, nonce: string) => trio.agent("east").runner.command({ verb: "abort", nonce });

describe.concurrent("a switchover that a person calls off", () => {
  it("while the source waits for its last process leaves the group there, under its epoch", async () => {
    await using trio = await Trio.start();
    await trio.untilArmed("east");
    const { east, west } = trio.sites;
    const { epoch } = snapshotAt(trio, "east");
    east.stuck.add("quiesce");
    order(trio, "east", "west", "there");
    await eventually(() => east.asked.includes("quiesce"));
    expect(snapshotAt(trio, "east")).toMatchObject({ state: "Quiescing", order: "switchover there" });
    expect(snapshotAt(trio, "east").reason).toMatch(/switchover to west.*lifeboat abort shop/);
    expect(snapshotAt(trio, "west").state).toBe("Standby");

    abort(trio, "off");
    expect(await outcomeOf(east, "off")).toMatchObject({
      ok: true,
      message: "the switchover is called off; the group goes on where it was",
    });
    expect(await outcomeOf(east, "there")).toMatchObject({ ok: false, code: "CalledOff" });
    await eventually(() => east.asked.includes("unquiesce"));
    await trio.untilArmed("east");
    expect(east.asked).toEqual(["start adopt", "quiesce", "unquiesce"]);
    expect(east.intervals).toHaveLength(1);
    expect(west.intervals).toHaveLength(0);
    expect(west.asked).not.toContain("applySeal");
    expect(snapshotAt(trio, "east")).toMatchObject({ state: "Active", epoch, reason: "" });

    east.stuck.clear();
    // Not before the witness has voided the first one.
    await eventually(() => trio.agent("east").runner.preflight().length === 0, 3 * timing.heartbeatMs + slackMs);
    order(trio, "east", "west", "again");
    await eventually(() => west.running, 15_000);
    expect(overlapMs(east, west)).toBe(0);
  }, 60_000);

  it("is answered where it was ordered, also at its target", async () => {
    await using trio = await Trio.start();
    await trio.untilArmed("east");
    const { east, west } = trio.sites;
    east.stuck.add("quiesce");
    order(trio, "west", "west", "come");
    await eventually(() => east.asked.includes("quiesce"), timing.leaseMs);
    abort(trio, "off");
    expect(await outcomeOf(west, "come")).toMatchObject({
      ok: false,
      code: "Voided",
      message: "called off by a person",
    });
    expect(snapshotAt(trio, "west").order).toBeUndefined();
  }, 60_000);

  it("after the seal comes back under a later epoch, once the witness has called it off", async () => {
    await using trio = await Trio.start();
    await trio.untilArmed("east");
    const { east, west } = trio.sites;
    const before = trio.agent("east").runner.state.record.cert?.epoch;
    west.stuck.add("applySeal");
    order(trio, "east", "west", "there");
    await eventually(() => west.asked.includes("applySeal"), 10_000);
    expect(snapshotAt(trio, "east").state).toBe("Sealed");
    expect(snapshotAt(trio, "east").reason).toMatch(/west catches up.*lifeboat abort shop/);
    expect(snapshotAt(trio, "west").opId).toBe(snapshotAt(trio, "east").opId);
    expect(east.running).toBe(false);

    abort(trio, "off");
    expect(await outcomeOf(east, "off")).toMatchObject({
      ok: true,
      message: "the group is sealed; the witness is asked to call the switchover off",
    });
    await eventually(() => east.running, timing.promiseMs + slackMs);
    // What west finds out now comes too late.
    west.stuck.clear();
    await trio.untilArmed("east");
    expect(east.asked.at(-1)).toBe("start unseal");
    expect(await outcomeOf(east, "there")).toMatchObject({ ok: false, code: "CalledOff" });
    expect(west.intervals).toHaveLength(0);
    const after = trio.agent("east").runner.state.record.cert;
    expect(after).toMatchObject({ holder: "east", epoch: { counter: (before?.counter ?? 0) + 1 } });
    expect(snapshotAt(trio, "west")).toMatchObject({ state: "Standby", holder: "east", opId: undefined });
  }, 60_000);
});

describe.concurrent("before a switchover", () => {
  it("everything in the way is named at once, by the dry run at either site and by the refusal", async () => {
    await using trio = await Trio.start();
    await trio.untilArmed("east");
    const { east, west } = trio.sites;
    const findings = (name: SiteName) => trio.agent(name).runner.preflight();
    await eventually(() => findings("east").length === 0 && findings("west").length === 0);
    west.data = { readiness: "Syncing", lagMs: 100, obstacle: "1 object would be refused there" };
    const inTheWay = ["west is Syncing", "at west: 1 object would be refused there"];
    await eventually(() => findings("east").length === 2 && findings("west").length === 2);
    expect(findings("east")).toEqual(inTheWay);
    expect(findings("west")).toEqual(inTheWay);

    trio.agent("east").runner.setApi(false);
    order(trio, "east", "west", "no");
    const all = [inTheWay[0], "the API server of east does not answer", inTheWay[1]];
    expect(findings("east")).toEqual(all);
    expect(await outcomeOf(east, "no")).toMatchObject({ ok: false, code: "NotPrepared", message: all.join("; ") });

    west.data = { readiness: "Ready", lagMs: 31_000 };
    trio.agent("east").runner.setApi(true);
    const tooLate = "west lags by 31000 ms, at most 30000 allowed";
    await eventually(() => findings("east").includes(tooLate) && findings("west").includes(tooLate));
    await trio.stopWitness();
    await eventually(() => findings("east").length === 2 && findings("west").length === 2, timing.leaseMs);
    for (const site of ["east", "west"] as const) {
      expect(findings(site)).toEqual(["the witness is not reached", tooLate]);
    }
    expect(east.asked).toEqual(["start adopt"]);
    expect(snapshotAt(trio, "east").state).toBe("Active");
  }, 60_000);

  it("back to a site whose own writes are not saved yet, that is in the way; once they are, it is done", async () => {
    await using trio = await Trio.start();
    await trio.untilArmed("east");
    const { east, west } = trio.sites;
    east.stuck.add("saveDivergence");
    trio.isolate("east");
    await eventually(() => west.running, timing.startBoundMs + slackMs);
    trio.heal();
    await eventually(() => east.asked.at(-1) === "saveDivergence", 15_000);
    expect(snapshotAt(trio, "east")).toMatchObject({ state: "Standby", divergence: { saved: false } });
    // Everything else of a standby is as it should be.
    const findings = (name: SiteName) => trio.agent(name).runner.preflight();
    await eventually(() => findings("west").join("; ") === "east is Stale" && findings("east").length === 2, 10_000);
    expect(findings("east")).toEqual(["east is Stale", "what east wrote by itself is not saved yet"]);
    for (const asked of ["west", "east"] as const) {
      order(trio, asked, "east", `from ${asked}`);
      const outcome = await outcomeOf(trio.sites[asked], `from ${asked}`);
      expect(outcome).toMatchObject({ ok: false, code: "NotPrepared", message: "east is Stale" });
    }
    expect(east.asked).not.toContain("follow");
    expect(west.intervals).toHaveLength(1);
    expect(west.running).toBe(true);

    east.stuck.clear();
    await eventually(() => findings("west").length === 0, 15_000);
    expect(snapshotAt(trio, "east").divergence).toMatchObject({ saved: true });
    order(trio, "west", "east", "back");
    await eventually(() => east.running, 15_000);
    expect(overlapMs(east, west)).toBe(0);
  }, 90_000);
});

describe.concurrent("the seal of a switchover", () => {
  const volumes = { data: { generation: 3, hash: "d3" }, logs: { generation: 8, hash: "l8" } };

  it("names each volume, and is committed when the target has the same", async () => {
    await using trio = await Trio.start();
    await trio.untilArmed("east");
    const { east, west } = trio.sites;
    east.volumes = volumes;
    west.volumes = { logs: volumes.logs, data: volumes.data };
    order(trio, "east", "west", "there");
    await eventually(() => west.running, 15_000);
    expect(await outcomeOf(east, "there")).toMatchObject({ ok: true });
    expect(west.notices.map(({ code }) => code)).not.toContain("SealMismatch");
    expect(overlapMs(east, west)).toBe(0);
  }, 60_000);

  it("is not committed while a volume differs, which is named; it is when the volume has come", async () => {
    await using trio = await Trio.start();
    await trio.untilArmed("east");
    const { east, west } = trio.sites;
    east.volumes = volumes;
    west.volumes = { ...volumes, data: { generation: 2, hash: "d2" } };
    order(trio, "east", "west", "there");
    const mismatches = () => west.notices.filter(({ code }) => code === "SealMismatch").map(({ message }) => message);
    await eventually(() => mismatches().length >= 2, 10_000);
    expect([...new Set(mismatches())]).toEqual(["not equal to the seal: volume data"]);
    // Looked at again and again, and not in a loop that keeps the process from everything else.
    await waitMs(timing.heartbeatMs);
    expect(mismatches().length).toBeLessThan(20);
    expect(west.running).toBe(false);
    expect(snapshotAt(trio, "east").state).toBe("Sealed");

    west.volumes = { ...volumes, logs: { generation: 8, hash: "other" } };
    await eventually(() => mismatches().includes("not equal to the seal: volume logs"), 10_000);
    const { data } = volumes;
    west.volumes = { data };
    const seen = mismatches().length;
    await eventually(() => mismatches().length > seen, 10_000);
    expect(mismatches().at(-1)).toBe("not equal to the seal: volume logs");
    expect(west.running).toBe(false);

    west.volumes = volumes;
    await eventually(() => west.running, 15_000);
    expect(overlapMs(east, west)).toBe(0);
  }, 60_000);
});
