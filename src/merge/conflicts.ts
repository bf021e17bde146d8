import type { ObjectKey } from "../objects/key.ts";
import { formatStamp } from "./hlc.ts";
import { deleted, type Entry } from "./replica.ts";
import { compareWriters } from "./version.ts";

/** Two writers that did not know of each other, and which of them counts. JSON-able; says nothing of the content. */
export interface Conflict {
  /** Key at this site. */
  readonly key: ObjectKey;
  /** When this site found it, in milliseconds since 1970. */
  readonly foundMs: number;
  /** Site whose write counts. */
  readonly winner: string;
  /** Site whose write was lost. */
  readonly loser: string;
  /** Stamps of both, to be compared by people. */
  readonly wonAt: string;
  readonly lostAt: string;
  /** One of the two had deleted the object. */
  readonly deletion: boolean;
}

/** Of the latest conflicts so many are kept; the metric counts all. */
export const conflictsMaxCount = 50;

/** What both sites find, each for itself, of the same two writes. */
export function conflictOf(key: ObjectKey, ours: Entry, theirs: Entry, foundMs: number): Conflict {
  const isOurs = compareWriters(ours.version, theirs.version) > 0;
  const [won, lost] = isOurs ? [ours, theirs] : [theirs, ours];
  return {
    key,
    foundMs,
    winner: won.version.site,
    loser: lost.version.site,
    wonAt: formatStamp(won.version.stamp),
    lostAt: formatStamp(lost.version.stamp),
    deletion: won.content === deleted || lost.content === deleted,
  };
}

/** Newest first. */
export function withConflict(log: readonly Conflict[], conflict: Conflict): readonly Conflict[] {
  return [conflict, ...log].slice(0, conflictsMaxCount);
}
