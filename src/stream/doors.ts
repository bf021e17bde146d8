import type { DigestTable } from "../objects/digest.ts";
import type { ObjectKey } from "../objects/key.ts";
import type { ChangeRecord } from "../objects/record.ts";

/**
 * The two doors of a group's stream. The source side's capture implements {@link ChangeSource}, the standby side's
 * journal {@link ChangeSink}; the stream moves records from the one to the other and knows nothing else of them.
 */

/** A place in a source's order. `ring` names one life of the source: sequence numbers of two rings do not compare. */
export interface StreamPosition {
  readonly ring: string;
  readonly seq: number;
}

export interface KeyAndHash {
  readonly key: ObjectKey;
  readonly hash: string;
}

/** Everything a stream needs of the site that is active for a group. */
export interface ChangeSource {
  /** Identity of this life of the ring; new at every start. */
  readonly ring: string;
  /** Highest sequence number given out. */
  readonly head: number;
  /** A reader at a position below this has missed tombstones and must compare digests. */
  readonly floor: number;
  /** Epoch under which this site is active; travels with each batch. */
  readonly epoch: string;
  /** Resolves when the initial list of every kind is complete, so that what is absent is known to be absent. */
  whenSynced(options: { signal: AbortSignal }): Promise<void>;
  /** Records after `seq` in order, the newest state of each key once, at most `maxCount` or about `maxBytes`. */
  read(seq: number, limits: { maxCount: number; maxBytes: number }): ChangeRecord[];
  /** Resolves when `head` is beyond `seq`. */
  whenBeyond(seq: number, options: { signal: AbortSignal }): Promise<void>;
  /** Digest over all live keys. */
  readonly digest: DigestTable;
  /** Live entries in these buckets. */
  entriesIn(buckets: ReadonlySet<number>): KeyAndHash[];
  /** The present record of a key with its present sequence number; a tombstone at `head` when it does not exist. */
  current(key: ObjectKey): ChangeRecord;
  /**
   * Whether it is known if such an object exists. What is not (its kind may not be read, its API does not answer) has
   * not gone: a comparison leaves the standby's copy alone. @default always known
   */
  isKnown?(key: ObjectKey): boolean;
  /** Told what a standby has made durable and applied, in this ring's numbers. Drives lag measurement. */
  acknowledged(position: { durable: number; applied: number }): void;
}

/** Everything a stream needs of the standby. */
export interface ChangeSink {
  /** Where to resume, or `undefined` when nothing was received yet. */
  position(): StreamPosition | undefined;
  /** Highest epoch stored; a batch of a lower one must be refused. */
  epoch(): string | undefined;
  /** Digest over all entries that are not deleted. */
  readonly digest: DigestTable;
  entriesIn(buckets: ReadonlySet<number>): KeyAndHash[];
  /**
   * Makes a batch durable (fsync) in one transaction with position and epoch, then resolves. Records of a lower
   * epoch reject with FailoverRefused and change nothing. `complete` marks the batch after which the sink is known to hold
   * everything up to its position (the end of a first sync or of a digest comparison).
   */
  commit(batch: SinkBatch, options: { signal: AbortSignal }): Promise<void>;
  /** Highest sequence number of the current ring up to which everything is applied; 0 when unknown. */
  applied(): number;
  /** Resolves when `applied()` is beyond `seq`. */
  whenAppliedBeyond(seq: number, options: { signal: AbortSignal }): Promise<void>;
}

export interface SinkBatch {
  readonly epoch: string;
  /** Its ring is `""` while a comparison after a lost position is not finished: only a new one can complete it. */
  readonly position: StreamPosition;
  readonly records: readonly ChangeRecord[];
  readonly complete: boolean;
}
