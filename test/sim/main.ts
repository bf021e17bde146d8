/**
 * `npm run sim -- …`: the failover protocol simulated.
 *
 *     --seeds N [--from S] [--mode uniform|extremal|frozen]   histories drawn from seeds
 *     --accumulate        go on where the committed table ends, and write it
 *     --scenario FILE|all one scenario (or all), with its measured bounds
 *     --seed N --log      one history with everything that happened
 *     --mutants [NAME]    the protocol broken one rule at a time
 *     --json              the result as one line of JSON, last
 */
import { basename, join } from "node:path";
import { parseArgs } from "node:util";
import { addReport, rowOf } from "./accumulate.ts";
import { generate } from "./generate.ts";
import { runPlan } from "./history.ts";
import { mutants, sourceFolder } from "./mutants.ts";
import { modes } from "./options.ts";
import type { Mode } from "./options.ts";
import { loadReducers } from "./reducers.ts";
import { runMutant, scenarioFiles, scenarioFolder } from "./run-mutants.ts";
import type { Verdict } from "./run-mutants.ts";
import { readScenario, runScenario } from "./scenario.ts";
import { runSeeds } from "./seeds.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seeds: { type: "string", default: "1000" },
    from: { type: "string" },
    mode: { type: "string" },
    seed: { type: "string" },
    scenario: { type: "string" },
    mutants: { type: "boolean", default: false },
    accumulate: { type: "boolean", default: false },
    log: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
  },
});

const print = (line: string): void => {
  process.stdout.write(`${line}\n`);
};

/** Seeds between two writes of the accumulated table: what an interruption can cost. */
const BATCH_COUNT = 500;

const chosen: readonly Mode[] = values.mode === undefined ? modes : modes.filter((mode) => mode === values.mode);
if (chosen.length === 0) throw new Error(`--mode must be one of ${modes.join(", ")}`);

const ok = values.mutants ? await showMutants() : await showHistories();
process.exitCode = ok ? 0 : 1;

async function showHistories(): Promise<boolean> {
  if (values.scenario !== undefined) return showScenarios(values.scenario);
  if (values.seed !== undefined) return showSeed(Number(values.seed));
  return showSeeds();
}

async function showSeed(seed: number): Promise<boolean> {
  const reducers = await loadReducers(sourceFolder);
  const outcome = runPlan(generate(seed, chosen[0] ?? "uniform"), reducers, { logging: true });
  for (const line of outcome.log) print(line);
  return outcome.violation === null;
}

async function showSeeds(): Promise<boolean> {
  const reducers = await loadReducers(sourceFolder);
  const results: unknown[] = [];
  let clean = true;
  for (const mode of chosen) {
    let from = values.from === undefined ? (values.accumulate ? rowOf(mode).nextSeed : 1) : Number(values.from);
    let left = Number(values.seeds);
    while (left > 0) {
      const count = values.accumulate ? Math.min(left, BATCH_COUNT) : left;
      const report = runSeeds(reducers, mode, from, count, () => performance.now());
      clean &&= report.violations === 0;
      for (const failure of report.failures) {
        print(`seed ${failure.seed} (${mode}) breaks ${failure.invariant}: ${failure.what}`);
        print(failure.scenario);
      }
      const { met: _met, failures: _failures, ...shown } = report;
      if (values.accumulate) addReport(report);
      if (!values.json) print(JSON.stringify(shown));
      results.push(shown);
      from += count;
      left -= count;
    }
  }
  if (values.json) print(JSON.stringify(results.length === 1 ? results[0] : results));
  return clean;
}

async function showScenarios(which: string): Promise<boolean> {
  const reducers = await loadReducers(sourceFolder);
  const named = positionals.length > 0 ? [which, ...positionals] : [which];
  const paths =
    which === "all"
      ? scenarioFiles()
      : named.map((name) => (name.includes("/") ? name : join(scenarioFolder, `${basename(name, ".txt")}.txt`)));
  const results = paths.map((path) => runScenario(readScenario(path), reducers));
  for (const { name, runs, failures, measured } of values.json ? [] : results) {
    const figures = measured.map(({ line, p50, max }) => `${line}: ${p50.toFixed(1)}/${max.toFixed(1)} s`);
    print(`${failures.length === 0 ? "ok  " : "FAIL"} ${name} (${runs} runs) ${figures.join("; ")}`);
    for (const failure of failures.slice(0, 3)) print(`       ${failure}`);
  }
  if (values.json) print(JSON.stringify(results));
  return results.every(({ failures }) => failures.length === 0);
}

async function showMutants(): Promise<boolean> {
  const wanted = mutants.filter(({ name }) => positionals.every((word) => name.includes(word)));
  const verdicts: Verdict[] = [];
  for (const mutant of wanted) {
    const verdict = await runMutant(mutant, true);
    verdicts.push(verdict);
    const fate = verdict.killed ? "killed" : verdict.equivalent === "" ? "ALIVE" : "same";
    const why = verdict.killed ? `by ${verdict.by}` : verdict.equivalent;
    if (!values.json) print(`${fate.padEnd(7)} ${verdict.name} [${verdict.rule}]: ${why}`);
  }
  if (values.json) print(JSON.stringify(verdicts));
  return verdicts.every(({ killed, equivalent }) => killed === (equivalent === ""));
}
