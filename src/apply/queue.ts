import PQueue from "p-queue";
import { backoffMs, type Clock, type Random } from "../clock.ts";

/**
 * A queue of keys: one entry per key, never two workers on one key, and a key that changes while it is worked on is
 * worked on once more. What the work is about is looked up when it starts, so the newest state wins and a burst of
 * changes to one key costs one run. Its size is bounded by the number of keys.
 */

/** What became of one run. */
export type Outcome =
  | { readonly kind: "done" }
  /**
   * Tried again after a backoff that grows until something new is known of the key, or sooner when
   * {@link KeyedQueue.wake} names `need`.
   */
  | { readonly kind: "retry"; readonly need?: string | undefined; readonly slow?: boolean | undefined }
  /** Not the key's fault (the API server is away): tried again with everything else after a short pause. */
  | { readonly kind: "pause" };

export interface QueueOptions<K> {
  /** Keys worked on at once. */
  readonly concurrency: number;
  /** Does the work for a key. `attempt` counts from 0 since the last success or change. A throw counts as `retry`. */
  readonly run: (key: K, attempt: number) => Promise<Outcome>;
  /** Higher first among those that are ready. @default all equal, first come first served */
  readonly priorityOf?: (key: K) => number;
  readonly clock: Clock;
  readonly random: Random;
  /** Told of a throw, which is a defect of `run`. */
  readonly onDefect: (key: K, error: unknown) => void;
}

/** First retry, usually because something that is needed arrives a moment later. */
const retryFirstMs = 100;
/** A need that a person or a controller must meet is looked at twice a minute. */
const retryMaxMs = 30_000;
/** While the API server is away it is asked once a second. */
const pauseMs = 1_000;

interface Entry {
  phase: "ready" | "running" | "waiting";
  /** Changed while running. */
  again: boolean;
  attempt: number;
  /** Tries since something new was known: what the backoff grows with. */
  backoff: number;
  need: string | undefined;
  timer: NodeJS.Timeout | undefined;
}

export class KeyedQueue<K extends string> {
  readonly #options: QueueOptions<K>;
  readonly #lanes: PQueue;
  readonly #entries = new Map<K, Entry>();
  readonly #needs = new Map<string, Set<K>>();
  /** By running key: needs that came meanwhile, too late for what it had begun: it may fail for one all the same. */
  readonly #cameMeanwhile = new Map<K, Set<string>>();
  #resume: NodeJS.Timeout | undefined;
  #stopped = false;
  #waiting = 0;

  constructor(options: QueueOptions<K>) {
    this.#options = options;
    this.#lanes = new PQueue({ concurrency: options.concurrency });
  }

  /** Keys that are not done: ready, running or waiting for a retry. */
  get size(): number {
    return this.#entries.size;
  }

  /** Keys that wait for a retry. */
  get waiting(): number {
    return this.#waiting;
  }

  has(key: K): boolean {
    return this.#entries.has(key);
  }

  /** Asks for a run of `key` after this moment. One that waits for a retry is taken at once: its state is new. */
  add(key: K): void {
    if (this.#stopped) return;
    const known = this.#entries.get(key);
    if (known === undefined) {
      const fresh = { again: false, attempt: 0, backoff: 0, need: undefined, timer: undefined };
      this.#entries.set(key, { phase: "ready", ...fresh });
      this.#schedule(key);
      return;
    }
    if (known.phase === "running") known.again = true;
    if (known.phase === "waiting") this.#ready(key, known, { attempt: 0 });
  }

  /** Something that keys may be waiting for has come: those that named it are tried now. */
  wake(need: string): void {
    for (const came of this.#cameMeanwhile.values()) came.add(need);
    for (const key of this.#needs.get(need) ?? []) {
      const entry = this.#entries.get(key);
      if (entry?.phase === "waiting") this.#ready(key, entry);
    }
  }

  /** Resolves when nothing is ready or running (what waits for a retry does not count). */
  async whenIdle(): Promise<void> {
    await this.#lanes.onIdle();
  }

  /** Takes no more work, forgets what has not started, and resolves when what runs has ended. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#resume);
    this.#lanes.clear();
    for (const [key, entry] of this.#entries) {
      clearTimeout(entry.timer);
      if (entry.phase !== "running") this.#drop(key, entry);
    }
    this.#lanes.start();
    await this.#lanes.onIdle();
  }

  /** What is new, a change or a need that came, starts the backoff over: only what stays as it is has time. */
  #ready(key: K, entry: Entry, options: { attempt?: number; backoff?: number } = {}): void {
    clearTimeout(entry.timer);
    this.#unneed(key, entry);
    if (entry.phase === "waiting") this.#waiting--;
    entry.phase = "ready";
    entry.attempt = options.attempt ?? entry.attempt;
    entry.backoff = options.backoff ?? 0;
    this.#schedule(key);
  }

  #schedule(key: K): void {
    const priority = this.#options.priorityOf?.(key) ?? 0;
    this.#lanes
      .add(() => this.#work(key), { priority })
      .catch((error: unknown) => {
        // A stop rejects what has not started, which is what it is for.
        if (!this.#stopped) this.#options.onDefect(key, error);
      });
  }

  async #work(key: K): Promise<void> {
    const entry = this.#entries.get(key);
    if (entry === undefined || entry.phase !== "ready") return;
    entry.phase = "running";
    entry.again = false;
    const came = new Set<string>();
    this.#cameMeanwhile.set(key, came);
    const outcome = await this.#run(key, entry.attempt);
    this.#cameMeanwhile.delete(key);
    this.#finish(key, entry, outcome, came);
  }

  async #run(key: K, attempt: number): Promise<Outcome> {
    try {
      return await this.#options.run(key, attempt);
    } catch (error) {
      this.#options.onDefect(key, error);
      return { kind: "retry", slow: true };
    }
  }

  #finish(key: K, entry: Entry, outcome: Outcome, came: ReadonlySet<string>): void {
    if (this.#stopped) return this.#drop(key, entry);
    if (outcome.kind === "pause") return this.#pause(key, entry);
    if (entry.again) return this.#ready(key, entry, { attempt: 0 });
    if (outcome.kind === "done") return this.#drop(key, entry);
    entry.attempt++;
    if (outcome.need !== undefined && came.has(outcome.need)) return this.#ready(key, entry);
    const firstMs = outcome.slow === true ? retryMaxMs : retryFirstMs;
    const waitMs = backoffMs(entry.backoff, { firstMs, maxMs: retryMaxMs }, this.#options.random);
    const backoff = entry.backoff + 1;
    entry.phase = "waiting";
    this.#waiting++;
    entry.need = outcome.need;
    if (outcome.need !== undefined) this.#need(outcome.need).add(key);
    entry.timer = setTimeout(() => this.#ready(key, entry, { backoff }), waitMs);
    // A retry that is due does not keep a process alive that has nothing else to do.
    entry.timer.unref();
  }

  #pause(key: K, entry: Entry): void {
    this.#ready(key, entry, { backoff: entry.backoff });
    if (this.#lanes.isPaused) return;
    this.#lanes.pause();
    this.#resume = setTimeout(() => this.#lanes.start(), pauseMs);
    this.#resume.unref();
  }

  #need(name: string): Set<K> {
    let keys = this.#needs.get(name);
    if (keys === undefined) {
      keys = new Set();
      this.#needs.set(name, keys);
    }
    return keys;
  }

  #unneed(key: K, entry: Entry): void {
    if (entry.need === undefined) return;
    const keys = this.#needs.get(entry.need);
    keys?.delete(key);
    if (keys?.size === 0) this.#needs.delete(entry.need);
    entry.need = undefined;
  }

  #drop(key: K, entry: Entry): void {
    this.#unneed(key, entry);
    if (entry.phase === "waiting") this.#waiting--;
    this.#entries.delete(key);
  }
}
