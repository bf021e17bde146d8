/**
 * 200 changes per second over 500 objects while controllers run: more than two busy cores can apply one by one, so
 * that what is newer must replace what waits.
 */
import type { BenchOptions, BenchResult } from "./bench.ts";
import { compareLag, lagFigures } from "./compare-lag.ts";
import { median, round } from "./statistics.ts";

export async function bench({ signal }: BenchOptions): Promise<BenchResult> {
  const rounds = await compareLag(
    { bed: { controllers: true }, objectCount: 500, perSecond: 200, seconds: 60, turns: 1 },
    signal,
  );
  const of = (figure: (entry: (typeof rounds)[number]) => number): number => median(rounds.map(figure));
  return {
    ...lagFigures(rounds),
    ratioP99: round(
      of(({ ours, bare }) => ours.p99Ms / bare.p99Ms),
      3,
    ),
    drainMs: round(
      of(({ ours }) => ours.drainMs),
      0,
    ),
    bareDrainMs: round(
      of(({ bare }) => bare.drainMs),
      0,
    ),
    sourceRssGrowthMiB: round(of(({ rssGrowthMiB }) => rssGrowthMiB.east)),
    standbyRssGrowthMiB: round(of(({ rssGrowthMiB }) => rssGrowthMiB.west)),
  };
}
