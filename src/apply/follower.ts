import { onAbort, runTogether } from "../abort.ts";
import type { EntryHead } from "../journal/entries.ts";
import type { ObjectKey } from "../objects/key.ts";
import { waveOfKey } from "../render/waves.ts";
import { Deletes } from "./deletes.ts";
import { DroppedRetries } from "./dropped-retries.ts";
import { settleDivergence } from "./divergence.ts";
import type { Failure } from "./failures.ts";
import { observeServices } from "./observe.ts";
import { Proof } from "./proof.ts";
import { KeyedQueue, type Outcome } from "./queue.ts";
import type { GroupSite, SiteListener } from "./site.ts";
import { isShared } from "./view.ts";
import { Watermark } from "./watermark.ts";

/**
 * The standby's steady state: what the journal receives is applied at once, newest state of a key first served, what
 * drifts is repaired, what vanished is deleted. Order matters only where the API server says so: an object whose
 * namespace or kind is missing is parked until that has come.
 */

/** Writes under way at once: more gain nothing at one API server. */
const writesMaxCount = 16;
/** A key that fails so often in a row is reported as failing and no longer holds the applied position. */
const failingAfterAttempts = 3;
/** Shared objects and endpoints are not watched; they are looked at this often. */
const sharedPollMs = 60_000;
const servicePollMs = 5_000;

const prunePrefix = "prune:";

export class Follower implements SiteListener {
  readonly deletes: Deletes;
  readonly proof: Proof;
  readonly watermark = new Watermark();
  readonly #site: GroupSite;
  readonly #queue: KeyedQueue<string>;
  readonly #held = new Set<string>();
  readonly #dropped = new DroppedRetries();
  readonly #onChange: () => void;
  #ring: string | undefined;
  #signal = new AbortController().signal;
  #opened = false;
  #counted = false;
  #sweeping = false;

  constructor(site: GroupSite, onChange: () => void) {
    this.#site = site;
    this.#onChange = onChange;
    const { clock, random, log } = site.options;
    this.proof = new Proof(site);
    this.deletes = new Deletes({ journal: site.journal, clock, log, onDue: (key) => this.#queue.add(key) });
    this.#queue = new KeyedQueue({
      concurrency: writesMaxCount,
      run: (key, attempt) => this.#run(key, attempt),
      priorityOf: (key) => this.#priority(key),
      clock,
      random,
      onDefect: (key, error) => log.error({ key, err: error }, "applying a key failed unexpectedly"),
    });
  }

  /** What was there at the start is known. */
  get opened(): boolean {
    return this.#opened;
  }

  /** Keys that are received and not known to be applied: all of them, until they are being looked at. */
  get pendingCount(): number {
    return this.#counted ? this.watermark.pendingCount : this.#site.journal.size;
  }

  /** What was there at the start has been looked at, and nothing is ready or being written. */
  get settled(): boolean {
    return this.#opened && this.#queue.size === this.#queue.waiting;
  }

  /**
   * Follows the journal until `signal` aborts, then ends what is under way and resolves. The watches of this site live
   * on until `siteSignal` aborts, so that a promotion knows what is there.
   */
  async follow(options: { signal: AbortSignal; siteSignal: AbortSignal }): Promise<void> {
    const { signal } = options;
    const { journal, view, options: parts } = this.#site;
    this.#signal = signal;
    const pending = [...journal.entries()].filter(([key, head]) => head.hash === "" && this.#wasHere(key));
    const stopCommits = journal.onCommit((keys) => this.#committed(keys));
    using _kinds = this.#site.followKinds({ signal, onKinds: () => this.#lookAtWithheld() });
    try {
      while (!view.hasSpec) await parts.clock.sleep(100, { signal });
      // What is already there may be applied or not: it counts as old until it has been looked at.
      for (const [key] of journal.entries()) this.watermark.received(key, 1);
      this.#counted = true;
      this.#reached();
      await abortable(this.#site.open("standby", this, { signal: options.siteSignal }), signal);
      await this.deletes.resume(
        pending.map(([key]) => key),
        view.spec,
      );
      this.#opened = true;
      this.#lookAtAll();
      // Everything may have come while this site was still being looked at.
      if (journal.current) this.#becameCurrent();
      const idle = (): boolean => this.settled && this.#site.journal.current;
      await runTogether(
        [
          (own) => this.#poll(own.signal),
          (own) => this.proof.run({ idle, onChange: this.#onChange, signal: own.signal }),
        ],
        { signal },
      );
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      stopCommits();
      this.#site.listen(undefined);
      this.#opened = false;
      await this.#queue.stop();
      await this.deletes.stop();
    }
  }

  #writeDroppedAgain(): void {
    const { notes, assignments, options } = this.#site;
    for (const target of this.#dropped.due(notes.dropped.keys(), options.clock.monotonicMs())) {
      const source = assignments.sourceOf(target);
      if (source !== undefined) this.#queue.add(source);
    }
  }

  async #poll(signal: AbortSignal): Promise<void> {
    const { clock } = this.#site.options;
    let sharedAtMs = clock.monotonicMs();
    for (;;) {
      await clock.sleep(servicePollMs, { signal });
      await this.#pollServices(signal);
      this.#writeDroppedAgain();
      if (clock.monotonicMs() - sharedAtMs < sharedPollMs) continue;
      sharedAtMs = clock.monotonicMs();
      for (const source of this.#site.assignments.sources()) {
        if (this.#site.assignments.targetsOf(source).some(isShared)) this.#queue.add(source);
      }
    }
  }

  async #pollServices(signal: AbortSignal): Promise<void> {
    try {
      const changed = await observeServices(this.#site.observing, this.#site.assignments.awaited(), signal);
      for (const key of changed) this.came(key);
    } catch {
      // Looked at again in a moment.
      signal.throwIfAborted();
    }
  }

  /** Looks at every key; those that are as they should be cost one rendering. */
  #lookAtAll(): void {
    for (const [key] of this.#site.journal.entries()) this.#queue.add(key);
    if (this.#site.journal.current) this.#sweep();
  }

  #lookAtWithheld(): void {
    for (const key of this.#site.notes.withheld.keys()) this.#queue.add(key);
  }

  #committed(keys: readonly ObjectKey[]): void {
    const { journal, view } = this.#site;
    this.#reached();
    let deleted = 0;
    for (const key of keys) {
      const head = journal.head(key);
      if (head === undefined) continue;
      this.watermark.received(key, head.seq);
      if (head.hash === "" && this.#wasHere(key)) deleted++;
    }
    const all = view.changed(keys);
    // A new spec is applied when everything that it may change is.
    const specSeq = all ? (journal.head(view.specKey)?.seq ?? 0) : 0;
    if (all) for (const [key] of journal.entries()) this.watermark.received(key, specSeq);
    if (deleted > 0 && view.hasSpec) void this.deletes.observe(deleted, view.spec).catch(() => undefined);
    if (!this.#opened) return;
    if (all) this.#lookAtAll();
    else for (const key of [...keys, ...view.ownersChanged(keys)]) this.#queue.add(key);
    if (journal.current) this.#becameCurrent();
    else this.#wasCurrent = false;
    void this.deletes.relax(journal.pendingDeletes).catch(() => undefined);
    this.#report();
  }

  /** What came and went while the link was down has never been here: nobody loses it by its delete. */
  #wasHere(key: ObjectKey): boolean {
    const { journal, copies, view } = this.#site;
    if (view.hasSpec && copies.get(view.keyAtSite(key)) !== undefined) return true;
    try {
      return journal.read(key)?.object !== "";
    } catch {
      // What cannot be read any more was there once.
      return true;
    }
  }

  /** The journal's position; a new ring starts the numbers over. */
  #reached(): void {
    const position = this.#site.journal.position();
    if (position === undefined) return;
    if (this.#ring !== undefined && position.ring !== this.#ring) this.watermark.newRing();
    this.#ring = position.ring;
    this.watermark.reached(this.#site.journal.synced ? position.seq : 0);
  }

  /** Since the source's present ring is known to have been received whole. */
  #wasCurrent = false;

  #becameCurrent(): void {
    if (this.#wasCurrent) return;
    this.#wasCurrent = true;
    const { view, options } = this.#site;
    settleDivergence(this.#site)
      .then(() => this.#onChange())
      .catch((error: unknown) => options.log.error({ err: error }, "what diverged could not be compared"));
    if (view.hasSpec && view.rewritesLabels) {
      view.labelsChanged();
      this.#lookAtAll();
    } else {
      this.#sweep();
    }
  }

  /** Objects of the group that nobody asks for: left over from a journal that was lost, or from before a restart. */
  #sweep(): void {
    if (this.#sweeping) return;
    this.#sweeping = true;
    void this.#queue.whenIdle().then(() => {
      this.#sweeping = false;
      for (const key of this.#site.copies.keys()) {
        if (!isShared(key) && this.#site.assignments.sourceOf(key) === undefined) this.stray(key);
      }
    });
  }

  drifted(source: ObjectKey): void {
    this.#queue.add(source);
  }

  stray(target: ObjectKey): void {
    if (!this.#opened) return;
    const key = `${prunePrefix}${target}`;
    if (this.#queue.has(key)) return;
    const seen = this.#site.copies.get(target);
    if (seen === undefined && !isShared(target)) return;
    // Controllers copy labels to what they make (endpoints of a Service); only what we or this site wrote is ours.
    if (seen !== undefined && seen.owned === "" && !this.#site.own.has(seen.uid)) return;
    this.#queue.add(key);
  }

  came(need: string): void {
    this.#queue.wake(need);
    for (const source of this.#site.assignments.waitersOf(need)) this.#queue.add(source);
  }

  /** Carries out all deletes that are held back. Returns their number. */
  async confirmDeletes(): Promise<number> {
    const pending = new Set(this.#held);
    for (const [key, head] of this.#site.journal.entries()) if (head.hash === "") pending.add(key);
    const count = await this.deletes.confirm([...pending]);
    this.#held.clear();
    for (const key of pending) this.#queue.add(key);
    this.#onChange();
    return count;
  }

  /** Workers take lower waves first, deletes last and in reverse. */
  #priority(key: string): number {
    if (key.startsWith(prunePrefix)) return deletesAfter + waveOfKey(key.slice(prunePrefix.length));
    const wave = waveOfKey(key);
    return this.#site.journal.head(key)?.hash === "" ? deletesAfter + wave : -wave;
  }

  async #run(key: string, attempt: number): Promise<Outcome> {
    if (this.#signal.aborted) return { kind: "done" };
    // The group has ended at its source: its copies stay as they are.
    if (this.#site.journal.head(this.#site.view.specKey)?.hash === "") return { kind: "done" };
    if (this.#site.view.spec.suspend) return { kind: "retry", slow: true };
    try {
      if (key.startsWith(prunePrefix)) return await this.#prune(key, attempt);
      if (this.#site.journal.head(key)?.hash === "") return await this.#delete(key, attempt);
      return await this.#apply(key, attempt);
    } catch (error) {
      if (this.#signal.aborted) return { kind: "done" };
      throw error;
    }
  }

  async #apply(key: ObjectKey, attempt: number): Promise<Outcome> {
    const head = this.#site.journal.head(key);
    this.watermark.started(key);
    const verdict = await this.#site.bring(key, "standby", { signal: this.#signal });
    if (verdict.kind === "unknown") {
      this.#done(key, head);
      return { kind: "done" };
    }
    if (verdict.kind === "failed") return this.#failed(key, verdict.failure, attempt);
    this.#site.notes.failing.delete(key);
    this.proof.add(key);
    this.#done(key, head);
    return { kind: "done" };
  }

  async #delete(key: ObjectKey, attempt: number): Promise<Outcome> {
    const { journal, assignments, view } = this.#site;
    const head = journal.head(key);
    if (head === undefined) return { kind: "done" };
    if (!this.deletes.may(key)) return this.#hold(key);
    if (!this.deletes.isDue(key, head.seq)) {
      // It waits on purpose: what is behind it in the order is applied all the same.
      this.watermark.excuse(key);
      this.#report();
      return { kind: "done" };
    }
    this.watermark.started(key);
    const known = assignments.targetsOf(key);
    const targets = known.length > 0 ? known : [view.keyAtSite(key)];
    for (const target of targets) {
      if ((assignments.sourceOf(target) ?? key) !== key) continue;
      const verdict = await this.#site.remove(target, "standby", { signal: this.#signal });
      if (verdict.kind === "failed") return this.#failed(key, verdict.failure, attempt);
    }
    assignments.assign(key, []);
    assignments.waitFor(key, []);
    this.#site.notes.forgetSource(key);
    this.proof.forget(key);
    this.deletes.carriedOut(key, head.seq);
    this.#done(key, head);
    return { kind: "done" };
  }

  /** Removes an object that nobody asks for, where it is known that nobody does. */
  async #prune(key: string, attempt: number): Promise<Outcome> {
    const target = key.slice(prunePrefix.length);
    const { journal, assignments, view } = this.#site;
    if (assignments.sourceOf(target) !== undefined || !journal.current) return { kind: "done" };
    if (attempt === 0 && !this.#held.has(key)) await this.deletes.observe(1, view.spec);
    if (!this.deletes.may(key)) return this.#hold(key);
    const verdict = await this.#site.remove(target, "standby", { signal: this.#signal });
    if (verdict.kind === "failed") return this.#failed(key, verdict.failure, attempt);
    this.#site.notes.failing.delete(key);
    return { kind: "done" };
  }

  /** The guard holds this delete back: it is pending, and visible as such, until a person confirms. */
  #hold(key: string): Outcome {
    this.#held.add(key);
    this.watermark.excuse(key);
    this.#report();
    return { kind: "done" };
  }

  /**
   * The state that `head` stood for is applied; where it is no longer the newest, another run is due. A key that the
   * journal has forgotten meanwhile was deleted, and that was carried out before this look at it.
   */
  #done(key: ObjectKey, head: EntryHead | undefined): void {
    const newest = this.#site.journal.head(key);
    if (newest === undefined || newest === head) this.watermark.applied(key);
    else this.watermark.overtaken(key);
    this.#report();
  }

  #failed(key: string, failure: Failure, attempt: number): Outcome {
    if (failure.reason === "ApiUnreachable") return { kind: "pause" };
    const isFailing = failure.slow === true || attempt + 1 >= failingAfterAttempts;
    if (isFailing) {
      this.#site.notes.failed(key, failure, this.#site.options.clock.wallMs());
      this.watermark.excuse(key);
      this.#report();
    }
    return { kind: "retry", need: failure.need, slow: failure.slow };
  }

  #report(): void {
    this.#site.journal.reportApplied(this.watermark.value());
    this.#onChange();
  }
}

/** Waits for `work` no longer than until `signal` aborts; the work itself goes on. */
async function abortable(work: Promise<void>, signal: AbortSignal): Promise<void> {
  let stop: Disposable | undefined;
  const aborted = new Promise<never>((_resolve, reject) => {
    stop = onAbort(signal, reject);
  });
  try {
    await Promise.race([work, aborted]);
  } finally {
    stop?.[Symbol.dispose]();
    work.catch(() => undefined);
    aborted.catch(() => undefined);
  }
}

/** Below every wave, so that deletes give way to everything that is to be written. */
const deletesAfter = -10_000;
