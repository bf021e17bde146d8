import { expect, test } from "vitest";
import { generate } from "./generate.ts";
import { runPlan } from "./history.ts";
import { loadMutant, mutants } from "./mutants.ts";
import { shrink } from "./shrink.ts";

/** Broken this much, a protocol does not last for many histories of several faults. */
const SEEDS_MAX_COUNT = 400;

test("a history that breaks an invariant is shrunk to the faults that it takes", async () => {
  const mutant = mutants.find(({ name }) => name === "no G");
  if (mutant === undefined) throw new Error("there is no such mutant");
  const { reducers, remove } = await loadMutant(mutant);
  try {
    const broken = Array.from({ length: SEEDS_MAX_COUNT }, (_, at) => at + 1)
      .values()
      .map((seed) => generate(seed, "uniform"))
      .filter(({ entries }) => entries.length > 3)
      .map((plan) => ({ plan, violation: runPlan(plan, reducers).violation }))
      .find(({ violation }) => violation !== null);
    if (broken?.violation == null) throw new Error(`nothing broke in ${SEEDS_MAX_COUNT} histories`);
    const { plan, violation } = shrink(broken.plan, broken.violation, reducers);
    expect(violation.invariant).toBe(broken.violation.invariant);
    expect(plan.entries.length).toBeLessThan(broken.plan.entries.length);
    expect(runPlan(plan, reducers).violation?.invariant).toBe(violation.invariant);
    for (const left of plan.entries) {
      const shorter = { ...plan, entries: plan.entries.filter((entry) => entry !== left) };
      expect(runPlan(shorter, reducers).violation?.invariant, "one more can be left out").not.toBe(violation.invariant);
    }
  } finally {
    remove();
  }
});
