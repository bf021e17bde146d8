/** The application of the demo: manifests from a file or a folder, and bringing them to a cluster as a person would. */
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { setTimeout as delay } from "node:timers/promises";
import { parseAllDocuments } from "yaml";
import { systemClock } from "../../src/clock.ts";
import { LifeboatError, messageOf } from "../../src/errors.ts";
import type { KubeClient } from "../../src/kube/client.ts";
import { Discovery } from "../../src/kube/discovery.ts";
import { pathOf, resources } from "../../src/kube/resource.ts";
import type { KubeResource } from "../../src/kube/resource.ts";
import { hasReason, kubeStatusOf } from "../../src/kube/status.ts";
import { keyOf } from "../../src/objects/key.ts";
import type { ObjectKey } from "../../src/objects/key.ts";
import type { KubeObject } from "../../src/objects/object.ts";
import { silentLog } from "../../src/telemetry/log.ts";
import { spread } from "../bench/bare/writer.ts";
import { isEstablished } from "../pair/install.ts";

export const builtInApp = fileURLToPath(new URL("app", import.meta.url));

/** Where namespaced objects go whose manifests name no namespace. */
const defaultNamespace = "app";
/** An admission webhook without a backend holds a request for its own 10 s, at most 30 s. */
const writeLimitMs = 35_000;
/** Objects that need others come up within a few tries; what fails then will not come. */
const triesMaxCount = 4;
const tryAgainMs = 1_500;
const establishLimitMs = 20_000;
/** However many objects wait for something that never answers, the demo goes on after this. */
const applyLimitMs = 120_000;
const writersCount = 8;

/** Something about one object that a person should know. */
export interface Reported {
  readonly object: ObjectKey;
  readonly reason: string;
}

/** Reads every `.yaml`, `.yml` and `.json` under `path`, in name order. `${NAME}` is replaced by `values`. */
export async function readManifests(path: string, values: Readonly<Record<string, string>>): Promise<KubeObject[]> {
  const info = await stat(path).catch((cause: unknown) => {
    throw new LifeboatError("NotFound", `cannot read the application ${path}`, { cause });
  });
  const files = info.isDirectory()
    ? (await readdir(path, { recursive: true })).filter((name) => /\.(ya?ml|json)$/.test(name)).toSorted()
    : [""];
  const lists = await Promise.all(
    files.map(async (name) => {
      const file = name === "" ? path : join(path, name);
      const text = (await readFile(file, "utf8")).replaceAll(/\$\{(\w+)\}/g, (all, key: string) => values[key] ?? all);
      return parseAllDocuments(text, { logLevel: "silent" }).flatMap((document) => {
        const [error] = document.errors;
        if (error !== undefined) throw new LifeboatError("ConfigInvalid", `${file}: ${error.message}`);
        return expand(document.toJS() as unknown, file);
      });
    }),
  );
  const objects = lists.flat();
  if (objects.length === 0) throw new LifeboatError("ConfigInvalid", `${path} holds no manifests`);
  return objects;
}

function expand(value: unknown, file: string): KubeObject[] {
  if (value === null || value === undefined) return [];
  const object = value as Partial<KubeObject>;
  const items = object["items"];
  if (object.kind?.endsWith("List") === true && Array.isArray(items)) {
    return (items as unknown[]).flatMap((item) => expand(item, file));
  }
  if (typeof object.kind === "string" && typeof object.apiVersion === "string" && object.metadata?.name !== undefined) {
    return [object as KubeObject];
  }
  throw new LifeboatError("ConfigInvalid", `${file}: not a Kubernetes object: ${JSON.stringify(value).slice(0, 80)}`);
}

export interface Installed {
  /** Objects that the API server took, with namespace filled in. */
  readonly objects: readonly KubeObject[];
  readonly refused: readonly Reported[];
  /** Namespaces that the manifests name. */
  readonly namespaces: readonly string[];
  /** Resource by key of each object that was taken. */
  readonly resources: ReadonlyMap<ObjectKey, KubeResource>;
}

/**
 * Brings the objects to a cluster: namespaces and CRDs first, CRDs waited for, then the rest in their order, tried
 * again while something else is missing. What the API server refuses for good is listed, and never throws.
 */
export async function install(
  client: KubeClient,
  manifests: readonly KubeObject[],
  { signal, progress }: { readonly signal: AbortSignal; readonly progress: (done: number) => void },
): Promise<Installed> {
  const installer = new Installer(client, signal, progress);
  return installer.run(manifests);
}

class Installer {
  readonly #client: KubeClient;
  readonly #signal: AbortSignal;
  readonly #discovery: Discovery;
  readonly #progress: (done: number) => void;
  readonly #taken = new Map<ObjectKey, { object: KubeObject; resource: KubeResource }>();
  readonly #refused = new Map<ObjectKey, string>();
  readonly #endMs = performance.now() + applyLimitMs;

  constructor(client: KubeClient, signal: AbortSignal, progress: (done: number) => void) {
    this.#client = client;
    this.#signal = signal;
    this.#progress = progress;
    this.#discovery = new Discovery({ client, clock: systemClock, random: Math.random, log: silentLog });
  }

  async run(manifests: readonly KubeObject[]): Promise<Installed> {
    const crds = manifests.filter((object) => object.kind === "CustomResourceDefinition");
    await this.#all(crds);
    await Promise.all(crds.map(async (crd) => this.#established(crd)));
    await this.#discovery.refresh({ signal: this.#signal });
    const placed = manifests.map((object) => this.#place(object));
    const namespaces = [
      ...new Set(placed.map(({ kind, metadata }) => (kind === "Namespace" ? metadata.name : metadata.namespace))),
    ].filter((name) => name !== undefined);
    await this.#all(
      namespaces.map(
        (name) => placed.find((o) => o.kind === "Namespace" && o.metadata.name === name) ?? namespaceOf(name),
      ),
    );
    await this.#all(placed.filter(({ kind }) => kind !== "CustomResourceDefinition" && kind !== "Namespace"));
    return {
      objects: [...this.#taken.values()].map(({ object }) => object),
      refused: [...this.#refused].map(([object, reason]) => ({ object, reason })),
      namespaces,
      resources: new Map([...this.#taken].map(([key, { resource }]) => [key, resource])),
    };
  }

  #place(object: KubeObject): KubeObject {
    const resource = this.#discovery.resource(object.apiVersion, object.kind);
    if (resource?.namespaced !== true || object.metadata.namespace !== undefined) return object;
    return { ...object, metadata: { ...object.metadata, namespace: defaultNamespace } };
  }

  async #all(objects: readonly KubeObject[]): Promise<void> {
    let left: readonly KubeObject[] = objects;
    for (let attempt = 1; left.length > 0 && attempt <= triesMaxCount; attempt++) {
      if (attempt > 1) {
        await delay(tryAgainMs, undefined, { signal: this.#signal });
        await this.#discovery.refresh({ signal: this.#signal });
      }
      const again: KubeObject[] = [];
      for (const run of runsOfKind(left)) {
        await spread(run, writersCount, async (object) => {
          if (!(await this.#write(object))) again.push(object);
        });
      }
      left = again;
    }
  }

  /** `false`: another try may help. */
  async #write(object: KubeObject): Promise<boolean> {
    const key = keyOf(object);
    if (performance.now() > this.#endMs) {
      this.#refused.set(key, "not tried: the ones before it took too long");
      return true;
    }
    const resource =
      object.kind === "CustomResourceDefinition"
        ? resources.crds
        : this.#discovery.resource(object.apiVersion, object.kind);
    if (resource === undefined) {
      this.#refused.set(key, `the cluster does not serve ${object.apiVersion} ${object.kind}`);
      return false;
    }
    try {
      await this.#send(resource, object);
      this.#refused.delete(key);
      this.#taken.set(key, { object, resource });
      this.#progress(this.#taken.size);
      return true;
    } catch (error) {
      this.#signal.throwIfAborted();
      this.#refused.set(key, messageOf(error));
      const status = kubeStatusOf(error);
      return status !== undefined && status.code !== 404 && status.code < 500 && status.code !== 403;
    }
  }

  async #send(resource: KubeResource, object: KubeObject): Promise<void> {
    const { namespace } = object.metadata;
    const options = { fieldManager: "demo", timeoutMs: writeLimitMs, signal: this.#signal };
    try {
      await this.#client.request("POST", pathOf(resource, { namespace }), {
        query: { fieldManager: options.fieldManager },
        body: JSON.stringify(object),
        timeoutMs: writeLimitMs,
        signal: this.#signal,
      });
    } catch (error) {
      // Something the cluster made by itself, such as a namespace's default ServiceAccount.
      if (!hasReason(error, "AlreadyExists")) throw error;
      await this.#client.apply(resource, object, { ...options, force: true });
    }
  }

  async #established(crd: KubeObject): Promise<void> {
    const { name } = crd.metadata;
    const endMs = performance.now() + establishLimitMs;
    while (this.#taken.has(keyOf(crd)) && performance.now() < endMs) {
      const found = await this.#client.find(resources.crds, { name }, { signal: this.#signal });
      if (found !== undefined && isEstablished(found)) return;
      await delay(100, undefined, { signal: this.#signal });
    }
    if (this.#taken.has(keyOf(crd)))
      this.#refused.set(keyOf(crd), "the CRD is not established: its names or schema are refused");
  }
}

function namespaceOf(name: string): KubeObject {
  return { apiVersion: "v1", kind: "Namespace", metadata: { name } };
}

/** Neighbours of one kind, which a cluster does not mind getting at once. */
function runsOfKind(objects: readonly KubeObject[]): KubeObject[][] {
  const runs: KubeObject[][] = [];
  for (const object of objects) {
    const last = runs.at(-1);
    if (last?.[0]?.kind === object.kind) last.push(object);
    else runs.push([object]);
  }
  return runs;
}
