/** `npm run sim -- …`: the failover protocol simulated. */
import { basename, join } from "node:path";
import { Command, InvalidArgumentError, Option } from "commander";
import { addReport, rowOf } from "./accumulate.ts";
import { generate } from "./generate.ts";
import { runPlan } from "./history.ts";
import { mutants, sourceFolder } from "./mutants.ts";
import { modes } from "./options.ts";
import type { Mode } from "./options.ts";
import { measureReducers } from "./reducer-speed.ts";
import { loadReducers } from "./reducers.ts";
import { runMutant, scenarioFiles, scenarioFolder } from "./run-mutants.ts";
import type { Verdict } from "./run-mutants.ts";
import { readScenario, runScenario } from "./scenario.ts";
import { runSeeds } from "./seeds.ts";

function whole(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 0) throw new InvalidArgumentError("must be a whole number");
  return value;
}

interface Flags {
  readonly seeds: number;
  readonly from?: number;
  readonly mode?: Mode;
  readonly seed?: number;
  readonly scenario?: string;
  readonly mutants: boolean;
  readonly reducers: boolean;
  readonly accumulate: boolean;
  readonly json: boolean;
}

const program = new Command("npm run sim --")
  .description(
    "Histories of the failover protocol, drawn from seeds or written as scenarios, on the reducers that ship.",
  )
  .argument("[name...]", "with --mutants: only these")
  .option("--seeds <n>", "how many histories, for each mode", whole, 1000)
  .option("--from <seed>", "the first seed", whole)
  .addOption(new Option("--mode <mode>", "how clocks and delays are drawn (default: each in turn)").choices(modes))
  .option("--accumulate", "go on where the committed table ends, and write it", false)
  .option("--scenario <file>", "one scenario, or all of them, with its measured bounds")
  .option("--seed <n>", "one history, with everything that happened", whole)
  .option("--mutants", "the protocol broken one rule at a time", false)
  .option("--reducers", "how fast the reducers are by themselves", false)
  .option("--json", "the result as one line of JSON, last", false)
  .addHelpText("after", "\nExample:\n  npm run sim -- --seeds 5000 --mode extremal\n  npm run sim -- --scenario all")
  .parse();
const values = program.opts<Flags>();
const positionals = program.args;

const print = (line: string): void => {
  process.stdout.write(`${line}\n`);
};

/** Seeds between two writes of the accumulated table: what an interruption can cost. */
const BATCH_COUNT = 500;

const chosen: readonly Mode[] = values.mode === undefined ? modes : modes.filter((mode) => mode === values.mode);

const ok = values.mutants ? await showMutants() : await showHistories();
process.exitCode = ok ? 0 : 1;

async function showHistories(): Promise<boolean> {
  if (values.reducers) return showSpeed();
  if (values.scenario !== undefined) return showScenarios(values.scenario);
  if (values.seed !== undefined) return showSeed(values.seed);
  return showSeeds();
}

async function showSpeed(): Promise<boolean> {
  print(JSON.stringify(measureReducers(await loadReducers(sourceFolder), () => performance.now())));
  return true;
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
    let from = values.from === undefined ? (values.accumulate ? rowOf(mode).nextSeed : 1) : values.from;
    let left = values.seeds;
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
    const verdict = await runMutant(mutant, "full");
    verdicts.push(verdict);
    const fate = verdict.killed ? "killed" : verdict.equivalent === "" ? "ALIVE" : "equivalent";
    const why = verdict.killed ? `by ${verdict.by}` : verdict.equivalent;
    if (!values.json) print(`${fate.padEnd(10)} ${verdict.name} [${verdict.rule}]: ${why}`);
  }
  if (values.json) print(JSON.stringify(verdicts));
  return verdicts.every(({ killed, equivalent }) => killed === (equivalent === ""));
}
