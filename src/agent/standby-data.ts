import type { Clock } from "../clock.ts";
import type { StandbyData } from "../failover/runner/runner.ts";
import type { Journal } from "../journal/journal.ts";
import type { PullEvent } from "../stream/pull.ts";

/**
 * How good the journal of a standby is, told from what happens on its stream. Lag is judged at each contact with the
 * source and not while there is none: what a disaster loses is what the source had and the standby did not when the
 * source was last heard.
 */
export class StandbyFreshness {
  readonly #journal: Journal;
  readonly #clock: Clock;
  /** When the journal last held everything that the source had announced; `undefined` until it first did. */
  #caughtUpMs: number | undefined;
  #head = 0;

  constructor(journal: Journal, clock: Clock) {
    this.#journal = journal;
    this.#clock = clock;
  }

  /** What to tell the failover protocol after this event, or nothing. */
  observe(event: PullEvent): StandbyData | undefined {
    if (event.kind === "welcome") {
      this.#head = 0;
      return undefined;
    }
    if (event.kind === "heard") this.#head = Math.max(this.#head, event.head);
    const nowMs = this.#clock.monotonicMs();
    const position = this.#journal.position();
    const current = this.#journal.current && position !== undefined;
    if (current && position.seq >= this.#head) this.#caughtUpMs = nowMs;
    return {
      readiness: current ? "Ready" : "Syncing",
      lagMs: this.#caughtUpMs === undefined || !current ? null : nowMs - this.#caughtUpMs,
      recoveryPoint: position === undefined ? "" : `${position.ring}/${position.seq}`,
    };
  }

  /** Time since the journal was last known to be complete, silence of the source included. */
  ageMs(): number | undefined {
    return this.#caughtUpMs === undefined ? undefined : this.#clock.monotonicMs() - this.#caughtUpMs;
  }
}
