/** Kills mutants: their own scenarios first, then seeds. Those that are held to be equivalent meet everything there is. */
import { readdirSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { generate } from "./generate.ts";
import { runPlan } from "./history.ts";
import { loadMutant } from "./mutants.ts";
import type { Mutant } from "./mutants.ts";
import { modes } from "./options.ts";
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

/** What an equivalent mutant meets: more of it than a test has time for when `full`. */
export type Effort = "short" | "full";

/** Per mode; its own scenarios are run whole when there is time. */
const OWN_RUNS = { short: 20, full: Infinity };
const OTHER_RUNS = 3;
/** Per mode. */
const SHOWN_SEEDS = { short: 30, full: 300 };

export async function runMutant(mutant: Mutant, effort: Effort): Promise<Verdict> {
  const { reducers, remove } = await loadMutant(mutant);
  try {
    const by = mutant.equivalent === undefined ? kill(mutant, reducers, effort) : show(mutant, reducers, effort);
    const { name, rule, equivalent = "" } = mutant;
    return { name, rule, killed: by !== null, by: by ?? "nothing", equivalent };
  } finally {
    remove();
  }
}

function kill(mutant: Mutant, reducers: Reducers, effort: Effort): string | null {
  const { seeds } = mutant;
  const by = byScenarios(mutant, reducers, ownScenarios(mutant), Infinity);
  if (by !== null || effort === "short" || seeds === undefined) return by;
  return bySeed(mutant, reducers, seeds);
}

/** That a mutant is equivalent cannot be proven here; that it is not can be seen. */
function show(mutant: Mutant, reducers: Reducers, effort: Effort): string | null {
  const own = ownScenarios(mutant);
  const by = byScenarios(mutant, reducers, own, OWN_RUNS[effort]);
  if (by !== null) return by;
  if (effort === "full") {
    const others = scenarioFiles().filter((path) => !own.includes(path));
    const other = byScenarios(mutant, reducers, others, OTHER_RUNS);
    if (other !== null) return other;
  }
  for (const mode of modes) {
    const seed = bySeed(mutant, reducers, { mode, count: SHOWN_SEEDS[effort] });
    if (seed !== null) return seed;
  }
  return null;
}

/** In the order in which the mutant names them. */
function ownScenarios({ scenarios }: Mutant): string[] {
  return scenarios.flatMap((start) => scenarioFiles().filter((path) => basename(path).startsWith(start)));
}

function byScenarios(mutant: Mutant, reducers: Reducers, paths: readonly string[], runs: number): string | null {
  for (const path of paths) {
    const scenario = readScenario(path);
    const [failure] = runScenario(scenario, reducers, { stopAtFirst: true, world: mutant.world, runs }).failures;
    if (failure !== undefined) return `${scenario.name}, ${failure}`;
  }
  return null;
}

function bySeed(mutant: Mutant, reducers: Reducers, seeds: NonNullable<Mutant["seeds"]>): string | null {
  const { mode, count, from = 1 } = seeds;
  for (let seed = from; seed < from + count; seed++) {
    const { violation } = runPlan(generate(seed, mode), reducers, { world: mutant.world });
    if (violation !== null) return `${mode} seed ${seed}: ${violation.invariant}: ${violation.what}`;
  }
  return null;
}
