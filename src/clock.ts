import { setTimeout as delay } from "node:timers/promises";
import { linkedAbort } from "./abort.ts";

/**
 * Time, injected everywhere so that a test can own it.
 */
export interface Clock {
  /** Milliseconds since an arbitrary moment; never goes backwards. For durations, timeouts and leases. */
  monotonicMs(): number;
  /** Milliseconds since 1970. For what people and other machines read; it may jump. */
  wallMs(): number;
  /** Resolves after `ms`. Rejects with the signal's reason when aborted. */
  sleep(ms: number, options: { signal: AbortSignal }): Promise<void>;
}

export const systemClock: Clock = {
  monotonicMs: () => performance.now(),
  wallMs: () => Date.now(),
  sleep: async (ms, { signal }) => {
    signal.throwIfAborted();
    try {
      await delay(ms, undefined, { signal });
    } catch (error) {
      signal.throwIfAborted();
      throw error;
    }
  },
};

/** A number in [0, 1). Injected, so that a test can repeat what a run drew. */
export type Random = () => number;

/**
 * Delay before attempt `attempt` (0 for the first retry): doubles from `firstMs` up to `maxMs`, each drawn evenly
 * from its upper half, so that peers that failed together do not return together.
 */
export function backoffMs(attempt: number, limits: { firstMs: number; maxMs: number }, random: Random): number {
  const fullMs = Math.min(limits.maxMs, limits.firstMs * 2 ** Math.min(attempt, 30));
  return fullMs * (0.5 + random() / 2);
}

/**
 * Resolves when `work` has, or when so many milliseconds are over: then `work` is told to end, and waited for. Resolves
 * with whether `work` was first; rejects as it does.
 */
export async function within(
  work: (options: { readonly signal: AbortSignal }) => Promise<unknown>,
  ms: number,
  { clock, signal }: { readonly clock: Clock; readonly signal: AbortSignal },
): Promise<boolean> {
  using scope = linkedAbort(signal);
  const options = { signal: scope.signal };
  const waits = [work(options).then(() => true), clock.sleep(ms, options).then(() => false)];
  try {
    return await Promise.race(waits);
  } finally {
    // Whichever was slower must not wait on for ever, and rejects with nobody listening.
    scope.abort(new Error("no longer waited for"));
    await Promise.allSettled(waits);
  }
}
