/** What a bench is. */
export interface BenchOptions {
  /** The last line of stdout is the result as JSON. */
  readonly json: boolean;
  readonly signal: AbortSignal;
}

/** Figures by name; units stand last in the names. */
export type BenchResult = Record<string, unknown>;

export type Bench = (options: BenchOptions) => Promise<BenchResult>;

/** Rounds of every bench; a median needs three. `LIFEBOAT_BENCH_ROUNDS` asks for another number, e.g. for a try. */
export const roundCount = Math.max(1, Number(process.env["LIFEBOAT_BENCH_ROUNDS"] ?? 3));

/** Says what goes on, beside the result: on stderr, with the seconds since the start. */
export function say(line: string): void {
  process.stderr.write(`${(performance.now() / 1000).toFixed(0).padStart(5)} s  ${line}\n`);
}
