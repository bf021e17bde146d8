import { randomUUID } from "node:crypto";
import { onAbort, Pulse, runTogether } from "../abort.ts";
import { backoffMs, type Clock, type Random } from "../clock.ts";
import { LifeboatError } from "../errors.ts";
import type { KubeClient } from "../kube/client.ts";
import type { KubeResource, ObjectPlace } from "../kube/resource.ts";
import type { DigestTable } from "../objects/digest.ts";
import type { EpochText } from "../objects/epoch.ts";
import { formatKey, keyOf, kindName, parseKey, type ObjectKey } from "../objects/key.ts";
import { groupOf, type KubeObject } from "../objects/object.ts";
import type { ChangeRecord } from "../objects/record.ts";
import type { ChangeSource, KeyAndHash } from "../stream/doors.ts";
import type { Log } from "../telemetry/log.ts";
import { Canary, type LagKind, type LagState } from "./canary.ts";
import { factsOf, wholeFacts } from "./facts.ts";
import { Membership, type Candidate, type MembershipChange } from "./membership.ts";
import { normalise } from "./normalise.ts";
import type { PoolSubscriber, WatchPool } from "./pool.ts";
import { ChangeRing } from "./ring.ts";
import { isCaptured, leftOut, recreatedBy } from "./rules.ts";
import { compileSelection, sameSelection, type Selection, type SelectionSpec } from "./selection.ts";

export interface GroupCaptureOptions {
  /** The ProtectionGroup as stored: it is the first record of its own stream. */
  readonly group: KubeObject;
  /** Its spec, checked. */
  readonly spec: SelectionSpec;
  /** Name of this site. */
  readonly site: string;
  readonly pool: WatchPool;
  readonly client: KubeClient;
  /** The agent's own namespace, where the canary is written. */
  readonly agentNamespace: string;
  /** Epoch under which this site is active, asked for at each batch. */
  readonly epoch: () => EpochText;
  /** @default see {@link Canary} */
  readonly canaryIntervalMs?: number;
  /** Each lag measured. Must not throw. */
  readonly onLag?: (kind: LagKind, ms: number) => void;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** What a capture knows of its group, for status. */
export interface CaptureReport {
  readonly synced: boolean;
  readonly objectCount: number;
  readonly namespaces: readonly string[];
  /** Objects that come along because selected ones need them. */
  readonly pulledIn: readonly ObjectKey[];
  /** Kinds (`group/Kind`) of custom resources that own pods. */
  readonly podOwners: readonly string[];
  readonly lag: LagState;
}

/** Who has read within this time counts as a reader still. */
const readerMaxAgeMs = 10_000;
/** Objects of one kind and namespace that are fetched one by one; more are listed. */
const fetchMaxCount = 20;
/** What a change may have made superfluous is looked for after this pause, and never more than a tenth of the time. */
const settlePauseMs = 20;
const retryLimits = { firstMs: 200, maxMs: 10_000 };

/**
 * The source side of one group: follows what belongs to it and offers it as a stream. Everything is in memory and
 * anew at each start; a standby that was here before compares digests.
 */
export class GroupCapture implements ChangeSource {
  readonly ring = randomUUID();
  readonly #options: GroupCaptureOptions;
  readonly #log: Log;
  readonly #ring = new ChangeRing();
  readonly #canary: Canary;
  readonly #groupKey: ObjectKey;
  readonly #podOwners = new Set<string>();
  readonly #subscriber: PoolSubscriber;
  #spec: SelectionSpec;
  #selection: Selection;
  #membership: Membership;
  readonly #taken = new Set<string>();
  /** Namespaces (`undefined`: cluster-scoped objects), kinds of them, to be delivered once more. */
  readonly #redeliveries = new Map<string, { namespace: string | undefined; resource?: KubeResource }>();
  /** Members whose content was not at hand when they became members. */
  readonly #fetches = new Set<ObjectKey>();
  readonly #work = new Pulse();
  /** After a start or an edit of the selection, until everything has been looked at: nothing leaves meanwhile. */
  #surveying = true;
  #synced = false;
  readonly #syncWaiters = new Set<() => void>();
  readonly #waiters = new Set<{ readonly seq: number; readonly wake: () => void }>();
  #lastReadMs = -Infinity;
  #settleMs = 0;

  constructor(options: GroupCaptureOptions) {
    this.#options = options;
    const name = options.group.metadata.name;
    this.#log = options.log.child({ group: name });
    this.#groupKey = keyOf(options.group);
    this.#spec = options.spec;
    this.#selection = compileSelection(options.spec, options.site);
    this.#membership = new Membership(this.#selection);
    this.#canary = new Canary({
      client: options.client,
      namespace: options.agentNamespace,
      group: name,
      ...(options.canaryIntervalMs === undefined ? {} : { intervalMs: options.canaryIntervalMs }),
      ...(options.onLag === undefined ? {} : { onLag: options.onLag }),
      clock: options.clock,
      log: this.#log,
    });
    this.#subscriber = {
      upsert: (resource, object) => this.#upsert(resource, object),
      removed: (resource, place) => this.#removed(resource, place),
      namespaces: () => this.#taken,
    };
    this.#ring.put(this.#groupKey, normalise(options.group));
    this.#survey();
  }

  /** Follows the group until `signal` aborts, then rejects with its reason. Expects the pool to run. */
  async run({ signal }: { signal: AbortSignal }): Promise<void> {
    using _subscription = this.#options.pool.subscribe(this.#subscriber);
    await runTogether(
      [
        (options) => this.#runWork(options.signal),
        (options) => this.#canary.run({ hasReader: () => this.#hasReader(), signal: options.signal }),
        async (options) => {
          await this.#options.pool.whenSynced({ signal: options.signal });
          this.#poolSynced = true;
          this.#work.raise();
        },
      ],
      { signal },
    );
  }
  #poolSynced = false;

  /**
   * The ProtectionGroup was edited. The edit is a record at this place of the stream; what it adds to the group or
   * takes from it comes after it.
   */
  update(group: KubeObject, spec: SelectionSpec): void {
    this.#ring.put(this.#groupKey, normalise(group));
    const changed = !sameSelection(this.#spec, spec);
    this.#spec = spec;
    if (changed) {
      this.#selection = compileSelection(spec, this.#options.site);
      this.#survey();
    }
    this.#advanced();
  }

  report(): CaptureReport {
    return {
      synced: this.#synced,
      objectCount: this.#ring.liveCount,
      namespaces: [...this.#taken].sort(),
      pulledIn: this.#membership.pulledIn(),
      podOwners: [...this.#podOwners],
      lag: this.#canary.state(),
    };
  }

  /** Whether it is known if such an object exists: not where its kind cannot be read. */
  isKnown(key: ObjectKey): boolean {
    const { group, kind, namespace } = parseKey(key);
    return key === this.#groupKey || key === this.#canary.key || this.#options.pool.isKnown(group, kind, namespace);
  }

  get head(): number {
    return this.#ring.head;
  }

  get floor(): number {
    return this.#ring.floor;
  }

  get epoch(): EpochText {
    return this.#options.epoch();
  }

  get digest(): DigestTable {
    return this.#ring.digest;
  }

  async whenSynced({ signal }: { signal: AbortSignal }): Promise<void> {
    if (this.#synced) return;
    await waitFor(this.#syncWaiters, (resolve) => resolve, signal);
  }

  read(seq: number, limits: { maxCount: number; maxBytes: number }): ChangeRecord[] {
    this.#noteReader();
    return this.#ring.read(seq, limits);
  }

  async whenBeyond(seq: number, { signal }: { signal: AbortSignal }): Promise<void> {
    this.#noteReader();
    if (this.#ring.head > seq) return;
    await waitFor(this.#waiters, (wake) => ({ seq, wake }), signal);
  }

  entriesIn(buckets: ReadonlySet<number>): KeyAndHash[] {
    return this.#ring.entriesIn(buckets);
  }

  current(key: ObjectKey): ChangeRecord {
    return this.#ring.current(key);
  }

  acknowledged(position: { durable: number; applied: number }): void {
    this.#noteReader();
    this.#canary.acknowledged(position);
  }

  #noteReader(): void {
    this.#lastReadMs = this.#options.clock.monotonicMs();
    this.#canary.wake();
  }

  #hasReader(): boolean {
    return this.#waiters.size > 0 || this.#options.clock.monotonicMs() - this.#lastReadMs < readerMaxAgeMs;
  }

  /** Looks at everything that may belong to the group under the present selection. */
  #survey(): void {
    this.#surveying = true;
    this.#membership = new Membership(this.#selection);
    this.#taken.clear();
    this.#fetches.clear();
    this.#redeliveries.clear();
    this.#redeliver(undefined);
    for (const name of this.#selection.namespaceNames) this.#takeNamespace(name);
    this.#options.pool.namespacesChanged();
  }

  #upsert(resource: KubeResource, object: KubeObject): void {
    const { namespace, name } = object.metadata;
    if (namespace !== undefined && !this.#taken.has(namespace)) {
      if (object.kind === "ConfigMap" && keyOf(object) === this.#canary.key) this.#upsertCanary(object);
      return;
    }
    if (namespace === undefined && resource.kind === "Namespace") this.#followNamespace(name, object.metadata.labels);
    const key = keyOf(object);
    if (key === this.#canary.key) {
      this.#upsertCanary(object);
      return;
    }
    if (resource.kind === "Pod") this.#notePodOwner(object);
    const candidate = this.#candidate(resource, object, key);
    this.#changed(candidate === undefined ? this.#membership.delete(key) : this.#membership.set(candidate), key);
    if (this.#membership.has(key)) this.#put(key, object);
    else if (!this.#surveying || candidate === undefined) this.#drop(key);
    this.#advanced();
  }

  #upsertCanary(object: KubeObject): void {
    if (!this.#ring.put(this.#canary.key, normalise(object))) return;
    this.#canary.seen(object, this.#ring.head);
    this.#advanced();
  }

  #removed(resource: KubeResource, place: ObjectPlace): void {
    const namespace = place.namespace ?? "";
    const key = formatKey({ group: resource.group, kind: resource.kind, namespace, name: place.name });
    if (key === this.#groupKey) return;
    if (resource.kind === "Namespace" && resource.group === "") this.#followNamespace(place.name, undefined);
    this.#fetches.delete(key);
    this.#changed(this.#membership.delete(key), key);
    this.#drop(key);
    this.#advanced();
  }

  #candidate(resource: KubeResource, object: KubeObject, key: ObjectKey): Candidate | undefined {
    if (leftOut(object) !== undefined || this.#selection.excludes(object)) return undefined;
    const { namespace = "", name, labels } = object.metadata;
    const facts = factsOf(object, crdKeyOf(resource));
    return {
      key,
      namespace,
      root:
        namespace === "" ? resource.kind === "Namespace" && this.#taken.has(name) : this.#selection.labelled(labels),
      owner: this.#ownerThatRecreates(object),
      facts: this.#selection.whole ? wholeFacts(facts) : facts,
    };
  }

  #ownerThatRecreates(object: KubeObject): ObjectKey | undefined {
    const owner = recreatedBy(object);
    if (owner === undefined) return undefined;
    const { namespace = "" } = object.metadata;
    const resource = this.#options.pool.resource(owner.group, owner.kind);
    if (resource === undefined || !isCaptured(resource) || !resource.namespaced || namespace === "") return undefined;
    const { apiVersion } =
      object.metadata.ownerReferences?.find((reference) => reference.name === owner.name) ?? object;
    const metadata = { name: owner.name, namespace };
    if (this.#selection.excludes({ apiVersion, kind: owner.kind, metadata })) return undefined;
    return formatKey({ group: owner.group, kind: owner.kind, namespace, name: owner.name });
  }

  /** Takes or leaves a namespace, as its labels (`undefined`: it is gone) and the selection say. */
  #followNamespace(name: string, labels: Readonly<Record<string, string>> | undefined): void {
    const taken = this.#selection.namespace(name, labels);
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
      if (!this.#surveying) this.#drop(key);
    }
    if (this.#fetches.size > 0 || this.#membership.unsettled) this.#work.raise();
  }

  #put(key: ObjectKey, object: KubeObject): void {
    this.#fetches.delete(key);
    this.#ring.put(key, normalise(object));
  }

  #drop(key: ObjectKey): void {
    this.#ring.remove(key);
  }

  #advanced(): void {
    for (const waiter of this.#waiters) if (this.#ring.head > waiter.seq) waiter.wake();
  }

  /** Custom resources that run pods of their own need a profile, or they run on the standby too. */
  #notePodOwner(pod: KubeObject): void {
    const owner = pod.metadata.ownerReferences?.find((reference) => reference.controller === true);
    if (owner === undefined) return;
    const group = groupOf(owner.apiVersion);
    if (group.includes(".")) this.#podOwners.add(kindName(group, owner.kind));
  }

  #redeliver(namespace: string | undefined, resource?: KubeResource): void {
    const id = `${namespace ?? ""}${resource === undefined ? "" : `/${resource.plural}.${resource.group}`}`;
    this.#redeliveries.set(id, { namespace, ...(resource === undefined ? {} : { resource }) });
    this.#work.raise();
  }

  async #runWork(signal: AbortSignal): Promise<void> {
    const { clock, random } = this.#options;
    for (let attempt = 0; ;) {
      await this.#work.wait({ signal });
      try {
        while (await this.#workOnce(signal)) attempt = 0;
      } catch (error) {
        signal.throwIfAborted();
        this.#log.warn({ err: error }, "reading of selected objects failed");
        await clock.sleep(backoffMs(attempt++, retryLimits, random), { signal });
        this.#work.raise();
      }
    }
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
    this.#advanced();
  }

  /** Everything has been looked at: what is in the ring and not in the group any more leaves it. */
  #endSurvey(): void {
    this.#surveying = false;
    for (const key of this.#ring.liveKeys()) {
      if (key === this.#groupKey || key === this.#canary.key || this.#membership.has(key)) continue;
      const { group, kind, namespace } = parseKey(key);
      // What cannot be read at present has not gone.
      if (this.#options.pool.isReadable(group, kind, namespace) || !this.#inGroup(namespace)) this.#drop(key);
    }
    this.#advanced();
    if (this.#synced) return;
    this.#synced = true;
    for (const wake of this.#syncWaiters) wake();
  }

  #inGroup(namespace: string): boolean {
    return namespace === "" || this.#taken.has(namespace);
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
    this.#advanced();
  }

  async #fetch(resource: KubeResource, key: ObjectKey, signal: AbortSignal): Promise<void> {
    const { namespace, name } = parseKey(key);
    const object = await this.#options.client
      .find(resource, { namespace, name }, { signal })
      .catch((error: unknown) => {
        if (error instanceof LifeboatError && error.code === "KubeForbidden") return undefined;
        throw error;
      });
    // A newer state, or the end, may have come by the watch meanwhile.
    if (object !== undefined && this.#fetches.has(key) && this.#membership.has(key)) this.#put(key, object);
  }
}

const crdKeys = new WeakMap<KubeResource, ObjectKey>();

/** Key under which a kind's definition would stand, if it has one: core and the oldest groups have none. */
function crdKeyOf(resource: KubeResource): ObjectKey | undefined {
  if (!resource.group.includes(".")) return undefined;
  let key = crdKeys.get(resource);
  if (key === undefined) {
    const name = `${resource.plural}.${resource.group}`;
    key = formatKey({ group: "apiextensions.k8s.io", kind: "CustomResourceDefinition", namespace: "", name });
    crdKeys.set(resource, key);
  }
  return key;
}

/** Adds a waiter made of `resolve` to the set until it is called or `signal` aborts. */
async function waitFor<T>(waiters: Set<T>, make: (resolve: () => void) => T, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  const { promise, resolve } = Promise.withResolvers<void>();
  const waiter = make(resolve);
  waiters.add(waiter);
  using _listener = onAbort(signal, () => resolve());
  await promise;
  waiters.delete(waiter);
  signal.throwIfAborted();
}
