import type { DatabaseSync, StatementSync } from "node:sqlite";
import { LifeboatError } from "../errors.ts";
import type { DigestTable } from "../objects/digest.ts";
import { compareEpochs, type EpochText } from "../objects/epoch.ts";
import { formatKey, type ObjectKey } from "../objects/key.ts";
import { hashOf } from "../objects/record.ts";
import type { ChangeSink, KeyAndHash, SinkBatch, StreamPosition } from "../stream/doors.ts";
import { type Codec, createCodec } from "./codec.ts";
import { corrupt, inTransaction, openDatabase, translate } from "./database.ts";
import { type EntryHead, EntryTable } from "./entries.ts";
import { StateTable } from "./state.ts";
import { Threshold } from "./threshold.ts";

/**
 * The durable journal of one protection group at its standby: the present state of every key as the source wrote it,
 * the place in the source's order, and small records of whoever must not forget. One file per group, so that a
 * damaged or full file concerns one group alone and removing a group is removing a file.
 *
 * Every write is one transaction that is on the disk (fsync) when it resolves; after a crash at any moment the file
 * holds exactly the transactions that resolved, and possibly the one under way. SQLite is called synchronously: a
 * commit blocks the process for the time of one fsync.
 *
 * What is *not* kept: older states of a key. The file therefore grows with the number of objects, not with changes.
 */

/** One key as it stands in the journal. */
export interface JournalEntry {
  readonly key: ObjectKey;
  readonly seq: number;
  /** `""` for a tombstone. */
  readonly hash: string;
  readonly deleted: boolean;
  /** Canonical JSON text of the object; of a tombstone, the last text before the delete ("" when never received). */
  readonly object: string;
  /** Canonical JSON text of the source's managedFields. */
  readonly managers: string;
}

/** An object of a returning site that differs from what took over, kept verbatim before it is overwritten. */
export interface DivergentObject {
  readonly key: ObjectKey;
  /**
   * `changed`: both sites have it and they differ. `extra`: only the old site has it. `unknown`: not compared yet,
   * because the journal does not hold all of the new source.
   */
  readonly what: "changed" | "extra" | "unknown";
  /** JSON text of the object as it was at the old site. */
  readonly object: string;
}

export interface JournalOptions {
  /** File of this group; created with its folder when absent. */
  readonly path: string;
  readonly group: string;
  /** Encrypts texts at rest; see {@link Codec}. 32 bytes. @default not encrypted */
  readonly key?: Uint8Array;
  /** Size at which commits fail with JournalFull. @default 4 GiB */
  readonly maxBytes?: number;
  /**
   * Where {@link Journal.getState} and {@link Journal.putState} keep their records, where that is not this file: several
   * agents of a site have a journal each and know of its objects what only one of them has seen.
   */
  readonly records?: JournalRecords;
}

/** Small named JSON records that survive a crash. */
export interface JournalRecords {
  getState(name: string): unknown;
  /** Durable when it resolves; `undefined` removes. */
  putState(name: string, value: unknown): Promise<void>;
}

/** Who is told of commits: the keys that changed, in order. Must not throw. */
export type CommitListener = (keys: readonly ObjectKey[]) => void;

export class Journal implements ChangeSink {
  readonly group: string;
  readonly path: string;
  readonly #db: DatabaseSync;
  readonly #codec: Codec;
  readonly #state: StateTable;
  readonly #records: JournalRecords | undefined;
  readonly #entries = new EntryTable();
  readonly #applied = new Threshold();
  readonly #listeners = new Set<CommitListener>();
  readonly #statements: Statements;
  #meta: Meta;

  /** Throws JournalCorrupt, JournalVersion, JournalFull or ConfigInvalid. */
  static open(options: JournalOptions): Journal {
    const limits = options.maxBytes === undefined ? {} : { maxBytes: options.maxBytes };
    const db = openDatabase({ path: options.path, ...limits });
    try {
      return new Journal(db, options);
    } catch (error) {
      db.close();
      throw translate(error, "journal.open", options.path);
    }
  }

  private constructor(db: DatabaseSync, options: JournalOptions) {
    this.group = options.group;
    this.path = options.path;
    this.#db = db;
    this.#codec = createCodec(options.key);
    this.#state = new StateTable(db, this.#codec, options.path);
    this.#records = options.records;
    this.#statements = prepareStatements(db);
    this.#meta = readMeta(this.#statements);
    this.#claim();
    for (const row of db.prepare("SELECT key, seq, hash FROM objects ORDER BY id").iterate()) {
      this.#entries.set(String(row["key"]), Number(row["seq"]), String(row["hash"]));
    }
  }

  #claim(): void {
    const owner = this.#meta.group;
    if (owner === undefined) {
      this.#write("journal.open", () => this.#statements.putMeta.run("group", this.group));
      this.#meta = { ...this.#meta, group: this.group };
    } else if (owner !== this.group) {
      throw new LifeboatError("ConfigInvalid", `journal ${this.path} belongs to group ${owner}, not ${this.group}`, {
        op: "journal.open",
      });
    }
  }

  get digest(): DigestTable {
    return this.#entries.digest;
  }

  entriesIn(buckets: ReadonlySet<number>): KeyAndHash[] {
    return this.#entries.entriesIn(buckets);
  }

  position(): StreamPosition | undefined {
    return this.#meta.position;
  }

  epoch(): EpochText | undefined {
    return this.#meta.epoch;
  }

  /** Whether everything of a source was held at least once. Until then the group was *never synced*. */
  get synced(): boolean {
    return this.#meta.completeRing !== undefined;
  }

  /**
   * Whether what is absent here is known to be absent at the present source: a `complete` batch of the ring that is
   * being followed has been stored. Only then may something be pruned because no key asks for it.
   */
  get current(): boolean {
    return this.synced && this.#meta.completeRing === this.#meta.position?.ring;
  }

  /** Number of objects, tombstones not counted. */
  get size(): number {
    return this.#entries.live;
  }

  /** Number of deletes that were received and are not yet applied. */
  get pendingDeletes(): number {
    return this.#entries.tombstones;
  }

  /** See {@link ChangeSink.commit}. Rejects with FailoverRefused, JournalFull or JournalCorrupt and changes nothing. */
  async commit(batch: SinkBatch, options: { signal: AbortSignal }): Promise<void> {
    options.signal.throwIfAborted();
    const stored = this.#meta.epoch;
    if (stored !== undefined && compareEpochs(batch.epoch, stored) < 0) {
      throw new LifeboatError("FailoverRefused", `epoch ${batch.epoch} is older than ${stored}`, {
        op: "journal.commit",
        hint: "the sender is no longer the active site of this group",
      });
    }
    const meta: Meta = {
      ...this.#meta,
      epoch: batch.epoch,
      position: batch.position,
      completeRing: batch.complete ? batch.position.ring : this.#meta.completeRing,
    };
    this.#write("journal.commit", () => {
      for (const record of batch.records) this.#store(record);
      writeMeta(this.#statements, meta);
    });
    this.#meta = meta;
    for (const record of batch.records) this.#entries.set(record.key, record.seq, record.hash);
    this.#announce(batch.records.map((record) => record.key));
  }

  #store(record: SinkBatch["records"][number]): void {
    const { key, seq, hash, object, managers } = record;
    if (object === undefined || hash === "") {
      this.#statements.bury.run(key, seq, this.#codec.encode(key, ""), this.#codec.encode(key, "[]"));
      return;
    }
    this.#statements.put.run(key, seq, hash, this.#codec.encode(key, object), this.#codec.encode(key, managers));
  }

  #announce(keys: readonly ObjectKey[]): void {
    for (const listener of this.#listeners) listener(keys);
  }

  /** Calls `listener` after every commit until the returned function is called. */
  onCommit(listener: CommitListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  applied(): number {
    return this.#applied.value;
  }

  whenAppliedBeyond(seq: number, options: { signal: AbortSignal }): Promise<void> {
    return this.#applied.whenBeyond(seq, options);
  }

  /** Told by the applier up to where everything is applied, in the present ring's numbers. */
  reportApplied(seq: number): void {
    this.#applied.set(seq);
  }

  /** Every key, tombstones included, in the order they first came. Do not commit while iterating. */
  entries(): IterableIterator<[ObjectKey, EntryHead]> {
    return this.#entries.entries();
  }

  head(key: ObjectKey): EntryHead | undefined {
    return this.#entries.get(key);
  }

  /** The key's texts from disk, checked against their hash. Throws JournalCorrupt when they do not fit it. */
  read(key: ObjectKey): JournalEntry | undefined {
    try {
      const row = this.#statements.get.get(key);
      if (row === undefined) return undefined;
      const hash = String(row["hash"]);
      const object = this.#codec.decode(key, row["object"] as Uint8Array);
      const managers = this.#codec.decode(key, row["managers"] as Uint8Array);
      const deleted = hash === "";
      if (!deleted && hashOf(object, managers) !== hash) throw corrupt(this.path, `${key} does not fit its hash`);
      return { key, seq: Number(row["seq"]), hash, deleted, object, managers };
    } catch (error) {
      throw translate(error, "journal.read", this.path);
    }
  }

  /** Text of the group's spec as last received from the source: the ProtectionGroup object itself. */
  specText(): string | undefined {
    const key = formatKey({ group: "lifeboat.dev", kind: "ProtectionGroup", namespace: "", name: this.group });
    const entry = this.read(key);
    return entry === undefined || entry.object === "" ? undefined : entry.object;
  }

  /** Forgets tombstones that are applied. One whose key has changed since `seq` stays. */
  async settle(tombstones: ReadonlyArray<{ key: ObjectKey; seq: number }>): Promise<void> {
    const due = tombstones.filter(({ key, seq }) => {
      const head = this.#entries.get(key);
      return head !== undefined && head.hash === "" && head.seq === seq;
    });
    if (due.length === 0) return;
    this.#write("journal.settle", () => {
      for (const { key } of due) this.#statements.remove.run(key);
    });
    for (const { key } of due) this.#entries.delete(key);
    this.#db.exec(`PRAGMA incremental_vacuum(${vacuumPageCount})`);
  }

  /**
   * Stores a higher epoch, from which on batches of lower ones are refused: on promotion, and when a returning site
   * learns that another took over. What follows comes from another source, so the journal is no longer `current`.
   * Rejects with FailoverRefused on a lower epoch than the stored one.
   */
  async raiseEpoch(epoch: EpochText): Promise<void> {
    const stored = this.#meta.epoch;
    if (stored !== undefined && compareEpochs(epoch, stored) < 0) {
      throw new LifeboatError("FailoverRefused", `epoch ${epoch} is older than ${stored}`, {
        op: "journal.raiseEpoch",
      });
    }
    const newer = stored === undefined || compareEpochs(epoch, stored) > 0;
    const meta: Meta = { ...this.#meta, epoch, position: newer ? undefined : this.#meta.position };
    this.#write("journal.raiseEpoch", () => writeMeta(this.#statements, meta));
    this.#meta = meta;
  }

  /** A durable record of this name, or `undefined`. */
  getState(name: string): unknown {
    return this.#records === undefined ? this.#state.get(name) : this.#records.getState(name);
  }

  /** Stores a JSON value under this name; durable when it resolves. `undefined` removes it. */
  async putState(name: string, value: unknown): Promise<void> {
    if (this.#records === undefined) this.#state.put(name, value);
    else await this.#records.putState(name, value);
  }

  /** As {@link getState}, of what is true of this very file. */
  getOwnState(name: string): unknown {
    return this.#state.get(name);
  }

  /** As {@link putState}, of what is true of this very file. */
  async putOwnState(name: string, value: unknown): Promise<void> {
    this.#state.put(name, value);
  }

  /** As {@link putOwnState} of several records, in one transaction. */
  async putOwnStates(records: ReadonlyMap<string, unknown>): Promise<void> {
    this.#state.putAll(records);
  }

  /** Names of the records in this file. */
  ownStates(): string[] {
    return this.#state.names();
  }

  /**
   * Stores objects of a returning site that will be overwritten. A key's first record stays until cleared, or until it
   * was compared and the site returns once more.
   */
  async saveDivergence(objects: readonly DivergentObject[]): Promise<void> {
    if (objects.length === 0) return;
    this.#write("journal.saveDivergence", () => {
      for (const { key, what, object } of objects) {
        this.#statements.diverge.run(key, what, this.#codec.encode(key, object));
      }
    });
  }

  /** Keys of what is kept by {@link saveDivergence}. */
  divergentKeys(): Array<Pick<DivergentObject, "key" | "what">> {
    const rows = this.#statements.divergentKeys.all();
    return rows.map((row) => ({ key: String(row["key"]), what: row["what"] as DivergentObject["what"] }));
  }

  divergent(key: ObjectKey): DivergentObject | undefined {
    const row = this.#statements.divergent.get(key);
    if (row === undefined) return undefined;
    const object = this.#codec.decode(key, row["object"] as Uint8Array);
    return { key, what: row["what"] as DivergentObject["what"], object };
  }

  /** Records how kept objects differ, and forgets those that do not. */
  async judgeDivergence(
    differing: ReadonlyArray<Pick<DivergentObject, "key" | "what">>,
    equal: readonly ObjectKey[],
  ): Promise<void> {
    const judge = this.#db.prepare("UPDATE divergence SET what = ? WHERE key = ?");
    const forget = this.#db.prepare("DELETE FROM divergence WHERE key = ?");
    this.#write("journal.judgeDivergence", () => {
      for (const { key, what } of differing) judge.run(what, key);
      for (const key of equal) forget.run(key);
    });
  }

  async clearDivergence(): Promise<void> {
    this.#write("journal.clearDivergence", () => this.#db.exec("DELETE FROM divergence"));
  }

  /** Closes the file. Waiters for applied positions are left to their signals. */
  close(): void {
    this.#listeners.clear();
    if (this.#db.isOpen) this.#db.close();
  }

  #write(op: string, body: () => void): void {
    try {
      inTransaction(this.#db, body);
    } catch (error) {
      throw translate(error, op, this.path);
    }
  }
}

/** Pages given back to the file system after each settling: 1 MiB, a few milliseconds at most. */
const vacuumPageCount = 256;

interface Meta {
  readonly group: string | undefined;
  readonly epoch: EpochText | undefined;
  readonly position: StreamPosition | undefined;
  /** Ring of the last complete batch. */
  readonly completeRing: string | undefined;
}

interface Statements {
  readonly get: StatementSync;
  readonly put: StatementSync;
  readonly bury: StatementSync;
  readonly remove: StatementSync;
  readonly diverge: StatementSync;
  readonly divergentKeys: StatementSync;
  readonly divergent: StatementSync;
  readonly getMeta: StatementSync;
  readonly putMeta: StatementSync;
  readonly dropMeta: StatementSync;
}

function prepareStatements(db: DatabaseSync): Statements {
  return {
    get: db.prepare("SELECT seq, hash, object, managers FROM objects WHERE key = ?"),
    put: db.prepare(
      `INSERT INTO objects (key, seq, hash, object, managers) VALUES (?, ?, ?, ?, ?)
       ON CONFLICT (key) DO UPDATE
       SET seq = excluded.seq, hash = excluded.hash, object = excluded.object, managers = excluded.managers`,
    ),
    // A tombstone keeps the last text: what was rendered from it says which copies must go.
    bury: db.prepare(
      `INSERT INTO objects (key, seq, hash, object, managers) VALUES (?, ?, '', ?, ?)
       ON CONFLICT (key) DO UPDATE SET seq = excluded.seq, hash = ''`,
    ),
    remove: db.prepare("DELETE FROM objects WHERE key = ?"),
    // Within one return the first state wins; one that was compared is of an earlier return, and gives way.
    diverge: db.prepare(
      `INSERT INTO divergence (key, what, object) VALUES (?, ?, ?)
       ON CONFLICT (key) DO UPDATE SET what = excluded.what, object = excluded.object
       WHERE excluded.what = 'unknown' AND divergence.what <> 'unknown'`,
    ),
    divergentKeys: db.prepare("SELECT key, what FROM divergence ORDER BY key"),
    divergent: db.prepare("SELECT what, object FROM divergence WHERE key = ?"),
    getMeta: db.prepare("SELECT value FROM meta WHERE name = ?"),
    putMeta: db.prepare(
      "INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
    ),
    dropMeta: db.prepare("DELETE FROM meta WHERE name = ?"),
  };
}

function readMeta(statements: Statements): Meta {
  const text = (name: string): string | undefined => {
    const row = statements.getMeta.get(name);
    return row === undefined ? undefined : String(row["value"]);
  };
  const position = text("position");
  return {
    group: text("group"),
    epoch: text("epoch"),
    position: position === undefined ? undefined : (JSON.parse(position) as StreamPosition),
    completeRing: text("completeRing"),
  };
}

function writeMeta(statements: Statements, meta: Meta): void {
  const put = (name: string, value: string | undefined): void => {
    if (value === undefined) statements.dropMeta.run(name);
    else statements.putMeta.run(name, value);
  };
  put("epoch", meta.epoch);
  put("position", meta.position === undefined ? undefined : JSON.stringify(meta.position));
  put("completeRing", meta.completeRing);
}
