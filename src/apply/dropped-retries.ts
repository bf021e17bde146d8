import type { ObjectKey } from "../objects/key.ts";

/**
 * An API server learns of a changed schema some seconds after the definition was written, and drops until then what it
 * does not know. Nothing tells when it has: the object is written again soon, and then ever more seldom, since a field
 * may as well be one that this version of the API server never keeps.
 */
const pausesMs = [2_000, 10_000, 60_000, 600_000];
/** Written again at one look: thousands of objects with a field of a disabled feature must not crowd out changes. */
const atOnceMaxCount = 50;

interface Retry {
  readonly tries: number;
  readonly dueMs: number;
}

/** When objects that lost fields at the standby are to be written again. */
export class DroppedRetries {
  readonly #retries = new Map<ObjectKey, Retry>();

  /** Keys that are due now, of those that lack fields. Each that is returned counts as tried. */
  due(lacking: Iterable<ObjectKey>, nowMs: number): ObjectKey[] {
    const present = new Set(lacking);
    for (const key of this.#retries.keys()) if (!present.has(key)) this.#retries.delete(key);
    const due: ObjectKey[] = [];
    for (const key of present) {
      const retry = this.#retries.get(key);
      if (retry === undefined) this.#retries.set(key, { tries: 0, dueMs: nowMs + pauseMs(0) });
      else if (retry.dueMs <= nowMs && due.length < atOnceMaxCount) {
        const tries = retry.tries + 1;
        this.#retries.set(key, { tries, dueMs: nowMs + pauseMs(tries) });
        due.push(key);
      }
    }
    return due;
  }
}

function pauseMs(tries: number): number {
  return pausesMs[Math.min(tries, pausesMs.length - 1)] ?? 0;
}
