import type { Journal } from "../journal/journal.ts";
import type { ObjectKey } from "../objects/key.ts";
import { parseStamp, formatStamp, laterStamp, type Stamp, zeroStamp } from "./hlc.ts";
import { deleted, type Entry } from "./replica.ts";
import { decodeVersion, encodeVersion } from "./version.ts";

/** What this site knows of one object. */
export interface Known extends Entry {
  /**
   * What the object at this site says under this version: mappings and defaults can make it differ from what its writer
   * said. `""` where it is not here.
   */
  readonly local: string;
  /** Here, and no part of what travels any more (a Job that has finished): its end is none for the other site. */
  readonly out?: boolean | undefined;
  /** The other site has said that it knows of this deletion. */
  readonly isShared?: boolean | undefined;
}

/** Records of the ledger in the journal's file begin so. */
const prefix = "merge/object/";
const clockName = "merge/clock";

/** Of this very file, as everything that merging keeps. */
export function isLedgerRecord(name: string): boolean {
  return name.startsWith("merge/");
}

/**
 * The versions of a group's objects as this site knows them, and its clock: in memory, and on the journal's disk before
 * what depends on them is sent. All that changes in one turn is one transaction.
 */
export class Ledger {
  readonly #journal: Journal;
  readonly #known = new Map<ObjectKey, Known>();
  readonly #dirty = new Set<ObjectKey>();
  readonly #onFailure: (error: unknown) => void;
  #clock: Stamp;
  #isScheduled = false;
  #deletedCount = 0;

  /** `onFailure` is told of a write that failed; it is made again with the next one. Throws JournalCorrupt. */
  constructor(journal: Journal, onFailure: (error: unknown) => void) {
    this.#journal = journal;
    this.#onFailure = onFailure;
    const clock = journal.getOwnState(clockName);
    this.#clock = (typeof clock === "string" ? parseStamp(clock) : undefined) ?? zeroStamp;
    for (const name of journal.ownStates()) {
      const known = name.startsWith(prefix) ? decode(journal.getOwnState(name)) : undefined;
      if (known !== undefined) this.#put(name.slice(prefix.length), known);
    }
  }

  get clock(): Stamp {
    return this.#clock;
  }

  follow(stamp: Stamp): void {
    this.#clock = laterStamp(this.#clock, stamp);
  }

  get(key: ObjectKey): Known | undefined {
    return this.#known.get(key);
  }

  entries(): IterableIterator<[ObjectKey, Known]> {
    return this.#known.entries();
  }

  /** Deleted objects that are remembered. */
  get tombstones(): number {
    return this.#deletedCount;
  }

  /** Objects that are not deleted. */
  get size(): number {
    return this.#known.size - this.#deletedCount;
  }

  set(key: ObjectKey, known: Known): void {
    this.follow(known.version.stamp);
    this.#put(key, known);
    this.#schedule(key);
  }

  delete(key: ObjectKey): void {
    if (this.#known.get(key)?.content === deleted) this.#deletedCount--;
    this.#known.delete(key);
    this.#schedule(key);
  }

  #put(key: ObjectKey, known: Known): void {
    if (this.#known.get(key)?.content === deleted) this.#deletedCount--;
    if (known.content === deleted) this.#deletedCount++;
    this.#known.set(key, known);
  }

  #schedule(key: ObjectKey): void {
    this.#dirty.add(key);
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    queueMicrotask(() => {
      this.#isScheduled = false;
      this.flush();
    });
  }

  /** Writes what has changed. */
  flush(): void {
    if (this.#dirty.size === 0) return;
    const records = new Map<string, unknown>([[clockName, formatStamp(this.#clock)]]);
    const keys = [...this.#dirty];
    for (const key of keys) {
      const known = this.#known.get(key);
      records.set(prefix + key, known === undefined ? undefined : encode(known));
    }
    this.#dirty.clear();
    this.#journal.putOwnStates(records).catch((error: unknown) => {
      for (const key of keys) this.#dirty.add(key);
      this.#onFailure(error);
    });
  }
}

function encode({ version, content, local, out, isShared }: Known): unknown {
  return { version: encodeVersion(version), content, local, out, isShared };
}

function decode(value: unknown): Known | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const { version: encoded, content, local, out, isShared } = value as Record<string, unknown>;
  const version = decodeVersion(encoded);
  if (version === undefined || typeof content !== "string" || typeof local !== "string") return undefined;
  return { version, content, local, out: out === true, isShared: isShared === true };
}
