/**
 * 200 changes per second over 500 objects while controllers run, at a standby that can take about a third of them one by
 * one, so that what is newer must replace what waits. Where the source's API server does not take that many, the rate
 * is the highest that it does take, and the result says so.
 */
import type { BenchOptions, BenchResult } from "./bench.ts";
import { compareLag, keptUp, lagFigures } from "./compare-lag.ts";
import { median, round } from "./statistics.ts";

const askedPerSecond = 200;
/** Of the standby's etcd, API server and controllers together: a write of theirs costs some 3 ms. */
const standbyCores = 0.3;
/** An agent that holds what it cannot apply yet grows by more than this. */
const flatMiB = 32;
/** A loop whose 99th percentile is below this keeps up: then there is nothing to coalesce, and nothing to compare. */
const behindMs = 2_000;

export async function bench({ signal }: BenchOptions): Promise<BenchResult> {
  const rounds = await compareLag(
    {
      bed: { controllers: true },
      objectCount: 500,
      perSecond: askedPerSecond,
      seconds: 60,
      turns: 1,
      standbyCores,
    },
    signal,
  );
  const of = (figure: (entry: (typeof rounds)[number]) => number): number => median(rounds.map(figure));
  const whole = (figure: (entry: (typeof rounds)[number]) => number): number => round(of(figure), 0);
  const sourceRssGrowthMiB = round(of(({ rssGrowthMiB }) => rssGrowthMiB.east));
  const standbyRssGrowthMiB = round(of(({ rssGrowthMiB }) => rssGrowthMiB.west));
  const doubts = [
    ...(rounds.every(keptUp) ? [] : ["the writer did not keep up with its own rate"]),
    ...(of(({ bare }) => bare.p99Ms) >= behindMs ? [] : ["the bare loop kept up"]),
    ...(Math.max(sourceRssGrowthMiB, standbyRssGrowthMiB) <= flatMiB ? [] : ["an agent's memory grew with the load"]),
  ];
  return {
    ...lagFigures(rounds),
    ratioP99: round(
      of(({ ours, bare }) => ours.p99Ms / bare.p99Ms),
      3,
    ),
    drainMs: whole(({ ours }) => ours.drainMs),
    bareDrainMs: whole(({ bare }) => bare.drainMs),
    askedPerSecond,
    perSecond: whole(({ perSecond }) => perSecond),
    oursWrittenPerS: whole(({ ours }) => ours.writtenPerS),
    bareWrittenPerS: whole(({ bare }) => bare.writtenPerS),
    bareUnseen: whole(({ bare }) => bare.unseen),
    standbyCores,
    sourceRssGrowthMiB,
    standbyRssGrowthMiB,
    valid: doubts.length === 0,
    doubts,
  };
}
