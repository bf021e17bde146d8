import { Pulse } from "../abort.ts";
import type { GroupCapture } from "../capture/group.ts";
import { type Clock, within } from "../clock.ts";
import type { Journal } from "../journal/journal.ts";
import type { Log } from "../telemetry/log.ts";
import { readOrigin, writeEnded } from "./origin.ts";
import type { GroupProtocol } from "./protocol.ts";
import type { GroupServing } from "./serving.ts";

export interface GroupEndingOptions {
  readonly journal: Journal;
  readonly serving: GroupServing;
  readonly protocol: GroupProtocol;
  /** The group's object is at this site. */
  readonly hasObject: () => boolean;
  /** The peer serves the group as well, as one that runs at both sites. */
  readonly isOffered: () => boolean;
  readonly clock: Clock;
  readonly log: Log;
  readonly signal: AbortSignal;
}

/** Until a standby has surely told the source that it knows of the group's end; and a look at whether it is over. */
const farewellMs = 2000;
/**
 * A witness that is away for longer than any restart, and than most repairs, is not waited for: a deleted group must
 * not be looked after for ever. What it goes on to believe is in docs/failover.md.
 */
const releaseMaxMs = 600_000;
/** For a peer that knows of the end to be heard to serve the group no more; one that died has it on its disk. */
const withdrawMaxMs = 30_000;

interface EndingStep {
  readonly isDone: () => boolean;
  /** Raised when it may be done. */
  readonly pulse: Pulse;
  readonly maxMs: number;
  readonly otherwise: string;
}

/** A group's end at this site, in the order that lets no other site start it: the standby's disk, then the witness. */
export class GroupEnding {
  readonly #options: GroupEndingOptions;
  readonly #released = new Pulse();
  readonly #withdrawn = new Pulse();
  #isReleased = false;

  constructor(options: GroupEndingOptions) {
    this.#options = options;
  }

  /** The witness has let go of the group. */
  released(): void {
    this.#isReleased = true;
    this.#released.raise();
  }

  /** The peer does not serve the group at present. */
  withdrawn(): void {
    this.#withdrawn.raise();
  }

  /**
   * At the site that runs the group. Serves it, and holds its lease, until the standby has the end on its disk: one
   * that does not know would take a silent site for a dead one; then until the witness has let go of it. Resolves with
   * whether that was reached before the group was here again, or had moved away.
   */
  async atHolder(): Promise<boolean> {
    const { journal, protocol, log } = this.#options;
    // Also for the next process: to it the object is merely not there.
    await writeEnded(journal, true);
    log.info("the group was deleted; what runs here goes on unprotected once the peer and the witness know");
    this.#isReleased = false;
    const hasEnded = (await this.#tellStandby()) && (await this.#hearPeer()) && (await this.#tellWitness());
    if (hasEnded) return true;
    protocol.setEnding(false);
    await writeEnded(journal, false);
    return false;
  }

  /**
   * At the standby, with the end in its journal, of which its protocol has been told. Resolves when nothing is left to
   * be said, or the group is there again: `isGone` says whether it is not.
   */
  async atStandby(isGone: () => boolean): Promise<void> {
    const { protocol, clock, signal } = this.#options;
    const untilMs = clock.monotonicMs() + releaseMaxMs;
    await clock.sleep(farewellMs, { signal });
    const isDue = () => isGone() && !this.#isReleased && protocol.isRunning && clock.monotonicMs() < untilMs;
    while (isDue()) await this.#pause(this.#released);
  }

  get #isOver(): boolean {
    return this.#options.hasObject() || readOrigin(this.#options.journal) === "copy";
  }

  async #tellStandby(): Promise<boolean> {
    const { serving, journal } = this.#options;
    let ended: GroupCapture | undefined;
    for (;;) {
      if (this.#isOver) return false;
      // Not in the middle of a move: the other site would be left with nothing to start.
      const mayEnd = serving.offers && readOrigin(journal) !== "held";
      const capture = mayEnd ? serving.capture : undefined;
      if (capture !== undefined && ended !== capture) {
        capture.end();
        ended = capture;
      }
      if (ended !== undefined && serving.durableSeq >= ended.head) return true;
      await this.#pause(serving.acknowledged);
    }
  }

  /** Of what the peer goes on serving, this site would begin the group anew, as the other's, once it has forgotten it. */
  #hearPeer(): Promise<boolean> {
    const isDone = () => !this.#options.isOffered();
    const otherwise = "the peer knows of the group's end and was not heard to serve it no more";
    return this.#until({ isDone, pulse: this.#withdrawn, maxMs: withdrawMaxMs, otherwise });
  }

  #tellWitness(): Promise<boolean> {
    this.#options.protocol.setEnding(true);
    const isDone = () => this.#isReleased;
    const otherwise =
      "the witness was not told that the group has ended; a group of this name begins again at this site only";
    return this.#until({ isDone, pulse: this.#released, maxMs: releaseMaxMs, otherwise });
  }

  /** Resolves with true when it is done, or after `maxMs` with `otherwise` in the log; with false when the end is off. */
  async #until({ isDone, pulse, maxMs, otherwise }: EndingStep): Promise<boolean> {
    const { clock, log } = this.#options;
    const untilMs = clock.monotonicMs() + maxMs;
    while (!isDone()) {
      if (this.#isOver) return false;
      if (clock.monotonicMs() >= untilMs) {
        log.warn(otherwise);
        return true;
      }
      await this.#pause(pulse);
    }
    return !this.#isOver;
  }

  async #pause(pulse: Pulse): Promise<void> {
    await within((options) => pulse.wait(options), farewellMs, this.#options);
  }
}
