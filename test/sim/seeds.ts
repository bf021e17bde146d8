/** Many histories: counts, coverage, and the first failures with their shrunk scenarios. */
import { generate } from "./generate.ts";
import { runPlan } from "./history.ts";
import type { Mode } from "./options.ts";
import type { Reducers } from "./reducers.ts";
import { asScenario, shrink } from "./shrink.ts";

export interface Failure {
  readonly seed: number;
  readonly invariant: string;
  readonly what: string;
  /** The shortest list of faults found that still breaks it, as a scenario file. */
  readonly scenario: string;
}

export interface SeedReport {
  readonly mode: Mode;
  readonly from: number;
  readonly seeds: number;
  readonly violations: number;
  readonly failures: readonly Failure[];
  readonly stepsPerS: number;
  readonly historiesPerS: number;
  readonly takeovers: number;
  readonly switchovers: number;
  /** Share of all samples in which exactly one site ran the group. */
  readonly exactlyOneShare: number;
  /** Overlaps that promise 1 excludes in so many words: machines that stood still together with their guard. */
  readonly excusedOverlaps: number;
  /** Distinct fault × state pairs met, and all of them. */
  readonly coverage: number;
  readonly met: readonly string[];
}

/** Failures beyond these are counted, not shrunk. */
const SHRUNK_MAX_COUNT = 3;

export function runSeeds(reducers: Reducers, mode: Mode, from: number, count: number, clock: () => number): SeedReport {
  const started = clock();
  const failures: Failure[] = [];
  const met = new Set<string>();
  let steps = 0;
  let samples = 0;
  let one = 0;
  let violations = 0;
  let takeovers = 0;
  let switchovers = 0;
  let excusedOverlaps = 0;
  for (let seed = from; seed < from + count; seed++) {
    const plan = generate(seed, mode);
    const outcome = runPlan(plan, reducers);
    steps += outcome.steps;
    samples += outcome.samples;
    one += outcome.exactlyOne;
    takeovers += outcome.takeovers;
    switchovers += outcome.switchovers;
    excusedOverlaps += outcome.excusedOverlaps;
    for (const pair of outcome.met) met.add(pair);
    const { violation } = outcome;
    if (violation === null) continue;
    violations += 1;
    if (failures.length >= SHRUNK_MAX_COUNT) continue;
    const scenario = asScenario(shrink(plan, violation, reducers));
    failures.push({ seed, invariant: violation.invariant, what: violation.what, scenario });
  }
  const seconds = Math.max(clock() - started, 1) / 1000;
  return {
    mode,
    from,
    seeds: count,
    violations,
    failures,
    stepsPerS: Math.round(steps / seconds),
    historiesPerS: Math.round(count / seconds),
    takeovers,
    switchovers,
    exactlyOneShare: samples === 0 ? 0 : one / samples,
    excusedOverlaps,
    coverage: met.size,
    met: [...met].toSorted(),
  };
}
