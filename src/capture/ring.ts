import { bucketOf, DigestTable } from "../objects/digest.ts";
import type { ObjectKey } from "../objects/key.ts";
import type { ChangeRecord } from "../objects/record.ts";
import type { KeyAndHash } from "../stream/doors.ts";
import type { Normalised } from "./normalise.ts";

/** Deletes that a reader can still catch up with; one further back compares digests. About 2 MB of keys. */
export const tombstonesMaxCount = 10_000;
/** Superseded places in the order are cleared away when there are more than this and more than live ones. */
const staleMinCount = 1_024;

interface Entry {
  seq: number;
  /** `""` for a tombstone. */
  hash: string;
  /**
   * Both texts, one after the other, outside the JavaScript heap: ten thousand objects then cost their own length,
   * and no garbage collection copies them. `undefined` for a tombstone.
   */
  payload: Buffer | undefined;
  objectBytes: number;
}

/**
 * All objects of a group, each with the sequence number of its last change: a log in which every key stands once, at
 * its newest place. Deleted keys stay as tombstones up to a limit.
 */
export class ChangeRing {
  readonly digest = new DigestTable();
  readonly #entries = new Map<ObjectKey, Entry>();
  readonly #tombstones = new Set<ObjectKey>();
  /** Places in order of `seq`; a place is stale once its key has moved on to a later one. */
  #order: { readonly seq: number; readonly key: ObjectKey }[] = [];
  #head = 0;
  #floor = 0;
  #sealedBut: ObjectKey | undefined;

  /** Highest sequence number given out; 0 before the first. */
  get head(): number {
    return this.#head;
  }

  /** A reader below this has missed tombstones. */
  get floor(): number {
    return this.#floor;
  }

  /** Objects that exist. */
  get liveCount(): number {
    return this.#entries.size - this.#tombstones.size;
  }

  has(key: ObjectKey): boolean {
    return this.#entries.has(key) && !this.#tombstones.has(key);
  }

  /** From now on nothing changes but `except`: what is written after a seal belongs to this site alone. */
  seal(except: ObjectKey): void {
    this.#sealedBut = except;
  }

  get isSealed(): boolean {
    return this.#sealedBut !== undefined;
  }

  #isShut(key: ObjectKey): boolean {
    return this.#sealedBut !== undefined && key !== this.#sealedBut;
  }

  /** Notes the object's present state; returns whether that is a change. */
  put(key: ObjectKey, state: Normalised): boolean {
    if (this.#isShut(key)) return false;
    const old = this.#entries.get(key);
    if (old !== undefined && old.hash === state.hash) return false;
    if (old !== undefined && old.hash !== "") this.digest.toggle(key, old.hash);
    this.digest.toggle(key, state.hash);
    this.#tombstones.delete(key);
    this.#note(key, { seq: 0, hash: state.hash, ...pack(state) });
    return true;
  }

  /** Notes that the object is gone; returns whether it was there. */
  remove(key: ObjectKey): boolean {
    const old = this.#entries.get(key);
    if (old === undefined || old.hash === "" || this.#isShut(key)) return false;
    this.digest.toggle(key, old.hash);
    // Re-inserted, so that the set stays in the order of deletion.
    this.#tombstones.delete(key);
    this.#tombstones.add(key);
    this.#note(key, { seq: 0, hash: "", payload: undefined, objectBytes: 0 });
    this.#forgetOldest();
    return true;
  }

  /** Records after `seq`, in order; at least one where there is any, then as many as the limits allow. */
  read(seq: number, limits: { maxCount: number; maxBytes: number }): ChangeRecord[] {
    const records: ChangeRecord[] = [];
    let bytes = 0;
    for (let i = this.#indexAfter(seq); i < this.#order.length && records.length < limits.maxCount; i++) {
      const place = this.#order[i];
      if (place === undefined) break;
      const entry = this.#entries.get(place.key);
      if (entry?.seq !== place.seq) continue;
      const record = recordOf(place.key, entry);
      bytes += (record.object?.length ?? 0) + record.managers.length + record.key.length;
      if (bytes > limits.maxBytes && records.length > 0) break;
      records.push(record);
    }
    return records;
  }

  /** The present record of a key; a tombstone at the head where there is none. */
  current(key: ObjectKey): ChangeRecord {
    const entry = this.#entries.get(key);
    return entry === undefined
      ? { seq: this.#head, key, hash: "", object: undefined, managers: "[]" }
      : recordOf(key, entry);
  }

  /** Live entries of these buckets. */
  entriesIn(buckets: ReadonlySet<number>): KeyAndHash[] {
    const found: KeyAndHash[] = [];
    for (const [key, { hash }] of this.#entries) {
      if (hash !== "" && buckets.has(bucketOf(key))) found.push({ key, hash });
    }
    return found;
  }

  *liveKeys(): Generator<ObjectKey> {
    for (const [key, { hash }] of this.#entries) if (hash !== "") yield key;
  }

  #note(key: ObjectKey, entry: Entry): void {
    entry.seq = ++this.#head;
    this.#entries.set(key, entry);
    this.#order.push({ seq: entry.seq, key });
    if (this.#order.length - this.#entries.size > Math.max(staleMinCount, this.#entries.size)) this.#compact();
  }

  #forgetOldest(): void {
    if (this.#tombstones.size <= tombstonesMaxCount) return;
    const [oldest] = this.#tombstones;
    if (oldest === undefined) return;
    this.#floor = this.#entries.get(oldest)?.seq ?? this.#floor;
    this.#tombstones.delete(oldest);
    this.#entries.delete(oldest);
  }

  #compact(): void {
    this.#order = this.#order.filter(({ key, seq }) => this.#entries.get(key)?.seq === seq);
  }

  /** Index of the first place beyond `seq`. */
  #indexAfter(seq: number): number {
    let low = 0;
    let high = this.#order.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#order[middle]?.seq ?? 0) <= seq) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

function pack({ object, managers }: Normalised): Pick<Entry, "payload" | "objectBytes"> {
  const objectBytes = Buffer.byteLength(object);
  // Not from the shared slab: a slab lives as long as the longest-lived of its slices.
  const payload = Buffer.allocUnsafeSlow(objectBytes + Buffer.byteLength(managers));
  payload.write(object, 0);
  payload.write(managers, objectBytes);
  return { payload, objectBytes };
}

function recordOf(key: ObjectKey, { seq, hash, payload, objectBytes }: Entry): ChangeRecord {
  return {
    seq,
    key,
    hash,
    object: payload?.toString("utf8", 0, objectBytes),
    managers: payload?.toString("utf8", objectBytes) ?? "[]",
  };
}
