import { expect, test } from "vitest";
import { deriveTiming, profileNames, profiles, profileTiming, timingProblems } from "../../src/failover/timing.ts";
import { hasCode } from "../../src/errors.ts";

test("every profile keeps the rules", () => {
  for (const name of profileNames) expect(timingProblems(profiles[name])).toEqual([]);
});

test("the profiles have the guard times and start bounds that the documentation names", () => {
  const seconds = (name: "fast" | "standard" | "api" | "test"): number[] => {
    const { leaseMs, guardMs, startBoundMs } = profileTiming(name);
    return [leaseMs, guardMs, startBoundMs].map((ms) => Math.round(ms / 100) / 10);
  };
  expect(seconds("fast")).toEqual([15, 9.6, 31.1]);
  expect(seconds("standard")).toEqual([30, 15, 53]);
  expect(seconds("api")).toEqual([30, 65, 103.5]);
  expect(seconds("test")).toEqual([5, 3.3, 10]);
});

test("the holder's lease, on the fastest or slowest clock, ends before the grantor's", () => {
  const { leaseMs, holderMs, rho } = profileTiming("fast");
  expect(holderMs / (1 - rho)).toBeLessThanOrEqual(leaseMs / (1 + rho) + 1e-6);
});

test.each([
  ["a guard time below what stopping takes", { guardMs: 9000 }, "guardMs"],
  ["a lease shorter than three heartbeats", { heartbeatMs: 6000 }, "too short for heartbeatMs"],
  ["a lease shorter than a change of the leading agent", { electionMs: 15_000 }, "leading agent"],
  ["a freeze threshold within clock drift", { epsilonMs: 200 }, "clock drift"],
  ["a clock that is no clock", { rho: 0.3 }, "rho"],
  ["a tick that is most of a lease", { tickMs: 8000 }, "tickMs"],
  ["a lease of nothing", { leaseMs: 0 }, "leaseMs"],
  ["a stop time that never ends", { stopMs: Infinity }, "stopMs"],
])("%s is refused with a sentence that names it", (_what, change, word) => {
  const broken = { ...profiles.fast, ...change };
  expect(timingProblems(broken).join("; ")).toContain(word);
  try {
    deriveTiming(broken);
    expect.unreachable();
  } catch (error) {
    expect(hasCode(error, "ConfigInvalid")).toBe(true);
  }
});
