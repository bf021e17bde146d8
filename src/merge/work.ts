import { type Failure, needOf } from "../apply/failures.ts";
import type { Notes } from "../apply/notes.ts";
import type { Normalised } from "../capture/normalise.ts";
import type { Clock } from "../clock.ts";
import type { GroupSpec } from "../config/group.ts";
import { type ObjectKey, parseKey } from "../objects/key.ts";
import { type KubeObject, marks } from "../objects/object.ts";
import type { Bringer, Brought } from "./bring.ts";
import type { Deletions } from "./deletions.ts";
import type { Known, Ledger } from "./ledger.ts";
import type { LocalObjects, SinglesPlace } from "./local.ts";
import type { SiteObjects } from "./objects.ts";
import type { PeerSide } from "./peer-side.ts";
import { isOlder } from "./plan.ts";
import { deleted, type Entry, received, type Verdict } from "./replica.ts";
import { statedOf, type Theirs, tombstoneOf } from "./stated.ts";
import { tombstoneKeptMs } from "./tombstones.ts";
import { relate } from "./version.ts";

export interface ObjectWorkOptions {
  readonly ledger: Ledger;
  readonly local: LocalObjects;
  readonly peer: PeerSide;
  readonly objects: SiteObjects;
  readonly bringer: Bringer;
  readonly notes: Notes;
  readonly deletions: Deletions;
  readonly site: string;
  readonly clock: Clock;
  readonly singles: () => SinglesPlace;
  readonly offer: (key: ObjectKey, state: Normalised | undefined) => void;
  /** Two writers did not know of each other. */
  readonly onConflict: (key: ObjectKey, ours: Entry, theirs: Entry) => void;
  /** An object of this site was written or deleted. */
  readonly onWrite: () => void;
}

/** One look at one object. */
interface Look {
  readonly key: ObjectKey;
  readonly spec: GroupSpec;
  readonly live: KubeObject | undefined;
  readonly signal: AbortSignal;
}

/**
 * One look at one object: what is here, what is known of it and what the other site says are read anew, and what
 * follows from the three is done. Repeated, it finds it done.
 */
export class ObjectWork {
  readonly #options: ObjectWorkOptions;
  /** Being written by us: the event of it may come before the answer. */
  readonly #writing = new Set<ObjectKey>();
  /**
   * Latest `resourceVersion` that was seen or written: what is older comes from a watch that is late, or from an API
   * server that was set back.
   */
  readonly #latest = new Map<ObjectKey, string>();
  /** To be rendered anew though nobody has written it. */
  readonly #anew = new Set<ObjectKey>();
  readonly #ahead = new Map<ObjectKey, number>();

  constructor(options: ObjectWorkOptions) {
    this.#options = options;
  }

  /** How far ahead the other site's clock is, while it is not followed; 0 otherwise. */
  get aheadMs(): number {
    return Math.max(0, ...this.#ahead.values());
  }

  /** The next look renders what came from the other site anew. */
  renderAnew(key: ObjectKey): void {
    this.#anew.add(key);
  }

  isToBeAnew(key: ObjectKey): boolean {
    return this.#anew.has(key);
  }

  isWriting(key: ObjectKey): boolean {
    return this.#writing.has(key);
  }

  /** Whether something later is known of the object; otherwise this is the latest from now on. */
  isPast(key: ObjectKey, live: KubeObject): boolean {
    const latest = this.#latest.get(key);
    if (latest !== undefined && isOlder(live, latest)) return true;
    this.#latest.set(key, live.metadata.resourceVersion ?? "");
    return false;
  }

  /** The object is gone, so that nothing is later than the next of its name. */
  forgetLatest(key: ObjectKey): void {
    this.#latest.delete(key);
  }

  /** The API server's versions begin anew. */
  forgetAllLatest(): void {
    this.#latest.clear();
  }

  /** Resolves with why it could not be done; rejects as a request of the API server. */
  async look(key: ObjectKey, spec: GroupSpec, { signal }: { signal: AbortSignal }): Promise<Failure | undefined> {
    const { objects, peer, local } = this.#options;
    const { group, kind, namespace } = parseKey(key);
    const apiVersion = objects.versionOf(key);
    if (apiVersion === undefined) {
      const message = `${kind} is not served at this site`;
      return { reason: "KindMissing", message, need: needOf.kind(group, kind) };
    }
    const live = await objects.find(key, apiVersion, { signal });
    if (live === undefined) this.#latest.delete(key);
    else if (this.isPast(key, live)) return { reason: "Refused", message: "the API server shows an older state" };
    if (live?.metadata.deletionTimestamp !== undefined && namespace !== "") {
      return { reason: "Terminating", message: "it is being deleted" };
    }
    const look = { key, spec, live, signal };
    if (local.isRestored(key)) {
      const failure = await this.#bringBack(look);
      if (failure !== "newest") return failure;
    }
    const known = live === undefined ? this.#noteAbsent(key) : this.#noteHere(key, live);
    const theirs = peer.theirs(key);
    return theirs === undefined ? this.#form(look, theirs) : this.#follow(look, known, theirs);
  }

  /** What is here is a restored API server's past: what the other site has of it counts, where that is all of it. */
  async #bringBack(look: Look): Promise<Failure | undefined | "newest"> {
    const { ledger, local, peer } = this.#options;
    const known = ledger.get(look.key);
    const theirs = peer.theirs(look.key);
    const relation =
      known === undefined || theirs === undefined ? "newer" : relate(known.version, theirs.entry.version);
    if (theirs === undefined || (relation !== "same" && relation !== "older")) {
      local.endRestored(look.key);
      return "newest";
    }
    const failure = await this.#take(look, theirs, theirs.entry);
    if (failure === undefined) local.endRestored(look.key);
    return failure;
  }

  async #follow(look: Look, known: Known | undefined, theirs: Theirs): Promise<Failure | undefined> {
    const { key, live } = look;
    const verdict = this.#weigh(key, known, theirs);
    if (verdict.kind === "refused") {
      this.#ahead.set(key, verdict.aheadMs);
      return { reason: "Refused", message: `the other site's clock is ${Math.round(verdict.aheadMs / 1000)} s ahead` };
    }
    this.#ahead.delete(key);
    const tell = (): void => {
      if (verdict.kind !== "known" && verdict.conflict && known !== undefined) {
        this.#options.onConflict(key, known, theirs.entry);
      }
    };
    if (verdict.kind === "take") {
      const failure = await this.#take(look, theirs, verdict.entry);
      if (failure === undefined) tell();
      return failure;
    }
    if (verdict.kind === "keep" && known !== undefined) {
      tell();
      this.#state(key, { ...known, version: verdict.entry.version }, live);
    }
    if (!this.#anew.delete(key) || live === undefined || known === undefined || !this.#isTheirs(known, live, theirs)) {
      return this.#form(look, theirs);
    }
    let isDone = false;
    try {
      const failure = await this.#take(look, theirs, known, { isAnew: true });
      isDone = failure === undefined;
      return failure;
    } finally {
      if (!isDone) this.#anew.add(key);
    }
  }

  /** What is here is what the other site wrote, by our hand: what people had written alike at both is theirs at each. */
  #isTheirs(known: Known, live: KubeObject, theirs: Theirs): boolean {
    const isSame = relate(known.version, theirs.entry.version) === "same";
    const isOurs = live.metadata.annotations?.[marks.version] !== undefined;
    return isSame && isOurs && known.version.site !== this.#options.site && known.content !== deleted;
  }

  #weigh(key: ObjectKey, known: Known | undefined, { entry }: Theirs): Verdict {
    const nowMs = this.#options.clock.wallMs();
    const isTombstone = entry.content === deleted;
    const isOver = known === undefined && isTombstone && nowMs - entry.version.stamp.ms > tombstoneKeptMs;
    if (isOver) return { kind: "known" };
    if (known?.content === deleted && isTombstone && known.isShared !== true) {
      const relation = relate(known.version, entry.version);
      if (relation === "same" || relation === "older") this.#options.ledger.set(key, { ...known, isShared: true });
    }
    return received(known, entry, { nowMs });
  }

  /** Brings the other site's state here. `isAnew`: it is here already, as it was rendered before. */
  async #take(look: Look, theirs: Theirs, entry: Entry, { isAnew = false } = {}): Promise<Failure | undefined> {
    const { local, deletions, bringer } = this.#options;
    const { key, live, signal } = look;
    if (entry.content === deleted) return this.#delete(look, entry);
    deletions.done(key);
    // What is here says itself whether it is single: a mutation may have changed what it mounts.
    if (!isAnew) local.mark(key, theirs.object);
    const isSingle = local.singles.has(key);
    const role = local.roleOf(key, live);
    const brought = await this.#write(key, () => bringer.take({ key, live, theirs, entry, role, isSingle, signal }));
    if ("failure" in brought) return brought.failure;
    if (isAnew && brought.wrote === false) return undefined;
    this.#state(key, { ...entry, local: this.#hashOf(brought.object) }, brought.object);
    return undefined;
  }

  async #delete({ key, live, spec, signal }: Look, entry: Entry): Promise<Failure | undefined> {
    const { objects, deletions, ledger, local } = this.#options;
    // What is not in a namespace may serve others at this site too: it stays, and is its users' to delete.
    const goes = live !== undefined && parseKey(key).namespace !== "";
    if (goes) {
      if (!(await deletions.may(key, spec, ledger.size))) return undefined;
      await this.#write(key, async () => {
        await objects.remove(live, { signal });
        return { object: undefined };
      });
    }
    deletions.done(key);
    local.forget(key);
    this.#options.notes.foundIn(key, []);
    this.#state(key, { ...entry, local: goes ? "" : this.#hashOf(live) }, undefined);
    return undefined;
  }

  /** What is here already may have to look otherwise: what is single, and what a surge changes. */
  async #form({ key, live, signal }: Look, theirs: Theirs | undefined): Promise<Failure | undefined> {
    const { ledger, local, bringer } = this.#options;
    const known = ledger.get(key);
    if (known === undefined || known.content === deleted || known.out === true) return undefined;
    if (known.version.site === this.#options.site) this.#options.notes.foundIn(key, []);
    const isSingle = local.singles.has(key);
    const singles = this.#options.singles();
    const role = local.roleOf(key, live);
    if (live === undefined) {
      // What is single is deleted where it runs; a copy that waits is there again.
      const isDue = isSingle && singles !== "unknown" && theirs?.entry.content === known.content;
      if (!isDue) return undefined;
      const bring = () => bringer.take({ key, live, theirs, entry: known, role, isSingle, signal });
      return this.#formed(key, known, await this.#write(key, bring));
    }
    const isHeld = live.metadata.annotations?.[marks.held] !== undefined;
    const isDue = isSingle && singles !== "unknown" && isHeld !== (role === "standby");
    const mayDrift = isSingle ? singles === "elsewhere" : bringer.mayBeSurged(key, live);
    if (!isDue && !mayDrift) return undefined;
    return this.#formed(key, known, await this.#write(key, () => bringer.form({ key, live, role, isSingle, signal })));
  }

  #formed(key: ObjectKey, known: Known, brought: Brought): Failure | undefined {
    if ("failure" in brought) return brought.failure;
    const local = this.#hashOf(brought.object);
    if (brought.wrote !== false || local !== known.local) this.#state(key, { ...known, local }, brought.object);
    return undefined;
  }

  /** Runs one write of the object, while its events wait. */
  async #write(key: ObjectKey, work: () => Promise<Brought>): Promise<Brought> {
    this.#writing.add(key);
    try {
      const brought = await work();
      if ("failure" in brought || brought.wrote === false) return brought;
      const version = brought.object?.metadata.resourceVersion;
      if (version !== undefined) this.#latest.set(key, version);
      this.#options.onWrite();
      return brought;
    } finally {
      this.#writing.delete(key);
    }
  }

  #hashOf(object: KubeObject | undefined): string {
    return object === undefined ? "" : this.#options.local.hashOf(object);
  }

  /** Notes what is known now, and offers it. */
  #state(key: ObjectKey, known: Known, live: KubeObject | undefined): void {
    this.#options.ledger.set(key, known);
    const state = offered(key, known, live);
    if (state !== undefined) this.#options.offer(key, state);
  }

  /** From a look of our own: capture may say the same later. */
  #noteHere(key: ObjectKey, live: KubeObject): Known | undefined {
    const { ledger, local, offer } = this.#options;
    const before = ledger.get(key);
    if (local.isLeft(key)) {
      if (before !== undefined && before.content !== deleted && before.out !== true) {
        ledger.set(key, { ...before, out: true });
        offer(key, undefined);
      }
      return ledger.get(key);
    }
    const known = local.note(key, live);
    if (known !== undefined && known !== before) offer(key, offered(key, known, live));
    return known;
  }

  #noteAbsent(key: ObjectKey): Known | undefined {
    const { ledger, local, offer, notes } = this.#options;
    const before = ledger.get(key);
    const known = local.absent(key);
    notes.foundIn(key, []);
    if (known !== undefined && known !== before && known.content === deleted) offer(key, tombstoneOf(key, known));
    return known;
  }
}

/** What this site says of an object; undefined for what it knows and does not have. */
export function offered(key: ObjectKey, known: Known, live: KubeObject | undefined): Normalised | undefined {
  if (known.content === deleted) return tombstoneOf(key, known);
  return live === undefined ? undefined : statedOf(live, known);
}
