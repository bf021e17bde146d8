/** 50 changes per second: from the acknowledgement at the source until the standby's API server shows them. */
import type { BenchOptions, BenchResult } from "./bench.ts";
import { compareLag, keptUp, lagFigures } from "./compare-lag.ts";
import { median, round } from "./statistics.ts";

export async function bench({ signal }: BenchOptions): Promise<BenchResult> {
  const rounds = await compareLag(
    { bed: { controllers: false }, objectCount: 500, perSecond: 50, seconds: 60, turns: 4 },
    signal,
  );
  const of = (figure: (entry: (typeof rounds)[number]) => number): number => median(rounds.map(figure));
  return {
    ...lagFigures(rounds),
    ratioP99: round(
      of(({ ours, bare }) => ours.p99Ms / bare.p99Ms),
      2,
    ),
    journalP50Ms: round(of(({ journalP50Ms }) => journalP50Ms)),
    journalP99Ms: round(of(({ journalP99Ms }) => journalP99Ms)),
    // A machine that does not take even 50 writes a second from a bare client says nothing about lag.
    valid: rounds.every(keptUp),
  };
}
