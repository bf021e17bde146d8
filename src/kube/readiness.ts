import { Pulse } from "../abort.ts";
import { type Clock, within } from "../clock.ts";

/** A busy API server now and then leaves one question unanswered, and must not be met by everybody at once after it. */
const awayCount = 2;

/**
 * What is heard of an API server's readiness. While it is away, whoever needs it tries less and less often; and one that
 * has just started refuses everybody for a moment, which looks like a missing permission. When it is ready, all try anew.
 */
export class Readiness {
  readonly #waiting = new Set<Pulse>();
  #notReadyCount = 0;

  /** Says what the API server last answered to the question whether it is ready. */
  note(ready: boolean): void {
    const wasAway = this.#notReadyCount >= awayCount;
    this.#notReadyCount = ready ? 0 : this.#notReadyCount + 1;
    if (ready && wasAway) for (const pulse of this.#waiting) pulse.raise();
  }

  /** Resolves the next time that the API server has become ready after it was away. */
  async whenBack(options: { readonly signal: AbortSignal }): Promise<void> {
    const came = new Pulse();
    this.#waiting.add(came);
    try {
      await came.wait(options);
    } finally {
      this.#waiting.delete(came);
    }
  }

  /** Waits so long, or until the API server has become ready; resolves with whether it has. For use after a failure. */
  pause(ms: number, options: { readonly clock: Clock; readonly signal: AbortSignal }): Promise<boolean> {
    return within((inner) => this.whenBack(inner), ms, options);
  }
}
