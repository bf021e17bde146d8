import { Counter, Gauge, Histogram, Registry } from "prom-client";
import { metricTable, type MetricDefinition, type MetricName } from "./metrics.ts";

type NamesOfType<T extends MetricDefinition["type"]> = {
  [N in MetricName]: (typeof metricTable)[N]["type"] extends T ? N : never;
}[MetricName];

export type CounterName = NamesOfType<"counter">;
export type GaugeName = NamesOfType<"gauge">;
export type HistogramName = NamesOfType<"histogram">;

/** The labels of one metric, each with its value. */
export type LabelsOf<N extends MetricName> = { readonly [L in (typeof metricTable)[N]["labels"][number]]: string };

type AnyMetric = Counter | Gauge | Histogram;
type LabelValues = Readonly<Record<string, string>>;

/** Values of labels beyond group and peer that exist from the start. */
const knownValues: Readonly<Record<string, readonly string[]>> = {
  role: ["active", "standby", "unknown"],
  reason: ["automatic", "manual", "switchover", "forced"],
  grantor: ["witness", "peer"],
  cause: ["forbidden", "missing", "rewound", "unreadable", "uncommon"],
};

/** A value that is computed at the scrape. */
interface Probe {
  readonly labels: LabelValues;
  readonly read: () => number | undefined;
}

/** All metrics of an agent, made from the table, so that none exists that the table does not name. */
export class Metrics {
  readonly registry = new Registry();
  readonly #metrics = new Map<MetricName, AnyMetric>();
  readonly #probes = new Map<MetricName, Set<Probe>>();

  /** `site` is a label of every series. */
  constructor({ site }: { readonly site: string }) {
    this.registry.setDefaultLabels({ site });
    for (const [name, definition] of definitions()) this.#metrics.set(name, this.#create(name, definition));
  }

  #create(name: MetricName, { type, help, labels, buckets }: MetricDefinition): AnyMetric {
    const common = { name, help, labelNames: [...labels], registers: [this.registry] };
    switch (type) {
      case "counter":
        return new Counter(common);
      case "histogram":
        return new Histogram({ ...common, buckets: [...(buckets ?? [])] });
      case "gauge":
        return new Gauge({ ...common, collect: () => this.#collect(name) });
    }
  }

  #collect(name: MetricName): void {
    const gauge = this.#metrics.get(name);
    if (!(gauge instanceof Gauge)) return;
    for (const { labels, read } of this.#probes.get(name) ?? []) {
      const value = read();
      if (value === undefined) gauge.remove(labels);
      else gauge.set(labels, value);
    }
  }

  add<N extends CounterName>(name: N, labels: LabelsOf<N>, value = 1): void {
    const metric = this.#metrics.get(name);
    if (metric instanceof Counter) metric.inc(labels as LabelValues, value);
  }

  set<N extends GaugeName>(name: N, labels: LabelsOf<N>, value: number): void {
    const metric = this.#metrics.get(name);
    if (metric instanceof Gauge) metric.set(labels as LabelValues, value);
  }

  observe<N extends HistogramName>(name: N, labels: LabelsOf<N>, value: number): void {
    const metric = this.#metrics.get(name);
    if (metric instanceof Histogram) metric.observe(labels as LabelValues, value);
  }

  /**
   * Computes a gauge at every scrape, so that an age grows by itself. `read` must be quick and not throw;
   * `undefined` leaves the series out. Disposing ends it and removes the series.
   */
  probe<N extends GaugeName>(name: N, labels: LabelsOf<N>, read: () => number | undefined): Disposable {
    const probe: Probe = { labels, read };
    const probes = this.#probes.get(name) ?? new Set();
    this.#probes.set(name, probes.add(probe));
    return {
      [Symbol.dispose]: () => {
        probes.delete(probe);
        this.#metrics.get(name)?.remove(probe.labels);
      },
    };
  }

  /** Starts everything of a group at 0, and never-synced at 1; ages stay absent. Call once per group. */
  openGroup({ group, peer }: { readonly group: string; readonly peer: string }): void {
    for (const [name, { labels, absent }] of definitions()) {
      if (!labels.includes("group") || absent === true) continue;
      for (const values of combinations(labels, { group, peer })) this.#start(name, values);
    }
    this.set("lifeboat_never_synced", { group }, 1);
  }

  #start(name: MetricName, labels: LabelValues): void {
    const metric = this.#metrics.get(name);
    if (metric instanceof Counter) metric.inc(labels, 0);
    else if (metric instanceof Histogram) metric.zero(labels);
    else metric?.set(labels, 0);
  }

  /** Removes every series of a group, whatever its other labels. */
  async closeGroup(group: string): Promise<void> {
    for (const probes of this.#probes.values()) {
      for (const probe of probes) if (probe.labels["group"] === group) probes.delete(probe);
    }
    for (const [name, { labels }] of definitions()) {
      const metric = this.#metrics.get(name);
      if (metric === undefined || !labels.includes("group")) continue;
      const { values } = await metric.get();
      for (const value of values) {
        if (value.labels["group"] !== group) continue;
        metric.remove(Object.fromEntries(labels.map((label) => [label, String(value.labels[label] ?? "")])));
      }
    }
  }
}

function definitions(): [MetricName, MetricDefinition][] {
  return Object.entries<MetricDefinition>(metricTable) as [MetricName, MetricDefinition][];
}

/** Label sets of a new group: what is known, and every known value of other labels; none where those are unknown. */
function combinations(labels: readonly string[], known: LabelValues): LabelValues[] {
  return labels.reduce<LabelValues[]>(
    (sets, label) => {
      const values = known[label] === undefined ? (knownValues[label] ?? []) : [known[label]];
      return sets.flatMap((set) => values.map((value) => ({ ...set, [label]: value })));
    },
    [{}],
  );
}
