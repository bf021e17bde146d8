import { expect, test } from "vitest";
import { generate } from "./generate.ts";
import { runPlan } from "./history.ts";
import { sourceFolder } from "./mutants.ts";
import { modes } from "./options.ts";
import { loadReducers } from "./reducers.ts";
import { runSeeds } from "./seeds.ts";

const reducers = await loadReducers(sourceFolder);
const now = (): number => performance.now();
const FIXED_COUNT = 700;
const FRESH_COUNT = 250;
/** Anything: printed, so that a failure can be run again with `npm run sim -- --seeds 250 --from N`. */
const fresh = 1_000_000 + (Math.floor(Date.now() / 1000) % 100_000_000);

test.each(modes)("no invariant breaks in the fixed seeds, %s", (mode) => {
  const report = runSeeds(reducers, mode, 1, FIXED_COUNT, now);
  expect(report.failures).toEqual([]);
  // A simulator in which nothing happens is safe, too.
  expect(report.takeovers).toBeGreaterThan(FIXED_COUNT / 20);
  expect(report.switchovers).toBeGreaterThan(FIXED_COUNT / 20);
  expect(report.exactlyOneShare).toBeGreaterThan(mode === "dense" ? 0.7 : 0.85);
  expect(report.coverage).toBeGreaterThan(150);
});

test.each(modes)(`no invariant breaks in ${FRESH_COUNT} fresh seeds from ${fresh}, %s`, (mode) => {
  expect(runSeeds(reducers, mode, fresh, FRESH_COUNT, now).failures).toEqual([]);
});

test("the same seed gives the same history", () => {
  const once = runPlan(generate(42, "uniform"), reducers, { logging: true });
  const again = runPlan(generate(42, "uniform"), reducers, { logging: true });
  expect(again.log).toEqual(once.log);
  expect(again.steps).toBe(once.steps);
});
