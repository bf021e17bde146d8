/** Statistics that the benches share. All return NaN for no values. */

export function percentile(values: readonly number[], q: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(q * sorted.length) - 1))] ?? Number.NaN;
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

/** Median, over the rounds, of each figure that is a number in the first round. */
export function medians<T extends Readonly<Record<string, number>>>(rounds: readonly T[]): { [K in keyof T]: number } {
  const keys = Object.keys(rounds[0] ?? {}) as (keyof T)[];
  return Object.fromEntries(keys.map((key) => [key, median(rounds.map((round) => round[key] ?? Number.NaN))])) as {
    [K in keyof T]: number;
  };
}

/** Rounded to `digits` decimals, for people and JSON. */
export function round(value: number, digits = 1): number {
  return Number(value.toFixed(digits));
}
