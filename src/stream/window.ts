import { fullBatchBytes, windowAimMs, windowBytesMax, windowBytesMin } from "./limits.ts";

/**
 * How much a standby lets its source send ahead. It follows the rate at which a busy stream delivers, so that a fast
 * path is filled, a slow one is not clogged (which would make its keepalive pings late and look dead), and a slow
 * journal holds little in memory.
 */
export class ReceiveWindow {
  #bytes = windowBytesMin;
  /** Start of the present measurement, and bytes since. */
  #sinceMs: number | undefined;
  #received = 0;

  /** Present size. */
  get bytes(): number {
    return this.#bytes;
  }

  /**
   * Notes a batch that was received and stored. Only full batches tell the rate: after a smaller one the source had
   * nothing more to send.
   */
  note(batchBytes: number, nowMs: number): void {
    if (batchBytes < fullBatchBytes) {
      this.#sinceMs = undefined;
      return;
    }
    if (this.#sinceMs === undefined) {
      this.#sinceMs = nowMs;
      this.#received = 0;
      return;
    }
    this.#received += batchBytes;
    const elapsedMs = nowMs - this.#sinceMs;
    if (this.#received < this.#bytes && elapsedMs < windowAimMs) return;
    const carried = (this.#received / Math.max(elapsedMs, 1)) * windowAimMs;
    this.#bytes = Math.round(Math.min(windowBytesMax, Math.max(windowBytesMin, carried)));
    this.#sinceMs = nowMs;
    this.#received = 0;
  }
}
