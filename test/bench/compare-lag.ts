/** Lag of Lifeboat and of a bare loop, on the same pair of API servers, one after the other. */
import { linkedAbort } from "../../src/abort.ts";
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
import type { LagResult } from "./lagmeter.ts";
import { namespaceNames } from "./objects.ts";
import { median, percentile, round } from "./statistics.ts";
import { pidOf, rssMiB } from "./usage.ts";

export interface Load {
  readonly bed: BedOptions;
  readonly objectCount: number;
  readonly perSecond: number;
  readonly seconds: number;
}

export interface Side {
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly drainMs: number;
}

export interface LagRound {
  readonly bare: Side;
  readonly ours: Side;
  readonly journalP50Ms: number;
  readonly journalP99Ms: number;
  /** Resident memory after the load less that before, by site. */
  readonly rssGrowthMiB: { readonly east: number; readonly west: number };
}

const syncLimitMs = 60_000;
const namespaceCount = 5;

/** Each round on a bed of its own: the bare loop first, while no agent runs; then ours. */
export async function compareLag(load: Load, signal: AbortSignal): Promise<LagRound[]> {
  const rounds: LagRound[] = [];
  for (let at = 1; at <= roundCount; at++) {
    const result = await withBed(load.bed, signal, async (bed) => oneRound(bed, load, signal));
    say(`round ${at}: bare ${describe(result.bare)}; ours ${describe(result.ours)}`);
    rounds.push(result);
  }
  return rounds;
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

function sideOf({ lagsMs, drainMs, unseen, writtenPerS }: LagResult, wantedPerS: number): Side {
  if (unseen > 0) say(`${unseen} writes were never seen`);
  if (writtenPerS < wantedPerS * 0.98)
    say(`only ${round(writtenPerS, 0)} of ${wantedPerS} writes per second were made`);
  return { p50Ms: percentile(lagsMs, 0.5), p99Ms: percentile(lagsMs, 0.99), drainMs };
}

async function oneRound(bed: Bed, load: Load, signal: AbortSignal): Promise<LagRound> {
  const from = bed.site("east").kubeconfigPath;
  const to = bed.site("west").kubeconfigPath;
  const measure = { from, to, perSecond: load.perSecond, seconds: load.seconds, signal };
  await Promise.all([warmUp(from, signal), warmUp(to, signal)]);
  const pair = await preparePair(bed, { logLevel: "warn", signal });
  try {
    const bareNamespaces = namespaceNames("bare", namespaceCount);
    const bareMaps = places(bareNamespaces, load.objectCount);
    for (const [site, path] of [
      ["east", from],
      ["west", to],
    ] as const) {
      await createNamespaces(pair.client(site), bareNamespaces, { signal });
      await createPlaces(path, bareMaps, signal);
    }
    const bare = await withBareLoop({ from, to, namespaces: bareNamespaces }, async () =>
      measureLag({ ...measure, places: bareMaps }),
    );
    return { bare: sideOf(bare, load.perSecond), ...(await ourHalf(pair, load, measure, signal)) };
  } finally {
    await pair.stop();
  }
}

async function ourHalf(
  pair: Pair,
  load: Load,
  measure: { from: string; to: string; perSecond: number; seconds: number; signal: AbortSignal },
  signal: AbortSignal,
): Promise<Omit<LagRound, "bare">> {
  const ourNamespaces = namespaceNames("ours", namespaceCount);
  const ourMaps = places(ourNamespaces, load.objectCount);
  await createNamespaces(pair.client("east"), ourNamespaces, { signal });
  await createPlaces(measure.from, ourMaps, signal);
  await Promise.all([pair.startWitness(), pair.startAgent("east"), pair.startAgent("west")]);
  await pair.applyGroup("east", "bench", plainGroup(ourNamespaces), signal);
  await pair.waitSynced("east", "bench", { limitMs: syncLimitMs, signal });
  const pids = { east: await pidOf(pair.bed, "east/agent"), west: await pidOf(pair.bed, "west/agent") };
  const sampling = linkedAbort(signal);
  const sampled = sampleLag(pair, { site: "east", group: "bench", signal: sampling.signal });
  const rssBefore = { east: await rssMiB(pids.east), west: await rssMiB(pids.west) };
  const ours = await measureLag({ ...measure, places: ourMaps });
  const rssAfter = { east: await rssMiB(pids.east), west: await rssMiB(pids.west) };
  sampling.abort(new Error("sampled"));
  const { journalMs } = await sampled;
  return {
    ours: sideOf(ours, load.perSecond),
    journalP50Ms: journalMs.p50 ?? Number.NaN,
    journalP99Ms: journalMs.p99 ?? Number.NaN,
    rssGrowthMiB: { east: rssAfter.east - rssBefore.east, west: rssAfter.west - rssBefore.west },
  };
}
