/** `npm run chaos -- [--scenario NAME] [--rounds N] [--profile test|fast] [--without-guards] [--accumulate] [--json]` */
import { Command, InvalidArgumentError, Option } from "commander";
import { LifeboatError, messageOf } from "../../src/errors.ts";
import { randomFrom } from "../random.ts";
import { keep, readRows, tableOf } from "./results.ts";
import { runRound, type RoundResult } from "./round.ts";
import { drawnName, type Scenario } from "./scenario.ts";
import { doubleFault, scenarios, sets } from "./scenarios.ts";
import { Stage } from "./stage.ts";

interface Flags {
  readonly scenario: readonly string[];
  readonly rounds: number;
  readonly doubles: number;
  readonly seed: number;
  readonly profile: "test" | "fast";
  readonly guards: boolean;
  readonly accumulate: boolean;
  readonly json: boolean;
}

const interrupted = new AbortController();
let interruptions = 0;
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.on(signal, () => {
    interruptions += 1;
    if (interruptions > 1) process.exit(130);
    interrupted.abort(new Error("interrupted"));
  });
}

function chosen(names: readonly string[]): Scenario[] {
  return names.flatMap((name) => {
    const found = sets[name] ?? scenarios.filter((scenario) => scenario.name === name);
    if (found.length === 0) {
      throw new LifeboatError("NotFound", `there is no scenario ${name}`, { hint: "`npm run chaos -- --list`" });
    }
    return [...found];
  });
}

async function run(flags: Flags): Promise<number> {
  const say = (line: string): void => void (flags.json ? process.stderr : process.stdout).write(`${line}\n`);
  const random = randomFrom(flags.seed);
  const doubles = Array.from({ length: flags.doubles }, () => doubleFault(random));
  const list = [...Array.from({ length: flags.rounds }, () => chosen(flags.scenario)).flat(), ...doubles];
  const { profile, guards } = flags;
  say(`${list.length} rounds, profile ${profile}, ${guards ? "with" : "without"} guards, seed ${flags.seed}`);
  const results: RoundResult[] = [];
  let stage: Stage | undefined;
  try {
    stage = await Stage.start({ profile, guards, signal: interrupted.signal, report: say });
    for (const scenario of list) {
      const result = await runRound(stage, scenario);
      results.push(result);
      if (flags.accumulate) await keep(result);
      say(`${results.length}/${list.length} ${lineOf(result)}`);
      if (result.problems.length > 0) say(`    ${await stage.keepLogs()}`);
    }
  } catch (error) {
    if (!interrupted.signal.aborted) throw error;
    process.stderr.write("interrupted: cleaning up; the rounds that are over count\n");
  } finally {
    await stage?.stop();
  }
  const failed = results.filter(({ problems }) => problems.length > 0);
  say(`${results.length - failed.length} as expected, ${failed.length} not`);
  if (flags.json) process.stdout.write(`${JSON.stringify({ rounds: results })}\n`);
  return failed.length > 0 || results.length < list.length ? 1 : 0;
}

function lineOf({ scenario, what, overlapMs, gapMs, startMs, lost, problems }: RoundResult): string {
  const moved = startMs === null ? "" : `, started after ${startMs} ms, gap ${gapMs} ms, lost ${lost}`;
  const name = scenario === drawnName ? `${scenario} (${what})` : scenario;
  return `${name}: overlap ${overlapMs} ms${moved}${problems.map((problem) => `\n    NOT AS EXPECTED: ${problem}`).join("")}`;
}

function whole(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 0) throw new InvalidArgumentError("must be a whole number");
  return value;
}

const program = new Command("npm run chaos --")
  .description("Faults on two real clusters, with pods that say when they run; needs root.")
  .option("--scenario <name...>", "scenarios, or all, cases, points", ["cases"])
  .option("--rounds <n>", "how often each", whole, 1)
  .option("--doubles <n>", "rounds of two faults at once, drawn from the seed", whole, 0)
  .option("--seed <n>", "of the double faults", whole, Date.now() % 1_000_000)
  .addOption(new Option("--profile <name>", "timing of the protocol").choices(["test", "fast"]).default("test"))
  .option("--without-guards", "the control: nothing stops pods but the API server")
  .option("--accumulate", "add the results to test/chaos/results.json", false)
  .option("--table", "print the accumulated results as a table, and run nothing")
  .option("--list", "print the scenarios, and run nothing")
  .option("--json", "print the results as JSON in the last line of stdout", false)
  .addHelpText("after", "\nExample:\n  npm run chaos -- --scenario primary-dead switchover --rounds 3")
  .action(async (flags: Flags & { table?: boolean; list?: boolean; withoutGuards?: boolean }) => {
    if (flags.list === true) {
      for (const { name, what } of scenarios) process.stdout.write(`${name.padEnd(44)} ${what}\n`);
    } else if (flags.table === true) process.stdout.write(`${tableOf(await readRows())}\n`);
    else process.exitCode = await run({ ...flags, guards: flags.withoutGuards !== true });
  });

try {
  await program.parseAsync();
} catch (error) {
  process.stderr.write(`${messageOf(error)}\n`);
  if (error instanceof LifeboatError && error.hint !== undefined) process.stderr.write(`Hint: ${error.hint}\n`);
  process.exitCode = 1;
}
