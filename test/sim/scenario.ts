/**
 * Scenarios as text: what happens when, and what must then be seen. One interpreter for all of them.
 *
 *     # Comment; the first one is the title.
 *     profile fast                    one of the timing profiles (default test)
 *     modes uniform extremal          each is run (default: both)
 *     runs 40                         seeds per mode (default 20)
 *     option fenceCap api             one of the world's options
 *     at 30..34 site-off east for 600 at a moment drawn from this range of seconds: a fault, see {@link parseFault}
 *     at +2 cut east>west for 60      this long after the one before
 *     until 120                       end of the history
 *     expect west starts within 31    after the last fault before this line; the p50 and maximum are reported
 *     expect east stops within 20
 *     expect east runs throughout     from the last fault to the end, at every moment
 *     expect east runs at end         or: nobody runs at end, west runs at end
 *     expect nobody starts            no site that did not run starts after the last fault
 *     expect takeovers 0
 *     expect releases 1               groups that have ended at the site that ran them
 *     expect east says Veto at end    the code of its last refusal, or the type of its phase; nothing: it knows no group
 *     expect order refused StaleEpoch the last answer to an order; or: order ok
 */
import { readFileSync } from "node:fs";
import type { Entry, Fault } from "./faults.ts";
import { inject } from "./faults.ts";
import { defaultOptions, siteKeys } from "./options.ts";
import type { Mode, SiteKey, WorldOptions } from "./options.ts";
import { Random } from "./random.ts";
import type { Reducers } from "./reducers.ts";
import { parseFault } from "./scenario-fault.ts";
import { World } from "./world.ts";

interface At {
  readonly fromS: number;
  readonly toS: number;
  readonly relative: boolean;
  readonly fault: Fault;
}

type Condition =
  | { readonly type: "starts" | "stops"; readonly site: SiteKey; readonly withinS: number }
  | { readonly type: "throughout"; readonly site: SiteKey }
  | { readonly type: "end"; readonly site: SiteKey | "nobody" }
  | { readonly type: "nobodyStarts" }
  | { readonly type: "takeovers"; readonly count: number }
  | { readonly type: "switchovers"; readonly count: number }
  | { readonly type: "releases"; readonly count: number }
  | { readonly type: "says"; readonly site: SiteKey; readonly code: string }
  | { readonly type: "order"; readonly ok: boolean; readonly code: string };

interface Expectation {
  readonly line: string;
  readonly condition: Condition;
  /** How many `at` lines stand before it. */
  readonly after: number;
}

export interface Scenario {
  readonly name: string;
  readonly title: string;
  readonly options: WorldOptions;
  readonly modes: readonly Mode[];
  readonly runs: number;
  readonly at: readonly At[];
  readonly expect: readonly Expectation[];
  readonly untilS: number;
}

export function readScenario(path: string): Scenario {
  return parseScenario(path.replace(/^.*\//, "").replace(/\.txt$/, ""), readFileSync(path, "utf8"));
}

export function parseScenario(name: string, text: string): Scenario {
  let title = "";
  let options = defaultOptions;
  let modes: readonly Mode[] = ["uniform", "extremal"];
  let runs = 20;
  let untilS = 120;
  const at: At[] = [];
  const expect: Expectation[] = [];
  for (const raw of text.split("\n")) {
    const line = raw.trim();
    if (line === "") continue;
    const [verb = "", ...rest] = line.split(/\s+/);
    const words = rest.join(" ");
    if (verb === "#") title ||= words;
    else if (verb === "profile") options = { ...options, profile: words as WorldOptions["profile"] };
    else if (verb === "modes") modes = rest as Mode[];
    else if (verb === "runs") runs = Number(words);
    else if (verb === "option") options = { ...options, [rest[0] ?? ""]: parseValue(rest[1] ?? "") };
    else if (verb === "until") untilS = Number(words);
    else if (verb === "at") at.push(parseAt(rest));
    else if (verb === "expect") expect.push({ line: words, condition: parseCondition(words), after: at.length });
    else throw new Error(`${name}: cannot read "${line}"`);
  }
  return { name, title, options, modes, runs, at, expect, untilS };
}

function parseValue(text: string): unknown {
  if (text === "true" || text === "false") return text === "true";
  return Number.isNaN(Number(text)) ? text : Number(text);
}

function parseAt(words: readonly string[]): At {
  const [when = "", ...rest] = words;
  const [from = "", to = from] = when.replace("+", "").split("..");
  return { fromS: Number(from), toS: Number(to), relative: when.startsWith("+"), fault: parseFault(rest) };
}

function parseCondition(line: string): Condition {
  const words = line.split(" ");
  const [first = "", second = "", third = "", fourth = ""] = words;
  const site = first as SiteKey;
  if (second === "starts" && third === "within") return { type: "starts", site, withinS: Number(fourth) };
  if (second === "stops" && third === "within") return { type: "stops", site, withinS: Number(fourth) };
  if (second === "runs" && third === "throughout") return { type: "throughout", site };
  if (second === "runs" && third === "at") return { type: "end", site: first as SiteKey | "nobody" };
  if (line === "nobody starts") return { type: "nobodyStarts" };
  if (first === "takeovers") return { type: "takeovers", count: Number(second) };
  if (first === "switchovers") return { type: "switchovers", count: Number(second) };
  if (first === "releases") return { type: "releases", count: Number(second) };
  if (second === "says") return { type: "says", site, code: third };
  if (first === "order") return { type: "order", ok: second === "ok", code: third };
  throw new Error(`cannot read the expectation "${line}"`);
}

export interface ScenarioResult {
  readonly name: string;
  readonly title: string;
  readonly runs: number;
  readonly failures: readonly string[];
  /** Of every `starts` and `stops`, in seconds. */
  readonly measured: readonly { readonly line: string; readonly p50: number; readonly max: number }[];
}

const SAMPLE_MS = 20;

interface Sample {
  readonly t: number;
  readonly east: boolean;
  readonly west: boolean;
}

export interface RunOptions {
  /** For mutants: one failure is enough. */
  readonly stopAtFirst?: boolean;
  /** Breaks something outside the reducers. */
  readonly world?: ((world: World) => void) | undefined;
  /** At most this many seeds per mode. */
  readonly runs?: number;
}

/** Runs every seed of every mode. */
export function runScenario(scenario: Scenario, reducers: Reducers, run: RunOptions = {}): ScenarioResult {
  const failures: string[] = [];
  const gaps = new Map<string, number[]>();
  let runs = 0;
  for (const mode of scenario.modes) {
    for (let seed = 1; seed <= Math.min(scenario.runs, run.runs ?? Infinity); seed++) {
      runs += 1;
      for (const failure of runOnce(scenario, mode, seed, reducers, { gaps, world: run.world }).failures) {
        failures.push(`${mode} seed ${seed}: ${failure}`);
      }
      if (run.stopAtFirst === true && failures.length > 0) break;
    }
  }
  const measured = [...gaps].map(([line, values]) => {
    const sorted = values.toSorted((a, b) => a - b);
    return { line, p50: sorted[Math.floor(sorted.length / 2)] ?? 0, max: sorted.at(-1) ?? 0 };
  });
  return { name: scenario.name, title: scenario.title, runs, failures, measured };
}

/** One seed of a scenario, with its log when asked for. */
export function runOnce(
  scenario: Scenario,
  mode: Mode,
  seed: number,
  reducers: Reducers,
  how: {
    readonly gaps?: Map<string, number[]>;
    readonly logging?: boolean;
    readonly world?: ((world: World) => void) | undefined;
  } = {},
): { failures: readonly string[]; log: readonly string[] } {
  const world = new World({ ...scenario.options, seed, mode }, reducers);
  world.logging = how.logging ?? false;
  how.world?.(world);
  const gaps = how.gaps ?? new Map<string, number[]>();
  const entries = place(scenario.at, seed);
  world.start();
  world.oracle.begin();
  for (const entry of entries) world.at(entry.atMs, () => inject(world, entry.fault));
  const samples: Sample[] = [];
  world.every(SAMPLE_MS, () => {
    const { east, west } = world.sites;
    samples.push({ t: world.t, east: east.isRunning(0), west: west.isRunning(0) });
  });
  world.runTo(scenario.untilS * 1000);
  const [violation] = world.oracle.violations;
  if (violation !== undefined) {
    return {
      failures: [`${violation.invariant} at ${Math.round(violation.atMs)} ms: ${violation.what}`],
      log: world.log,
    };
  }
  const failures: string[] = [];
  for (const { line, condition, after } of scenario.expect) {
    const sinceMs = entries[after - 1]?.atMs ?? 0;
    const failure = judge(world, condition, samples, sinceMs, (gapS) => {
      gaps.set(line, [...(gaps.get(line) ?? []), gapS]);
    });
    if (failure !== null) failures.push(`${line}: ${failure}`);
  }
  return { failures, log: world.log };
}

/** The moments are drawn here, so that they fall anywhere between two heartbeats. */
function place(at: readonly At[], seed: number): Entry[] {
  const random = new Random(seed * 7919);
  let last = 0;
  return at.map(({ fromS, toS, relative, fault }) => {
    const ms = random.between(fromS, toS) * 1000 + (relative ? last : 0);
    last = ms;
    return { atMs: ms, fault };
  });
}

function judge(
  world: World,
  condition: Condition,
  samples: readonly Sample[],
  sinceMs: number,
  measure: (gapS: number) => void,
): string | null {
  const later = samples.filter((sample) => sample.t >= sinceMs);
  const end = later.at(-1);
  switch (condition.type) {
    case "starts":
    case "stops": {
      const found = later.find((sample) => sample[condition.site] === (condition.type === "starts"));
      if (found === undefined) return "it never did";
      const gapS = (found.t - sinceMs) / 1000;
      measure(gapS);
      return gapS <= condition.withinS ? null : `it took ${gapS.toFixed(2)} s`;
    }
    case "throughout": {
      const gap = later.find((sample) => !sample[condition.site]);
      return gap === undefined ? null : `it did not at ${(gap.t / 1000).toFixed(2)} s`;
    }
    case "end": {
      const running = siteKeys.filter((key) => end?.[key] === true).join(" and ") || "nobody";
      return running === condition.site ? null : `${running} runs`;
    }
    case "nobodyStarts": {
      const [first] = later;
      const found = later.find((sample) => siteKeys.some((key) => sample[key] && first?.[key] !== true));
      return found === undefined ? null : `someone did at ${(found.t / 1000).toFixed(2)} s`;
    }
    case "takeovers":
      return compareCount(world.oracle.takeovers, condition.count);
    case "switchovers":
      return compareCount(world.oracle.switchovers, condition.count);
    case "releases":
      return compareCount(world.oracle.releases, condition.count);
    case "says": {
      const state = world.sites[condition.site].leader()?.states[0];
      const said: (string | undefined)[] = state ? [state.phase.type, state.lastRefusal?.code] : ["nothing"];
      return said.includes(condition.code) ? null : `it says ${said.join(", ")}`;
    }
    case "order": {
      const { lastOrder } = world.oracle;
      const fits =
        lastOrder !== null && lastOrder.ok === condition.ok && (condition.ok || lastOrder.code === condition.code);
      return fits ? null : `the answer was ${lastOrder?.code ?? "none"}`;
    }
  }
}

function compareCount(got: number, want: number): string | null {
  return got === want ? null : `there were ${got}`;
}
