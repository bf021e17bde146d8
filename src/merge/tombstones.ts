import type { ObjectKey } from "../objects/key.ts";
import { type Entry, deleted } from "./replica.ts";

/**
 * What is remembered of deleted objects, and for how long: without its tombstone an object that the other site still
 * has would look new, and come back.
 */

/** Longer than any stream takes to bring what is on its way, and than clocks may differ. */
export const tombstoneKeptMs = 60 * 60_000;
/** About 3 MB; the oldest go first, known to the other site or not. */
export const tombstonesMaxCount = 10_000;

/**
 * Keys whose tombstone may be forgotten: those that the other site has too and that are old enough, and the oldest
 * beyond the limit.
 * @param isKnown whether the other site has said that it knows of it
 */
export function forgettable(
  entries: Iterable<readonly [ObjectKey, Entry]>,
  isKnown: (key: ObjectKey, entry: Entry) => boolean,
  nowMs: number,
): ObjectKey[] {
  const kept: { readonly key: ObjectKey; readonly ms: number }[] = [];
  const due: ObjectKey[] = [];
  for (const [key, entry] of entries) {
    if (entry.content !== deleted) continue;
    const { ms } = entry.version.stamp;
    if (nowMs - ms > tombstoneKeptMs && isKnown(key, entry)) due.push(key);
    else kept.push({ key, ms });
  }
  if (kept.length <= tombstonesMaxCount) return due;
  kept.sort((a, b) => a.ms - b.ms);
  return [...due, ...kept.slice(0, kept.length - tombstonesMaxCount).map(({ key }) => key)];
}
