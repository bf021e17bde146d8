import { setImmediate as turn } from "node:timers/promises";
import { onAbort } from "../../../src/abort.ts";
import type { Clock } from "../../../src/clock.ts";

/** A clock that moves only when told to. */
export class ManualClock implements Clock {
  #nowMs = 1_000_000;
  readonly #sleepers = new Set<{ untilMs: number; wake: () => void }>();

  monotonicMs(): number {
    return this.#nowMs;
  }

  wallMs(): number {
    return this.#nowMs + 1_700_000_000_000;
  }

  async sleep(ms: number, { signal }: { signal: AbortSignal }): Promise<void> {
    signal.throwIfAborted();
    const woken = Promise.withResolvers<void>();
    const sleeper = { untilMs: this.#nowMs + ms, wake: woken.resolve };
    using _abort = onAbort(signal, woken.reject);
    this.#sleepers.add(sleeper);
    try {
      await woken.promise;
    } finally {
      this.#sleepers.delete(sleeper);
    }
  }

  /** Moves on, waking sleepers in the order of their times, and lets everything woken do its work. */
  async advance(ms: number): Promise<void> {
    const untilMs = this.#nowMs + ms;
    for (;;) {
      await settle();
      const next = [...this.#sleepers].toSorted((a, b) => a.untilMs - b.untilMs)[0];
      if (next === undefined || next.untilMs > untilMs) break;
      this.#nowMs = Math.max(this.#nowMs, next.untilMs);
      this.#sleepers.delete(next);
      next.wake();
    }
    this.#nowMs = untilMs;
    await settle();
  }

  /** The process stands still: time goes on and nobody is woken. */
  freeze(ms: number): void {
    this.#nowMs += ms;
  }
}

/** Lets promises and immediates that are due have their turns. */
export async function settle(): Promise<void> {
  for (let round = 0; round < 5; round++) await turn();
}
