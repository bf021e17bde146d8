import { readFileSync } from "node:fs";
import { systemClock, type Clock } from "../clock.ts";

/**
 * The kernel's clock since boot. Unlike a process's own it goes on over a restart of the guard, so that a saved copy of
 * a lease means the same to the next process; and it counts the time that the machine was suspended. It is read in
 * steps of 10 ms, downwards: the start of a poll is never taken for later than it was.
 */
export const kernelClock: Clock = {
  monotonicMs: () => Number(readFileSync("/proc/uptime", "utf8").split(" ", 1)[0]) * 1000,
  wallMs: () => systemClock.wallMs(),
  sleep: (ms, options) => systemClock.sleep(ms, options),
};

/** Worst lateness over the last one to two windows: P as it is here and now. */
export class Lateness {
  readonly #windowMs: number;
  #startedMs: number;
  #current = 0;
  #previous = 0;

  constructor(nowMs: number, windowMs: number) {
    this.#windowMs = windowMs;
    this.#startedMs = nowMs;
  }

  note(dueMs: number, nowMs: number): void {
    if (nowMs - this.#startedMs >= this.#windowMs) {
      this.#previous = nowMs - this.#startedMs >= 2 * this.#windowMs ? 0 : this.#current;
      this.#current = 0;
      this.#startedMs = nowMs;
    }
    this.#current = Math.max(this.#current, nowMs - dueMs);
  }

  get worstMs(): number {
    return Math.max(this.#current, this.#previous);
  }
}
