import type { KubeClient } from "../kube/client.ts";
import { type KubeResource, placeOf } from "../kube/resource.ts";
import { kubeStatusOf } from "../kube/status.ts";
import type { KubeObject, ManagedFieldsEntry } from "../objects/object.ts";
import { settleOwners } from "./fields.ts";

/**
 * Writes of one object to the API server. What is absent is created by POST: that costs the server a quarter less
 * than an apply, and it cannot overwrite what somebody else has put there. The owner entry that a POST leaves is
 * settled into an `Apply` entry when a field is to be removed, since an apply alone would leave it.
 */
export interface WriterOptions {
  readonly client: KubeClient;
  /** Field manager of the group, `managerOf`. */
  readonly manager: string;
}

export class Writer {
  readonly #client: KubeClient;
  readonly #manager: string;

  constructor(options: WriterOptions) {
    this.#client = options.client;
    this.#manager = options.manager;
  }

  find(resource: KubeResource, object: KubeObject, signal: AbortSignal): Promise<KubeObject | undefined> {
    return this.#client.find(resource, placeOf(object), { signal });
  }

  create(resource: KubeResource, object: KubeObject, signal: AbortSignal): Promise<KubeObject> {
    return this.#client.create(resource, object, { fieldManager: this.#manager, signal });
  }

  /**
   * Creates the object, or finds the one that has its name: `live` is `undefined` where that has gone meanwhile. Rejects
   * with the refusal where there is none.
   */
  async createOrFind(resource: KubeResource, object: KubeObject, signal: AbortSignal): Promise<Created | Found> {
    try {
      return { made: await this.create(resource, object, signal) };
    } catch (error) {
      // Admission comes before storage: a full quota, a webhook or a policy refuses a name that is taken all the same.
      const status = kubeStatusOf(error);
      if (status === undefined || saysNothing.has(status.code)) throw error;
      const live = await this.find(resource, object, signal).catch(() => {
        signal.throwIfAborted();
        throw error;
      });
      if (live === undefined && status.reason !== "AlreadyExists") throw error;
      return { live };
    }
  }

  /** Applies over the object with this UID; another object of the same name is refused by the server. */
  apply(
    resource: KubeResource,
    object: KubeObject,
    options: { uid: string; force: boolean; signal: AbortSignal },
  ): Promise<KubeObject> {
    const body = { ...object, metadata: { ...object.metadata, uid: options.uid } };
    const { force, signal } = options;
    return this.#client.apply(resource, body, { fieldManager: this.#manager, force, signal });
  }

  /**
   * Makes everything that we wrote by other verbs, and everything of the `absorbed` managers, ours to remove. Returns
   * the object as it is then.
   */
  async settle(
    resource: KubeResource,
    live: KubeObject,
    absorbed: readonly ManagedFieldsEntry[],
    signal: AbortSignal,
  ): Promise<KubeObject> {
    const managedFields = settleOwners(live, this.#manager, absorbed);
    if (managedFields === undefined) return live;
    const { uid, resourceVersion } = live.metadata;
    const body = { metadata: { uid, resourceVersion, managedFields } };
    return this.#client.patch(
      resource,
      placeOf(live),
      { type: "merge", body },
      { fieldManager: this.#manager, signal },
    );
  }

  /** Replaces the object, for what an apply cannot express. What the server itself has filled in stays. */
  put(resource: KubeResource, object: KubeObject, live: KubeObject, signal: AbortSignal): Promise<KubeObject> {
    return this.#client.put(resource, overlay(object, live), { fieldManager: this.#manager, signal });
  }

  async remove(
    resource: KubeResource,
    object: { readonly namespace: string; readonly name: string },
    options: { uid: string; propagation: "Background" | "Orphan"; signal: AbortSignal },
  ): Promise<boolean> {
    const place = { namespace: object.namespace === "" ? undefined : object.namespace, name: object.name };
    return this.#client.delete(resource, place, options);
  }
}

/** Refusals of whoever asks, of when, and of where: nothing of that name is there, or could be asked for. */
const saysNothing: ReadonlySet<number> = new Set([401, 404, 429, 503]);

interface Created {
  readonly made: KubeObject;
  readonly live?: undefined;
}

interface Found {
  readonly made?: undefined;
  readonly live: KubeObject | undefined;
}

/** Fields of a spec that API servers allocate and that must be sent back as they are. */
const allocated: Readonly<Record<string, readonly string[]>> = {
  Service: ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "healthCheckNodePort"],
  PersistentVolumeClaim: ["volumeName", "storageClassName", "volumeMode"],
};

function overlay(object: KubeObject, live: KubeObject): KubeObject {
  const { uid, resourceVersion, finalizers, ownerReferences } = live.metadata;
  const metadata = {
    ...(finalizers === undefined ? {} : { finalizers }),
    ...(ownerReferences === undefined ? {} : { ownerReferences }),
    ...object.metadata,
    ...(uid === undefined ? {} : { uid }),
    ...(resourceVersion === undefined ? {} : { resourceVersion }),
  };
  const result: KubeObject = { ...object, metadata };
  const kept = allocated[object.kind];
  if (kept === undefined) return result;
  const spec = { ...(object["spec"] as Record<string, unknown> | undefined) };
  const before = (live["spec"] ?? {}) as Record<string, unknown>;
  for (const field of kept) spec[field] ??= before[field];
  return { ...result, spec };
}
