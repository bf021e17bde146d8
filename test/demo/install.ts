/** Brings the demo's application to a cluster as a person would. */
import { setTimeout as delay } from "node:timers/promises";
import { systemClock } from "../../src/clock.ts";
import { LifeboatError, messageOf } from "../../src/errors.ts";
import type { KubeClient } from "../../src/kube/client.ts";
import { Discovery } from "../../src/kube/discovery.ts";
import { pathOf, resources } from "../../src/kube/resource.ts";
import type { KubeResource } from "../../src/kube/resource.ts";
import { hasReason, kubeStatusOf } from "../../src/kube/status.ts";
import { parseJson } from "../../src/objects/json.ts";
import { keyOf } from "../../src/objects/key.ts";
import type { ObjectKey } from "../../src/objects/key.ts";
import type { KubeObject } from "../../src/objects/object.ts";
import { silentLog } from "../../src/telemetry/log.ts";
import { spread } from "../bench/bare/writer.ts";
import { agentNamespace, isEstablished } from "../pair/install.ts";
import type { Reported } from "./manifests.ts";

/** Where namespaced objects go whose manifests name no namespace. */
const defaultNamespace = "app";
/** Each cluster has its own, and what is in them. */
const systemNamespaces: ReadonlySet<string> = new Set([
  "kube-system",
  "kube-public",
  "kube-node-lease",
  agentNamespace,
]);
/** An admission webhook without a backend holds a request for its own 10 s, at most 30 s. */
const writeLimitMs = 35_000;
/** Objects that need others come up within a few tries; what fails then will not come. */
const triesMaxCount = 4;
/** What is refused after so long waited for somebody who does not answer: once more is enough. */
const slowRefusalMs = 5_000;
const tryAgainMs = 1_500;
const establishLimitMs = 20_000;
/** However many objects wait for something that never answers, the demo goes on after this. */
const applyLimitMs = 120_000;
const writersCount = 8;

export interface Installed {
  /** Objects that the API server took, with namespace and name filled in. */
  readonly objects: readonly KubeObject[];
  readonly refused: readonly Reported[];
  /** Namespaces that the manifests name and that are there, without those of the cluster itself. */
  readonly namespaces: readonly string[];
  /** Resource by key of each object that was taken. */
  readonly resources: ReadonlyMap<ObjectKey, KubeResource>;
}

/**
 * Brings the objects to a cluster: namespaces and CRDs first, CRDs waited for, then the rest in their order, tried
 * again while something else is missing. What the API server refuses for good, or can no longer be asked for, is
 * listed; rejects only when `signal` aborts.
 */
export async function install(
  client: KubeClient,
  manifests: readonly KubeObject[],
  { signal, progress }: { readonly signal: AbortSignal; readonly progress: (done: number) => void },
): Promise<Installed> {
  const installer = new Installer(client, signal, progress);
  return installer.run(manifests);
}

/** What reports call it: the API server chooses the name of one that has only a beginning of it. */
function labelOf(object: KubeObject): ObjectKey {
  return object.metadata.name === "" ? `${keyOf(object)}${object.metadata.generateName}*` : keyOf(object);
}

class Installer {
  readonly #client: KubeClient;
  readonly #signal: AbortSignal;
  readonly #discovery: Discovery;
  readonly #progress: (done: number) => void;
  readonly #taken = new Map<ObjectKey, { object: KubeObject; resource: KubeResource }>();
  readonly #refused = new Map<KubeObject, string>();
  readonly #endMs = performance.now() + applyLimitMs;

  constructor(client: KubeClient, signal: AbortSignal, progress: (done: number) => void) {
    this.#client = client;
    this.#signal = signal;
    this.#progress = progress;
    this.#discovery = new Discovery({ client, clock: systemClock, random: Math.random, log: silentLog });
  }

  async run(manifests: readonly KubeObject[]): Promise<Installed> {
    const namespaces = await this.#namespacesAndKinds(manifests);
    const placed = manifests.map((object) => this.#place(object));
    await this.#all(placed.filter(({ kind }) => kind !== "CustomResourceDefinition" && kind !== "Namespace"));
    return {
      objects: [...this.#taken.values()].map(({ object }) => object),
      refused: [...this.#refused].map(([object, reason]) => ({ object: labelOf(object), reason })),
      namespaces: namespaces.filter((name) => this.#taken.has(keyOf(namespaceOf(name)))),
      resources: new Map([...this.#taken].map(([key, { resource }]) => [key, resource])),
    };
  }

  /** Returns the namespaces that the manifests name. */
  async #namespacesAndKinds(manifests: readonly KubeObject[]): Promise<string[]> {
    const crds = manifests.filter((object) => object.kind === "CustomResourceDefinition");
    await this.#all(crds);
    await spread(crds, writersCount, async (crd) => this.#established(crd));
    await this.#look();
    const placed = manifests.map((object) => this.#place(object));
    const named = placed.map(({ kind, metadata }) => (kind === "Namespace" ? metadata.name : metadata.namespace));
    const names = [...new Set(named)].flatMap((name) =>
      name === undefined || systemNamespaces.has(name) ? [] : [name],
    );
    for (const object of placed) {
      if (object.kind === "Namespace" && systemNamespaces.has(object.metadata.name)) this.#leave(object);
    }
    const made = (name: string): KubeObject =>
      placed.find((object) => object.kind === "Namespace" && object.metadata.name === name) ?? namespaceOf(name);
    await this.#all(names.map((name) => made(name)));
    return names;
  }

  /** An API server that does not answer now is asked for every object all the same, and each is listed. */
  async #look(): Promise<void> {
    await this.#discovery.refresh({ signal: this.#signal }).catch(() => this.#signal.throwIfAborted());
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
        await this.#look();
      }
      const again: KubeObject[] = [];
      for (const run of runsOfKind(left)) {
        await spread(run, writersCount, async (object) => {
          if (!(await this.#write(object, attempt))) again.push(object);
        });
      }
      left = again;
    }
  }

  /** `false`: another try may help. */
  async #write(object: KubeObject, attempt: number): Promise<boolean> {
    const startedAtMs = performance.now();
    if (startedAtMs > this.#endMs) {
      if (!this.#refused.has(object)) this.#refused.set(object, "not tried: the ones before it took too long");
      return true;
    }
    const { namespace } = object.metadata;
    if (namespace !== undefined && systemNamespaces.has(namespace)) {
      this.#leave(object);
      return true;
    }
    const resource =
      object.kind === "CustomResourceDefinition"
        ? resources.crds
        : this.#discovery.resource(object.apiVersion, object.kind);
    if (resource === undefined) {
      this.#refused.set(object, `the cluster does not serve ${object.apiVersion} ${object.kind}`);
      return false;
    }
    try {
      const stored = await this.#send(resource, object);
      this.#refused.delete(object);
      this.#taken.set(keyOf(stored), { object: stored, resource });
      this.#progress(this.#taken.size);
      return true;
    } catch (error) {
      this.#signal.throwIfAborted();
      this.#refused.set(object, messageOf(error));
      return isFinal(error, object) || (attempt > 1 && performance.now() - startedAtMs > slowRefusalMs);
    }
  }

  #leave(object: KubeObject): void {
    const { namespace = object.metadata.name } = object.metadata;
    this.#refused.set(object, `not tried: ${namespace} is each cluster's own`);
  }

  /** The object under the name that it has at the cluster. */
  async #send(resource: KubeResource, object: KubeObject): Promise<KubeObject> {
    const { name, namespace } = object.metadata;
    const options = { timeoutMs: writeLimitMs, signal: this.#signal };
    try {
      const answer = await this.#client.request("POST", pathOf(resource, { namespace }), {
        query: { fieldManager: "demo" },
        body: JSON.stringify(name === "" ? { ...object, metadata: { ...object.metadata, name: undefined } } : object),
        ...options,
      });
      if (name !== "") return object;
      const stored = parseJson(answer) as KubeObject;
      return { ...object, metadata: { ...object.metadata, name: stored.metadata.name } };
    } catch (error) {
      // Something the cluster made by itself, such as a namespace's default ServiceAccount.
      if (!hasReason(error, "AlreadyExists") || name === "") throw error;
      await this.#client.apply(resource, object, { ...options, fieldManager: "demo", force: true });
      return object;
    }
  }

  async #established(crd: KubeObject): Promise<void> {
    const { name } = crd.metadata;
    const endMs = performance.now() + establishLimitMs;
    while (this.#taken.has(keyOf(crd)) && performance.now() < endMs) {
      const found = await this.#client.find(resources.crds, { name }, { signal: this.#signal }).catch(() => undefined);
      this.#signal.throwIfAborted();
      if (found !== undefined && isEstablished(found)) return;
      await delay(100, undefined, { signal: this.#signal });
    }
    if (this.#taken.has(keyOf(crd)))
      this.#refused.set(crd, "the CRD is not established: its names or schema are refused");
  }
}

/** No other try helps, or it could make a second object where the first was taken without an answer. */
function isFinal(error: unknown, { metadata }: KubeObject): boolean {
  const status = kubeStatusOf(error);
  if (status === undefined) return metadata.name === "" || !(error instanceof LifeboatError);
  return status.code !== 404 && status.code < 500 && status.code !== 403;
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
