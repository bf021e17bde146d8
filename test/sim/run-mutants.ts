/** Kills mutants: their own scenarios first, then seeds. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { generate } from "./generate.ts";
import { runPlan } from "./history.ts";
import { loadMutant } from "./mutants.ts";
import type { Mutant } from "./mutants.ts";
import type { Reducers } from "./reducers.ts";
import { readScenario, runScenario } from "./scenario.ts";

export const scenarioFolder = fileURLToPath(new URL("scenarios", import.meta.url));

export function scenarioFiles(): string[] {
  return readdirSync(scenarioFolder)
    .filter((file) => file.endsWith(".txt"))
    .toSorted()
    .map((file) => join(scenarioFolder, file));
}

export interface Verdict {
  readonly name: string;
  readonly rule: string;
  readonly killed: boolean;
  /** Scenario or seed, and what broke. */
  readonly by: string;
  /** Why it breaks nothing, where that is known. */
  readonly equivalent: string;
}

export async function runMutant(mutant: Mutant, withSeeds: boolean): Promise<Verdict> {
  const { reducers, remove } = await loadMutant(mutant);
  try {
    const by = byScenario(mutant, reducers) ?? (withSeeds ? bySeed(mutant, reducers) : null);
    const { name, rule, equivalent = "" } = mutant;
    return { name, rule, killed: by !== null, by: by ?? "nothing", equivalent };
  } finally {
    remove();
  }
}

function byScenario(mutant: Mutant, reducers: Reducers): string | null {
  for (const start of mutant.scenarios) {
    for (const path of scenarioFiles()) {
      const scenario = readScenario(path);
      if (!scenario.name.startsWith(start)) continue;
      const [failure] = runScenario(scenario, reducers, { stopAtFirst: true, world: mutant.world }).failures;
      if (failure !== undefined) return `${scenario.name}, ${failure}`;
    }
  }
  return null;
}

function bySeed(mutant: Mutant, reducers: Reducers): string | null {
  if (mutant.seeds === undefined) return null;
  const { mode, count, from = 1 } = mutant.seeds;
  for (let seed = from; seed < from + count; seed++) {
    const { violation } = runPlan(generate(seed, mode), reducers, { world: mutant.world });
    if (violation !== null) return `${mode} seed ${seed}: ${violation.invariant}: ${violation.what}`;
  }
  return null;
}
