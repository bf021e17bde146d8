import type { PromotionReport } from "../apply/promotion.ts";
import { holdsFields } from "../apply/restore-owners.ts";
import { backoffMs, type Clock, type Random } from "../clock.ts";
import type { Journal } from "../journal/journal.ts";
import { type ObjectKey, parseKey } from "../objects/key.ts";
import { type KubeObject, managerOf } from "../objects/object.ts";
import { isReady } from "../render/ready.ts";
import { safeError, type Log } from "../telemetry/log.ts";
import { Background } from "./background.ts";
import { readOrigin } from "./origin.ts";
import type { AgentParts } from "./parts.ts";

/** An object that a promotion has brought up and that was not as it should be when the promotion ended. */
export interface LateObject {
  /** Key at this site. */
  readonly key: ObjectKey;
  readonly what: "NotReady" | "OwnersNotRestored";
  /** What is missing, in a few words. */
  readonly why: string;
}

export function lateOf({ notReady, ownersFailed }: Pick<PromotionReport, "notReady" | "ownersFailed">): LateObject[] {
  return [
    ...notReady.map(({ key, reason }) => ({ key, what: "NotReady" as const, why: reason })),
    ...ownersFailed.map(({ key, failure }) => ({ key, what: "OwnersNotRestored" as const, why: failure.message })),
  ];
}

/** The object as it is now; `undefined` where nothing is wrong with it any more. Pure. */
export function stillLate(late: LateObject, live: KubeObject, group: string): LateObject | undefined {
  if (late.what === "OwnersNotRestored") return holdsFields(live, late.key, managerOf(group)) ? late : undefined;
  const { ready, reason } = isReady(live);
  return ready ? undefined : { ...late, why: reason };
}

/** Objects that are named in one sentence; the findings have more. */
const namedMaxCount = 3;

/** What a start has left undone, one part of a sentence each; none where everything is as it should be. Pure. */
export function startShortfalls(failedCount: number, late: readonly LateObject[]): string[] {
  const ofKind = (what: LateObject["what"]) => late.filter((each) => each.what === what);
  const [notReady, owners] = [ofKind("NotReady"), ofKind("OwnersNotRestored")];
  return [
    ...(failedCount === 0 ? [] : [`${failedCount} objects failed`]),
    ...(notReady.length === 0 ? [] : [`${notReady.length} objects not ready in time (${named(notReady)})`]),
    ...(owners.length === 0 ? [] : [`${owners.length} objects whose fields stay Lifeboat's (${named(owners)})`]),
  ];
}

function named(late: readonly LateObject[]): string {
  const more = late.length - namedMaxCount;
  const some = late.slice(0, namedMaxCount).map(({ key, why }) => `${key}: ${why}`);
  return [...some, ...(more > 0 ? [`${more} more`] : [])].join("; ");
}

/** The object at this site; `undefined` when it is gone, `"unknown"` where that cannot be told. Rejects as a request. */
export type ObjectFinder = (
  key: ObjectKey,
  options: { readonly signal: AbortSignal },
) => Promise<KubeObject | undefined | "unknown">;

export function finderAt({ client, discovery }: Pick<AgentParts, "client" | "discovery">): ObjectFinder {
  return async (key, options) => {
    // Before the first look at the API server no kind is known.
    if (discovery.kinds().length === 0) return "unknown";
    const { group, kind, namespace, name } = parseKey(key);
    const resource = discovery.find(group, kind)?.versions[0];
    if (resource === undefined) return undefined;
    return client.find(resource, namespace === "" ? { name } : { namespace, name }, options);
  };
}

export interface LateObjectsOptions {
  readonly journal: Journal;
  readonly find: ObjectFinder;
  readonly onChange: () => void;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly signal: AbortSignal;
}

const recordName = "agent/late";
/** A slow start is a matter of seconds or minutes; what never gets ready must not keep the API server busy. */
const lookLimits = { firstMs: 2_000, maxMs: 15_000 };
/** Objects that are looked at in one round: one request each. */
const lookedAtMaxCount = 50;

/**
 * What the last promotion at this site has left behind, for as long as it is so: each object goes when it is ready or
 * gone, and all of them when the site runs the group no more. Outlives the process.
 */
export class LateObjects {
  readonly #options: LateObjectsOptions;
  #entries: readonly LateObject[] = [];
  #looking: Background | undefined;

  /** Reads what an earlier process has noted. */
  constructor(options: LateObjectsOptions) {
    this.#options = options;
    const { journal } = options;
    this.#entries = (journal.getState(recordName) ?? []) as readonly LateObject[];
    if (readOrigin(journal) === "own") this.#look();
    else this.#set([]);
  }

  get entries(): readonly LateObject[] {
    return this.#entries;
  }

  /** Instead of what was there before. */
  replace(entries: readonly LateObject[]): void {
    this.#set(entries);
    this.#look();
  }

  /** Ends the looking; what is noted stays. */
  async stop(): Promise<void> {
    const looking = this.#looking;
    this.#looking = undefined;
    await looking?.stop();
  }

  #look(): void {
    // One that is under way sees by its signal that it is over.
    void this.stop();
    if (this.#entries.length === 0) return;
    const { clock, random, log, signal } = this.#options;
    this.#looking = new Background({ name: "late", clock, random, log, signal }, (inner) => this.#follow(inner));
  }

  async #follow({ signal }: { readonly signal: AbortSignal }): Promise<void> {
    const { clock, random } = this.#options;
    for (let round = 0; this.#entries.length > 0; round++) {
      await clock.sleep(backoffMs(round, lookLimits, random), { signal });
      const from = (round % Math.ceil(this.#entries.length / lookedAtMaxCount)) * lookedAtMaxCount;
      const now = new Map<LateObject, LateObject | undefined>();
      for (const late of this.#entries.slice(from, from + lookedAtMaxCount)) {
        now.set(late, await this.#judge(late, signal));
      }
      signal.throwIfAborted();
      this.#set(this.#entries.flatMap((late) => (now.has(late) ? (now.get(late) ?? []) : [late])));
    }
    void this.stop();
  }

  async #judge(late: LateObject, signal: AbortSignal): Promise<LateObject | undefined> {
    const { find, journal, log } = this.#options;
    try {
      const live = await find(late.key, { signal });
      if (live === "unknown") return late;
      return live === undefined ? undefined : stillLate(late, live, journal.group);
    } catch (error) {
      signal.throwIfAborted();
      log.debug({ key: late.key, error: safeError(error) }, "an object that was late cannot be looked at");
      return late;
    }
  }

  #set(entries: readonly LateObject[]): void {
    const before = JSON.stringify(this.#entries);
    this.#entries = entries;
    if (JSON.stringify(entries) === before) return;
    const { journal, log, onChange } = this.#options;
    journal.putState(recordName, entries.length === 0 ? undefined : entries).catch((error: unknown) => {
      log.warn({ error: safeError(error) }, "what a start has left behind could not be noted");
    });
    onChange();
  }
}
