/** A failing history, made shorter: faults are left out as long as the same invariant still breaks. */
import fc from "fast-check";
import type { Plan } from "./faults.ts";
import { runPlan } from "./history.ts";
import type { Violation } from "./oracle.ts";
import type { Reducers } from "./reducers.ts";
import { formatFault } from "./scenario-fault.ts";

export interface Shrunk {
  readonly plan: Plan;
  readonly violation: Violation;
}

export function shrink(plan: Plan, violation: Violation, reducers: Reducers): Shrunk {
  let least: Shrunk = { plan, violation };
  const whole = [...plan.entries];
  const holds = fc.property(fc.subarray(whole), (entries) => {
    const shorter = { ...plan, entries };
    const found = runPlan(shorter, reducers).violation;
    if (found?.invariant !== violation.invariant) return true;
    // What fails after something that failed is what that was shrunk to.
    least = { plan: shorter, violation: found };
    return false;
  });
  fc.check(holds, { examples: [[whole]], numRuns: 1 });
  return least;
}

/** As a scenario file. It fails on the same invariant; what to expect instead is for a person to add. */
export function asScenario({ plan, violation }: Shrunk): string {
  const { seed, mode, profile, groups, fenceCap, cooldownMs } = plan.options;
  const lines = [
    `# Seed ${seed} (${mode}) broke ${violation.invariant}: ${violation.what}`,
    `profile ${profile}`,
    `modes ${mode}`,
    "runs 40",
    `option groups ${groups}`,
    `option fenceCap ${fenceCap}`,
    `option cooldownMs ${cooldownMs}`,
    ...plan.entries.map(({ atMs, fault }) => `at ${atMs / 1000} ${formatFault(fault)}`),
    `until ${Math.ceil(Math.max(violation.atMs, plan.healAtMs) / 1000) + 5}`,
  ];
  return `${lines.join("\n")}\n`;
}
