import { linkedAbort } from "../abort.ts";
import type { Clock } from "../clock.ts";

/** Resolves when `work` has, or when so many milliseconds are over: then `work` is told to end, and waited for. */
export async function within(
  work: (options: { readonly signal: AbortSignal }) => Promise<unknown>,
  ms: number,
  { clock, signal }: { readonly clock: Clock; readonly signal: AbortSignal },
): Promise<void> {
  using scope = linkedAbort(signal);
  const options = { signal: scope.signal };
  const waits = [work(options), clock.sleep(ms, options)];
  try {
    await Promise.race(waits);
  } finally {
    // Whichever was slower must not wait on for ever, and rejects with nobody listening.
    scope.abort(new Error("no longer waited for"));
    await Promise.allSettled(waits);
  }
}
