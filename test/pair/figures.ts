/** Lag as the source's agent measures it with its canary, on its own clock. */
import { setTimeout as delay } from "node:timers/promises";
import { percentile } from "../bench/statistics.ts";
import type { Metrics } from "./metrics.ts";
import type { Pair } from "./pair.ts";

/** A canary goes once a second: asked twice as often, the difference of two answers is a single measurement. */
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

/** The latest measurements, in milliseconds; `undefined` before the first. */
export interface Lag {
  readonly journalMs: number | undefined;
  readonly applyMs: number | undefined;
}

/** Single measurements from sum and count of a histogram, whose buckets say little about milliseconds. */
class HistogramReader {
  readonly samples: number[] = [];
  readonly #name: string;
  #before: { readonly sum: number; readonly count: number } | undefined;

  constructor(name: string) {
    this.#name = name;
  }

  read(metrics: Metrics, group: string): void {
    const sum = metrics.value(`${this.#name}_sum`, { group }) ?? 0;
    const count = metrics.value(`${this.#name}_count`, { group }) ?? 0;
    const before = this.#before;
    this.#before = { sum, count };
    if (before === undefined || count <= before.count) return;
    const meanMs = ((sum - before.sum) / (count - before.count)) * 1000;
    for (let nth = before.count; nth < count; nth++) this.samples.push(Math.round(meanMs * 10) / 10);
  }

  figures(): LagFigures {
    if (this.samples.length === 0) return { p50: null, p99: null };
    return { p50: percentile(this.samples, 0.5), p99: percentile(this.samples, 0.99) };
  }
}

/** Collects each lag that the source's agent measures until `signal` aborts. */
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
  const journal = new HistogramReader("lifeboat_journal_lag_seconds");
  const apply = new HistogramReader("lifeboat_apply_lag_seconds");
  while (!signal.aborted) {
    const metrics = await pair.metrics(site).catch(() => undefined);
    if (metrics !== undefined) {
      journal.read(metrics, group);
      apply.read(metrics, group);
      onSample?.({ journalMs: journal.samples.at(-1), applyMs: apply.samples.at(-1) });
    }
    await delay(sampleEveryMs, undefined, { signal }).catch(() => undefined);
  }
  return { journalMs: journal.figures(), applyMs: apply.figures() };
}
