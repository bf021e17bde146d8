import type { Clock } from "../clock.ts";
import { type ObjectKey, parseKey } from "../objects/key.ts";
import { type KubeObject, marks } from "../objects/object.ts";
import { contentHash, type Place } from "../render/neutral.ts";
import { isSingle } from "../render/single.ts";
import type { Role } from "../render/types.ts";
import type { Known, Ledger } from "./ledger.ts";
import { changedMs } from "./plan.ts";
import { deleted, type Entry, observed } from "./replica.ts";
import { versionIn } from "./stated.ts";
import { join, relate } from "./version.ts";

/**
 * Where what is single runs: `here`, at the other site, or `unknown` while this process has not been told. Then it is
 * neither started nor stopped.
 */
export type SinglesPlace = "here" | "elsewhere" | "unknown";

export interface LocalOptions {
  readonly ledger: Ledger;
  readonly site: string;
  readonly clock: Clock;
  /** Undefined before the first spec. */
  readonly place: () => Place | undefined;
  readonly singles: () => SinglesPlace;
  /** What the other site says of the object. */
  readonly theirs: (key: ObjectKey) => Entry | undefined;
  /** The object has to be looked at: whether it is single has changed. */
  readonly onMarked: (key: ObjectKey) => void;
}

/**
 * What is at this site, as it becomes known: gives a version to what somebody has written, knows what Lifeboat has
 * written itself, and which objects are single.
 */
export class LocalObjects {
  readonly #options: LocalOptions;
  readonly #ledger: Ledger;
  readonly #singles = new Set<ObjectKey>();
  readonly #singleNamespaces = new Set<string>();
  /** No part of what travels any more, as far as capture says. */
  readonly #left = new Set<ObjectKey>();
  /** Of an API server that was restored from a backup: what it says of these is its past, and nobody's write. */
  readonly #restored = new Set<ObjectKey>();

  constructor(options: LocalOptions) {
    this.#options = options;
    this.#ledger = options.ledger;
  }

  get singles(): ReadonlySet<ObjectKey> {
    return this.#singles;
  }

  /** Capture has the object, or no longer does. */
  setLeft(key: ObjectKey, isLeft: boolean): void {
    if (isLeft) this.#left.add(key);
    else this.#left.delete(key);
  }

  isLeft(key: ObjectKey): boolean {
    return this.#left.has(key);
  }

  /** The API server was restored from a backup. */
  restored(): void {
    for (const [key] of this.#ledger.entries()) this.#restored.add(key);
  }

  isRestored(key: ObjectKey): boolean {
    return this.#restored.has(key);
  }

  /** What the other site knows of the object is here again, or it knows nothing newer. */
  endRestored(key: ObjectKey): void {
    this.#restored.delete(key);
  }

  forget(key: ObjectKey): void {
    this.#singles.delete(key);
  }

  /** Role of this site for the object, which is as `live` says, or is not here. */
  roleOf(key: ObjectKey, live: KubeObject | undefined): Role {
    const singles = this.#options.singles();
    if (!this.#singles.has(key) || singles === "here") return "active";
    // As long as nobody has said who runs it, it stays as it is.
    const runs = live !== undefined && live.metadata.annotations?.[marks.held] === undefined;
    return singles === "unknown" && runs ? "active" : "standby";
  }

  hashOf(live: KubeObject): string {
    const place = this.#options.place();
    return place === undefined ? "" : contentHash(live, place);
  }

  /** The object is here. Gives it a version where it says something new. */
  note(key: ObjectKey, live: KubeObject): Known | undefined {
    this.mark(key, live);
    const before = this.#ledger.get(key);
    if (this.#options.place() === undefined) return before;
    const local = this.hashOf(live);
    if (before !== undefined && before.local === local && before.out !== true) return before;
    if (before !== undefined && this.#restored.has(key)) return before;
    // Nobody's write any more: it counts when it is gone.
    if (live.metadata.deletionTimestamp !== undefined) return before;
    const noted = this.#noted(key, live, local, before);
    if (noted !== undefined) this.#ledger.set(key, noted);
    return noted;
  }

  #noted(key: ObjectKey, live: KubeObject, local: string, before: Known | undefined): Known | undefined {
    if (before?.local === local) return { ...before, out: false };
    // Back to what its version says: what was taken away while it had to be down is there again.
    if (before?.local === "" && before.content === local) return { ...before, local };
    return (
      this.#ofOurOwn(key, live, local, before) ?? this.#minted(local, this.#base(key, live, before), changedMs(live))
    );
  }

  /**
   * What whoever wrote the object here knew of: what this agent has noted, and, where another agent or a lost disk has
   * noted it, what was brought here last by the object's annotation, and what this site has written by the other one.
   */
  #base(key: ObjectKey, live: KubeObject, before: Known | undefined): Entry | undefined {
    const theirs = this.#options.theirs(key);
    const own = theirs?.version.site === this.#options.site ? theirs : undefined;
    const versions = [before, versionIn(live), own].flatMap((entry) => (entry === undefined ? [] : [entry.version]));
    const [first, ...others] = versions;
    if (first === undefined) return undefined;
    return { version: others.reduce((all, one) => join(all, one), first), content: before?.local ?? deleted };
  }

  /** A write of Lifeboat's whose end this process, or the one before it, has not seen. */
  #ofOurOwn(key: ObjectKey, live: KubeObject, local: string, before: Known | undefined): Known | undefined {
    for (const entry of [versionIn(live), this.#options.theirs(key)]) {
      if (entry?.content !== local) continue;
      if (before === undefined || relate(entry.version, before.version) === "newer") return { ...entry, local };
    }
    return undefined;
  }

  #minted(local: string, base: Entry | undefined, atMs: number | undefined): Known | undefined {
    const { site, clock } = this.#options;
    const here = { site, nowMs: clock.wallMs(), clock: this.#ledger.clock };
    const { entry: next } = observed(base, local, here, Math.min(atMs ?? here.nowMs, here.nowMs));
    return next === undefined ? undefined : { ...next, local };
  }

  /** The object is not here. Where that is somebody's wish it is a deletion, with a version of its own. */
  absent(key: ObjectKey): Known | undefined {
    const before = this.#ledger.get(key);
    if (before === undefined || before.content === deleted || before.local === "" || this.#restored.has(key)) {
      return before;
    }
    // What has finished, or waits to run, is not here for reasons of its own.
    const isWish = before.out !== true && (!this.#singles.has(key) || this.#options.singles() === "here");
    const known = isWish
      ? this.#minted(deleted, { version: before.version, content: before.local }, undefined)
      : { ...before, local: "" };
    if (known === undefined) return before;
    this.#ledger.set(key, known);
    if (isWish) this.#singles.delete(key);
    return known;
  }

  /** Notes whether the object, here or as the other site says it, is single. */
  mark(key: ObjectKey, object: KubeObject): void {
    const { group, kind, namespace, name } = parseKey(key);
    const isItself = isSingle(object);
    if (group === "" && kind === "Namespace") this.#markNamespace(name, isItself);
    const isNow = isItself || (namespace !== "" && this.#singleNamespaces.has(namespace));
    if (isNow === this.#singles.has(key)) return;
    if (isNow) this.#singles.add(key);
    else this.#singles.delete(key);
    this.#options.onMarked(key);
  }

  #markNamespace(name: string, isSingle: boolean): void {
    if (isSingle === this.#singleNamespaces.has(name)) return;
    if (isSingle) this.#singleNamespaces.add(name);
    else this.#singleNamespaces.delete(name);
    for (const [key] of this.#ledger.entries()) if (parseKey(key).namespace === name) this.#options.onMarked(key);
  }
}
