import { setTimeout as delay } from "node:timers/promises";
import { LifeboatError, messageOf } from "../../src/errors.ts";

export interface WaitOptions {
  readonly limitMs: number;
  /** @default 200 */
  readonly everyMs?: number;
  readonly signal: AbortSignal;
}

/**
 * Asks `probe` until it answers with anything but `undefined` and returns that. What it throws counts as "not yet",
 * since API servers and agents come and go; the last such error ends the Timeout's message.
 */
export async function waitFor<T>(
  what: string,
  probe: () => Promise<T | undefined>,
  { limitMs, everyMs = 200, signal }: WaitOptions,
): Promise<T> {
  const endMs = performance.now() + limitMs;
  let last = "";
  for (;;) {
    signal.throwIfAborted();
    try {
      const answer = await probe();
      if (answer !== undefined) return answer;
      last = "";
    } catch (error) {
      last = `: ${messageOf(error)}`;
    }
    if (performance.now() > endMs) {
      throw new LifeboatError("Timeout", `${what}: not within ${Math.round(limitMs / 1000)} s${last}`);
    }
    await delay(everyMs, undefined, { signal });
  }
}
