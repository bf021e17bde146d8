import type { Clock } from "../clock.ts";
import type { StandbyData } from "../failover/runner/runner.ts";
import type { Journal } from "../journal/journal.ts";
import type { PullEvent } from "../stream/pull.ts";

/** When the journal last held everything of the source, for the next process. */
const recordName = "agent/caughtUp";
/** Records that are true of the journal at hand alone, and not of the site. */
export const ownStates: ReadonlySet<string> = new Set([recordName]);
/** A restart makes the standby's data look older by up to this; each note costs one fsync. */
const noteEveryMs = 2000;

interface CaughtUp {
  /** Milliseconds since 1970: the monotonic clock ends with the process. */
  readonly wallMs: number;
  /** Under which the source served. */
  readonly epoch: string;
}

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
  #notedMs = -Infinity;
  #notedEpoch: string | undefined;
  #head = 0;

  constructor(journal: Journal, clock: Clock) {
    this.#journal = journal;
    this.#clock = clock;
    const kept = this.#kept();
    if (kept !== undefined) this.#caughtUpMs = clock.monotonicMs() - kept.agoMs;
  }

  /**
   * What an earlier process knew of the source of `epoch`, for as long as this one has not heard it. Undefined where it
   * was not complete, followed another epoch, or where the wall clock was set back so that its age cannot be told.
   */
  keptFor(epoch: string): StandbyData | undefined {
    const kept = this.#kept();
    if (kept === undefined || kept.epoch !== epoch) return undefined;
    return { readiness: "Ready", lagMs: 0, recoveryPoint: this.#recoveryPoint(), contactAgoMs: kept.agoMs };
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
    if (current && position.seq >= this.#head) {
      this.#caughtUpMs = nowMs;
      this.#note(nowMs);
    }
    return {
      readiness: current ? "Ready" : "Syncing",
      lagMs: this.#caughtUpMs === undefined || !current ? null : Math.round(nowMs - this.#caughtUpMs),
      recoveryPoint: this.#recoveryPoint(),
    };
  }

  /** Time since the journal was last known to be complete, silence of the source included. */
  ageMs(): number | undefined {
    return this.#caughtUpMs === undefined ? undefined : this.#clock.monotonicMs() - this.#caughtUpMs;
  }

  #recoveryPoint(): string {
    const position = this.#journal.position();
    return position === undefined ? "" : `${position.ring}/${position.seq}`;
  }

  /** Losing a note only makes a restarted standby look older than it is. */
  #note(nowMs: number): void {
    const epoch = this.#journal.epoch();
    const isNew = epoch !== this.#notedEpoch;
    if (epoch === undefined || (!isNew && nowMs - this.#notedMs < noteEveryMs)) return;
    this.#notedMs = nowMs;
    this.#notedEpoch = epoch;
    const caughtUp: CaughtUp = { wallMs: this.#clock.wallMs(), epoch };
    this.#journal.putOwnState(recordName, caughtUp).catch(() => undefined);
  }

  /** Also not while the journal is being compared with a source that was not complete here yet. */
  #kept(): (CaughtUp & { readonly agoMs: number }) | undefined {
    const stored = this.#journal.getOwnState(recordName);
    if (!isCaughtUp(stored) || !this.#journal.current || stored.epoch !== this.#journal.epoch()) return undefined;
    const agoMs = this.#clock.wallMs() - stored.wallMs;
    return agoMs < 0 ? undefined : { ...stored, agoMs };
  }
}

function isCaughtUp(value: unknown): value is CaughtUp {
  if (typeof value !== "object" || value === null || !("wallMs" in value) || !("epoch" in value)) return false;
  return typeof value.wallMs === "number" && typeof value.epoch === "string";
}
