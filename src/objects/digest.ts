import { hash as digestOf } from "node:crypto";
import type { ObjectKey } from "./key.ts";

/**
 * Bucketed digests of key → hash. Both ends of a stream keep one; where they differ, only the keys of the buckets
 * that differ are exchanged, so that the cost of a comparison follows the number of differences. A bucket is the
 * exclusive-or of the digests of its entries, which makes adding and removing an entry the same, constant-time step.
 */

/** 1,024 buckets of 8 bytes: 8 KiB on the wire, about ten keys a bucket at 10,000 objects. */
export const bucketCount = 1024;
const bucketBytes = 8;

export function bucketOf(key: ObjectKey): number {
  return digestOf("sha256", key, "buffer").readUInt16BE(0) % bucketCount;
}

export class DigestTable {
  readonly #buckets = Buffer.alloc(bucketCount * bucketBytes);

  /** Adds the entry, or removes it where it is present: the two are one operation. */
  toggle(key: ObjectKey, hash: string): void {
    const digest = digestOf("sha256", `${key}\0${hash}`, "buffer");
    const start = bucketOf(key) * bucketBytes;
    for (let i = 0; i < bucketBytes; i++) {
      this.#buckets[start + i] = (this.#buckets[start + i] ?? 0) ^ (digest[i] ?? 0);
    }
  }

  /** All buckets, 8 bytes each, in order. A copy. */
  bytes(): Buffer {
    return Buffer.from(this.#buckets);
  }

  /** Numbers of the buckets that differ from `other` (what {@link bytes} of the other end returned). */
  differing(other: Uint8Array): number[] {
    if (other.length !== this.#buckets.length) throw new RangeError(`digest of ${other.length} bytes`);
    const result: number[] = [];
    for (let bucket = 0; bucket < bucketCount; bucket++) {
      const start = bucket * bucketBytes;
      const end = start + bucketBytes;
      if (this.#buckets.compare(other, start, end, start, end) !== 0) result.push(bucket);
    }
    return result;
  }
}
