import { aheadMs, laterStamp, type Stamp, tick, zeroStamp } from "./hlc.ts";
import { compareWriters, join, relate, type Version, write } from "./version.ts";

/**
 * What one site does with one object of a group that runs at both: when a state is a new one, and which of two wins.
 * Pure. A state-based replicated data type: the states of an object form a lattice under {@link join}, so that sites
 * which have received the same writes, in any order and any number of times, hold the same state.
 */

/** What a site knows of one object: the state that is there. */
export interface Entry {
  readonly version: Version;
  /** Hash of what the object says, the same at every site; `""` for one that was deleted. */
  readonly content: string;
}

/** A hash that no content has: a deleted object. */
export const deleted = "";

/** The site's own clock, and where it stands. */
export interface Here {
  readonly site: string;
  /** Milliseconds since 1970 by this site's clock, which may jump. */
  readonly nowMs: number;
  /** Latest stamp that this site has given out or followed. */
  readonly clock: Stamp;
}

/** Changes that came while nobody looked are known by whole seconds alone, and count as new when they are this young. */
const freshMs = 2_000;

/**
 * The object says `content` at this site, or is gone (`""`). The same entry where that is known: what
 * Lifeboat has written itself, or what came twice, is no new state, so that nothing is sent back (no echo).
 * @param changedMs when somebody changed it, by the API server's clock, where that is known
 */
export function observed(
  entry: Entry | undefined,
  content: string,
  { site, nowMs, clock }: Here,
  changedMs: number = nowMs,
): { readonly entry: Entry | undefined; readonly clock: Stamp } {
  if (entry?.content === content || (entry === undefined && content === deleted)) return { entry, clock };
  const isFresh = nowMs - changedMs < freshMs;
  // What was written while this agent was away is as old as it is: a later write at the other site wins over it.
  const before = entry?.version.stamp ?? zeroStamp;
  const stamp = isFresh ? tick(laterStamp(clock, before), nowMs) : tick(before, changedMs);
  return { entry: { version: write(entry?.version, site, stamp), content }, clock: laterStamp(clock, stamp) };
}

export type Verdict =
  /** Nothing new, or older than what is here. */
  | { readonly kind: "known" }
  /** The writer's clock is too far ahead: looked at again as time passes. */
  | { readonly kind: "refused"; readonly aheadMs: number }
  /** Ours stays; the entry knows of theirs now. */
  | { readonly kind: "keep"; readonly entry: Entry; readonly conflict: boolean }
  /** Theirs is to be brought here, and the entry noted once it is. */
  | { readonly kind: "take"; readonly entry: Entry; readonly conflict: boolean };

/**
 * The other site says that the object is `theirs`. `conflict`: neither writer knew of the other, and they do not say
 * the same. A delete is a write like any other: what is older than it stays deleted.
 */
export function received(entry: Entry | undefined, theirs: Entry, { nowMs }: Pick<Here, "nowMs">): Verdict {
  const ahead = Math.max(
    aheadMs(theirs.version.stamp, nowMs),
    ...Object.values(theirs.version.seen).map((stamp) => aheadMs(stamp, nowMs)),
  );
  const relation = entry === undefined ? "older" : relate(entry.version, theirs.version);
  if (relation === "same" && entry !== undefined) {
    return isWinner(theirs, entry) ? { kind: "take", entry: theirs, conflict: false } : { kind: "known" };
  }
  if (relation === "newer") return { kind: "known" };
  if (ahead > 0) return { kind: "refused", aheadMs: ahead };
  if (entry === undefined || relation === "older") {
    return { kind: "take", entry: theirs, conflict: false };
  }
  const version = join(entry.version, theirs.version);
  const same = entry.content === theirs.content;
  const isOurs = same || !isWinner(theirs, entry);
  const kind = isOurs ? "keep" : "take";
  return { kind, entry: { version, content: isOurs ? entry.content : theirs.content }, conflict: !same };
}

/**
 * Only a site whose disk was set back writes two states under one stamp: then any order will do that is the same
 * everywhere.
 */
function isWinner(theirs: Entry, ours: Entry): boolean {
  const order = compareWriters(theirs.version, ours.version);
  return order > 0 || (order === 0 && theirs.content > ours.content);
}
