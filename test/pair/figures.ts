/** Lag as the source's agent measures it with its canary, on its own clock. */
import type { Pair } from "./pair.ts";
import type { Metrics } from "./metrics.ts";

/** Histogram of the agents, in seconds, labelled with the kind of lag. */
const lagName = "lifeboat_lag_seconds";

/** Milliseconds; `null` when nothing was measured. */
export interface LagFigures {
  readonly p50: number | null;
  readonly p99: number | null;
}

export interface LagScrape {
  readonly journalMs: LagFigures;
  readonly applyMs: LagFigures;
}

export async function lagScrape(pair: Pair, site = "east"): Promise<Metrics> {
  return pair.metrics(site);
}

/** Lag between two scrapes of the source's agent. */
export function lagSince(now: Metrics, before: Metrics): LagScrape {
  const figures = (kind: string): LagFigures => {
    const at = (q: number): number | null => {
      const value = now.quantile(lagName, q, { match: { kind }, since: before });
      return value === undefined ? null : Number((value * 1000).toFixed(1));
    };
    return { p50: at(0.5), p99: at(0.99) };
  };
  return { journalMs: figures("journal"), applyMs: figures("apply") };
}

/** The latest lag for people, from the group's status at the source. */
export async function lagNow(
  pair: Pair,
  group: string,
  signal: AbortSignal,
  site = "east",
): Promise<{ readonly journal: string; readonly apply: string }> {
  const { lag } = await pair.status(site, group, signal);
  const text = (ms: number | undefined): string => (ms === undefined ? "never synced" : `${Math.round(ms)} ms`);
  return { journal: text(lag?.journalMs), apply: text(lag?.applyMs) };
}
