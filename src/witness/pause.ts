import type { Clock } from "../clock.ts";

/** How often the watch looks; a pause is what makes it look late. */
const lookEveryMs = 100;
/** Longer than any garbage collection or disk stall that was seen, shorter than the heartbeat of the fast profile. */
const pauseMs = 1000;
/**
 * After a pause the heartbeats of a healthy site wait in the same socket buffers as the other site's wish to take
 * over. For this long such wishes are dropped, so that the heartbeats are heard first; they are repeated every second.
 */
const quietMs = 3000;

/** Notices that this process stood still (SIGSTOP, swap, a starved machine) while others went on. */
export class PauseWatch {
  readonly #clock: Clock;
  #lookedAtMs: number;
  #quietUntilMs = Number.NEGATIVE_INFINITY;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#lookedAtMs = clock.monotonicMs();
  }

  /** The process stood still a moment ago. Looks by itself, since messages may be read before the watch has its turn. */
  get recent(): boolean {
    this.#look();
    return this.#clock.monotonicMs() < this.#quietUntilMs;
  }

  /** Until the signal aborts; rejects with its reason. */
  async run({ signal }: { signal: AbortSignal }): Promise<never> {
    for (;;) {
      await this.#clock.sleep(lookEveryMs, { signal });
      this.#look();
    }
  }

  #look(): void {
    const now = this.#clock.monotonicMs();
    if (now - this.#lookedAtMs > pauseMs) this.#quietUntilMs = now + quietMs;
    this.#lookedAtMs = now;
  }
}
