/** Lag as the source's agent measures it with its canary, on its own clock. */
import { setTimeout as delay } from "node:timers/promises";
import type { GroupStatus } from "../../src/config/group.ts";
import { percentile } from "../bench/statistics.ts";
import type { Pair } from "./pair.ts";

/** A canary goes once a second, and status is written at most twice a second. */
const sampleEveryMs = 500;

/** Milliseconds; `null` when nothing was measured. */
export interface LagFigures {
  readonly p50: number | null;
  readonly p99: number | null;
}

export interface LagReport {
  readonly journalMs: LagFigures;
  readonly applyMs: LagFigures;
}

export type Lag = NonNullable<GroupStatus["lag"]>;

/**
 * Collects each lag that the source's status shows until `signal` aborts. The histograms of /metrics hold the same
 * measurements, but buckets wide enough for alerts say little about milliseconds.
 */
export async function sampleLag(
  pair: Pair,
  {
    site,
    group,
    onSample,
    signal,
  }: {
    readonly site: string;
    readonly group: string;
    readonly onSample?: (lag: Lag) => void;
    readonly signal: AbortSignal;
  },
): Promise<LagReport> {
  const journal: number[] = [];
  const apply: number[] = [];
  while (!signal.aborted) {
    const lag = await pair.status(site, group, signal).then(
      (status) => status.lag,
      () => undefined,
    );
    if (lag?.journalMs !== undefined) journal.push(lag.journalMs);
    if (lag?.applyMs !== undefined) apply.push(lag.applyMs);
    if (lag !== undefined) onSample?.(lag);
    await delay(sampleEveryMs, undefined, { signal }).catch(() => undefined);
  }
  return { journalMs: figuresOf(journal), applyMs: figuresOf(apply) };
}

function figuresOf(samples: readonly number[]): LagFigures {
  if (samples.length === 0) return { p50: null, p99: null };
  return { p50: percentile(samples, 0.5), p99: percentile(samples, 0.99) };
}
