import { LifeboatError } from "../../../src/errors.ts";
import type { SiteObjects } from "../../../src/merge/objects.ts";
import { canonicalJson, cloneJson } from "../../../src/objects/json.ts";
import { keyOf, type ObjectKey } from "../../../src/objects/key.ts";
import type { KubeObject } from "../../../src/objects/object.ts";

type Event = { readonly key: ObjectKey; readonly object: KubeObject | undefined };

/**
 * As much of an API server as merging depends on: versions that rise, writes that are refused at an older one, an event
 * for each change and none for a write that changes nothing, values that each server fills in for itself, owners.
 */
export class MemorySite implements SiteObjects {
  readonly #objects = new Map<ObjectKey, KubeObject>();
  readonly #name: string;
  #version = 0;
  #addresses = 0;
  /** Writes that have changed something, by whom. */
  readonly writes: { readonly key: ObjectKey; readonly by: string }[] = [];
  readonly events: Event[] = [];
  /** Called before an agent's write is made, to write something between its look and its write. */
  beforeWrite: ((key: ObjectKey) => void) | undefined;
  /** Whether what is deleted stays for a while, marked, until {@link finish}. */
  isGraceful = false;
  /** While the API server does not answer. */
  isDown = false;
  readonly #wallMs: () => number;

  constructor(name: string, wallMs: () => number) {
    this.#name = name;
    this.#wallMs = wallMs;
  }

  backup(): ReadonlyMap<ObjectKey, KubeObject> {
    return new Map(this.all().map(([key, object]) => [key, cloneJson(object)]));
  }

  /** Its versions go back, too; whoever watches lists anew. */
  restore(backup: ReadonlyMap<ObjectKey, KubeObject>): void {
    this.#objects.clear();
    this.events.length = 0;
    this.#version = 0;
    for (const [key, object] of backup) {
      this.#objects.set(key, cloneJson(object));
      this.events.push({ key, object: cloneJson(object) });
      this.#version = Math.max(this.#version, Number(object.metadata.resourceVersion));
    }
  }

  get(key: ObjectKey): KubeObject | undefined {
    return this.#objects.get(key);
  }

  all(): [ObjectKey, KubeObject][] {
    return [...this.#objects];
  }

  /** A user writes the object as a whole, as `kubectl replace` does. */
  user(object: KubeObject): void {
    const live = this.#objects.get(keyOf(object));
    this.#store(this.#merged(object, live), "user");
  }

  /** A user changes some of an object. */
  edit(key: ObjectKey, change: (object: KubeObject) => void): void {
    const live = this.#objects.get(key);
    if (live === undefined) throw new Error(`no ${key} at ${this.#name}`);
    const object = cloneJson(live);
    change(object);
    this.#store(object, "user");
  }

  userDeletes(key: ObjectKey): void {
    this.#drop(key, "user");
  }

  versionOf(key: ObjectKey): string {
    return key.startsWith("apps/") ? "apps/v1" : key.startsWith("autoscaling/") ? "autoscaling/v2" : "v1";
  }

  async find(key: ObjectKey): Promise<KubeObject | undefined> {
    await this.#turn();
    return cloneJson(this.#objects.get(key));
  }

  async create(object: KubeObject): Promise<KubeObject> {
    await this.#turn();
    const key = keyOf(object);
    this.beforeWrite?.(key);
    if (this.#objects.has(key)) throw refused(409, "AlreadyExists");
    const { namespace } = object.metadata;
    if (namespace !== undefined && !this.#objects.has(`/Namespace//${namespace}`)) {
      throw refused(404, "NotFound", `namespaces "${namespace}" not found`);
    }
    return this.#store(object, "agent");
  }

  async replace(object: KubeObject): Promise<KubeObject> {
    await this.#turn();
    const key = keyOf(object);
    this.beforeWrite?.(key);
    const live = this.#objects.get(key);
    if (live?.metadata.resourceVersion !== object.metadata.resourceVersion) throw refused(409, "Conflict");
    return this.#store(this.#merged(object, live), "agent");
  }

  async remove(live: KubeObject): Promise<void> {
    await this.#turn();
    const key = keyOf(live);
    this.beforeWrite?.(key);
    const now = this.#objects.get(key);
    if (now === undefined) return;
    if (now.metadata.resourceVersion !== live.metadata.resourceVersion) throw refused(409, "Conflict");
    this.#drop(key, "agent");
  }

  async disown(object: KubeObject): Promise<void> {
    await this.#turn();
    const live = this.#objects.get(keyOf(object));
    if (live === undefined || live.metadata.resourceVersion !== object.metadata.resourceVersion) return;
    const managedFields = (live.metadata.managedFields ?? []).filter(({ manager }) => manager !== "agent");
    const next = { ...cloneJson(live), metadata: { ...cloneJson(live.metadata), managedFields } };
    next.metadata.resourceVersion = String(++this.#version);
    this.#objects.set(keyOf(object), next);
    this.events.push({ key: keyOf(object), object: cloneJson(next) });
  }

  async facts(): Promise<Record<string, never>> {
    return {};
  }

  async readyServices(): Promise<ReadonlySet<ObjectKey>> {
    return new Set();
  }

  async #turn(): Promise<void> {
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
    if (this.isDown) throw new LifeboatError("KubeUnreachable", "the API server does not answer", { retryable: true });
  }

  /** What an API server keeps of the object that is there. */
  #merged(object: KubeObject, live: KubeObject | undefined): KubeObject {
    const { uid, creationTimestamp } = live?.metadata ?? {};
    const kept = { ...(uid === undefined ? {} : { uid }), ...(creationTimestamp == null ? {} : { creationTimestamp }) };
    return { ...cloneJson(object), metadata: { ...cloneJson(object.metadata), ...kept } };
  }

  #store(object: KubeObject, by: string): KubeObject {
    const key = keyOf(object);
    const live = this.#objects.get(key);
    const next = cloneJson(object);
    const time = new Date(this.#wallMs()).toISOString();
    next.metadata.uid ??= `${this.#name}-${++this.#addresses}`;
    next.metadata.creationTimestamp ??= time;
    if (next.kind === "Service") {
      const spec = (next["spec"] ??= {}) as Record<string, unknown>;
      spec["clusterIP"] ??= (live?.["spec"] as Record<string, unknown> | undefined)?.["clusterIP"] ?? this.#address();
    }
    if (live !== undefined && sameBeside(live, next)) return cloneJson(live);
    next.metadata.managedFields = [
      ...(next.metadata.managedFields ?? live?.metadata.managedFields ?? []).filter(({ manager }) => manager !== by),
      { manager: by, operation: "Update", apiVersion: next.apiVersion, time },
    ];
    next.metadata.resourceVersion = String(++this.#version);
    this.#objects.set(key, next);
    this.writes.push({ key, by });
    this.events.push({ key, object: cloneJson(next) });
    return cloneJson(next);
  }

  #address(): string {
    return `${this.#name}-address-${++this.#addresses}`;
  }

  /** Ends what is on its way out. */
  finish(): void {
    for (const [key, { metadata }] of this.all()) {
      if (metadata.deletionTimestamp === undefined) continue;
      this.#objects.delete(key);
      this.#version++;
      this.events.push({ key, object: undefined });
    }
  }

  #drop(key: ObjectKey, by: string): void {
    const live = this.#objects.get(key);
    if (this.isGraceful && live !== undefined && live.metadata.deletionTimestamp === undefined) {
      this.#store({ ...live, metadata: { ...live.metadata, deletionTimestamp: new Date().toISOString() } }, by);
      return;
    }
    if (!this.#objects.delete(key)) return;
    this.#version++;
    this.writes.push({ key, by });
    this.events.push({ key, object: undefined });
  }
}

function sameBeside(live: KubeObject, next: KubeObject): boolean {
  const bare = ({ metadata, ...rest }: KubeObject): string => {
    const { resourceVersion: _version, managedFields: _owners, ...kept } = metadata;
    return canonicalJson({ ...rest, metadata: kept });
  };
  return bare(live) === bare(next);
}

function refused(code: number, reason: string, message = reason): LifeboatError {
  const cause = { code, reason, message, causes: [] };
  return new LifeboatError("KubeRejected", message, { cause });
}
