/**
 * Hybrid logical clocks: S. Kulkarni, M. Demirbas, D. Madappa, B. Avva, M. Leone, "Logical Physical Clocks and
 * Consistent Snapshots in Globally Distributed Databases", 2014 (OPODIS). A stamp is as close to physical time as the
 * clocks allow, and whatever has seen another stamp gets a later one, also where its own clock is behind.
 */

export interface Stamp {
  /** Milliseconds since 1970 by the largest clock that this stamp knows of. */
  readonly ms: number;
  /** Orders what happened within one `ms`. */
  readonly count: number;
}

/**
 * A clock that is further ahead of ours than this is not followed: everything that its site wrote would win over
 * everything written here for as long as it is ahead. Sites that keep time by NTP are within a second.
 */
export const driftMaxMs = 60_000;

export const zeroStamp: Stamp = { ms: 0, count: 0 };

/** Negative, zero or positive as `a` is earlier than, the same as or later than `b`. */
export function compareStamps(a: Stamp, b: Stamp): number {
  return a.ms - b.ms || a.count - b.count;
}

export function laterStamp(a: Stamp, b: Stamp): Stamp {
  return compareStamps(a, b) < 0 ? b : a;
}

/** The stamp of something that happened at `nowMs` by a clock of which `last` was the latest stamp, and after it. */
export function tick(last: Stamp, nowMs: number): Stamp {
  const ms = Math.floor(nowMs);
  return ms > last.ms ? { ms, count: 0 } : { ms: last.ms, count: last.count + 1 };
}

/** How far a stamp is ahead of this site's clock beyond what is followed, in milliseconds; 0 where it is not. */
export function aheadMs(stamp: Stamp, nowMs: number): number {
  return stamp.ms > nowMs + driftMaxMs ? stamp.ms - nowMs : 0;
}

/** `1763700000000.3`; {@link parseStamp} is the way back. */
export function formatStamp({ ms, count }: Stamp): string {
  return `${ms}.${count}`;
}

/** `undefined` for a text that is no stamp. */
export function parseStamp(text: string): Stamp | undefined {
  const match = /^(\d{1,15})\.(\d{1,9})$/.exec(text);
  return match === null ? undefined : { ms: Number(match[1]), count: Number(match[2]) };
}
