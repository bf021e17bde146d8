/** Reading the Prometheus text that agents and the witness serve. */

export interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** Labels that a sample must have; others do not matter. */
export type LabelMatch = Readonly<Record<string, string>>;

const labelPattern = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"/g;
const linePattern = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})?\s+(\S+)/;

function numberOf(text: string): number {
  return text === "+Inf" ? Infinity : text === "-Inf" ? -Infinity : Number(text);
}

function labelsOf(text: string): Record<string, string> {
  return Object.fromEntries(
    [...text.matchAll(labelPattern)].map(([, key = "", value = ""]) => [key, value.replaceAll(/\\(.)/g, "$1")]),
  );
}

/** One scrape. */
export class Metrics {
  readonly samples: readonly Sample[];

  constructor(samples: readonly Sample[]) {
    this.samples = samples;
  }

  static parse(text: string): Metrics {
    return new Metrics(
      text.split("\n").flatMap((line) => {
        const match = line.startsWith("#") ? null : linePattern.exec(line);
        if (match === null) return [];
        const [, name = "", labels = "", value = ""] = match;
        return [{ name, labels: labelsOf(labels), value: numberOf(value) }];
      }),
    );
  }

  find(name: string, match: LabelMatch = {}): readonly Sample[] {
    const wanted = Object.entries(match);
    return this.samples.filter(
      (sample) => sample.name === name && wanted.every(([key, value]) => sample.labels[key] === value),
    );
  }

  /** Sum over all label sets that match; `undefined` when there is none. */
  value(name: string, match: LabelMatch = {}): number | undefined {
    const found = this.find(name, match);
    return found.length === 0 ? undefined : found.reduce((sum, sample) => sum + sample.value, 0);
  }

  /**
   * Quantile `q` of a histogram by linear interpolation within its bucket, less what `since` had counted already;
   * `undefined` when nothing was observed.
   */
  quantile(
    name: string,
    q: number,
    options: { match?: LabelMatch; since?: Metrics | undefined } = {},
  ): number | undefined {
    const before = options.since?.buckets(name, options.match) ?? new Map<number, number>();
    const buckets = [...this.buckets(name, options.match)]
      .map(([le, count]) => ({ le, count: count - (before.get(le) ?? 0) }))
      .toSorted((a, b) => a.le - b.le);
    const total = buckets.at(-1)?.count ?? 0;
    if (total <= 0) return undefined;
    const rank = q * total;
    const at = buckets.findIndex((bucket) => bucket.count >= rank);
    const bucket = buckets[at];
    const lower = buckets[at - 1] ?? { le: 0, count: 0 };
    if (bucket === undefined || bucket.le === Infinity) return lower.le;
    const within = bucket.count - lower.count;
    return within === 0 ? bucket.le : lower.le + ((rank - lower.count) / within) * (bucket.le - lower.le);
  }

  private buckets(name: string, match: LabelMatch = {}): Map<number, number> {
    const counts = new Map<number, number>();
    for (const { labels, value } of this.find(`${name}_bucket`, match)) {
      const le = numberOf(labels["le"] ?? "");
      counts.set(le, (counts.get(le) ?? 0) + value);
    }
    return counts;
  }
}
