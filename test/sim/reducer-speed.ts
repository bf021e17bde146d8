/** How fast the reducers are by themselves: the steps of one history, recorded and done again with no simulator around. */
import { generate } from "./generate.ts";
import { runPlan } from "./history.ts";
import type { Reducers } from "./reducers.ts";

/** A history with a takeover and a switchover. */
const SEED = 134;
/** The first rounds are the compiler's. */
const WARM_MS = 500;
const MEASURE_MS = 2000;

export interface ReducerSpeed {
  /** In the history. */
  readonly steps: number;
  readonly stepsPerS: number;
}

export function measureReducers(reducers: Reducers, clock: () => number): ReducerSpeed {
  const steps = record(reducers);
  replay(steps, WARM_MS, clock);
  const started = clock();
  const done = replay(steps, MEASURE_MS, clock);
  return { steps: steps.length, stepsPerS: Math.round((done * 1000) / (clock() - started)) };
}

function record(reducers: Reducers): (() => unknown)[] {
  const steps: (() => unknown)[] = [];
  const { stepAgent, stepWitness, stepGuard } = reducers;
  const noted = <T>(step: () => T): T => {
    steps.push(step);
    return step();
  };
  runPlan(generate(SEED, "uniform"), {
    ...reducers,
    stepAgent: (state, event, now) => noted(() => stepAgent(state, event, now)),
    stepWitness: (instance, state, event, now) => noted(() => stepWitness(instance, state, event, now)),
    stepGuard: (state, event, now) => noted(() => stepGuard(state, event, now)),
  });
  return steps;
}

/** Every step finds the state that it found then, so each round does the same. */
function replay(steps: readonly (() => unknown)[], forMs: number, clock: () => number): number {
  const until = clock() + forMs;
  let done = 0;
  while (clock() < until) {
    for (const step of steps) step();
    done += steps.length;
  }
  return done;
}
