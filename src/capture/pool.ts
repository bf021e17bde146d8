import PQueue from "p-queue";
import { linkedAbort, Pulse } from "../abort.ts";
import type { Clock, Random } from "../clock.ts";
import { hasCode } from "../errors.ts";
import type { KubeClient } from "../kube/client.ts";
import type { Discovery, DiscoveryChange } from "../kube/discovery.ts";
import { KnownObjects } from "../kube/known.ts";
import { Reflector } from "../kube/reflector.ts";
import type { KubeKind, KubeResource, ObjectPlace } from "../kube/resource.ts";
import type { KubeObject } from "../objects/object.ts";
import type { Log } from "../telemetry/log.ts";
import { isCaptured, labelSelectorFor } from "./rules.ts";
import { definitionKind, type Watch, watchId, WatchTable } from "./watch-table.ts";

/** Somebody who wants to know of all objects that can belong to a group. Called synchronously, must not throw. */
export interface PoolSubscriber {
  /** The object exists and looks like this. It must not be changed or kept. */
  upsert(resource: KubeResource, object: KubeObject): void;
  removed(resource: KubeResource, place: ObjectPlace): void;
  /** Namespaces that matter: where a kind cannot be read in the whole cluster, it is read in each of these. */
  namespaces(): Iterable<string>;
}

export interface WatchPoolOptions {
  readonly client: KubeClient;
  readonly discovery: Discovery;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /**
   * The version in which a kind is read. @default the one that the API server prefers. Changed answers take effect
   * with {@link WatchPool.reconsider}.
   */
  readonly chooseVersion?: (kind: KubeKind) => KubeResource;
  /** {@link WatchPool.versions} of an earlier process. */
  readonly versions?: ReadonlyMap<string, string>;
}

/** Pages in memory at once: four of about 1 MB of text, some 10 MB parsed. */
const listsMaxCount = 4;

const none: ReadonlySet<string> = new Set();

/**
 * One watch per kind for all groups of a site. Groups choose among what they are told; a kind that appears later is
 * followed from then on, one that disappears takes its objects with it.
 */
export class WatchPool extends WatchTable {
  readonly #options: WatchPoolOptions;
  readonly #lists = new PQueue({ concurrency: listsMaxCount });
  readonly #subscribers = new Set<PoolSubscriber>();
  readonly #progress = new Set<() => void>();
  readonly #running = new Set<Promise<void>>();
  #accepting = 0;
  #signal: AbortSignal | undefined;
  #allStarted = false;

  constructor(options: WatchPoolOptions) {
    super(options.discovery, options.clock, options.versions);
    this.#options = options;
  }

  /**
   * Reads all kinds until `signal` aborts, then rejects with its reason. Expects that {@link Discovery.refresh} has
   * succeeded once and that the discovery runs. Namespaces are read first: what the others deliver is chosen by them.
   */
  async run({ signal }: { signal: AbortSignal }): Promise<void> {
    this.#signal = signal;
    using _listener = this.#options.discovery.onChange((change) => this.#follow(change));
    const kinds = this.#options.discovery.kinds();
    const namespaces = kinds.filter(({ group, kind }) => group === "" && kind === "Namespace");
    for (const kind of namespaces) this.#start(kind);
    await this.#when(() => this.isSettled(), signal);
    for (const kind of this.#options.discovery.kinds()) this.#start(kind);
    this.#allStarted = true;
    this.#progressed();
    // Every watch ends with the signal, and nothing but the signal ends this.
    await new Pulse().wait({ signal }).catch(async (error: unknown) => {
      await Promise.all(this.#running);
      this.entries.clear();
      throw error;
    });
  }

  /** From now on `subscriber` is told of every change; what exists already it asks for with {@link redeliver}. */
  subscribe(subscriber: PoolSubscriber): Disposable {
    this.#subscribers.add(subscriber);
    this.#scopeNamespaces();
    return { [Symbol.dispose]: () => this.#subscribers.delete(subscriber) };
  }

  /** To be called when what a subscriber's `namespaces()` answers has changed. */
  namespacesChanged(): void {
    this.#scopeNamespaces();
  }

  /**
   * Tells `subscriber` once more of all objects of a namespace, of some kinds or all; or of all cluster-scoped ones.
   * Objects that were not delivered to anybody yet are not among them: they come by themselves.
   */
  async redeliver(
    subscriber: PoolSubscriber,
    options: { namespace: string | undefined; resource?: KubeResource; signal: AbortSignal },
  ): Promise<void> {
    const { namespace, resource: only, signal } = options;
    await this.#forEachReflector(namespace, only, async (reflector, resource) => {
      const deliver = (object: KubeObject): void => subscriber.upsert(resource, object);
      await reflector.redeliver({ namespace, deliver, signal });
    });
  }

  /**
   * Resolves when everything that the API server holds now in a namespace (`undefined`: cluster-scoped objects) has
   * been told to the subscribers. Kinds that cannot be read are left out.
   */
  async whenCurrent({ namespace, signal }: { namespace: string | undefined; signal: AbortSignal }): Promise<void> {
    await this.#forEachReflector(namespace, undefined, async (reflector) => {
      await this.#lists.add(async () => reflector.whenCurrent({ namespace, signal }));
    });
  }

  async #forEachReflector(
    namespace: string | undefined,
    only: KubeResource | undefined,
    work: (reflector: Reflector, resource: KubeResource) => Promise<void>,
  ): Promise<void> {
    const chosen = [...this.entries.values()].filter(
      ({ resource }) =>
        resource.namespaced === (namespace !== undefined) &&
        (only === undefined || (only.plural === resource.plural && only.group === resource.group)),
    );
    const tasks = chosen.flatMap(({ resource, cluster, namespaced }) =>
      [cluster, ...(namespace === undefined ? [] : [namespaced.get(namespace)])].map(async (watch) => {
        if (watch === undefined) return;
        const { reflector } = watch;
        // One that may not be read shows so in its state; what was read of it before stays.
        if (reflector.state().phase === "forbidden" || reflector.state().phase === "missing") return;
        await work(reflector, resource).catch((error: unknown) => {
          if (!hasCode(error, "KubeForbidden") && !hasCode(error, "NotFound")) throw error;
        });
      }),
    );
    await Promise.all(tasks);
  }

  /** Resolves when every kind has been listed once, or has shown that it cannot be. */
  async whenSynced({ signal }: { signal: AbortSignal }): Promise<void> {
    await this.#when(() => this.#allStarted && this.isSettled(), signal);
  }

  /** Lists every kind anew, for a caller that has a reason to doubt the watches. */
  relist(): void {
    for (const watch of this.watches()) watch.reflector.relist();
  }

  /** Begins every watch anew where it is, for a caller that doubts the connections: cheap. */
  rewatch(): void {
    for (const watch of this.watches()) watch.reflector.rewatch();
  }

  /** After the API server was restored from a backup: what it holds now is right. Returns how many kinds were waiting. */
  acceptRewind(): number {
    const waiting = new Set(
      this.states().flatMap(({ trouble, group, kind }) => (trouble === "rewound" ? [`${group}/${kind}`] : [])),
    );
    // Kinds that are not read yet would find out one after the other.
    this.seenVersions.clear();
    for (const watch of this.watches()) watch.reflector.acceptRewind();
    return waiting.size;
  }

  /** Takes what the API server holds as right whenever it was restored, now or later, until disposed. */
  acceptingRewinds(): Disposable {
    this.#accepting++;
    this.acceptRewind();
    return { [Symbol.dispose]: () => void this.#accepting-- };
  }

  /** Asks `chooseVersion` anew for every kind. */
  reconsider(): void {
    this.#follow({ added: [], removed: [], changed: this.#options.discovery.kinds() });
  }

  async #when(condition: () => boolean, signal: AbortSignal): Promise<void> {
    const settled = new Pulse();
    const check = (): void => {
      if (condition()) settled.raise();
    };
    this.#progress.add(check);
    try {
      check();
      await settled.wait({ signal });
    } finally {
      this.#progress.delete(check);
    }
  }

  #follow(change: DiscoveryChange): void {
    for (const kind of change.removed) if (!this.isDefined(kind)) this.#stop(`${kind.group}/${kind.kind}`, true);
    for (const kind of [...change.changed, ...change.added]) {
      const entry = this.entries.get(`${kind.group}/${kind.kind}`);
      const chosen = this.#choose(kind);
      if (entry !== undefined && chosen?.version === entry.resource.version) continue;
      // Read in another version, or no longer readable; what is known to exist is handed over, and told of anew.
      this.#stop(`${kind.group}/${kind.kind}`, chosen === undefined);
      this.#start(kind, entry?.cluster.reflector.known.unversioned());
    }
  }

  /** A definition is gone: so is its kind, where that had only ceased to be served before. */
  #undefined(name: string): void {
    for (const [id, { resource }] of this.entries) {
      const { plural, group, kind } = resource;
      if (name === `${plural}.${group}` && this.#options.discovery.find(group, kind) === undefined)
        this.#stop(id, true);
    }
  }

  #choose(kind: KubeKind): KubeResource | undefined {
    const chosen = this.#options.chooseVersion?.(kind) ?? kind.versions[0];
    return isCaptured(chosen) ? chosen : undefined;
  }

  #start(kind: KubeKind, known?: KnownObjects): void {
    const id = `${kind.group}/${kind.kind}`;
    const resource = this.#choose(kind);
    if (resource === undefined || this.entries.has(id) || this.#signal?.aborted !== false) return;
    this.entries.set(id, { resource, cluster: this.#watch(resource, undefined, known), namespaced: new Map() });
  }

  #stop(id: string, gone: boolean): void {
    const entry = this.entries.get(id);
    if (entry === undefined) return;
    this.entries.delete(id);
    for (const { scope, reflector } of [entry.cluster, ...entry.namespaced.values()]) {
      scope.abort(new Error("the kind is no longer read"));
      if (!gone) continue;
      for (const place of reflector.known.places()) this.#tellRemoved(entry.resource, place);
    }
    this.#progressed();
  }

  #watch(resource: KubeResource, namespace: string | undefined, known?: KnownObjects): Watch {
    const { client, clock, random, log } = this.#options;
    const reflector = new Reflector({
      client,
      resource,
      namespace,
      labelSelector: labelSelectorFor(resource.group, resource.kind),
      known: known ?? new KnownObjects(),
      highest: this.seenVersions.get(watchId(resource, namespace)),
      handler: {
        upsert: (object) => {
          for (const subscriber of this.#subscribers) subscriber.upsert(resource, object);
        },
        removed: (place) => this.#tellRemoved(resource, place),
        synced: () => this.#progressed(),
      },
      listSlot: async (work) => this.#lists.add(work),
      onPhase: (phase) => {
        watch.failingSinceMs = phase === "watching" ? undefined : (watch.failingSinceMs ?? clock.monotonicMs());
        if (phase === "missing") this.#options.discovery.lookSoon();
        if (phase === "rewound" && this.#accepting > 0) reflector.acceptRewind();
        this.#scopeNamespaces();
        this.#progressed();
      },
      clock,
      random,
      log,
    });
    const startedMs = clock.monotonicMs();
    const scope = linkedAbort(...(this.#signal === undefined ? [] : [this.#signal]));
    const watch: Watch = { reflector, scope, sinceMs: startedMs, failingSinceMs: startedMs };
    const running = reflector
      .run({ signal: scope.signal })
      .catch((error: unknown) => {
        // It ends by its signal alone.
        if (!scope.signal.aborted) log.error({ err: error, kind: resource.kind }, "watch ended");
      })
      .finally(() => this.#running.delete(running));
    this.#running.add(running);
    return watch;
  }

  #tellRemoved(resource: KubeResource, place: ObjectPlace): void {
    if (`${resource.group}/${resource.kind}` === definitionKind) this.#undefined(place.name);
    for (const subscriber of this.#subscribers) subscriber.removed(resource, place);
  }

  #progressed(): void {
    for (const check of this.#progress) check();
  }

  /** Where permission for the whole cluster is missing, permission in the groups' namespaces is enough. */
  #scopeNamespaces(): void {
    if (this.#signal?.aborted !== false) return;
    const wanted = new Set<string>();
    for (const subscriber of this.#subscribers) for (const namespace of subscriber.namespaces()) wanted.add(namespace);
    for (const { resource, cluster, namespaced } of this.entries.values()) {
      if (!resource.namespaced) continue;
      const { phase } = cluster.reflector.state();
      // Between two refused tries the phase is `listing`; only success ends the reading by namespace.
      const needed = phase === "forbidden" || (phase !== "watching" && namespaced.size > 0) ? wanted : none;
      for (const [namespace, { scope }] of namespaced) {
        if (needed.has(namespace)) continue;
        scope.abort(new Error("the namespace is no longer read by itself"));
        namespaced.delete(namespace);
      }
      for (const namespace of needed) {
        if (!namespaced.has(namespace)) namespaced.set(namespace, this.#watch(resource, namespace));
      }
    }
  }
}
