import PQueue from "p-queue";
import { linkedAbort, type LinkedAbort } from "../abort.ts";
import type { Clock, Random } from "../clock.ts";
import type { KubeClient } from "../kube/client.ts";
import { Reflector } from "../kube/reflector.ts";
import type { KubeKind, KubeResource } from "../kube/resource.ts";
import { formatKey, type ObjectKey } from "../objects/key.ts";
import { type KubeObject, marks } from "../objects/object.ts";
import type { Log } from "../telemetry/log.ts";

/** Watches of the group's copies, one per kind that the group has, started when the first of a kind is needed. */
export interface CopyWatchOptions {
  readonly client: KubeClient;
  readonly discovery: { find(group: string, kind: string): KubeKind | undefined };
  readonly group: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** A copy exists and looks like this. */
  readonly onSeen: (object: KubeObject) => void;
  readonly onGone: (key: ObjectKey) => void;
  /** What was known of the kind's copies is no longer so; they are listed anew. */
  readonly onRewound: (group: string, kind: string) => void;
  /** All copies of the kind that existed have been seen, or the kind cannot be watched. */
  readonly onReady: (group: string, kind: string) => void;
}

/** Kinds listed at once when a group with many kinds starts: more only makes the API server hold more pages. */
const listsMaxCount = 4;

interface Watch {
  readonly path: string;
  readonly scope: LinkedAbort;
  readonly sinceMs: number;
  ready: boolean;
  readonly ended: Promise<void>;
}

export class CopyWatches {
  readonly #options: CopyWatchOptions;
  readonly #watches = new Map<string, Watch>();
  readonly #lists = new PQueue({ concurrency: listsMaxCount });
  #signal: AbortSignal | undefined;

  constructor(options: CopyWatchOptions) {
    this.#options = options;
  }

  /** Watches started from now on end with `signal`. */
  start(options: { signal: AbortSignal }): void {
    this.#signal = options.signal;
  }

  /** Ends all watches and forgets them. */
  async stop(): Promise<void> {
    this.#signal = undefined;
    const watches = [...this.#watches.values()];
    this.#watches.clear();
    for (const watch of watches) watch.scope.abort(new Error("the watch is no longer needed"));
    await Promise.all(watches.map((watch) => watch.ended));
  }

  /** Whether all copies of the kind are known; starts to find out where that was not begun. */
  ensure(group: string, kind: string): boolean {
    const name = `${group}/${kind}`;
    const resource = this.#options.discovery.find(group, kind)?.versions[0];
    if (resource === undefined || !resource.verbs.has("watch") || this.#signal === undefined) return true;
    const known = this.#watches.get(name);
    if (known !== undefined && known.path === pathFor(resource)) return known.ready;
    known?.scope.abort(new Error("the kind is served in another version"));
    this.#watches.set(name, this.#watch(resource, this.#signal));
    return false;
  }

  /** The kind is gone or has come back: its watch starts over when it is next needed. */
  restart(group: string, kind: string): void {
    const name = `${group}/${kind}`;
    this.#watches.get(name)?.scope.abort(new Error("the kind has changed"));
    this.#watches.delete(name);
  }

  /** Whether the kind's copies are still not known so long after they were asked for. */
  isLate(group: string, kind: string, maxMs: number): boolean {
    const watch = this.#watches.get(`${group}/${kind}`);
    return watch !== undefined && !watch.ready && this.#options.clock.monotonicMs() - watch.sinceMs >= maxMs;
  }

  /** Kinds, as `group/Kind`, whose copies are not known. */
  pendingKinds(): string[] {
    return [...this.#watches].filter(([, watch]) => !watch.ready).map(([name]) => name);
  }

  get pendingCount(): number {
    let count = 0;
    for (const watch of this.#watches.values()) if (!watch.ready) count++;
    return count;
  }

  #watch(resource: KubeResource, signal: AbortSignal): Watch {
    const { client, group, clock, random, log, onSeen, onGone, onReady } = this.#options;
    const scope = linkedAbort(signal);
    const keyFor = (place: { namespace?: string | undefined; name: string }): ObjectKey =>
      formatKey({ group: resource.group, kind: resource.kind, namespace: place.namespace ?? "", name: place.name });
    const ready = (): void => {
      if (watch.ready || scope.signal.aborted) return;
      watch.ready = true;
      onReady(resource.group, resource.kind);
    };
    const reflector = new Reflector({
      client,
      resource,
      labelSelector: `${marks.group}=${group}`,
      handler: { upsert: onSeen, removed: (place) => onGone(keyFor(place)), synced: ready },
      listSlot: (work) => this.#lists.add(work) as Promise<Awaited<ReturnType<typeof work>>>,
      // What cannot be watched is written blindly: POST and preconditions still protect what is there.
      onPhase: (phase) => {
        if (phase === "forbidden" || phase === "missing") ready();
        // A site that was restored from a backup holds older copies: they are looked at like any others.
        if (phase === "rewound") queueMicrotask(() => this.#rewound(resource, reflector));
      },
      clock,
      random,
      log,
    });
    // It ends only by its signal, with the signal's reason.
    const ended = reflector.run({ signal: scope.signal }).then(
      () => undefined,
      () => scope[Symbol.dispose](),
    );
    const watch: Watch = { path: pathFor(resource), scope, sinceMs: clock.monotonicMs(), ready: false, ended };
    return watch;
  }

  #rewound(resource: KubeResource, reflector: Reflector): void {
    this.#options.onRewound(resource.group, resource.kind);
    reflector.acceptRewind();
  }
}

function pathFor(resource: KubeResource): string {
  return `${resource.group}/${resource.version}/${resource.plural}`;
}
