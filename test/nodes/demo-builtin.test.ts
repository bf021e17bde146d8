import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { parseDuration } from "../../src/config/duration.ts";
import { objectives } from "../demo/chapters/protect.ts";
import { writesPerS } from "../demo/chapters/change.ts";
import { targetsMaxCount } from "../demo/ledger.ts";
import type { DemoResult } from "../demo/stage.ts";
import { runDemo } from "./demo-run.ts";

const limitMs = 420_000;

/** In the order in which they must have happened. */
const order = [
  "killed",
  "leases expired",
  "west asks the witness",
  "granted",
  "first workload scaled",
  "all ready",
  "east is back",
  "east says that it is standby",
  "east runs nothing",
  "east has everything",
];

/** What was measured on every kind of nodes. */
function expectFigures(result: DemoResult | undefined): void {
  if (result === undefined) throw new Error("the demo has printed no result");
  const { journalLagMs, applyLagMs, timeline, ...figures } = result;
  expect(figures.notReplicated).toEqual([]);
  // How many of 20 a second a busy disk acknowledges is its own; each object changes more than once in any case.
  expect(figures.acknowledged).toBeGreaterThan(2 * targetsMaxCount);
  // What was acknowledged within the journal lag before the kill may be lost, and the group states how much that may be.
  expect(figures.rpoMs).toBeLessThan(parseDuration(objectives.rpo));
  expect(figures.lostChanges).toBeLessThanOrEqual(1 + ((figures.rpoMs ?? 0) * writesPerS) / 1000);
  for (const lag of [journalLagMs, applyLagMs]) {
    expect(lag.p50).toBeGreaterThan(0);
    expect(lag.p99).toBeGreaterThanOrEqual(lag.p50 ?? Infinity);
  }
  expect(applyLagMs.p50).toBeGreaterThanOrEqual(journalLagMs.p50 ?? Infinity);
  expect(figures.decisionMs).toBeGreaterThan(0);
  expect(figures.rtoMs).toBeGreaterThan(figures.decisionMs ?? Infinity);
  const events = timeline.map(({ event }) => event);
  expect(events.filter((event) => order.includes(event))).toEqual(order);
  const times = timeline.map(({ atMs }) => atMs);
  expect(times).toEqual(times.toSorted((a, b) => a - b));
  expect(timeline.find(({ event }) => event === "granted")?.atMs).toBe(figures.decisionMs);
}

const isRoot = process.getuid?.() === 0;

test("the demo on simulated nodes ends with west running everything, and says so", { timeout: limitMs }, async () => {
  const { code, result, output } = await runDemo(["--nodes", "simulated", "--watch", "10"]);
  expect(code, output).toBe(0);
  expect(result?.checks.filter(({ ok }) => !ok)).toEqual([]);
  expectFigures(result);
  expect(result?.bothActiveMs).toBeNull();
});

test.runIf(isRoot)("on real nodes the pods themselves say when both sites ran", { timeout: limitMs }, async () => {
  const { code, result, output } = await runDemo(["--nodes", "real"]);
  expect(code, output).toBe(0);
  expect(result?.checks.filter(({ ok }) => !ok)).toEqual([]);
  expectFigures(result);
  expect(result?.bothActiveMs).toBe(0);
});

test("Ctrl-C in the middle leaves nothing behind", { timeout: limitMs }, async () => {
  const bedHome = await mkdtemp(join(tmpdir(), "demo-"));
  try {
    const { code, output } = await runDemo(["--nodes", "simulated"], { interruptAt: "Protecting it", bedHome });
    expect(code, output).toBe(130);
    expect(await readdir(bedHome)).toEqual([]);
  } finally {
    await rm(bedHome, { recursive: true, force: true });
  }
});
