import { bucketOf } from "../objects/digest.ts";
import { compareEpochs } from "../objects/epoch.ts";
import type { ObjectKey } from "../objects/key.ts";
import type { KeyAndHash } from "./doors.ts";

/** Decisions of both ends as pure functions. */

/** One Compare: some of the buckets that differ, with every entry that the standby holds in them. */
export interface CompareChunk {
  readonly buckets: number[];
  readonly entries: KeyAndHash[];
}

/**
 * Cuts the standby's entries in differing buckets into chunks of about `bytesMax`. A bucket is never divided, since
 * what a chunk does not list in its buckets is missing at the standby. At least one chunk, which may be empty.
 */
export function compareChunks(
  buckets: readonly number[],
  entries: readonly KeyAndHash[],
  bytesMax: number,
): CompareChunk[] {
  const perBucket = Map.groupBy(entries, (entry) => bucketOf(entry.key));
  const chunks: CompareChunk[] = [];
  let chunk: CompareChunk = { buckets: [], entries: [] };
  let bytes = 0;
  for (const bucket of buckets) {
    const inBucket = perBucket.get(bucket) ?? [];
    const size = entriesBytes(inBucket);
    if (bytes > 0 && bytes + size > bytesMax) {
      chunks.push(chunk);
      chunk = { buckets: [], entries: [] };
      bytes = 0;
    }
    chunk.buckets.push(bucket);
    chunk.entries.push(...inBucket);
    bytes += size;
  }
  chunks.push(chunk);
  return chunks;
}

/** Bytes of entries on the wire. */
export function entriesBytes(entries: readonly KeyAndHash[]): number {
  return entries.reduce((sum, { key, hash }) => sum + key.length + hash.length + entryOverheadBytes, 0);
}

/** Tags and lengths of an entry's two fields and of itself. */
const entryOverheadBytes = 6;

/** Keys on which the standby differs from the source: missing, other, or too many there. */
export function differingKeys(atStandby: readonly KeyAndHash[], atSource: readonly KeyAndHash[]): ObjectKey[] {
  const theirs = new Map(atStandby.map(({ key, hash }) => [key, hash]));
  const result: ObjectKey[] = [];
  for (const { key, hash } of atSource) {
    if (theirs.get(key) !== hash) result.push(key);
    theirs.delete(key);
  }
  result.push(...theirs.keys());
  return result;
}

/** Whether `epoch` is older than `than`; an empty one is older than any. */
export function isOlderEpoch(epoch: string, than: string | undefined): boolean {
  if (than === undefined || than === "") return false;
  return epoch === "" || compareEpochs(epoch, than) < 0;
}
