import { setImmediate as nextTurn } from "node:timers/promises";
import { linkedAbort, Pulse } from "../abort.ts";
import { backoffMs, type Clock, type Random } from "../clock.ts";
import { hasCode, LifeboatError, messageOf } from "../errors.ts";
import { parseJson } from "../objects/json.ts";
import type { KubeObject } from "../objects/object.ts";
import type { Log } from "../telemetry/log.ts";
import type { KubeClient } from "./client.ts";
import { compareVersions, KnownObjects } from "./known.ts";
import { forEachLine } from "./lines.ts";
import { pathOf, placeOf, type KubeResource, type ObjectPlace } from "./resource.ts";
import { errorOfStatus, hasReason, kubeStatusOf, parseStatus } from "./status.ts";

/** Told of every object of a kind, in the API server's order per object. Called synchronously; may throw. */
export interface ReflectorHandler {
  /** The object exists and looks like this. It is parsed for this call: whoever keeps it keeps its memory. */
  upsert(object: KubeObject): void;
  /** The object is gone: its end was seen (`deleted`), or it was not in a full list (`absent`). */
  removed(place: ObjectPlace, how: "deleted" | "absent"): void;
  /** A full list has been delivered: what was not in it does not exist. Called after every list. */
  synced(): void;
}

/**
 * - `listing`, `watching`: at work
 * - `waiting`: something failed; retried with backoff for ever
 * - `forbidden`: permission is missing; retried slowly
 * - `missing`: the API server does not serve the kind (any more, or not yet again); retried with backoff
 * - `rewound`: the API server's clock of versions went backwards (its store was restored from a backup); nothing more
 *   is delivered until {@link Reflector.acceptRewind}
 */
export type ReflectorPhase = "listing" | "watching" | "waiting" | "forbidden" | "missing" | "rewound" | "stopped";

export interface ReflectorState {
  readonly phase: ReflectorPhase;
  /** A full list has been delivered at least once. */
  readonly synced: boolean;
  /** Since the API server last said anything, bookmarks included; `undefined` before it did. */
  readonly lastEventAgeMs: number | undefined;
  readonly objectCount: number;
  readonly error: LifeboatError | undefined;
  readonly handlerFailureCount: number;
  /** The latest version of the API server that was ever seen: what a later process is given as `highest`. */
  readonly highest: string | undefined;
}

export interface ReflectorOptions {
  readonly client: KubeClient;
  readonly resource: KubeResource;
  /** @default all namespaces */
  readonly namespace?: string | undefined;
  readonly labelSelector?: string | undefined;
  readonly fieldSelector?: string | undefined;
  readonly handler: ReflectorHandler;
  /** Names that an earlier reflector of the kind delivered: the first list reports what is gone since. */
  readonly known?: KnownObjects;
  /** {@link ReflectorState.highest} of an earlier process: an API server that is behind it was restored meanwhile. */
  readonly highest?: string | undefined;
  /** Bounds how many lists run at once among reflectors. @default no bound */
  readonly listSlot?: <T>(work: () => Promise<T>) => Promise<T>;
  /** Called at each change of phase. Must not throw. */
  readonly onPhase?: (phase: ReflectorPhase) => void;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

const retryLimits = { firstMs: 200, maxMs: 30_000 };
/** A missing permission comes by a person's hand, and each try is a refused request in the audit log. */
const slowRetryMs = 30_000;
/** A watch ends by itself after 5 to 10 minutes, spread so that the watches of an agent do not end together. */
const watchSeconds = 300;
/** API servers send a bookmark about every minute: silence for longer means that the connection is dead. */
const silenceMaxMs = 100_000;
/** An API server that does not know how to begin a watch with the present objects may also just say nothing. */
const initialSilenceMaxMs = 10_000;
/** An event is on its way for some milliseconds. */
const currentPollMs = 20;
/** Objects handed over before other work gets its turn: about 10 ms. */
const turnCount = 50;

/**
 * Follows all objects of one kind: a paginated list, then a watch from that moment, for ever. A failure never
 * escapes: it shows in {@link state} and is retried; a watch that the API server can no longer continue becomes a
 * list whose difference is delivered, deletes included.
 */
export class Reflector {
  readonly #options: ReflectorOptions;
  readonly known: KnownObjects;
  readonly #log: Log;
  readonly #accepted = new Pulse();
  #phase: ReflectorPhase = "listing";
  #synced = false;
  /** Where the next watch begins; `undefined` when it takes a list first. */
  #version: string | undefined;
  /** The latest version ever seen: only to notice that the API server's went backwards. */
  #highest: string | undefined;
  /** Something failed: it may be another store that answers next. */
  #suspect = false;
  #attempt = 0;
  #lastEventMs: number | undefined;
  #error: LifeboatError | undefined;
  #handlerFailureCount = 0;
  #relistWanted = false;
  #abortWatch: (() => void) | undefined;
  /** The API server can begin a watch with the present objects, which spares the pages of a list. */
  #streams = true;
  /** While a watch delivers its present objects. */
  #initial: { readonly gone: KnownObjects; readonly done: () => void } | undefined;

  constructor(options: ReflectorOptions) {
    this.#options = options;
    this.known = options.known ?? new KnownObjects();
    this.#highest = options.highest;
    this.#suspect = options.highest !== undefined;
    this.#log = options.log.child({ kind: options.resource.kind, namespace: options.namespace });
  }

  state(): ReflectorState {
    return {
      phase: this.#phase,
      synced: this.#synced,
      lastEventAgeMs:
        this.#lastEventMs === undefined ? undefined : this.#options.clock.monotonicMs() - this.#lastEventMs,
      objectCount: this.known.count,
      error: this.#error,
      handlerFailureCount: this.#handlerFailureCount,
      highest: this.#highest,
    };
  }

  /** Follows until `signal` aborts, then rejects with its reason. Never rejects otherwise. */
  async run({ signal }: { signal: AbortSignal }): Promise<void> {
    const { client, clock, random } = this.#options;
    for (;;) {
      try {
        if (this.#suspect) await this.#checkRewind(signal);
        if (this.#version === undefined && !this.#streams) await this.#list(signal);
        await this.#watch(signal);
      } catch (error) {
        if (signal.aborted) this.#enter("stopped");
        signal.throwIfAborted();
        const slow = this.#failed(error);
        const pauseMs = slow ? slowRetryMs * (1 + random()) : backoffMs(this.#attempt, retryLimits, random);
        this.#attempt++;
        await client.readiness.pause(pauseMs, { clock, signal });
      }
    }
  }

  /** Lists anew soon instead of trusting the watch: for a caller that has a reason to doubt it. */
  relist(): void {
    this.#relistWanted = true;
    this.#abortWatch?.();
  }

  /** Begins the watch anew where it is: for a caller that has a reason to doubt its connection. */
  rewatch(): void {
    if (this.#phase === "watching") this.#abortWatch?.();
  }

  /**
   * What the API server holds is right, though its versions went backwards: it is listed and delivered. Also for a
   * reflector that has lost its connection and would find out next.
   */
  acceptRewind(): void {
    if (this.#phase === "rewound") this.#accepted.raise();
    if (!this.#suspect) return;
    this.#version = undefined;
    this.#highest = undefined;
  }

  /**
   * Hands the objects of a namespace (or all) over once more, each as it was last delivered: for somebody who was not
   * interested in them before. What changes meanwhile comes by the watch, and only so. Resolves at once where nothing
   * was delivered yet; rejects like a list.
   */
  async redeliver(options: {
    readonly namespace?: string | undefined;
    readonly deliver: (object: KubeObject) => void;
    readonly signal: AbortSignal;
  }): Promise<void> {
    const { client, resource, labelSelector, fieldSelector } = this.#options;
    const { namespace = this.#options.namespace, deliver, signal } = options;
    if (namespace === undefined ? this.known.count === 0 : !this.known.hasNamespace(namespace)) return;
    await this.#inSlot(async () => {
      for await (const page of client.list(resource, { namespace, labelSelector, fieldSelector, signal })) {
        let count = 0;
        for (const object of page.items) {
          const place = placeOf(object);
          if (this.known.version(place) !== object.metadata.resourceVersion) continue;
          this.#contain(() => deliver(object), place);
          if (++count % turnCount === 0) await nextTurn(undefined, { signal });
        }
      }
    });
  }

  /**
   * Resolves when everything that the API server holds at this moment in a namespace (or everywhere) has been
   * delivered, deletes included: a barrier for a caller that has made sure that nobody writes any more.
   */
  async whenCurrent({ namespace, signal }: { namespace?: string | undefined; signal: AbortSignal }): Promise<void> {
    const { client, resource, labelSelector, fieldSelector, clock } = this.#options;
    const scope = namespace ?? this.#options.namespace;
    const expected = new KnownObjects();
    let moment = "";
    const query = { namespace: scope, labelSelector, fieldSelector, metadataOnly: true, signal };
    for await (const page of client.list(resource, query)) {
      moment = page.resourceVersion;
      for (const { metadata } of page.items) expected.set(metadata, metadata.resourceVersion ?? "");
    }
    while (!this.#hasReached(expected, moment, scope)) await clock.sleep(currentPollMs, { signal });
  }

  #hasReached(expected: KnownObjects, moment: string, namespace: string | undefined): boolean {
    for (const place of expected.places()) {
      const [mine, its] = [this.known.version(place), expected.version(place) ?? ""];
      // Unknown: not delivered yet, or deleted since; the latter only once the watch is beyond the list.
      if (mine === undefined) {
        if (this.#version === undefined || (compareVersions(this.#version, moment) ?? -1) < 0) return false;
      } else if (mine !== its && (compareVersions(mine, its) ?? 0) < 0) return false;
    }
    for (const place of this.known.places()) {
      if (namespace !== undefined && place.namespace !== namespace) continue;
      const newer = (compareVersions(this.known.version(place) ?? "", moment) ?? 0) > 0;
      if (expected.version(place) === undefined && !newer) return false;
    }
    return true;
  }

  async #list(signal: AbortSignal): Promise<void> {
    this.#enter("listing");
    await this.#inSlot(async () => {
      const { client, resource, namespace, labelSelector, fieldSelector } = this.#options;
      const gone = this.#copyOfKnown();
      let version = "";
      for await (const page of client.list(resource, { namespace, labelSelector, fieldSelector, signal })) {
        this.#heard();
        version = page.resourceVersion;
        let count = 0;
        for (const object of page.items) {
          const place = placeOf(object);
          gone.delete(place);
          if (this.known.version(place) === object.metadata.resourceVersion) continue;
          this.#deliver(object);
          if (++count % turnCount === 0) await nextTurn(undefined, { signal });
        }
      }
      this.#listed(gone, version);
    });
  }

  #copyOfKnown(): KnownObjects {
    const copy = new KnownObjects();
    for (const place of this.known.places()) copy.set(place, "");
    return copy;
  }

  #listed(gone: KnownObjects, version: string): void {
    for (const place of gone.places()) this.#remove(place, "absent");
    this.#version = version;
    this.#highest = version;
    this.#synced = true;
    this.#contain(() => this.#options.handler.synced(), undefined);
  }

  async #inSlot(work: () => Promise<void>): Promise<void> {
    await (this.#options.listSlot === undefined ? work() : this.#options.listSlot(work));
  }

  /** Watches from the last version; without one the watch begins with all present objects, in a slot of the lists. */
  async #watch(signal: AbortSignal): Promise<void> {
    if (this.#version !== undefined) return this.#stream(signal);
    this.#enter("listing");
    const listed = Promise.withResolvers<void>();
    const ended = Promise.withResolvers<void>();
    this.#initial = { gone: this.#copyOfKnown(), done: listed.resolve };
    void ended.promise.catch(() => undefined);
    await this.#inSlot(async () => {
      void this.#stream(signal).then(ended.resolve, ended.reject);
      await Promise.race([listed.promise, ended.promise]).finally(() => {
        this.#initial = undefined;
      });
    });
    await ended.promise;
  }

  async #stream(signal: AbortSignal): Promise<void> {
    using scope = linkedAbort(signal);
    this.#abortWatch = () => scope.abort(new LifeboatError("Timeout", "the watch was given up", { op: "kube.watch" }));
    const { client, resource, namespace, labelSelector, fieldSelector, random } = this.#options;
    const initial = this.#initial !== undefined;
    using _watchdog = this.#watchdog(initial ? initialSilenceMaxMs : silenceMaxMs);
    try {
      const body = await client.stream(pathOf(resource, { namespace }), {
        query: {
          watch: true,
          resourceVersion: this.#version,
          ...(initial ? { sendInitialEvents: true, resourceVersionMatch: "NotOlderThan" } : {}),
          allowWatchBookmarks: true,
          timeoutSeconds: Math.round(watchSeconds * (1 + random())),
          labelSelector,
          fieldSelector,
        },
        signal: scope.signal,
      });
      if (!initial) this.#watching();
      await forEachLine(body, (line) => this.#event(line));
    } catch (error) {
      if (this.#initial !== undefined && !signal.aborted && cannotStream(error)) this.#streams = false;
      throw error;
    } finally {
      this.#abortWatch = undefined;
      if (this.#relistWanted) this.#version = undefined;
      this.#relistWanted = false;
    }
  }

  /** Gives the watch up when nothing has been heard for too long. */
  #watchdog(firstMs: number): Disposable {
    const { clock } = this.#options;
    const startedMs = clock.monotonicMs();
    const timer = setInterval(() => {
      const silentMs = clock.monotonicMs() - Math.max(startedMs, this.#lastEventMs ?? 0);
      if (silentMs > (this.#initial === undefined ? silenceMaxMs : firstMs)) this.#abortWatch?.();
    }, firstMs / 10);
    return { [Symbol.dispose]: () => clearInterval(timer) };
  }

  #watching(): void {
    this.#enter("watching");
    this.#attempt = 0;
  }

  #event(line: string): void {
    this.#heard();
    const event = parseJson(line) as { type: string; object: KubeObject };
    if (event.type === "ERROR") {
      const code = Number(event.object["code"] ?? 0);
      throw errorOfStatus("kube.watch", parseStatus(code, JSON.stringify(event.object)));
    }
    const version = event.object.metadata.resourceVersion;
    if (version === undefined) throw new LifeboatError("KubeRejected", "a watch event without a version");
    if (this.#initial !== undefined) {
      this.#initialEvent(event.type, event.object, version, this.#initial);
      return;
    }
    if (event.type === "DELETED") this.#remove(placeOf(event.object), "deleted");
    else if (event.type !== "BOOKMARK") this.#deliver(event.object);
    this.#version = version;
    this.#highest = version;
  }

  #initialEvent(
    type: string,
    object: KubeObject,
    version: string,
    { gone, done }: { gone: KnownObjects; done: () => void },
  ): void {
    if (type === "BOOKMARK") {
      if (object.metadata.annotations?.["k8s.io/initial-events-end"] !== "true") return;
      this.#initial = undefined;
      this.#listed(gone, version);
      this.#watching();
      done();
      return;
    }
    const place = placeOf(object);
    gone.delete(place);
    if (type === "DELETED") this.#remove(place, "deleted");
    else if (this.known.version(place) !== version) this.#deliver(object);
  }

  #deliver(object: KubeObject): void {
    const place = placeOf(object);
    this.known.set(place, object.metadata.resourceVersion ?? "");
    this.#contain(() => this.#options.handler.upsert(object), place);
  }

  #remove(place: ObjectPlace, how: "deleted" | "absent"): void {
    if (!this.known.delete(place)) return;
    this.#contain(() => this.#options.handler.removed(place, how), undefined);
  }

  /** A defect in a handler must not end the watch of all other objects; the next list delivers the object again. */
  #contain(call: () => void, place: ObjectPlace | undefined): void {
    try {
      call();
    } catch (error) {
      this.#handlerFailureCount++;
      if (place !== undefined) this.known.set(place, "");
      this.#log.error({ err: error, object: place }, "handling an object failed");
    }
  }

  /** Notes the failure; returns whether a retry has time. */
  #failed(error: unknown): boolean {
    this.#error =
      error instanceof LifeboatError
        ? error
        : new LifeboatError("KubeUnreachable", messageOf(error), { op: "kube.watch", retryable: true, cause: error });
    this.#suspect = true;
    const code = kubeStatusOf(error)?.code;
    if (code === 410 || hasReason(error, "Expired") || hasReason(error, "Gone")) this.#version = undefined;
    if (hasCode(error, "KubeForbidden")) {
      this.#unreadable("forbidden", error);
      return true;
    }
    if (code === 404 || code === 405) {
      this.#unreadable("missing", error);
      return false;
    }
    this.#log.debug({ err: error }, "watch interrupted");
    this.#enter("waiting");
    return false;
  }

  #unreadable(phase: "forbidden" | "missing", error: unknown): void {
    // Whatever happened meanwhile has no events: the next success begins with a list.
    this.#version = undefined;
    if (this.#phase !== phase) this.#log.warn({ err: error }, "kind cannot be read");
    this.#enter(phase);
  }

  /** After an interruption: an API server whose versions went backwards was restored, and its past is not a change. */
  async #checkRewind(signal: AbortSignal): Promise<void> {
    const { client, resource, namespace } = this.#options;
    if (this.#highest !== undefined) {
      const query = { limit: 1 };
      const text = await client.request("GET", pathOf(resource, { namespace }), { query, signal });
      const now = (JSON.parse(text) as { metadata: { resourceVersion?: string } }).metadata.resourceVersion ?? "";
      if ((compareVersions(now, this.#highest) ?? 0) < 0) {
        this.#log.error({ before: this.#highest, now }, "versions of the API server went backwards");
        this.#enter("rewound");
        await this.#accepted.wait({ signal });
        this.#version = undefined;
        this.#highest = undefined;
      }
    }
    this.#suspect = false;
  }

  #heard(): void {
    this.#lastEventMs = this.#options.clock.monotonicMs();
  }

  #enter(phase: ReflectorPhase): void {
    if (phase === "watching" || phase === "listing") this.#error = undefined;
    if (this.#phase === phase) return;
    this.#phase = phase;
    this.#options.onPhase?.(phase);
  }
}

/** Refused as an invalid request, or met with silence: the API server (an older or aggregated one) wants pages. */
function cannotStream(error: unknown): boolean {
  const code = kubeStatusOf(error)?.code;
  return code === 400 || code === 422 || hasCode(error, "Timeout");
}
