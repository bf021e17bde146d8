/** When the pods of each site really ran, read from the lines that the pods themselves write. */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";

/**
 * What such a pod runs in a shell, with the node's folder for beats at /beats: about 50 times a second a line with the
 * machine's uptime, for as long as it runs, into a file `NODE.POD`.
 */
export const beatLoop =
  "mkfifo /tmp/tick; exec 3<>/tmp/tick; " +
  'while :; do read up rest < /proc/uptime; echo "$up" >> "/beats/$NODE.$POD"; read -t 0.02 x <&3; done';

/** Milliseconds of the machine's uptime: the clock that the pods write. */
export async function uptimeMs(): Promise<number> {
  return Number((await readFile("/proc/uptime", "utf8")).split(" ")[0]) * 1000;
}

/** A pod whose next line is later than this did not run in between: it writes about every 20 ms on two busy cores. */
const gapMaxMs = 250;

/** From start to end, in milliseconds of the machine's uptime. */
export interface Interval {
  readonly fromMs: number;
  readonly toMs: number;
}

/** Stretches of unbroken beats. `timesMs` must be sorted. */
export function stretches(timesMs: readonly number[], gapMs = gapMaxMs): Interval[] {
  const found: { fromMs: number; toMs: number }[] = [];
  for (const atMs of timesMs) {
    const last = found.at(-1);
    if (last !== undefined && atMs - last.toMs <= gapMs) last.toMs = atMs;
    else found.push({ fromMs: atMs, toMs: atMs });
  }
  return found;
}

/** Joins intervals that overlap. */
export function union(intervals: readonly Interval[]): Interval[] {
  const joined: { fromMs: number; toMs: number }[] = [];
  for (const { fromMs, toMs } of intervals.toSorted((a, b) => a.fromMs - b.fromMs)) {
    const last = joined.at(-1);
    if (last !== undefined && fromMs <= last.toMs) last.toMs = Math.max(last.toMs, toMs);
    else joined.push({ fromMs, toMs });
  }
  return joined;
}

/** How long both of two sets of intervals held at once. */
export function overlapMs(left: readonly Interval[], right: readonly Interval[]): number {
  return union(left)
    .flatMap((a) => union(right).map((b) => Math.min(a.toMs, b.toMs) - Math.max(a.fromMs, b.fromMs)))
    .reduce((sum, ms) => sum + Math.max(0, ms), 0);
}

/** Intervals in which at least one pod of each site ran, from files named `SITE-node.POD`. */
export async function readBeats(
  dir: string,
  sites: readonly string[],
): Promise<ReadonlyMap<string, readonly Interval[]>> {
  const files = await readdir(dir).catch(() => []);
  const bySite = new Map<string, Interval[]>(sites.map((site) => [site, []]));
  for (const file of files) {
    const site = sites.find((name) => file.startsWith(`${name}-`));
    if (site === undefined) continue;
    const lines = (await readFile(join(dir, file), "utf8")).split("\n");
    // The last line may be cut in the middle by a kill; a number all the same, but an earlier one.
    const timesMs = lines.slice(0, -1).map((line) => Number(line) * 1000);
    bySite.get(site)?.push(...stretches(timesMs.filter(Number.isFinite)));
  }
  return new Map([...bySite].map(([site, intervals]) => [site, union(intervals)]));
}
