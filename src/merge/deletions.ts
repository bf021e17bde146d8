import {
  confirmDeletes,
  guardRecord,
  type GuardRecord,
  type GuardState,
  initialGuard,
  mayDelete,
  observeDeletes,
} from "../apply/delete-guard.ts";
import { parseDuration } from "../config/duration.ts";
import type { GroupSpec } from "../config/group.ts";
import type { Clock } from "../clock.ts";
import type { Journal } from "../journal/journal.ts";
import type { ObjectKey } from "../objects/key.ts";

const recordName = "merge/deletes";

/** Deletes that the other site has made and this one has still to make: held back where they are too many at once. */
export class Deletions {
  readonly #journal: Journal;
  readonly #clock: Clock;
  readonly #counted = new Set<ObjectKey>();
  readonly #held = new Set<ObjectKey>();
  #guard: GuardState;

  constructor(journal: Journal, clock: Clock) {
    this.#journal = journal;
    this.#clock = clock;
    this.#guard = initialGuard(journal.getOwnState(recordName) as GuardRecord | undefined);
  }

  get paused(): { sinceMs: number; count: number; of: number; pending: number } | undefined {
    const { paused } = this.#guard;
    if (paused === undefined) return undefined;
    return { sinceMs: paused.sinceWallMs, count: paused.count, of: paused.of, pending: this.#held.size };
  }

  /** Whether it may be made now; one that may not is kept until {@link confirm}. `size`: objects of the group here. */
  async may(key: ObjectKey, spec: GroupSpec, size: number): Promise<boolean> {
    if (!this.#counted.has(key)) {
      this.#counted.add(key);
      const { percent, minObjects, window } = spec.deletes.guard;
      const limits = { percent, minObjects, windowMs: parseDuration(window) };
      const time = { nowMs: this.#clock.monotonicMs(), wallMs: this.#clock.wallMs() };
      await this.#set(observeDeletes(this.#guard, { count: 1, size: Math.max(0, size - 1) }, limits, time));
    }
    const may = mayDelete(this.#guard, key);
    if (!may) this.#held.add(key);
    return may;
  }

  /** It was made, or is not wanted any more. */
  done(key: ObjectKey): void {
    this.#counted.delete(key);
    this.#held.delete(key);
  }

  /** A person wants what is held back. Returns the keys that may go now. */
  async confirm(): Promise<ObjectKey[]> {
    const keys = [...this.#held];
    await this.#set(confirmDeletes(this.#guard, keys));
    this.#held.clear();
    return keys;
  }

  async #set(state: GuardState): Promise<void> {
    const before = JSON.stringify(guardRecord(this.#guard));
    this.#guard = state;
    const record = guardRecord(state);
    if (JSON.stringify(record) !== before) await this.#journal.putOwnState(recordName, record);
  }
}
