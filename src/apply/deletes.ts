import type { Clock } from "../clock.ts";
import { parseDuration } from "../config/duration.ts";
import type { GroupSpec } from "../config/group.ts";
import type { Journal } from "../journal/journal.ts";
import type { ObjectKey } from "../objects/key.ts";
import type { Log } from "../telemetry/log.ts";
import {
  confirmDeletes,
  type GuardRecord,
  guardRecord,
  type GuardState,
  initialGuard,
  mayDelete,
  observeDeletes,
} from "./delete-guard.ts";

/** The delete guard of one group with its durable record, and the settling of deletes that are carried out. */
export interface DeletesOptions {
  readonly journal: Journal;
  /** A delete that had to wait may be carried out now. Called synchronously; must not throw. */
  readonly onDue: (key: ObjectKey) => void;
  readonly clock: Clock;
  readonly log: Log;
}

/** Name of the durable record in the group's journal. */
const recordName = "apply/deletes";
/**
 * A delete waits for so long. Who removes an application removes its group in the same breath (one manifest, one
 * release), and the group's end leaves its copies as they are: also those whose delete came just before it.
 */
export const deleteGraceMs = 2_000;
/** Deletes that are carried out are forgotten together: one fsync for a burst. */
const settleDelayMs = 20;

export class Deletes {
  readonly #options: DeletesOptions;
  readonly #settled: Array<{ key: ObjectKey; seq: number }> = [];
  /** Deletes that wait, in the order in which they came; their number is bounded by the group's. */
  readonly #waiting = new Map<ObjectKey, { readonly seq: number; readonly dueMs: number }>();
  /** Have waited, and are not carried out. */
  readonly #due = new Map<ObjectKey, number>();
  #guard: GuardState;
  #timer: NodeJS.Timeout | undefined;
  #dueTimer: NodeJS.Timeout | undefined;

  constructor(options: DeletesOptions) {
    this.#options = options;
    this.#guard = initialGuard(options.journal.getState(recordName) as GuardRecord | undefined);
  }

  get paused(): GuardState["paused"] {
    return this.#guard.paused;
  }

  may(key: string): boolean {
    return mayDelete(this.#guard, key);
  }

  /**
   * Whether the delete with this number has waited long enough; where it has not, `onDue` tells when. What a person
   * has confirmed does not wait.
   */
  isDue(key: ObjectKey, seq: number): boolean {
    if (this.#guard.confirmed?.includes(key) === true) return true;
    if (this.#due.get(key) === seq) return true;
    const known = this.#waiting.get(key);
    if (known?.seq !== seq) {
      this.#waiting.delete(key);
      this.#waiting.set(key, { seq, dueMs: this.#options.clock.monotonicMs() + deleteGraceMs });
    }
    this.#dueTimer ??= setTimeout(() => this.#tellDue(), deleteGraceMs);
    return false;
  }

  #tellDue(): void {
    this.#dueTimer = undefined;
    const nowMs = this.#options.clock.monotonicMs();
    for (const [key, { seq, dueMs }] of this.#waiting) {
      if (dueMs > nowMs) {
        this.#dueTimer = setTimeout(() => this.#tellDue(), dueMs - nowMs);
        return;
      }
      this.#waiting.delete(key);
      this.#due.set(key, seq);
      this.#options.onDue(key);
    }
  }

  /** So many objects of the group are to go. A pause is durable before this returns. */
  async observe(count: number, spec: GroupSpec): Promise<void> {
    const { journal, clock, log } = this.#options;
    const { percent, minObjects, window } = spec.deletes.guard;
    const limits = { percent, minObjects, windowMs: parseDuration(window) };
    const before = this.#guard;
    const time = { nowMs: clock.monotonicMs(), wallMs: clock.wallMs() };
    this.#guard = observeDeletes(before, { count, size: journal.size }, limits, time);
    if (this.#guard.paused === undefined || before.paused !== undefined) return;
    log.warn({ ...this.#guard.paused }, "deletes are paused: more of the group vanished than its guard allows");
    await this.#store();
  }

  /** Deletes that came while nobody followed the journal count like any others, but for those a person has confirmed. */
  async resume(pending: readonly ObjectKey[], spec: GroupSpec): Promise<void> {
    const confirmed = new Set(this.#guard.confirmed);
    await this.observe(pending.filter((key) => !confirmed.has(key)).length, spec);
  }

  /** What was pending is no longer: the objects have come back. */
  async relax(pendingCount: number): Promise<void> {
    if (this.#guard.paused === undefined || pendingCount > 0) return;
    this.#guard = initialGuard(undefined);
    await this.#store();
  }

  /** A person has confirmed these. Returns how many. */
  async confirm(pending: readonly string[]): Promise<number> {
    if (this.#guard.paused === undefined) return 0;
    this.#guard = confirmDeletes(this.#guard, pending);
    await this.#store();
    return pending.length;
  }

  /** The delete of this key is carried out; the journal forgets it in a moment. */
  carriedOut(key: ObjectKey, seq: number): void {
    this.#due.delete(key);
    this.#settled.push({ key, seq });
    this.#timer ??= setTimeout(() => void this.flush(), settleDelayMs);
  }

  /** Makes the journal forget what is carried out. A failure costs one more look at each key after a restart. */
  async flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    try {
      await this.#options.journal.settle(this.#settled.splice(0));
    } catch (error) {
      this.#options.log.warn({ err: error }, "deletes that are carried out could not be settled");
    }
  }

  /** Nobody follows any more: nothing that waits is told of. Forgets what is carried out. */
  async stop(): Promise<void> {
    clearTimeout(this.#dueTimer);
    this.#dueTimer = undefined;
    this.#waiting.clear();
    this.#due.clear();
    await this.flush();
  }

  async #store(): Promise<void> {
    await this.#options.journal.putState(recordName, guardRecord(this.#guard));
  }
}
