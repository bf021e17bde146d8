import { Pulse } from "../abort.ts";
import { backoffMs, type Clock, type Random } from "../clock.ts";
import { hasCode } from "../errors.ts";
import type { KubeClient } from "../kube/client.ts";
import type { KubeResource, ObjectPlace } from "../kube/resource.ts";
import { formatKey, keyOf, parseKey, type ObjectKey } from "../objects/key.ts";
import type { KubeObject } from "../objects/object.ts";
import type { Log } from "../telemetry/log.ts";
import { candidateOf } from "./candidate.ts";
import { OwnerKinds } from "./owner-kinds.ts";
import { Membership, type MembershipChange } from "./membership.ts";
import type { PoolSubscriber, WatchPool } from "./pool.ts";
import type { Selection } from "./selection.ts";

/** What is done with what is found. Called synchronously. */
export interface GroupSink {
  /** The object belongs to the group and looks like this. */
  put(key: ObjectKey, object: KubeObject): void;
  /** The object does not belong to the group (any more). */
  drop(key: ObjectKey): void;
  /** Keys that were put and not dropped. */
  liveKeys(): Iterable<ObjectKey>;
  /** A round of puts and drops is over. */
  advanced(): void;
  /** An object with a fixed place in the stream: taken whatever the selection says, and handled elsewhere. */
  isSpecial(key: ObjectKey): boolean;
}

export interface GroupFollowerOptions {
  readonly selection: Selection;
  readonly pool: WatchPool;
  readonly client: KubeClient;
  readonly sink: GroupSink;
  /** Which other group at this site has a namespace: what it has is left out. @default none has any */
  readonly holderOf?: ((namespace: string) => string | undefined) | undefined;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** Objects of one kind and namespace that are fetched one by one; more are listed. */
const fetchMaxCount = 20;
/** What a change may have made superfluous is looked for after this pause, and never more than a tenth of the time. */
const settlePauseMs = 20;
const retryLimits = { firstMs: 200, maxMs: 10_000 };

interface Redelivery {
  /** `undefined`: cluster-scoped objects. */
  readonly namespace: string | undefined;
  /** @default all kinds */
  readonly resource?: KubeResource;
}

/**
 * Follows what belongs to a group: listens to the pool, keeps membership, reads objects that joined without being at
 * hand. A changed selection begins a survey: all objects are looked at anew, and only when that is complete does
 * anything leave.
 */
export class GroupFollower {
  readonly #options: GroupFollowerOptions;
  readonly #subscriber: PoolSubscriber;
  readonly #ownerKinds = new OwnerKinds();
  readonly #taken = new Set<string>();
  /** Namespaces of before a survey, until it is over: what is only being looked at anew is still the group's. */
  #before: ReadonlySet<string> = new Set();
  readonly #leftOut = new Map<string, string>();
  readonly #redeliveries = new Map<string, Redelivery>();
  /** Members whose content was not at hand when they became members. */
  readonly #fetches = new Set<ObjectKey>();
  readonly #work = new Pulse();
  readonly #idle = new Set<() => void>();
  #selection: Selection;
  #membership: Membership;
  #surveying = true;
  #poolSynced = false;
  #settleMs = 0;

  constructor(options: GroupFollowerOptions) {
    this.#options = options;
    this.#selection = options.selection;
    this.#membership = new Membership(options.selection);
    this.#subscriber = {
      upsert: (resource, object) => this.#upsert(resource, object),
      removed: (resource, place) => this.#removed(resource, place),
      namespaces: () => this.#taken,
    };
    this.#survey();
  }

  /** Follows until `signal` aborts, then rejects with its reason. Expects the pool to run. */
  async run({ signal }: { signal: AbortSignal }): Promise<void> {
    const { pool, clock, random, log } = this.#options;
    using _subscription = pool.subscribe(this.#subscriber);
    const synced = pool.whenSynced({ signal }).then(() => {
      this.#poolSynced = true;
      this.#work.raise();
    });
    // It rejects with the signal alone, as the loop below does.
    synced.catch(() => undefined);
    for (let attempt = 0; ;) {
      await this.#work.wait({ signal });
      try {
        while (await this.#workOnce(signal)) attempt = 0;
        this.#tellIdle();
      } catch (error) {
        signal.throwIfAborted();
        log.warn({ err: error }, "reading of selected objects failed");
        await clock.sleep(backoffMs(attempt++, retryLimits, random), { signal });
        this.#work.raise();
      }
    }
  }

  /** The selection changed: from now on the group is what `selection` says. */
  select(selection: Selection): void {
    this.#selection = selection;
    this.#survey();
  }

  /** Everything that belongs to the group has been put, and nothing is being looked for. */
  get isIdle(): boolean {
    return !this.#surveying && this.#redeliveries.size + this.#fetches.size === 0 && !this.#membership.unsettled;
  }

  /** Calls `listener` whenever {@link isIdle} has become true, until disposed. */
  onIdle(listener: () => void): Disposable {
    this.#idle.add(listener);
    return { [Symbol.dispose]: () => this.#idle.delete(listener) };
  }

  /** Whether the object exists and belongs to the group. */
  has(key: ObjectKey): boolean {
    return this.#membership.has(key);
  }

  /** Whether the group has this namespace. */
  takes(namespace: string): boolean {
    return this.#taken.has(namespace);
  }

  /** Namespaces of the group. */
  namespaces(): string[] {
    return [...this.#before.union(this.#taken)].sort();
  }

  /** Namespaces that are selected and belong to another group, with its name. */
  get leftOut(): ReadonlyMap<string, string> {
    return this.#leftOut;
  }

  /** To be called now and then: what another group had may be free. */
  reconsiderNamespaces(): void {
    const { holderOf, pool } = this.#options;
    const isFree = [...this.#leftOut.keys()].some((name) => holderOf?.(name) === undefined);
    if (isFree) this.#redeliver(undefined, pool.resource("", "Namespace"));
  }

  /** Objects that come along because selected ones need them. */
  pulledIn(): ObjectKey[] {
    return this.#membership.pulledIn();
  }

  /** Kinds (`group/Kind`) of custom resources that run pods: each needs a profile, or it runs on the standby too. */
  podOwners(): readonly string[] {
    return this.#ownerKinds.podOwners();
  }

  /** Looks at everything that may belong to the group under the present selection. */
  #survey(): void {
    this.#surveying = true;
    this.#membership = new Membership(this.#selection);
    this.#before = this.#before.union(this.#taken);
    this.#taken.clear();
    this.#leftOut.clear();
    this.#fetches.clear();
    this.#redeliveries.clear();
    this.#redeliver(undefined);
    for (const name of this.#selection.namespaceNames) if (!this.#isOthers(name)) this.#takeNamespace(name);
    this.#options.pool.namespacesChanged();
  }

  #upsert(resource: KubeResource, object: KubeObject): void {
    const { namespace, name } = object.metadata;
    const { sink, pool } = this.#options;
    if (namespace !== undefined && !this.#taken.has(namespace)) {
      if (resource.kind === "ConfigMap" && sink.isSpecial(keyOf(object))) sink.put(keyOf(object), object);
      return;
    }
    if (namespace === undefined && resource.kind === "Namespace") this.#followNamespace(name, object.metadata.labels);
    const key = keyOf(object);
    if (sink.isSpecial(key)) {
      sink.put(key, object);
      return;
    }
    this.#ownerKinds.note(object);
    const candidate = candidateOf({ resource, object, key, selection: this.#selection, namespaces: this.#taken, pool });
    this.#changed(candidate === undefined ? this.#membership.delete(key) : this.#membership.set(candidate), key);
    if (this.#membership.has(key)) this.#put(key, object);
    else if (!this.#surveying || candidate === undefined) this.#options.sink.drop(key);
    this.#options.sink.advanced();
  }

  #removed(resource: KubeResource, place: ObjectPlace): void {
    const namespace = place.namespace ?? "";
    const key = formatKey({ group: resource.group, kind: resource.kind, namespace, name: place.name });
    if (resource.kind === "Namespace" && resource.group === "") this.#followNamespace(place.name, undefined);
    this.#fetches.delete(key);
    this.#changed(this.#membership.delete(key), key);
    this.#options.sink.drop(key);
    this.#options.sink.advanced();
  }

  /** Takes or leaves a namespace, as its labels (`undefined`: it is gone) and the selection say. */
  #followNamespace(name: string, labels: Readonly<Record<string, string>> | undefined): void {
    const selected = this.#selection.namespace(name, labels);
    if (!selected) this.#leftOut.delete(name);
    const taken = selected && !this.#isOthers(name);
    if (taken === this.#taken.has(name)) return;
    if (taken) {
      this.#takeNamespace(name);
    } else {
      this.#taken.delete(name);
      this.#redeliveries.delete(name);
      this.#changed(this.#membership.leaveNamespace(name), undefined);
    }
    this.#options.pool.namespacesChanged();
  }

  /** Whether a selected namespace belongs to another group. */
  #isOthers(name: string): boolean {
    const isOurs = this.#taken.has(name) || this.#before.has(name);
    const holder = isOurs ? undefined : this.#options.holderOf?.(name);
    if (holder === undefined) this.#leftOut.delete(name);
    else this.#leftOut.set(name, holder);
    return holder !== undefined;
  }

  #takeNamespace(name: string): void {
    this.#taken.add(name);
    this.#changed(this.#membership.takeNamespace(name), undefined);
    // Its objects were told of before, and not listened to.
    this.#redeliver(name);
  }

  /** @param atHand the key whose object the caller holds */
  #changed({ joined, left }: MembershipChange, atHand: ObjectKey | undefined): void {
    for (const key of joined) if (key !== atHand) this.#fetches.add(key);
    for (const key of left) {
      this.#fetches.delete(key);
      if (!this.#surveying) this.#options.sink.drop(key);
    }
    if (this.#fetches.size > 0 || this.#membership.unsettled) this.#work.raise();
  }

  #put(key: ObjectKey, object: KubeObject): void {
    this.#fetches.delete(key);
    this.#options.sink.put(key, object);
  }

  #redeliver(namespace: string | undefined, resource?: KubeResource): void {
    const id = `${namespace ?? ""}${resource === undefined ? "" : `/${resource.plural}.${resource.group}`}`;
    this.#redeliveries.set(id, { namespace, ...(resource === undefined ? {} : { resource }) });
    this.#work.raise();
  }

  /** Does the most urgent piece of work; `false` when there is none. */
  async #workOnce(signal: AbortSignal): Promise<boolean> {
    const [redelivery] = this.#redeliveries;
    if (redelivery !== undefined) {
      const [id, request] = redelivery;
      await this.#options.pool.redeliver(this.#subscriber, { ...request, signal });
      if (this.#redeliveries.get(id) === request) this.#redeliveries.delete(id);
      return true;
    }
    if (this.#fetches.size > 0) {
      await this.#fetchSome(signal);
      return true;
    }
    if (this.#membership.unsettled) {
      await this.#settle(signal);
      return true;
    }
    if (!this.#surveying || !this.#poolSynced) return false;
    this.#endSurvey();
    return false;
  }

  async #settle(signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    await clock.sleep(settlePauseMs + 9 * this.#settleMs, { signal });
    const startedMs = clock.monotonicMs();
    this.#changed(this.#membership.settle(), undefined);
    this.#settleMs = clock.monotonicMs() - startedMs;
    this.#options.sink.advanced();
  }

  /** Everything has been looked at: what was put and is not in the group any more leaves it. */
  #endSurvey(): void {
    const { sink, pool } = this.#options;
    this.#surveying = false;
    this.#before = new Set();
    for (const key of sink.liveKeys()) {
      if (sink.isSpecial(key) || this.#membership.has(key)) continue;
      const { group, kind, namespace } = parseKey(key);
      if (!this.#inGroup(namespace)) sink.drop(key);
      // What cannot be read at present has not gone, and what it needs is needed.
      else if (pool.isReadable(group, kind, namespace) && this.isAbsenceKnown(key)) sink.drop(key);
    }
    sink.advanced();
  }

  /**
   * Whether an object that is no member is known to be none: not while it exists and something that could need it
   * cannot be read.
   */
  isAbsenceKnown(key: ObjectKey): boolean {
    const { pool } = this.#options;
    const { group, kind, namespace, name } = parseKey(key);
    const isNeed = namespace === "" ? kind !== "Namespace" : !this.#selection.whole && this.#selection.references;
    if (!isNeed || !pool.exists(group, kind, { namespace, name })) return true;
    return pool.knowsAll(this.namespaces(), (ofGroup, ofKind) => !this.#selection.excludesKind(ofGroup, ofKind));
  }

  #inGroup(namespace: string): boolean {
    return namespace === "" || this.#taken.has(namespace);
  }

  #tellIdle(): void {
    if (this.isIdle) for (const listener of this.#idle) listener();
  }

  /** Reads what the members of one kind and namespace look like that joined without being at hand. */
  async #fetchSome(signal: AbortSignal): Promise<void> {
    const [first] = this.#fetches;
    if (first === undefined) return;
    const { group, kind, namespace } = parseKey(first);
    const prefix = formatKey({ group, kind, namespace, name: "" });
    const keys = [...this.#fetches].filter((key) => key.startsWith(prefix));
    const resource = this.#options.pool.resource(group, kind);
    if (resource === undefined) {
      for (const key of keys) this.#fetches.delete(key);
      return;
    }
    if (keys.length > fetchMaxCount) {
      const scope = namespace === "" ? undefined : namespace;
      await this.#options.pool.redeliver(this.#subscriber, { namespace: scope, resource, signal });
    } else {
      await Promise.all(keys.map(async (key) => this.#fetch(resource, key, signal)));
    }
    // Whatever was not found is gone, and its event on the way.
    for (const key of keys) this.#fetches.delete(key);
    this.#options.sink.advanced();
  }

  async #fetch(resource: KubeResource, key: ObjectKey, signal: AbortSignal): Promise<void> {
    const { namespace, name } = parseKey(key);
    const object = await this.#options.client
      .find(resource, { namespace, name }, { signal })
      .catch((error: unknown) => {
        if (hasCode(error, "KubeForbidden")) return undefined;
        throw error;
      });
    // A newer state, or the end, may have come by the watch meanwhile.
    if (object !== undefined && this.#fetches.has(key) && this.#membership.has(key)) this.#put(key, object);
  }
}
