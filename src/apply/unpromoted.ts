import { backoffMs } from "../clock.ts";
import type { Journal } from "../journal/journal.ts";
import { type ObjectKey, parseKey } from "../objects/key.ts";
import type { KubeObject } from "../objects/object.ts";
import type { Failure } from "./failures.ts";
import type { FailingKey } from "./notes.ts";
import type { GroupSite } from "./site.ts";
import { renderFailure } from "./view.ts";

/**
 * What a promotion could not bring up. It is part of the group all the same: the site that now runs the group goes on
 * trying, says so, and tells the other site of it, for which it would else look deleted.
 */

const recordName = "apply/unpromoted";
/** What an API server refuses, a person or a controller has to mend: looked at within seconds, later once a minute. */
const retryLimits = { firstMs: 2_000, maxMs: 60_000 };

export class Unpromoted {
  readonly #site: GroupSite;
  readonly #journal: Journal;
  #entries: ReadonlyMap<ObjectKey, FailingKey>;
  #objects: ReadonlyMap<ObjectKey, KubeObject | undefined> | undefined;

  /** Reads what an earlier process has noted. */
  constructor(site: GroupSite) {
    this.#site = site;
    this.#journal = site.journal;
    const stored = (this.#journal.getState(recordName) ?? []) as readonly FailingKey[];
    this.#entries = new Map(stored.map((entry) => [entry.key, entry]));
  }

  /** By key at the site that ran the group before. */
  get entries(): ReadonlyMap<ObjectKey, FailingKey> {
    return this.#entries;
  }

  /**
   * The objects as this site would have them, by their keys here; `undefined` where that cannot be said. The same map
   * until something changes.
   */
  get objects(): ReadonlyMap<ObjectKey, KubeObject | undefined> {
    this.#objects ??= this.#render();
    return this.#objects;
  }

  /** Notes what a promotion could not bring up, instead of what was noted before. Durable when it resolves. */
  async replace(failures: ReadonlyMap<ObjectKey, Failure>): Promise<void> {
    const wallMs = this.#site.options.clock.wallMs();
    const entries = [...failures].map(([key, { reason, message }]) => {
      const sinceMs = this.#entries.get(key)?.sinceMs ?? wallMs;
      return [key, { key, reason, message, sinceMs }] as const;
    });
    await this.#store(new Map(entries));
  }

  /** It still fails. Durable when the reason is another one. */
  async note(key: ObjectKey, { reason, message }: Failure): Promise<void> {
    const known = this.#entries.get(key);
    if (known === undefined || (known.reason === reason && known.message === message)) return;
    const entries = new Map(this.#entries).set(key, { ...known, reason, message });
    if (known.reason === reason) this.#entries = entries;
    else await this.#store(entries);
  }

  /** It is here now, or is not wanted any more. */
  async forget(keys: Iterable<ObjectKey>): Promise<void> {
    const entries = new Map(this.#entries);
    for (const key of keys) entries.delete(key);
    if (entries.size < this.#entries.size) await this.#store(entries);
  }

  /** What a person wants no more. */
  async giveUp(isUnwanted: (object: KubeObject) => boolean): Promise<void> {
    const unwanted = [...this.#entries.keys()].filter((key) => {
      const { object } = wouldBe(this.#site, key);
      return object !== undefined && isUnwanted(object);
    });
    await this.forget(unwanted);
  }

  async #store(entries: ReadonlyMap<ObjectKey, FailingKey>): Promise<void> {
    await this.#journal.putState(recordName, entries.size === 0 ? undefined : [...entries.values()]);
    this.#entries = entries;
    this.#objects = undefined;
  }

  #render(): ReadonlyMap<ObjectKey, KubeObject | undefined> {
    const objects = new Map<ObjectKey, KubeObject | undefined>();
    for (const key of this.#entries.keys()) {
      if (parseKey(key).name === "") continue;
      const found = wouldBe(this.#site, key);
      objects.set(found.key, found.object);
    }
    return objects;
  }
}

/** The object of a key in its active form, as if nothing at this site kept it back. */
function wouldBe({ view }: GroupSite, source: ObjectKey): { key: ObjectKey; object: KubeObject | undefined } {
  try {
    const made = view.renderKey(source, "active");
    const readyServices = new Set(made?.rendered.waitsFor);
    const facts = { versions: new Map(), storedVersions: new Map(), readyServices };
    const [target] =
      made?.targets[0] === undefined ? (view.renderKey(source, "active", facts)?.targets ?? []) : made.targets;
    if (target !== undefined) return { key: target.key, object: target.object };
    return { key: view.keyAtSite(source), object: undefined };
  } catch {
    return { key: source, object: undefined };
  }
}

export interface RetryOptions {
  /** Brings one key up. `undefined` when done. Rejects by the signal only. */
  readonly bring: (key: ObjectKey, signal: AbortSignal) => Promise<Failure | undefined>;
  /** Told after each round. */
  readonly onRound: () => void;
  readonly signal: AbortSignal;
}

/** Goes on trying until nothing is left or the signal aborts, then resolves. */
export async function keepTrying(site: GroupSite, unpromoted: Unpromoted, options: RetryOptions): Promise<void> {
  const { clock, random, log } = site.options;
  const { signal } = options;
  try {
    for (let attempt = 0; unpromoted.entries.size > 0; attempt++) {
      await clock.sleep(backoffMs(attempt, retryLimits, random), { signal });
      for (const key of unpromoted.entries.keys()) await tryOnce(unpromoted, key, options);
      site.copies.clear();
      options.onRound();
    }
  } catch (error) {
    if (!signal.aborted) log.error({ err: error }, "what was not promoted cannot be tried again");
  }
}

async function tryOnce(unpromoted: Unpromoted, key: ObjectKey, { bring, signal }: RetryOptions): Promise<void> {
  let failure: Failure | undefined;
  try {
    failure = await bring(key, signal);
  } catch (error) {
    signal.throwIfAborted();
    failure = renderFailure(error);
  }
  if (failure === undefined) await unpromoted.forget([key]);
  else await unpromoted.note(key, failure);
}
