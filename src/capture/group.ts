import { randomUUID } from "node:crypto";
import { onAbort, Pulse, runTogether } from "../abort.ts";
import type { Clock, Random } from "../clock.ts";
import type { KubeClient } from "../kube/client.ts";
import type { DigestTable } from "../objects/digest.ts";
import type { EpochText } from "../objects/epoch.ts";
import { keyOf, parseKey, type ObjectKey } from "../objects/key.ts";
import type { KubeObject } from "../objects/object.ts";
import type { ChangeRecord } from "../objects/record.ts";
import type { ChangeSource, KeyAndHash } from "../stream/doors.ts";
import type { Log } from "../telemetry/log.ts";
import { Canary, type LagKind, type LagState } from "./canary.ts";
import { GroupFollower } from "./follower.ts";
import { normalise, type Normalised } from "./normalise.ts";
import type { WatchPool } from "./pool.ts";
import { ChangeRing } from "./ring.ts";
import { compileSelection, sameSelection, type SelectionSpec } from "./selection.ts";

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
  /**
   * Whether the group is taken down here at present. What that deletes (bare pods, webhooks, aggregated APIs) goes on
   * being part of the group, since whoever takes over starts it. Asked at each delete. @default never
   */
  readonly isHeld?: () => boolean;
  /** Whether it was deleted to take the group down, for kinds that are not always. @default never */
  readonly isRemoved?: (key: ObjectKey) => boolean;
  /** What is lacking at the start, see {@link GroupCapture.lacks}. @default nothing */
  readonly lacking?: LackingObjects;
  /** Where the group runs at both sites: says what is offered of each object. @default the object as it is */
  readonly versions?: ObjectVersions | undefined;
  /** Which other group at this site has a namespace: what it has is left out here. @default none has any */
  readonly holderOf?: (namespace: string) => string | undefined;
  /** @default see {@link Canary} */
  readonly canaryIntervalMs?: number;
  /** Each lag measured. Must not throw. */
  readonly onLag?: (kind: LagKind, ms: number) => void;
  readonly clock: Clock;
  readonly random: Random;
  /** Says of which group its lines are. */
  readonly log: Log;
}

/**
 * Objects of the group that are not at this site, because it could not bring them up, by key: as they would be, or
 * `undefined` where that cannot be said.
 */
export type LackingObjects = ReadonlyMap<ObjectKey, KubeObject | undefined>;

/** Gives objects their versions, where they are written at both sites. Nothing of it may throw. */
export interface ObjectVersions {
  /** The object looks like this. Returns what is to be offered of it; undefined to leave what is offered. */
  seen(key: ObjectKey, live: KubeObject): Normalised | undefined;
  /** The object is not here, or does not belong to the group any more: what follows from it is offered later. */
  gone(key: ObjectKey): void;
  /** What is to be offered of objects that were deleted before. */
  tombstones(): Iterable<readonly [ObjectKey, Normalised]>;
}

/** What a capture knows of its group, for status. */
export interface CaptureReport {
  readonly synced: boolean;
  readonly objectCount: number;
  readonly namespaces: readonly string[];
  /** Namespaces that are selected and belong to another group of this site, with its name. */
  readonly leftOut: ReadonlyMap<string, string>;
  /** Objects that come along because selected ones need them. */
  readonly pulledIn: readonly ObjectKey[];
  /** Kinds (`group/Kind`) of custom resources that run pods. */
  readonly podOwners: readonly string[];
  readonly lag: LagState;
}

/** Who has read within this time counts as a reader still. */
const readerMaxAgeMs = 10_000;
/**
 * The source side of one group: follows what belongs to it and offers it as a stream. Everything is in memory and
 * anew at each start; a standby that was here before compares digests.
 */
export class GroupCapture implements ChangeSource {
  readonly ring = randomUUID();
  readonly #options: GroupCaptureOptions;
  readonly #ring = new ChangeRing();
  readonly #canary: Canary;
  readonly #groupKey: ObjectKey;
  readonly #follower: GroupFollower;
  readonly #waiters = new Set<{ readonly seq: number; readonly wake: () => void }>();
  readonly #idleWaiters = new Set<() => void>();
  /** Deleted while the group was taken down. */
  readonly #withheld = new Set<ObjectKey>();
  /** With what has come, until it is known to have come. */
  readonly #lacking = new Map<ObjectKey, KubeObject | undefined>();
  readonly #lackingChanged = new Pulse();
  #stated: LackingObjects = new Map();
  #spec: SelectionSpec;
  #synced = false;
  #lastReadMs = -Infinity;

  constructor(options: GroupCaptureOptions) {
    this.#options = options;
    this.#spec = options.spec;
    this.#groupKey = keyOf(options.group);
    const { client, clock, random, pool, agentNamespace, canaryIntervalMs, onLag, log } = options;
    const name = options.group.metadata.name;
    this.#canary = new Canary({
      client,
      namespace: agentNamespace,
      group: name,
      ...(canaryIntervalMs === undefined ? {} : { intervalMs: canaryIntervalMs }),
      ...(onLag === undefined ? {} : { onLag }),
      podOwners: () => this.#follower.podOwners(),
      onUnseen: () => pool.rewatch(),
      clock,
      log,
    });
    this.#ring.put(this.#groupKey, normalise(options.group));
    for (const [key, state] of options.versions?.tombstones() ?? []) this.#ring.put(key, state);
    const sink = {
      put: (key: ObjectKey, object: KubeObject) => this.#put(key, object),
      drop: (key: ObjectKey) => this.#drop(key),
      liveKeys: () => this.#ring.liveKeys(),
      advanced: () => this.#advanced(),
      isSpecial: (key: ObjectKey) => key === this.#groupKey || key === this.#canary.key,
    };
    const selection = compileSelection(options.spec, options.site);
    const { holderOf } = options;
    this.#follower = new GroupFollower({ selection, pool, client, sink, holderOf, clock, random, log });
    if (options.lacking !== undefined) this.lacks(options.lacking);
  }

  /** Follows the group until `signal` aborts, then rejects with its reason. Expects the pool to run. */
  async run({ signal }: { signal: AbortSignal }): Promise<void> {
    using _listener = this.#follower.onIdle(() => {
      this.#synced = true;
      for (const wake of this.#idleWaiters) wake();
    });
    await runTogether(
      [
        async (options) => this.#follower.run(options),
        async (options) => this.#canary.run({ hasReader: () => this.#hasReader(), ...options }),
        async (options) => this.#settleLacking(options),
      ],
      { signal },
    );
  }

  /**
   * The ProtectionGroup was edited. The edit is a record at this place of the stream; what it adds to the group or
   * takes from it comes after it.
   */
  update(group: KubeObject, spec: SelectionSpec): void {
    this.#ring.put(this.#groupKey, normalise(group));
    const changed = !sameSelection(this.#spec, spec);
    this.#spec = spec;
    if (changed) this.#follower.select(compileSelection(spec, this.#options.site));
    this.#advanced();
  }

  /** To be called now and then: what another group had may be free. */
  reconsiderNamespaces(): void {
    this.#follower.reconsiderNamespaces();
  }

  /** The ProtectionGroup was deleted: its tombstone is the last record that matters. */
  end(): void {
    this.#ring.remove(this.#groupKey);
    this.#advanced();
  }

  /** Offers this of an object whose version is known by other ways than its watch; `undefined` for nothing any more. */
  offer(key: ObjectKey, state: Normalised | undefined): void {
    if (state === undefined) this.#ring.remove(key);
    else this.#ring.put(key, state);
    this.#advanced();
  }

  /**
   * These belong to the group though they are not at this site: they travel as they would be here, and do not count
   * as deleted. What was named before and is not now has come, or is not wanted any more: it counts for what it is as
   * soon as that is known.
   */
  lacks(objects: LackingObjects): void {
    this.#stated = objects;
    for (const [key, object] of objects) {
      this.#lacking.set(key, object);
      if (!this.#follower.has(key)) this.#putLacking(key);
    }
    if (this.#lacking.size > objects.size) this.#lackingChanged.raise();
    this.#advanced();
  }

  /** Whether the object is known only because this site lacks it. */
  isLacking(key: ObjectKey): boolean {
    return this.#lacking.has(key) && !this.#follower.has(key);
  }

  #putLacking(key: ObjectKey): void {
    const object = this.#lacking.get(key);
    if (object !== undefined) this.#ring.put(key, normalise(object));
  }

  async #settleLacking({ signal }: { signal: AbortSignal }): Promise<void> {
    for (;;) {
      await this.#lackingChanged.wait({ signal });
      const come = [...this.#lacking.keys()].filter((key) => !this.#stated.has(key));
      await this.settle({ signal });
      for (const key of come) {
        if (this.#stated.has(key)) continue;
        this.#lacking.delete(key);
        if (!this.#follower.has(key)) this.#ring.remove(key);
      }
      this.#advanced();
    }
  }

  /**
   * Resolves when everything of the group that the API server holds at this moment is in the ring: the last word of
   * a site that has stopped to write. Kinds that cannot be read are left out.
   */
  async settle({ signal }: { signal: AbortSignal }): Promise<void> {
    const { pool } = this.#options;
    await this.whenSynced({ signal });
    await pool.whenCurrent({ namespace: undefined, signal });
    for (const namespace of this.#follower.namespaces()) await pool.whenCurrent({ namespace, signal });
    while (!this.#follower.isIdle) await waitFor(this.#idleWaiters, (wake) => wake, signal);
  }

  /**
   * Offers what is here now and nothing that is written later: the other site is to have exactly this. For good; a
   * group that goes on here is captured anew.
   */
  seal(): void {
    this.#ring.seal(this.#canary.key);
  }

  get isSealed(): boolean {
    return this.#ring.isSealed;
  }

  /** Everything of the group that was there at the start has been read. */
  get synced(): boolean {
    return this.#synced;
  }

  /** The group's namespaces here, as far as they have been read. */
  get namespaces(): readonly string[] {
    return this.#follower.namespaces();
  }

  get lag(): LagState {
    return this.#canary.state();
  }

  /** Selected namespaces that other groups have, with the names of these. */
  get leftOut(): ReadonlyMap<string, string> {
    return this.#follower.leftOut;
  }

  /** What status shows. Goes through the whole group: not for every change. */
  report(): CaptureReport {
    return {
      synced: this.#synced,
      objectCount: this.#ring.liveCount,
      namespaces: this.namespaces,
      leftOut: this.leftOut,
      pulledIn: this.#follower.pulledIn(),
      podOwners: this.#follower.podOwners(),
      lag: this.lag,
    };
  }

  /** Keys of everything that is in the group now. */
  keys(): Iterable<ObjectKey> {
    return this.#ring.liveKeys();
  }

  /** Whether it is known if such an object exists: not where its kind cannot be read. */
  isKnown(key: ObjectKey): boolean {
    if (key === this.#groupKey || key === this.#canary.key) return true;
    if (this.isLacking(key) && this.#lacking.get(key) === undefined) return false;
    const { pool } = this.#options;
    const { group, kind, namespace } = parseKey(key);
    // Which namespaces belong to the group is known only from their labels.
    if (namespace !== "" && !this.#follower.takes(namespace) && !pool.isKnown("", "Namespace", "")) return false;
    return pool.isKnown(group, kind, namespace) && (this.#follower.has(key) || this.#follower.isAbsenceKnown(key));
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
    while (!this.#synced) await waitFor(this.#idleWaiters, (wake) => wake, signal);
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

  #put(key: ObjectKey, object: KubeObject): void {
    if (key === this.#groupKey) return;
    const isCanary = key === this.#canary.key;
    const { versions } = this.#options;
    const state = isCanary || versions === undefined ? normalise(object) : versions.seen(key, object);
    if (state === undefined || !this.#ring.put(key, state) || !isCanary) return;
    this.#canary.seen(object, this.#ring.head);
    this.#advanced();
  }

  #drop(key: ObjectKey): void {
    const { versions } = this.#options;
    if (versions !== undefined && key !== this.#groupKey && key !== this.#canary.key) versions.gone(key);
    else if (this.#isTakenDown(key)) this.#withheld.add(key);
    else if (this.#lacking.has(key)) this.#putLacking(key);
    else this.#ring.remove(key);
  }

  #isTakenDown(key: ObjectKey): boolean {
    const { isHeld, isRemoved } = this.#options;
    if (!this.#ring.has(key) || isHeld?.() !== true) return false;
    return isAlwaysRemoved(key) || isRemoved?.(key) === true;
  }

  /** The group is no longer taken down: what has not come back is gone. */
  #settleWithheld(): void {
    if (this.#withheld.size === 0 || this.#options.isHeld?.() === true) return;
    for (const key of this.#withheld) if (!this.#follower.has(key) && !this.#lacking.has(key)) this.#ring.remove(key);
    this.#withheld.clear();
  }

  #advanced(): void {
    this.#settleWithheld();
    for (const waiter of this.#waiters) if (this.#ring.head > waiter.seq) waiter.wake();
  }

  #noteReader(): void {
    this.#lastReadMs = this.#options.clock.monotonicMs();
    this.#canary.wake();
  }

  #hasReader(): boolean {
    return this.#waiters.size > 0 || this.#options.clock.monotonicMs() - this.#lastReadMs < readerMaxAgeMs;
  }
}

/** Kinds that cannot be held back and are deleted instead. */
function isAlwaysRemoved(key: ObjectKey): boolean {
  const { group, kind } = parseKey(key);
  if (group === "") return kind === "Pod";
  return kind.endsWith("WebhookConfiguration") || (group === "apiregistration.k8s.io" && kind === "APIService");
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
