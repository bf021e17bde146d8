import { bucketOf, DigestTable } from "../objects/digest.ts";
import type { ObjectKey } from "../objects/key.ts";
import type { KeyAndHash } from "../stream/doors.ts";

/** What is kept in memory of one key; the texts stay on disk. */
export interface EntryHead {
  /** Sequence number in the ring it came from. */
  readonly seq: number;
  /** `""` for a tombstone that is not settled yet. */
  readonly hash: string;
}

interface StoredHead extends EntryHead {
  readonly bucket: number;
}

/** Keys, hashes and digest of a journal, kept equal to its table: about 200 bytes a key. */
export class EntryTable {
  readonly digest = new DigestTable();
  readonly #heads = new Map<ObjectKey, StoredHead>();
  #tombstones = 0;

  /** Objects that exist (tombstones are not counted). */
  get live(): number {
    return this.#heads.size - this.#tombstones;
  }

  get tombstones(): number {
    return this.#tombstones;
  }

  get(key: ObjectKey): EntryHead | undefined {
    return this.#heads.get(key);
  }

  set(key: ObjectKey, seq: number, hash: string): void {
    this.#forget(key);
    this.#heads.set(key, { seq, hash, bucket: bucketOf(key) });
    if (hash === "") this.#tombstones++;
    else this.digest.toggle(key, hash);
  }

  delete(key: ObjectKey): void {
    this.#forget(key);
    this.#heads.delete(key);
  }

  entries(): IterableIterator<[ObjectKey, EntryHead]> {
    return this.#heads.entries();
  }

  entriesIn(buckets: ReadonlySet<number>): KeyAndHash[] {
    const result: KeyAndHash[] = [];
    for (const [key, head] of this.#heads) {
      if (head.hash !== "" && buckets.has(head.bucket)) result.push({ key, hash: head.hash });
    }
    return result;
  }

  #forget(key: ObjectKey): void {
    const old = this.#heads.get(key);
    if (old === undefined) return;
    if (old.hash === "") this.#tombstones--;
    else this.digest.toggle(key, old.hash);
  }
}
