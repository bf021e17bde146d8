import type { Clock } from "../clock.ts";
import type { Discovery } from "../kube/discovery.ts";
import type { Reflector, ReflectorState } from "../kube/reflector.ts";
import type { KubeKind, KubeResource, ObjectPlace } from "../kube/resource.ts";
import type { LinkedAbort } from "../abort.ts";

/**
 * Why the objects of a kind are not followed at present:
 * - `forbidden`: permission to read them is missing
 * - `missing`: the kind is defined and not served
 * - `rewound`: the API server was restored from a backup; {@link WatchPool.acceptRewind} goes on
 * - `unreadable`: the API server has answered with errors for some time
 */
export type KindTrouble = "forbidden" | "missing" | "rewound" | "unreadable";

/** How the objects of one kind are read at present. */
export interface KindState extends ReflectorState {
  readonly group: string;
  readonly kind: string;
  readonly plural: string;
  readonly namespaced: boolean;
  readonly version: string;
  readonly trouble: KindTrouble | undefined;
  /** `undefined`: the whole cluster. */
  readonly namespace: string | undefined;
}

/**
 * A kind that the API server refuses to list for so long (its conversion webhook or its aggregated API is broken) is
 * gone on without: it counts as unknown, and all others would else never be protected, nor stopped.
 */
const brokenAfterMs = 30_000;

export const definitionKind = "apiextensions.k8s.io/CustomResourceDefinition";

export interface Watch {
  readonly reflector: Reflector;
  readonly scope: LinkedAbort;
  readonly sinceMs: number;
  /** Since when it has not been followed; `undefined` while it is. */
  failingSinceMs: number | undefined;
}

export interface Entry {
  readonly resource: KubeResource;
  /** Of the whole cluster. */
  readonly cluster: Watch;
  /** Per namespace, while the whole cluster may not be read. */
  readonly namespaced: Map<string, Watch>;
}

/** The watches of a site: how each kind is read, and what is known of it. */
export class WatchTable {
  protected readonly entries = new Map<string, Entry>();
  protected readonly seenVersions: Map<string, string>;
  readonly #discovery: Discovery;
  readonly #clock: Clock;

  /** @param versions {@link versions} of an earlier process */
  constructor(discovery: Discovery, clock: Clock, versions: ReadonlyMap<string, string> | undefined) {
    this.#discovery = discovery;
    this.#clock = clock;
    this.seenVersions = new Map(versions);
  }

  /** The resource in which objects of a kind are read, if they are. */
  resource(group: string, kind: string): KubeResource | undefined {
    return this.entries.get(`${group}/${kind}`)?.resource;
  }

  /** State of every watch. */
  states(): KindState[] {
    return [...this.entries.values()].flatMap(({ resource, cluster, namespaced }) =>
      [[undefined, cluster] as const, ...namespaced].map(([namespace, watch]) => ({
        group: resource.group,
        kind: resource.kind,
        plural: resource.plural,
        namespaced: resource.namespaced,
        version: resource.version,
        trouble: this.#troubleOf(watch),
        namespace,
        ...watch.reflector.state(),
      })),
    );
  }

  #troubleOf(watch: Watch): KindTrouble | undefined {
    const { phase } = watch.reflector.state();
    if (phase === "forbidden" || phase === "missing" || phase === "rewound") return phase;
    const { failingSinceMs } = watch;
    const lasts = failingSinceMs !== undefined && this.#clock.monotonicMs() - failingSinceMs >= brokenAfterMs;
    return lasts && this.#isBroken(watch) ? "unreadable" : undefined;
  }

  /**
   * The latest version of the API server seen per watch. Kept durably and given to the next process, they tell that
   * the API server was restored from a backup while no agent ran.
   */
  versions(): ReadonlyMap<string, string> {
    for (const { resource, cluster, namespaced } of this.entries.values()) {
      for (const [namespace, { reflector }] of [[undefined, cluster] as const, ...namespaced]) {
        const { highest } = reflector.state();
        if (highest !== undefined) this.seenVersions.set(watchId(resource, namespace), highest);
      }
    }
    return this.seenVersions;
  }

  /**
   * Whether it is known which objects of a kind exist in a namespace (`""`: cluster-scoped). `false` for a kind that
   * may not be read, was never listed, or is served by an API that does not answer.
   */
  isKnown(group: string, kind: string, namespace: string): boolean {
    const entry = this.entries.get(`${group}/${kind}`);
    if (entry !== undefined) {
      const watch = entry.namespaced.get(namespace) ?? entry.cluster;
      return watch.reflector.state().synced;
    }
    if (this.#discovery.broken().some(({ groupVersion }) => groupVersion.startsWith(`${group}/`))) return false;
    return !this.#hasUnservedDefinition(group);
  }

  /** An API server that has just started does not serve everything that is defined. */
  #hasUnservedDefinition(group: string): boolean {
    const served = new Set([...this.entries.values()].map(({ resource }) => `${resource.plural}.${resource.group}`));
    const definitions = this.entries.get(definitionKind)?.cluster.reflector.known.places() ?? [];
    for (const { name } of definitions) {
      const dot = name.indexOf(".");
      if (name.slice(dot + 1) === group && !served.has(name) && !this.#isUncaptured(group, name.slice(0, dot)))
        return true;
    }
    return false;
  }

  /** Served, and of a sort that is never read. */
  #isUncaptured(group: string, plural: string): boolean {
    return this.#discovery.kinds().some((kind) => kind.group === group && kind.versions[0].plural === plural);
  }

  /**
   * Whether it is known of every kind which objects exist in these namespaces and in the cluster: only then is what
   * nothing seems to need not needed. `matters` leaves kinds out.
   */
  knowsAll(namespaces: readonly string[], matters: (group: string, kind: string) => boolean): boolean {
    return [...this.entries.values()].every(({ resource: { group, kind, namespaced } }) => {
      if (!matters(group, kind)) return true;
      return (namespaced ? namespaces : [""]).every((namespace) => this.isKnown(group, kind, namespace));
    });
  }

  /** Whether the object was there when its kind was last heard of. */
  exists(group: string, kind: string, place: ObjectPlace): boolean {
    const entry = this.entries.get(`${group}/${kind}`);
    if (entry === undefined) return false;
    const watches = [entry.cluster, entry.namespaced.get(place.namespace ?? "")];
    return watches.some((watch) => watch?.reflector.known.version(place) !== undefined);
  }

  /** Whether the objects of a kind in a namespace are being read at present. */
  isReadable(group: string, kind: string, namespace: string): boolean {
    const entry = this.entries.get(`${group}/${kind}`);
    if (entry === undefined) return this.isKnown(group, kind, namespace);
    const { phase, synced } = (entry.namespaced.get(namespace) ?? entry.cluster).reflector.state();
    return synced && phase !== "forbidden" && phase !== "missing" && phase !== "rewound";
  }

  /** Longest time since any watch that is at work heard from the API server; `undefined` before the first did. */
  lastEventAgeMs(): number | undefined {
    const ages = this.states().flatMap(({ phase, lastEventAgeMs }) =>
      phase === "watching" && lastEventAgeMs !== undefined ? [lastEventAgeMs] : [],
    );
    return ages.length === 0 ? undefined : Math.max(...ages);
  }

  protected *watches(): Generator<Watch> {
    for (const { cluster, namespaced } of this.entries.values()) {
      yield cluster;
      yield* namespaced.values();
    }
  }

  protected isSettled(): boolean {
    if (this.entries.size === 0) return false;
    for (const watch of this.watches()) {
      const { synced, phase } = watch.reflector.state();
      if (!synced && phase !== "forbidden" && phase !== "missing" && !this.#isBroken(watch)) return false;
    }
    return true;
  }

  /** An API server that is away says nothing of a kind: then everything waits for it. */
  #isBroken({ reflector, sinceMs }: Watch): boolean {
    const { phase, error } = reflector.state();
    const answered = phase === "waiting" && error?.code === "KubeRejected";
    return answered && this.#clock.monotonicMs() - sinceMs >= brokenAfterMs;
  }

  /**
   * Its definition stands: an API server that has just started does not serve every kind at once, and none of its
   * objects has gone. The watch shows the kind as missing, and goes on when it is served again.
   */
  protected isDefined({ versions: [{ plural, group }] }: KubeKind): boolean {
    const definitions = this.entries.get(definitionKind)?.cluster.reflector;
    return definitions?.known.version({ name: `${plural}.${group}` }) !== undefined;
  }
}

/** Name of a watch among {@link WatchTable.versions}. */
export function watchId({ group, kind }: KubeResource, namespace: string | undefined): string {
  return `${group}/${kind}/${namespace ?? ""}`;
}
