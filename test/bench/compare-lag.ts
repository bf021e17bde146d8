/** Lag of Lifeboat and of a bare loop, on the same pair of API servers, one after the other. */
import { linkedAbort } from "../../src/abort.ts";
import { LifeboatError } from "../../src/errors.ts";
import type { BedOptions } from "../bed/options.ts";
import type { Bed } from "../bed/running.ts";
import { sampleLag } from "../pair/figures.ts";
import { preparePair } from "../pair/pair.ts";
import type { Pair } from "../pair/pair.ts";
import { withBareLoop } from "./bare/process.ts";
import { createNamespaces } from "./bare/writer.ts";
import { plainGroup, warmUp, withBed } from "./beds.ts";
import { roundCount, say } from "./bench.ts";
import { createPlaces, measureLag, places } from "./lagmeter.ts";
import type { LagOptions, LagResult, Place } from "./lagmeter.ts";
import { namespaceNames } from "./objects.ts";
import { median, percentile, round } from "./statistics.ts";
import { limitCores, pidOf, rssMiB } from "./usage.ts";

export interface Load {
  readonly bed: BedOptions;
  readonly objectCount: number;
  readonly perSecond: number;
  readonly seconds: number;
  /**
   * The standby's control plane has no more than this of the processors, and the rate is lowered to what the source's
   * takes: it is the standby that falls behind, not the writer, and by as much with the bare loop as with ours. Needs
   * root. @default no limit
   */
  readonly standbyCores?: number;
  /** The time of each side is cut into so many parts, which take turns. */
  readonly turns: number;
}

export interface Side {
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly drainMs: number;
  /** What the writer really made. */
  readonly writtenPerS: number;
  /** Writes that were not seen when the time for that was up; they count with their age then. */
  readonly unseen: number;
}

export interface LagRound {
  readonly bare: Side;
  readonly ours: Side;
  /** Changes per second that were asked for. */
  readonly perSecond: number;
  readonly journalP50Ms: number;
  readonly journalP99Ms: number;
  /** Resident memory after the load less that before, by site. */
  readonly rssGrowthMiB: { readonly east: number; readonly west: number };
}

const syncLimitMs = 60_000;
const namespaceCount = 5;
/** A writer that makes so much of what it was asked for keeps up. */
const keptUpShare = 0.95;
const triesMaxCount = 4;
const trySeconds = 5;
const tryDrainMs = 20_000;

/** Each round on a bed of its own, with the bare loop and ours on objects of their own. */
export async function compareLag(load: Load, signal: AbortSignal): Promise<LagRound[]> {
  const rounds: LagRound[] = [];
  for (let at = 1; at <= roundCount; at++) {
    const result = await withBed(load.bed, signal, async (bed) => oneRound(bed, load, signal));
    say(`round ${at}: bare ${describe(result.bare)}; ours ${describe(result.ours)}`);
    rounds.push(result);
  }
  return rounds;
}

/** Whether the writer made what it was asked for on both sides. */
export function keptUp({ bare, ours, perSecond }: LagRound): boolean {
  return Math.min(bare.writtenPerS, ours.writtenPerS) >= perSecond * keptUpShare;
}

function describe({ p50Ms, p99Ms, drainMs }: Side): string {
  return `p50 ${round(p50Ms)} ms, p99 ${round(p99Ms)} ms, drained after ${round(drainMs, 0)} ms`;
}

/** The figures that both benches print. */
export function lagFigures(rounds: readonly LagRound[]): Record<string, number> {
  const of = (figure: (entry: LagRound) => number): number => round(median(rounds.map(figure)));
  return {
    oursP50Ms: of(({ ours }) => ours.p50Ms),
    oursP99Ms: of(({ ours }) => ours.p99Ms),
    bareP50Ms: of(({ bare }) => bare.p50Ms),
    bareP99Ms: of(({ bare }) => bare.p99Ms),
  };
}

function sideOf(results: readonly LagResult[], wantedPerS: number): Side {
  const lagsMs = results.flatMap((result) => result.lagsMs);
  const unseen = results.reduce((sum, result) => sum + result.unseen, 0);
  const writtenPerS = Math.min(...results.map((result) => result.writtenPerS));
  if (unseen > 0) say(`${unseen} writes were not seen in time`);
  if (writtenPerS < wantedPerS * keptUpShare)
    say(`only ${round(writtenPerS, 0)} of ${wantedPerS} writes per second were made`);
  const drainMs = Math.max(...results.map((result) => result.drainMs));
  return { p50Ms: percentile(lagsMs, 0.5), p99Ms: percentile(lagsMs, 0.99), drainMs, writtenPerS, unseen };
}

async function oneRound(bed: Bed, load: Load, signal: AbortSignal): Promise<LagRound> {
  const from = bed.site("east").kubeconfigPath;
  const to = bed.site("west").kubeconfigPath;
  await Promise.all([warmUp(from, signal), warmUp(to, signal)]);
  const pair = await preparePair(bed, { logLevel: "warn", signal });
  try {
    const bare = await prepareBare(pair, load, signal);
    const ours = await prepareOurs(pair, load, signal);
    if (load.standbyCores !== undefined) {
      await limitCores(bed, "west", ["etcd", "kube-apiserver", "kube-controller-manager"], load.standbyCores);
    }
    const run = { from, to, seconds: load.seconds / load.turns, signal };
    const perSecond = load.standbyCores !== undefined ? await sustainable(bare, load, run) : load.perSecond;
    const sampling = linkedAbort(signal);
    const sampled = sampleLag(pair, { site: "east", group: "bench", signal: sampling.signal });
    const before = await memory(bed);
    // At a lower rate fewer of them, so that each changes as often.
    const share = perSecond / load.perSecond;
    const turn = { bare: bare.slice(0, load.objectCount * share), ours: ours.slice(0, load.objectCount * share) };
    const found = await takeTurns(turn, perSecond, load, run);
    const after = await memory(bed);
    sampling.abort(new Error("sampled"));
    const { journalMs } = await sampled;
    return {
      bare: sideOf(found.bare, perSecond),
      ours: sideOf(found.ours, perSecond),
      perSecond,
      journalP50Ms: journalMs.p50 ?? Number.NaN,
      journalP99Ms: journalMs.p99 ?? Number.NaN,
      rssGrowthMiB: { east: after.east - before.east, west: after.west - before.west },
    };
  } finally {
    await pair.stop();
  }
}

/** Objects of the bare loop, at both sites. */
async function prepareBare(pair: Pair, load: Load, signal: AbortSignal): Promise<Place[]> {
  const namespaces = namespaceNames("bare", namespaceCount);
  const all = places(namespaces, load.objectCount);
  for (const site of ["east", "west"]) {
    await createNamespaces(pair.client(site), namespaces, { signal });
    await createPlaces(pair.bed.site(site).kubeconfigPath, all, signal);
  }
  return all;
}

/** Objects of ours, at the source, protected and at the standby. */
async function prepareOurs(pair: Pair, load: Load, signal: AbortSignal): Promise<Place[]> {
  const namespaces = namespaceNames("ours", namespaceCount);
  const all = places(namespaces, load.objectCount);
  await createNamespaces(pair.client("east"), namespaces, { signal });
  await createPlaces(pair.bed.site("east").kubeconfigPath, all, signal);
  await Promise.all([pair.startWitness(), pair.startAgent("east"), pair.startAgent("west")]);
  await pair.applyGroup("east", "bench", plainGroup(namespaces), signal);
  await pair.waitSynced("east", "bench", { limitMs: syncLimitMs, signal });
  return all;
}

type Turn = Record<"bare" | "ours", readonly Place[]>;
type Run = Pick<LagOptions, "from" | "to" | "seconds" | "signal">;

/** The rate that the source's API server takes while the bare loop runs, at most the one that is asked for. */
async function sustainable(places: readonly Place[], load: Load, run: Run): Promise<number> {
  let perSecond = load.perSecond;
  for (let nth = 0; nth < triesMaxCount; nth++) {
    const firstSeq = 1 + nth * load.perSecond * trySeconds;
    const attempt = { ...run, places, perSecond, firstSeq, seconds: trySeconds, drainLimitMs: tryDrainMs };
    const { writtenPerS } = await withLoop(places, run, async () => measureLag(attempt));
    if (writtenPerS >= perSecond * keptUpShare) return perSecond;
    say(`only ${round(writtenPerS, 0)} of ${perSecond} writes per second were made: trying less`);
    perSecond = Math.max(10, Math.floor((writtenPerS * 0.9) / 10) * 10);
  }
  throw new LifeboatError("Timeout", `the source's API server does not take even ${perSecond} writes per second`, {
    hint: "something else keeps this machine busy",
  });
}

/** Numbers of the tries are below those that count. */
function firstCountedSeq({ perSecond, standbyCores }: Load): number {
  return standbyCores !== undefined ? 1 + triesMaxCount * perSecond * trySeconds : 1;
}

async function withLoop<T>(places: readonly Place[], { from, to }: Run, work: () => Promise<T>): Promise<T> {
  return withBareLoop({ from, to, namespaces: namespacesOf(places) }, work);
}

/** One after the other, so that neither has the other's load; in short turns, so that both have the same machine. */
async function takeTurns(
  turn: Turn,
  perSecond: number,
  load: Load,
  run: Run,
): Promise<Record<"bare" | "ours", LagResult[]>> {
  const found: Record<"bare" | "ours", LagResult[]> = { bare: [], ours: [] };
  const one = async (side: "bare" | "ours", nth: number): Promise<void> => {
    const firstSeq = firstCountedSeq(load) + nth * load.perSecond * run.seconds;
    found[side].push(await measureLag({ ...run, places: turn[side], perSecond, firstSeq }));
  };
  // A loop that has fallen behind ends with its turn, so that what it still has to do is not in ours.
  if (load.turns === 1) {
    await withLoop(turn.bare, run, async () => one("bare", 0));
    await one("ours", 0);
    return found;
  }
  await withLoop(turn.bare, run, async () => {
    for (let nth = 0; nth < load.turns; nth++) for (const side of ["bare", "ours"] as const) await one(side, nth);
  });
  return found;
}

function namespacesOf(all: readonly Place[]): string[] {
  return [...new Set(all.map(({ namespace }) => namespace))];
}

async function memory(bed: Bed): Promise<{ east: number; west: number }> {
  return { east: await rssMiB(await pidOf(bed, "east/agent")), west: await rssMiB(await pidOf(bed, "west/agent")) };
}
