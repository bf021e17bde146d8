import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll } from "vitest";
import { systemClock } from "../../src/clock.ts";
import { GroupCapture, type GroupCaptureOptions } from "../../src/capture/group.ts";
import { WatchPool, type WatchPoolOptions } from "../../src/capture/pool.ts";
import type { SelectionSpec } from "../../src/capture/selection.ts";
import { hasCode, LifeboatError } from "../../src/errors.ts";
import { connect, type KubeClient } from "../../src/kube/client.ts";
import { Discovery, requireKind } from "../../src/kube/discovery.ts";
import { groupOf, type KubeObject } from "../../src/objects/object.ts";
import { keyOf, type ObjectKey } from "../../src/objects/key.ts";
import type { ChangeRecord } from "../../src/objects/record.ts";
import { silentLog } from "../../src/telemetry/log.ts";
import { kubeconfigs } from "./sites.ts";

/** The source side of one site, as an agent wires it. */
export interface Source {
  readonly client: KubeClient;
  readonly discovery: Discovery;
  readonly pool: WatchPool;
  readonly signal: AbortSignal;
  /** Starts the capture of a group and a reader that follows it. */
  capture(name: string, spec: SelectionSpec, options?: Partial<GroupCaptureOptions>): Follower;
  stop(): Promise<void>;
}

/** A capture and what a standby would hold by now. */
export interface Follower {
  readonly capture: GroupCapture;
  /** Live objects by key. */
  readonly held: ReadonlyMap<ObjectKey, KubeObject>;
  /** Every record in the order in which it was read. */
  readonly records: readonly ChangeRecord[];
  stop(): void;
}

export async function startSource(
  kubeconfig: string,
  options: Pick<WatchPoolOptions, "chooseVersion" | "versions"> = {},
): Promise<Source> {
  const stopping = new AbortController();
  const { signal } = stopping;
  const client = await connect({ from: "files", paths: [kubeconfig] });
  const common = { client, clock: systemClock, random: Math.random, log: silentLog };
  const discovery = new Discovery(common);
  await discovery.refresh({ signal });
  const pool = new WatchPool({ ...common, discovery, ...options });
  const running = [discovery.run({ signal }), pool.run({ signal })].map(ignoreAbort);
  return {
    client,
    discovery,
    pool,
    signal,
    capture(name, spec, options = {}) {
      const own = new AbortController();
      signal.addEventListener("abort", () => own.abort(), { once: true });
      const capture = new GroupCapture({
        ...common,
        group: protectionGroup(name, spec),
        spec,
        site: "east",
        pool,
        agentNamespace: "default",
        epoch: () => "1.1",
        ...options,
      });
      running.push(ignoreAbort(capture.run({ signal: own.signal })));
      const follower = { capture, held: new Map<ObjectKey, KubeObject>(), records: [] as ChangeRecord[] };
      running.push(ignoreAbort(follow(follower, own.signal)));
      return { ...follower, stop: () => own.abort() };
    },
    async stop() {
      stopping.abort();
      await Promise.all(running);
      await client.close();
    },
  };
}

/** What the tests of a file share: a source of one site, and somebody who writes there. */
export interface SharedSource {
  readonly source: Source;
  readonly writer: Writer;
  /** A name that no other test has. */
  fresh(): string;
}

/** Starts a source of `east` before the tests of the file that calls it, and stops it after them. */
export function useSource(): SharedSource {
  let started: { readonly source: Source; readonly writer: Writer } | undefined;
  let serial = 0;
  beforeAll(async () => {
    const source = await startSource(kubeconfigs().east);
    started = { source, writer: new Writer(source) };
  });
  afterAll(async () => started?.source.stop());
  const running = () => {
    if (started === undefined) throw new Error("the source runs within tests alone");
    return started;
  };
  return {
    get source() {
      return running().source;
    },
    get writer() {
      return running().writer;
    },
    fresh: () => `capture-${process.pid}-${++serial}`,
  };
}

export function protectionGroup(name: string, spec: SelectionSpec): KubeObject {
  return { apiVersion: "lifeboat.dev/v1alpha1", kind: "ProtectionGroup", metadata: { name }, spec };
}

/** A spec that selects, with everything else left to defaults. */
export function selecting(select: SelectionSpec["select"]): SelectionSpec {
  return { sites: [{ name: "east" }, { name: "west" }], select };
}

async function follow(
  follower: { capture: GroupCapture; held: Map<ObjectKey, KubeObject>; records: ChangeRecord[] },
  signal: AbortSignal,
): Promise<void> {
  for (let seq = 0; ;) {
    await follower.capture.whenBeyond(seq, { signal });
    for (const record of follower.capture.read(seq, { maxCount: 100, maxBytes: 1_000_000 })) {
      if (record.seq <= seq) throw new Error(`record ${record.seq} after ${seq}`);
      seq = record.seq;
      follower.records.push(record);
      if (record.object === undefined) follower.held.delete(record.key);
      else follower.held.set(record.key, JSON.parse(record.object) as KubeObject);
    }
    follower.capture.acknowledged({ durable: seq, applied: seq });
  }
}

async function ignoreAbort(promise: Promise<void>): Promise<void> {
  await promise.catch((error: unknown) => {
    if ((error as Error).name !== "AbortError") throw error;
  });
}

/** Writes objects as a user would. */
export class Writer {
  readonly #source: Pick<Source, "client" | "discovery" | "signal">;

  constructor(source: Pick<Source, "client" | "discovery" | "signal">) {
    this.#source = source;
  }

  async apply(...objects: KubeObject[]): Promise<KubeObject> {
    const { client, signal } = this.#source;
    let stored: KubeObject | undefined;
    for (const object of objects) {
      const write = () =>
        client.apply(this.#resource(object), object, { fieldManager: "kubectl", force: true, signal });
      // A connection that an API server left behind when it was killed fails once.
      stored = await write().catch((error: unknown) => {
        if (hasCode(error, "KubeUnreachable")) return write();
        throw error;
      });
    }
    if (stored === undefined) throw new Error("nothing to apply");
    return stored;
  }

  async patchStatus(object: KubeObject, status: unknown): Promise<void> {
    const { client, signal } = this.#source;
    await client.patch(
      this.#resource(object),
      object.metadata,
      { type: "merge", body: { status } },
      { fieldManager: "kcm", subresource: "status", signal },
    );
  }

  async label(object: KubeObject, labels: Readonly<Record<string, string | null>>): Promise<void> {
    const { client, signal } = this.#source;
    await client.patch(
      this.#resource(object),
      object.metadata,
      { type: "merge", body: { metadata: { labels } } },
      { fieldManager: "label", signal },
    );
  }

  async delete(...objects: KubeObject[]): Promise<void> {
    const { client, signal } = this.#source;
    for (const object of objects) {
      await client.delete(this.#resource(object), object.metadata, { propagation: "Background", signal });
    }
  }

  /** As the API server has it. */
  async get(object: KubeObject): Promise<KubeObject> {
    const { client, signal } = this.#source;
    return client.get(this.#resource(object), object.metadata, { signal });
  }

  /** Waits until the kind of a CRD is served. */
  async served(group: string, kind: string): Promise<void> {
    const { discovery, signal } = this.#source;
    await eventually(async () => {
      if (discovery.find(group, kind) === undefined) await discovery.refresh({ signal });
      requireKind(discovery, group, kind);
    });
  }

  #resource(object: KubeObject) {
    const kind = requireKind(this.#source.discovery, groupOf(object.apiVersion), object.kind);
    return this.#source.discovery.resource(object.apiVersion, object.kind) ?? kind.versions[0];
  }
}

/** Repeats until it no longer throws; then fails with the last error. */
export async function eventually<T>(check: () => T | Promise<T>, limitMs = 15_000): Promise<T> {
  const deadline = performance.now() + limitMs;
  for (;;) {
    try {
      return await check();
    } catch (error) {
      if (performance.now() > deadline) throw error;
      await sleep(25);
    }
  }
}

/** Creates a namespace, also where a former one of that name is still going. */
export async function makeNamespace(
  writer: Writer,
  name: string,
  labels: Record<string, string> = {},
): Promise<KubeObject> {
  return eventually(async () => writer.apply(namespace(name, labels)));
}

export function namespace(name: string, labels: Record<string, string> = {}): KubeObject {
  return { apiVersion: "v1", kind: "Namespace", metadata: { name, labels } };
}

export function configMap(namespace: string, name: string, data: Record<string, string> = {}): KubeObject {
  return { apiVersion: "v1", kind: "ConfigMap", metadata: { name, namespace }, data };
}

/** Keys of objects without their group's own record. */
export function keysOf(follower: Follower, groupName: string): string[] {
  const own = `lifeboat.dev/ProtectionGroup//${groupName}`;
  return [...follower.held.keys()].filter((key) => key !== own && !key.includes("lifeboat-canary")).sort();
}

export function keysOfObjects(...objects: KubeObject[]): string[] {
  return objects.map(keyOf).sort();
}

export function isNotFound(error: unknown): boolean {
  return error instanceof LifeboatError && error.code === "NotFound";
}
