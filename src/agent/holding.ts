import { Pulse } from "../abort.ts";
import type { PoolSubscriber, WatchPool } from "../capture/pool.ts";
import { type Clock, type Random, within } from "../clock.ts";
import type { KubeObject } from "../objects/object.ts";
import type { Log } from "../telemetry/log.ts";
import { Background } from "./background.ts";

export interface HoldingOptions {
  readonly pool: Pick<WatchPool, "subscribe">;
  /** Namespaces of the group at this site. */
  readonly namespaces: () => readonly string[];
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly signal: AbortSignal;
}

/** Somebody who starts a group again and again must not keep the API server busy. */
const pauseMs = 1000;
/** Objects whose generations are remembered. */
const seenMaxCount = 20_000;
/** What no event tells of (a controller that was slower than the first hold) is found within this. */
const everyMs = 5000;

/**
 * Keeps a group down at a site that was fenced and does not follow its peer yet: people, pipelines and operators go on
 * writing there, and what they start would run beside the other site.
 */
export class Holding {
  readonly #options: HoldingOptions;
  #keeping: Background | undefined;

  constructor(options: HoldingOptions) {
    this.#options = options;
  }

  /** Calls `hold` after every change in the group's namespaces, and every five seconds, until {@link stop}. */
  start(hold: (options: { readonly signal: AbortSignal }) => Promise<void>): void {
    if (this.#keeping !== undefined) return;
    const { clock, random, log, signal } = this.#options;
    this.#keeping = new Background({ name: "hold", clock, random, log, signal }, (inner) => this.#keep(hold, inner));
  }

  /** Resolves when nothing is under way any more. */
  async stop(): Promise<void> {
    const keeping = this.#keeping;
    this.#keeping = undefined;
    await keeping?.stop();
  }

  async #keep(
    hold: (options: { readonly signal: AbortSignal }) => Promise<void>,
    { signal }: { readonly signal: AbortSignal },
  ): Promise<void> {
    const { pool, namespaces, clock } = this.#options;
    const changed = new Pulse();
    using _subscription = pool.subscribe(new ChangeWatch(namespaces, changed));
    for (;;) {
      await clock.sleep(pauseMs, { signal });
      await within((options) => changed.wait(options), everyMs - pauseMs, { clock, signal });
      await hold({ signal });
    }
  }
}

/** Hears of every object whose spec somebody has written, or that is new. */
class ChangeWatch implements PoolSubscriber {
  readonly namespaces: () => readonly string[];
  readonly #changed: Pulse;
  /** By UID: its generation when it was last heard of. */
  readonly #seen = new Map<string, number>();

  constructor(namespaces: () => readonly string[], changed: Pulse) {
    this.namespaces = namespaces;
    this.#changed = changed;
  }

  upsert(_resource: unknown, { metadata }: KubeObject): void {
    const { uid = "", generation = 0, namespace } = metadata;
    if (namespace === undefined || !this.namespaces().includes(namespace) || this.#seen.get(uid) === generation) return;
    this.#seen.set(uid, generation);
    this.#changed.raise();
  }

  removed(): void {
    // Whatever is gone is known by nobody any more; a look too many costs nothing.
    if (this.#seen.size > seenMaxCount) this.#seen.clear();
  }
}
