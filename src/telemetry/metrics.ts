import { monitorEventLoopDelay } from "node:perf_hooks";
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from "prom-client";
import { metricTable, type LabelName, type MetricKey, type MetricSpec } from "./metric-table.ts";

export type Labels = Readonly<Partial<Record<LabelName, string>>>;

/** Labels of one group at one site. */
export interface GroupLabels {
  readonly group: string;
  readonly site: string;
  readonly peer: string;
}

type AnyMetric = Counter | Gauge | Histogram;
type LabelValues = Record<string, string>;

interface Probe {
  readonly labels: Labels;
  readonly read: () => number | undefined;
}

/** Values of labels that a group's series exist for from its beginning. */
const presetLabels: Readonly<Partial<Record<LabelName, readonly string[]>>> = {
  state: ["synced", "pending", "failing", "held"],
  role: ["active", "standby", "unknown", "blocked"],
  reason: ["automatic", "manual", "switchover", "forced"],
  phase: ["decide", "render", "apply", "ready", "seal", "catchup"],
  grantor: ["witness", "peer"],
};

/** Absent until there is something to be old: an age of 0 would be a lie. */
const absentAtFirst: ReadonlySet<MetricKey> = new Set([
  "journalAge",
  "applyAge",
  "rpoRatio",
  "reflectorLastEventAge",
  "witnessLastReplyAge",
]);

/** All metrics of one process, made from the table, so that none exists that the docs do not name. */
export class Metrics {
  readonly registry = new Registry();
  readonly #metrics = new Map<MetricKey, AnyMetric>();
  readonly #probes = new Map<MetricKey, Set<Probe>>();

  constructor() {
    for (const [key, spec] of specs()) this.#metrics.set(key, this.#register(key, spec));
  }

  #register(key: MetricKey, { name, type, help, labels, buckets }: MetricSpec): AnyMetric {
    const common = { name, help, labelNames: [...labels], registers: [this.registry] };
    switch (type) {
      case "counter":
        return new Counter(common);
      case "histogram":
        return new Histogram({ ...common, buckets: [...(buckets ?? [])] });
      case "gauge":
        return new Gauge({ ...common, collect: () => this.#collect(key) });
    }
  }

  #collect(key: MetricKey): void {
    const metric = this.#metrics.get(key);
    if (!(metric instanceof Gauge)) return;
    for (const { labels, read } of this.#probes.get(key) ?? []) {
      const value = read();
      if (value === undefined) metric.remove(labels as LabelValues);
      else metric.set(labels as LabelValues, value);
    }
  }

  /** Adds to a counter. Throws TypeError when `key` is not one. */
  add(key: MetricKey, labels: Labels, value = 1): void {
    const metric = this.#metrics.get(key);
    if (!(metric instanceof Counter)) throw new TypeError(`${key} is not a counter`);
    metric.inc(labels as LabelValues, value);
  }

  /** Sets a gauge. Throws TypeError when `key` is not one. */
  set(key: MetricKey, labels: Labels, value: number): void {
    const metric = this.#metrics.get(key);
    if (!(metric instanceof Gauge)) throw new TypeError(`${key} is not a gauge`);
    metric.set(labels as LabelValues, value);
  }

  /** Adds an observation to a histogram. Throws TypeError when `key` is not one. */
  observe(key: MetricKey, labels: Labels, value: number): void {
    const metric = this.#metrics.get(key);
    if (!(metric instanceof Histogram)) throw new TypeError(`${key} is not a histogram`);
    metric.observe(labels as LabelValues, value);
  }

  /**
   * Computes a gauge at every scrape, so that an age grows by itself. `read` must be quick and not throw;
   * `undefined` leaves the series out. Disposing ends it and removes the series.
   */
  probe(key: MetricKey, labels: Labels, read: () => number | undefined): Disposable {
    const probe = { labels, read };
    const probes = this.#probes.get(key) ?? new Set();
    this.#probes.set(key, probes.add(probe));
    return {
      [Symbol.dispose]: () => {
        probes.delete(probe);
        this.#metrics.get(key)?.remove(labels as LabelValues);
      },
    };
  }

  /** Starts every series of a group at 0, so that a rate and an alert see its first step; never-synced at 1. */
  openGroup(labels: GroupLabels): void {
    for (const [key, spec] of specs()) {
      if (!spec.labels.includes("group") || absentAtFirst.has(key)) continue;
      for (const all of combinations(spec.labels, labels)) this.#start(key, all);
    }
    this.set("neverSynced", { group: labels.group, site: labels.site }, 1);
  }

  #start(key: MetricKey, labels: Labels): void {
    const metric = this.#metrics.get(key);
    if (metric instanceof Counter) metric.inc(labels as LabelValues, 0);
    else if (metric instanceof Histogram) metric.zero(labels as LabelValues);
    else metric?.set(labels as LabelValues, 0);
  }

  /** Removes every series of a group, whatever its other labels. */
  async closeGroup(group: string): Promise<void> {
    for (const probes of this.#probes.values()) {
      for (const probe of probes) if (probe.labels.group === group) probes.delete(probe);
    }
    for (const [key, { labels }] of specs()) {
      const metric = this.#metrics.get(key);
      if (metric === undefined || !labels.includes("group")) continue;
      const { values } = await metric.get();
      for (const value of values) {
        if (value.labels["group"] !== group) continue;
        metric.remove(Object.fromEntries(labels.map((label) => [label, String(value.labels[label] ?? "")])));
      }
    }
  }

  /** Also reports the process itself: memory, CPU, and how late its timers run. */
  watchProcess(): Disposable {
    collectDefaultMetrics({ register: this.registry });
    const delay = monitorEventLoopDelay({ resolution: 10 });
    delay.enable();
    const probe = this.probe("eventLoopLag", {}, () => {
      const seconds = delay.percentile(99) / 1e9;
      delay.reset();
      return Number.isFinite(seconds) ? seconds : 0;
    });
    return {
      [Symbol.dispose]: () => {
        delay.disable();
        probe[Symbol.dispose]();
      },
    };
  }
}

function specs(): [MetricKey, MetricSpec][] {
  return Object.entries<MetricSpec>(metricTable) as [MetricKey, MetricSpec][];
}

function combinations(names: readonly LabelName[], known: GroupLabels): Labels[] {
  return names.reduce<Labels[]>(
    (all, name) => {
      const values = name === "group" || name === "site" || name === "peer" ? [known[name]] : presetLabels[name];
      return all.flatMap((labels) => (values ?? []).map((value) => ({ ...labels, [name]: value })));
    },
    [{}],
  );
}
