/**
 * A writer that changes the application many times a second, and a ledger outside of the clusters in which every
 * acknowledged write is on the disk: what is in the ledger and not at the survivor is lost.
 */
import { closeSync, fsyncSync, openSync, writeSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import type { KubeClient } from "../../src/kube/client.ts";
import { pathOf, placeOf } from "../../src/kube/resource.ts";
import type { KubeResource } from "../../src/kube/resource.ts";
import { keyOf } from "../../src/objects/key.ts";
import type { ObjectKey } from "../../src/objects/key.ts";
import type { KubeObject } from "../../src/objects/object.ts";

export const changeAnnotation = "demo.lifeboat.dev/change";

/** A write that a dead site never answers must not hold the writer's end. */
const writeLimitMs = 3_000;
/** Each object changes about twice a second. */
export const targetsMaxCount = 12;

export interface Target {
  readonly key: ObjectKey;
  readonly resource: KubeResource;
  readonly namespace?: string | undefined;
  readonly name: string;
}

export interface LedgerEntry {
  readonly seq: number;
  readonly key: ObjectKey;
  /** Date of the acknowledgement, in milliseconds. */
  readonly ackedAtMs: number;
}

export class LedgerWriter {
  readonly entries: LedgerEntry[] = [];
  /** The latest refusal, for people. */
  lastError: unknown;
  readonly #client: KubeClient;
  readonly #file: number;
  #targets: readonly Target[] = [];

  constructor(client: KubeClient, path: string) {
    this.#client = client;
    this.#file = openSync(path, "a");
  }

  /** Chooses the objects to change of those in `kinds`: the first of each kind that let themselves be changed, in turn. */
  async choose(
    objects: readonly KubeObject[],
    kinds: ReadonlyMap<ObjectKey, KubeResource>,
    { signal }: { readonly signal: AbortSignal },
  ): Promise<readonly Target[]> {
    const byKind = Map.groupBy(
      objects.filter((object) => object.metadata.namespace !== undefined && kinds.has(keyOf(object))),
      (object) => object.kind,
    );
    const ranked = [...byKind.values()]
      .flatMap((list) => list.map((object, rank) => ({ object, rank })))
      .toSorted((a, b) => a.rank - b.rank)
      .slice(0, targetsMaxCount * 2);
    const chosen: Target[] = [];
    for (const { object } of ranked) {
      const resource = kinds.get(keyOf(object));
      if (resource === undefined || chosen.length >= targetsMaxCount) continue;
      const target = { key: keyOf(object), resource, ...placeOf(object) };
      try {
        await this.#write(target, 0, signal);
        chosen.push(target);
      } catch {
        signal.throwIfAborted();
      }
    }
    this.#targets = chosen;
    return chosen;
  }

  /** Writes so many times a second until `signal` aborts; then resolves when the last answer has come. */
  async run(perSecond: number, { signal }: { readonly signal: AbortSignal }): Promise<void> {
    const startedAtMs = performance.now();
    const running = new Set<Promise<void>>();
    const { signal: never } = new AbortController();
    for (let seq = 1; !signal.aborted; seq++) {
      const waitMs = startedAtMs + (seq * 1000) / perSecond - performance.now();
      if (waitMs > 0) await delay(waitMs, undefined, { signal }).catch(() => undefined);
      const target = this.#targets[seq % this.#targets.length];
      if (target === undefined || signal.aborted) break;
      const one = this.#write(target, seq, never)
        .then(() => this.#note({ seq, key: target.key, ackedAtMs: Date.now() }))
        .catch((error: unknown) => (this.lastError = error))
        .finally(() => running.delete(one)) as Promise<void>;
      running.add(one);
    }
    await Promise.all(running);
  }

  #note(entry: LedgerEntry): void {
    writeSync(this.#file, `${JSON.stringify(entry)}\n`);
    fsyncSync(this.#file);
    this.entries.push(entry);
  }

  async #write({ resource, namespace, name }: Target, seq: number, signal: AbortSignal): Promise<void> {
    await this.#client.request("PATCH", pathOf(resource, { namespace, name }), {
      query: { fieldManager: "demo-writer" },
      body: JSON.stringify({ metadata: { annotations: { [changeAnnotation]: String(seq) } } }),
      contentType: "application/merge-patch+json",
      timeoutMs: writeLimitMs,
      signal,
    });
  }

  close(): void {
    closeSync(this.#file);
  }

  /** What of the ledger the survivor does not have. */
  async losses(
    survivor: KubeClient,
    killedAtMs: number,
    { signal }: { readonly signal: AbortSignal },
  ): Promise<Losses> {
    const have = new Map<ObjectKey, number>();
    for (const { key, resource, namespace, name } of this.#targets) {
      const found = await survivor.find(resource, { namespace, name }, { signal });
      // What is there and says nothing of a change has none.
      have.set(key, found === undefined ? -1 : Number(found.metadata.annotations?.[changeAnnotation] ?? 0) || 0);
    }
    return lossesOf(this.entries, have, killedAtMs);
  }
}

export interface Losses {
  /** Acknowledged changes that the survivor has neither as they are nor overwritten by a later one. */
  readonly lost: number;
  /** From the acknowledgement of the oldest of them to the kill. */
  readonly rpoMs: number;
}

/** `have`: number of the newest change of each object at the survivor. */
export function lossesOf(
  entries: readonly LedgerEntry[],
  have: ReadonlyMap<ObjectKey, number>,
  killedAtMs: number,
): Losses {
  const lost = entries.filter(({ key, seq }) => seq > (have.get(key) ?? -1));
  const oldestMs = Math.min(killedAtMs, ...lost.map(({ ackedAtMs }) => ackedAtMs));
  return { lost: lost.length, rpoMs: Math.round(killedAtMs - oldestMs) };
}
