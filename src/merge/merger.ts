import { classify, needOf } from "../apply/failures.ts";
import { type FailingKey, Notes } from "../apply/notes.ts";
import { KeyedQueue, type Outcome } from "../apply/queue.ts";
import { isBookkeeping } from "../apply/site.ts";
import type { Normalised } from "../capture/normalise.ts";
import type { Clock, Random } from "../clock.ts";
import type { GroupSpec } from "../config/group.ts";
import type { Journal } from "../journal/journal.ts";
import { hasReason } from "../kube/status.ts";
import type { EpochText } from "../objects/epoch.ts";
import { type ObjectKey, parseKey } from "../objects/key.ts";
import type { KubeObject } from "../objects/object.ts";
import type { Place } from "../render/neutral.ts";
import type { Finding } from "../render/types.ts";
import { isSurged } from "../render/surge.ts";
import { waveOfKey } from "../render/waves.ts";
import type { Log } from "../telemetry/log.ts";
import { Bringer } from "./bring.ts";
import { type Conflict, conflictOf, withConflict } from "./conflicts.ts";
import { Deletions } from "./deletions.ts";
import { formatStamp } from "./hlc.ts";
import { type Known, Ledger } from "./ledger.ts";
import { LocalObjects, type SinglesPlace } from "./local.ts";
import type { SiteObjects } from "./objects.ts";
import { PeerSide } from "./peer-side.ts";
import { deleted, type Entry } from "./replica.ts";
import { tombstoneOf } from "./stated.ts";
import { forgettable } from "./tombstones.ts";
import { relate } from "./version.ts";
import { ObjectWork, offered } from "./work.ts";

/**
 * One group that runs at both sites, at this site: every change here is given a version and offered, every newer one
 * of the other site is brought here. Level-triggered: whatever asks for a look at a key, the object, what is known of
 * it and what the other site says are read anew, and what follows from the three is done.
 */
export interface MergerOptions {
  /** What the other site says. */
  readonly journal: Journal;
  readonly objects: SiteObjects;
  readonly group: string;
  readonly site: string;
  /** The spec in force; undefined before the first. */
  readonly spec: () => GroupSpec | undefined;
  readonly epoch: () => EpochText;
  readonly singles: () => SinglesPlace;
  /** The API server shows its past (a restored backup): nothing that it says counts until a person accepts it. */
  readonly isPaused: () => boolean;
  /** While this site carries both loads. */
  readonly surgePercent: () => number | undefined;
  /** Namespaces of this site that belong to other groups, with their names. Told anew by `reconsider`. */
  readonly taken: () => ReadonlyMap<string, string>;
  /** Offers what this site says of an object; `undefined` for nothing any more. */
  readonly offer: (key: ObjectKey, state: Normalised | undefined) => void;
  /** Whether the object is the group's, and none of Lifeboat's own. */
  readonly isGroups: (key: ObjectKey) => boolean;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Something that status shows has changed. Must not throw. */
  readonly onChange: () => void;
  /** Must not throw. */
  readonly onConflict: () => void;
  /** An object of this site was written or deleted. Must not throw. */
  readonly onWrite: () => void;
}

/** What status shows. */
export interface MergeStatus {
  readonly pending: number;
  readonly failing: ReadonlyMap<ObjectKey, FailingKey>;
  readonly findings: ReadonlyMap<ObjectKey, readonly Finding[]>;
  /** Newest first, of both processes before and this one. */
  readonly conflicts: readonly Conflict[];
  readonly conflictCount: number;
  readonly tombstones: number;
  readonly objects: number;
  readonly singles: readonly ObjectKey[];
  /** How far ahead of ours the clock is that is not followed; 0 for none. */
  readonly aheadMs: number;
  readonly deletesPaused: Deletions["paused"];
}

const workersMaxCount = 8;
/** Tombstones are looked through this often. */
const pruneEveryMs = 60_000;
/** What is asked for beside the work is looked at again after this. */
const lookAgainMs = 50;
const conflictsName = "merge/conflicts";

interface ConflictLog {
  readonly count: number;
  readonly log: readonly Conflict[];
}

export class Merger {
  readonly #options: MergerOptions;
  readonly #ledger: Ledger;
  readonly #local: LocalObjects;
  readonly #deletions: Deletions;
  readonly #peer: PeerSide;
  readonly #work: ObjectWork;
  #queue: KeyedQueue<ObjectKey>;
  #life = new AbortController();
  readonly #notes = new Notes();
  #conflicts: ConflictLog;
  #isRunning = false;

  /** Throws JournalCorrupt. */
  constructor(options: MergerOptions) {
    this.#options = options;
    const { journal, clock, random, log } = options;
    this.#ledger = new Ledger(journal, (error) => log.error({ err: error }, "versions of objects could not be noted"));
    this.#deletions = new Deletions(journal, clock);
    this.#peer = new PeerSide(options);
    this.#local = new LocalObjects({
      ...options,
      ledger: this.#ledger,
      place: () => this.#place(),
      theirs: (key) => this.#peer.theirs(key)?.entry,
      onMarked: (key) => this.#add(key),
    });
    const notes = this.#notes;
    const namespaces = (): ReadonlySet<string> => this.#peer.namespaces();
    this.#work = new ObjectWork({
      ...options,
      ledger: this.#ledger,
      local: this.#local,
      peer: this.#peer,
      bringer: new Bringer({ ...options, notes, place: () => this.#place(), namespaces }),
      notes,
      deletions: this.#deletions,
      onConflict: (key, ours, theirs) => this.#conflict(key, ours, theirs),
    });
    this.#conflicts = (journal.getOwnState(conflictsName) as ConflictLog | undefined) ?? { count: 0, log: [] };
    this.#queue = this.#newQueue(random);
  }

  #newQueue(random: Random): KeyedQueue<ObjectKey> {
    const { clock, log } = this.#options;
    return new KeyedQueue<ObjectKey>({
      concurrency: workersMaxCount,
      run: (key) => this.#run(key),
      priorityOf: (key) => -waveOfKey(key),
      clock,
      random,
      onDefect: (key, error) => log.error({ key, err: error }, "an object could not be merged"),
    });
  }

  status(): MergeStatus {
    return {
      pending: this.#queue.size,
      failing: this.#notes.failing,
      findings: this.#notes.findings,
      conflicts: this.#conflicts.log,
      conflictCount: this.#conflicts.count,
      tombstones: this.#ledger.tombstones,
      objects: this.#ledger.size,
      singles: [...this.#local.singles].sort(),
      aheadMs: this.#work.aheadMs,
      deletesPaused: this.#deletions.paused,
    };
  }

  /** Follows the journal until `signal` aborts, then rejects with its reason. Expects what {@link seen} is called by. */
  async run({ signal }: { signal: AbortSignal }): Promise<never> {
    const { journal, clock } = this.#options;
    this.#life = new AbortController();
    this.#queue = this.#newQueue(this.#options.random);
    const stop = journal.onCommit((keys) => this.#committed(keys));
    this.#isRunning = true;
    try {
      for (const [key] of journal.entries()) {
        const here = this.#peer.keyHere(key);
        if (this.#isDue(here) || this.#work.isToBeAnew(here)) this.#add(here);
      }
      for (const key of this.#local.singles) this.#add(key);
      for (;;) {
        await clock.sleep(pruneEveryMs, { signal });
        this.#prune();
      }
    } finally {
      stop();
      this.#isRunning = false;
      this.#life.abort(new Error("merging ends"));
      await this.#queue.stop();
      this.#ledger.flush();
    }
  }

  /** The spec has changed: what came from the other site is rendered anew. */
  reconsider(): void {
    for (const [key] of this.#options.journal.entries()) {
      const here = this.#peer.keyHere(key);
      this.#work.renderAnew(here);
      this.#add(here);
    }
  }

  /** The other site says something that is not here. */
  #isDue(key: ObjectKey): boolean {
    const theirs = this.#peer.theirs(key);
    const known = this.#ledger.get(key);
    if (theirs === undefined) return false;
    return known === undefined || ["older", "concurrent"].includes(relate(known.version, theirs.entry.version));
  }

  /**
   * Looks at what is single again, and at what a surge changes. Resolves when none of it is under way any more, or
   * after `maxMs`: it goes on.
   */
  async settle({ maxMs = Infinity, signal }: { maxMs?: number; signal: AbortSignal }): Promise<void> {
    const { clock } = this.#options;
    const endMs = clock.monotonicMs() + maxMs;
    const keys = [...this.#ledger.entries()].flatMap(([key, { content }]) =>
      content !== deleted && (this.#local.singles.has(key) || isSurged(key)) ? [key] : [],
    );
    for (const key of keys) this.#add(key);
    while (keys.some((key) => this.#queue.has(key) && !this.#notes.failing.has(key)) && clock.monotonicMs() < endMs) {
      await clock.sleep(lookAgainMs, { signal });
    }
  }

  /** The API server was restored from a backup: what it says of what is known is its past, and nobody's write. */
  restored(): void {
    this.#local.restored();
    this.#work.forgetAllLatest();
  }

  /** A person has accepted that it was: what the other site has of it is brought back. */
  bringBack(): void {
    for (const [key] of this.#ledger.entries()) if (this.#local.isRestored(key)) this.#add(key);
  }

  /** What a surge changes is looked at again. */
  lookAtSurge(): void {
    for (const [key, { content }] of this.#ledger.entries()) {
      if (content !== deleted && isSurged(key)) this.#add(key);
    }
  }

  /** Versions of what is single, in one text; equal at both sites where they hold the same. */
  singlesText(): string {
    const texts = [...this.#local.singles].flatMap((key) => {
      const known = this.#ledger.get(key);
      if (known === undefined) return [];
      const { stamp, site } = known.version;
      return [`${this.#peer.canonical(key)} ${formatStamp(stamp)} ${site}`];
    });
    return texts.sort().join("\n");
  }

  isSingle(key: ObjectKey): boolean {
    return this.#local.singles.has(key);
  }

  /** A kind has come to be served here: what waits for it is tried. */
  kindCame(group: string, kind: string): void {
    this.#queue.wake(needOf.kind(group, kind));
  }

  /** Carries out the deletes that are held back. Returns their number. */
  async confirmDeletes(): Promise<number> {
    const keys = await this.#deletions.confirm();
    for (const key of keys) this.#add(key);
    return keys.length;
  }

  /**
   * To be called when capture has read everything, and now and then. What was here and is not was deleted while nobody
   * looked; what is here and not in capture is left out of what travels.
   */
  compare(capture: { has(key: ObjectKey): boolean; isKnown(key: ObjectKey): boolean }): void {
    for (const [key, { content, local, out }] of this.#ledger.entries()) {
      if (content === deleted || local === "" || capture.has(key) || !capture.isKnown(key)) continue;
      this.#local.setLeft(key, true);
      if (out !== true) this.#add(key);
    }
  }

  /** What is to be offered of objects that were deleted, by a capture that begins. */
  *tombstones(): Generator<[ObjectKey, Normalised]> {
    for (const [key, known] of this.#ledger.entries()) {
      if (known.content === deleted) yield [key, tombstoneOf(key, known)];
    }
  }

  /** The object looks like this at this site. Returns what is to be offered of it, or undefined to leave what is. */
  seen(key: ObjectKey, live: KubeObject): Normalised | undefined {
    this.#local.setLeft(key, false);
    if (this.#work.isWriting(key)) {
      this.#add(key);
      return undefined;
    }
    if (this.#work.isPast(key, live)) return undefined;
    const known = this.#local.note(key, live);
    // What is on its way out is nothing to go on with.
    if (live.metadata.deletionTimestamp === undefined) this.#queue.wake(key);
    if (this.#local.singles.has(key) || isSurged(key)) this.#add(key);
    return known === undefined ? undefined : offered(key, known, live);
  }

  /** The object is not at this site, or no part of what travels. */
  gone(key: ObjectKey): void {
    this.#local.setLeft(key, true);
    this.#work.forgetLatest(key);
    this.#add(key);
  }

  #committed(keys: readonly ObjectKey[]): void {
    const { journal } = this.#options;
    this.#peer.changed(keys);
    for (const key of keys) this.#add(this.#peer.keyHere(key));
    const settled = keys.flatMap((key) => {
      const head = journal.head(key);
      return head?.hash === "" ? [{ key, seq: head.seq }] : [];
    });
    journal.settle(settled).catch((error: unknown) => {
      this.#options.log.warn({ err: error }, "records that are over could not be removed");
    });
    this.#report();
  }

  #add(key: ObjectKey): void {
    if (this.#isRunning && this.#options.isGroups(key) && !isBookkeeping(key)) this.#queue.add(key);
  }

  /** What has come and waits for nothing is applied. */
  #report(): void {
    const position = this.#options.journal.position();
    if (position !== undefined && this.#queue.size === this.#queue.waiting) {
      this.#options.journal.reportApplied(position.seq);
    }
  }

  async #run(key: ObjectKey): Promise<Outcome> {
    const { spec, onChange } = this.#options;
    const inForce = spec();
    if (inForce === undefined || inForce.suspend) return { kind: "done" };
    if (this.#options.isPaused()) return { kind: "pause" };
    try {
      const failure = await this.#work.look(key, inForce, { signal: this.#life.signal });
      if (failure === undefined) this.#notes.failing.delete(key);
      else this.#notes.failed(key, failure, this.#options.clock.wallMs());
      return failure === undefined ? { kind: "done" } : { kind: "retry", need: failure.need, slow: failure.slow };
    } catch (error) {
      if (this.#life.signal.aborted) return { kind: "done" };
      // Somebody else has written at the same moment: looked at anew.
      if (hasReason(error, "Conflict") || hasReason(error, "AlreadyExists")) return { kind: "retry" };
      const failure = classify(error, parseKey(key));
      if (failure.reason === "ApiUnreachable") return { kind: "pause" };
      this.#notes.failed(key, failure, this.#options.clock.wallMs());
      return { kind: "retry", need: failure.need, slow: failure.slow };
    } finally {
      onChange();
      // By then the key is no longer in the queue.
      setImmediate(() => this.#report());
    }
  }

  #conflict(key: ObjectKey, ours: Entry, theirs: Entry): void {
    const { journal, clock, log, onConflict } = this.#options;
    const conflict = conflictOf(key, ours, theirs, clock.wallMs());
    this.#conflicts = { count: this.#conflicts.count + 1, log: withConflict(this.#conflicts.log, conflict) };
    log.warn({ conflict }, "both sites wrote to one object without knowing of each other; the later write counts");
    journal.putOwnState(conflictsName, this.#conflicts).catch((error: unknown) => {
      log.warn({ err: error }, "a conflict could not be noted");
    });
    onConflict();
  }

  #prune(): void {
    const isShared = (_key: ObjectKey, entry: Entry): boolean => (entry as Known).isShared === true;
    for (const key of forgettable(this.#ledger.entries(), isShared, this.#options.clock.wallMs())) {
      this.#ledger.delete(key);
      this.#options.offer(key, undefined);
    }
  }

  #place(): Place | undefined {
    const { group, site, spec } = this.#options;
    const inForce = spec();
    return inForce === undefined ? undefined : { group, site, spec: inForce };
  }
}
