import { bucketOf, DigestTable } from "../../../src/objects/digest.ts";
import type { ObjectKey } from "../../../src/objects/key.ts";
import { hashOf, type ChangeRecord } from "../../../src/objects/record.ts";
import { compareEpochs } from "../../../src/objects/epoch.ts";
import { LifeboatError } from "../../../src/errors.ts";
import { onAbort } from "../../../src/abort.ts";
import type { ChangeSink, ChangeSource, KeyAndHash, SinkBatch, StreamPosition } from "../../../src/stream/doors.ts";

/**
 * Small models of the two doors, simple enough to be right by reading: the stream's tests run against these, the
 * capture's and the journal's own tests run against the real ones.
 */

/** Wakes waiters whenever `value` rises. */
class Rising {
  value = 0;
  readonly #waiters = new Set<() => void>();

  set(value: number): void {
    this.value = value;
    for (const wake of this.#waiters) wake();
  }

  async whenBeyond(mark: number, { signal }: { signal: AbortSignal }): Promise<void> {
    signal.throwIfAborted();
    while (this.value <= mark) {
      const woken = Promise.withResolvers<void>();
      const wake = () => woken.resolve();
      this.#waiters.add(wake);
      using _abort = onAbort(signal, woken.reject);
      await woken.promise.finally(() => this.#waiters.delete(wake));
    }
  }
}

/** A source whose ring forgets tombstones beyond `tombstonesMax`. */
export class ModelSource implements ChangeSource {
  readonly ring: string;
  readonly digest = new DigestTable();
  floor = 0;
  epoch: string;
  readonly acks: { durable: number; applied: number }[] = [];
  readonly #head = new Rising();
  readonly #tombstonesMax: number;
  /** Newest record of each key, tombstones included, in order of `seq`. */
  readonly #records = new Map<ObjectKey, ChangeRecord>();
  readonly #synced = Promise.withResolvers<void>();

  constructor(ring: string, { epoch = "1.1", tombstonesMax = 1000, synced = true } = {}) {
    this.ring = ring;
    this.epoch = epoch;
    this.#tombstonesMax = tombstonesMax;
    if (synced) this.#synced.resolve();
  }

  get head(): number {
    return this.#head.value;
  }

  markSynced(): void {
    this.#synced.resolve();
  }

  whenSynced(): Promise<void> {
    return this.#synced.promise;
  }

  put(key: ObjectKey, object: string, managers = "[]"): void {
    this.#note({ seq: this.head + 1, key, hash: hashOf(object, managers), object, managers });
  }

  remove(key: ObjectKey): void {
    if ((this.#records.get(key)?.hash ?? "") === "") return;
    this.#note({ seq: this.head + 1, key, hash: "", object: undefined, managers: "[]" });
    const tombstones = [...this.#records.values()].filter(({ hash }) => hash === "");
    for (const { key, seq } of tombstones.slice(0, Math.max(0, tombstones.length - this.#tombstonesMax))) {
      this.#records.delete(key);
      this.floor = seq;
    }
  }

  #note(record: ChangeRecord): void {
    const old = this.#records.get(record.key);
    if (old !== undefined && old.hash !== "") this.digest.toggle(old.key, old.hash);
    if (record.hash !== "") this.digest.toggle(record.key, record.hash);
    this.#records.delete(record.key);
    this.#records.set(record.key, record);
    this.#head.set(record.seq);
  }

  read(seq: number, limits: { maxCount: number; maxBytes: number }): ChangeRecord[] {
    const result: ChangeRecord[] = [];
    let bytes = 0;
    for (const record of this.#records.values()) {
      if (record.seq <= seq) continue;
      bytes += (record.object?.length ?? 0) + record.managers.length + record.key.length;
      if (result.length > 0 && (bytes > limits.maxBytes || result.length >= limits.maxCount)) break;
      result.push(record);
    }
    return result;
  }

  whenBeyond(seq: number, options: { signal: AbortSignal }): Promise<void> {
    return this.#head.whenBeyond(seq, options);
  }

  entriesIn(buckets: ReadonlySet<number>): KeyAndHash[] {
    return [...this.#records.values()].filter(({ key, hash }) => hash !== "" && buckets.has(bucketOf(key)));
  }

  current(key: ObjectKey): ChangeRecord {
    return this.#records.get(key) ?? { seq: this.head, key, hash: "", object: undefined, managers: "[]" };
  }

  acknowledged(position: { durable: number; applied: number }): void {
    this.acks.push(position);
  }

  /** Live objects by key. */
  objects(): Map<ObjectKey, string> {
    return liveObjects(this.#records.values());
  }

  /** Newest record of each key, tombstones included. */
  records(): ReadonlyMap<ObjectKey, ChangeRecord> {
    return this.#records;
  }

  /** The ring of a restarted process: same objects, other order, no memory of deletes. */
  restarted(ring: string): ModelSource {
    const next = new ModelSource(ring, { epoch: this.epoch, tombstonesMax: this.#tombstonesMax });
    for (const [key, object] of this.objects()) next.put(key, object);
    return next;
  }
}

/** A sink that is durable at once, survives in `stored`, and can be slow or refuse. */
export class ModelSink implements ChangeSink {
  digest = new DigestTable();
  readonly #applied = new Rising();
  stored: {
    position: StreamPosition | undefined;
    epoch: string | undefined;
    records: Map<ObjectKey, ChangeRecord>;
    /** Ring of the last complete batch. */
    completeRing: string | undefined;
  } = { position: undefined, epoch: undefined, records: new Map(), completeRing: undefined };
  /** Runs before each commit takes effect. */
  beforeCommit: (batch: SinkBatch) => Promise<void> = async () => {};
  /** Runs when a commit has taken effect. */
  afterCommit: (batch: SinkBatch) => void = () => {};
  commits = 0;
  recordsReceived = 0;

  position(): StreamPosition | undefined {
    return this.stored.position;
  }

  epoch(): string | undefined {
    return this.stored.epoch;
  }

  /** Everything of the ring that is followed is held. */
  get complete(): boolean {
    return this.stored.completeRing !== undefined && this.stored.completeRing === this.stored.position?.ring;
  }

  entriesIn(buckets: ReadonlySet<number>): KeyAndHash[] {
    return [...this.stored.records.values()].filter(({ key, hash }) => hash !== "" && buckets.has(bucketOf(key)));
  }

  async commit(batch: SinkBatch, { signal }: { signal: AbortSignal }): Promise<void> {
    await this.beforeCommit(batch);
    signal.throwIfAborted();
    if (this.stored.epoch !== undefined && compareEpochs(batch.epoch, this.stored.epoch) < 0) {
      throw new LifeboatError("FailoverRefused", `epoch ${batch.epoch} is older than ${this.stored.epoch}`);
    }
    this.commits++;
    this.recordsReceived += batch.records.length;
    for (const record of batch.records) this.#store(record);
    const completeRing = batch.complete ? batch.position.ring : this.stored.completeRing;
    this.stored = { ...this.stored, position: batch.position, epoch: batch.epoch, completeRing };
    this.afterCommit(batch);
  }

  #store(record: ChangeRecord): void {
    const { records } = this.stored;
    const old = records.get(record.key);
    if (old !== undefined && old.hash !== "") this.digest.toggle(old.key, old.hash);
    if (record.hash !== "") this.digest.toggle(record.key, record.hash);
    records.set(record.key, record);
  }

  /** Damages what is stored behind the stream's back, as a bug or a bad disk would. */
  corrupt(key: ObjectKey, object: string | undefined): void {
    const hash = object === undefined ? "" : hashOf(object, "[]");
    this.#store({ seq: 0, key, hash, object, managers: "[]" });
  }

  setApplied(seq: number): void {
    this.#applied.set(seq);
  }

  applied(): number {
    return this.#applied.value;
  }

  whenAppliedBeyond(seq: number, options: { signal: AbortSignal }): Promise<void> {
    return this.#applied.whenBeyond(seq, options);
  }

  objects(): Map<ObjectKey, string> {
    return liveObjects(this.stored.records.values());
  }
}

function liveObjects(records: Iterable<ChangeRecord>): Map<ObjectKey, string> {
  const live = [...records].filter(({ hash }) => hash !== "");
  live.sort((a, b) => (a.key < b.key ? -1 : 1));
  return new Map(live.map(({ key, object }) => [key, object ?? ""]));
}
