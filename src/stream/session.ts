import { linkedAbort, runTogether } from "../abort.ts";
import type { Clock } from "../clock.ts";
import { LifeboatError } from "../errors.ts";
import { silenceMs } from "./limits.ts";

/** What both ends of a stream have in common: several loops that live and end together. */

export type Loop = (options: { signal: AbortSignal }) => Promise<void>;

/** Why a session ends in good order. */
const finished = new Error("the stream has finished");

/**
 * Runs loops until one fails, or `reader` returns because the peer has ended the stream; then the others are
 * stopped and waited for. Rejects with the first error.
 */
export async function runSession(
  reader: Loop,
  loops: readonly Loop[],
  { signal }: { signal: AbortSignal },
): Promise<void> {
  using scope = linkedAbort(signal);
  const readToEnd: Loop = async (options) => {
    await reader(options);
    scope.abort(finished);
  };
  try {
    await runTogether([readToEnd, ...loops], { signal: scope.signal });
  } catch (error) {
    if (error !== finished) throw error;
  }
}

/** Ticks in {@link silenceMs}. */
const silentTicksMax = 10;

/**
 * Fails when the peer is silent for too long. Counts ticks instead of reading the clock, so that a pause of this
 * process (which could not have read what had arrived) is not taken for the peer's silence.
 */
export class SilenceWatch {
  readonly #clock: Clock;
  #ticks = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Something arrived. */
  heard(): void {
    this.#ticks = 0;
  }

  readonly run: Loop = async ({ signal }) => {
    for (; this.#ticks < silentTicksMax; this.#ticks++) {
      await this.#clock.sleep(silenceMs / silentTicksMax, { signal });
    }
    throw new LifeboatError("PeerUnreachable", `the peer was silent for ${silenceMs / 1000} s`, { retryable: true });
  };
}

/** Counts payload bytes of a stream. Injected: telemetry, a bench, or nothing. */
export interface StreamMeter {
  sent(bytes: number): void;
  received(bytes: number): void;
}

export const noMeter: StreamMeter = { sent: () => {}, received: () => {} };
