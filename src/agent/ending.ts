import { linkedAbort } from "../abort.ts";
import type { Clock } from "../clock.ts";
import type { GroupCapture } from "../capture/group.ts";
import type { GroupServing } from "./serving.ts";

/** Until a standby has surely told the source that it knows of the group's end. */
export const farewellMs = 2000;

export interface FarewellOptions {
  readonly serving: GroupServing;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** The group runs here and no move of it is under way: its end may be told. */
  readonly mayEnd: () => boolean;
  /** The group's object is there again, or the group has moved away. */
  readonly isOver: () => boolean;
}

/**
 * Serves the group, and holds its lease, until the standby has the end of it on its disk: one that does not know
 * would take a silent site for a dead one. Resolves with whether that was reached before it was over.
 */
export async function sayFarewell({ serving, clock, signal, mayEnd, isOver }: FarewellOptions): Promise<boolean> {
  let ended: GroupCapture | undefined;
  for (;;) {
    if (isOver()) return false;
    const capture = serving.offers && mayEnd() ? serving.capture : undefined;
    if (capture !== undefined && ended !== capture) {
      capture.end();
      ended = capture;
    }
    if (ended !== undefined && serving.durableSeq >= ended.head) return true;
    await acknowledgedOrLater(serving, clock, signal);
  }
}

async function acknowledgedOrLater(serving: GroupServing, clock: Clock, signal: AbortSignal): Promise<void> {
  using scope = linkedAbort(signal);
  const options = { signal: scope.signal };
  const waits = [serving.acknowledged.wait(options), clock.sleep(farewellMs, options)];
  try {
    await Promise.race(waits);
  } finally {
    // Whichever was slower must not wait on for ever, and rejects with nobody listening.
    scope.abort(new Error("no longer waited for"));
    await Promise.allSettled(waits);
  }
}
