import { observeServices, observeShared } from "../apply/observe.ts";
import { isShared, nothingObserved } from "../apply/view.ts";
import type { WatchPool } from "../capture/pool.ts";
import { LifeboatError } from "../errors.ts";
import type { KubeClient } from "../kube/client.ts";
import type { Discovery } from "../kube/discovery.ts";
import { apiVersionOf, type KubeResource, placeOf } from "../kube/resource.ts";
import { hasReason } from "../kube/status.ts";
import { formatKey, kindName, type ObjectKey, parseKey } from "../objects/key.ts";
import { groupOf, type KubeObject, managerOf } from "../objects/object.ts";
import type { Facts } from "../render/types.ts";

type Options = { readonly signal: AbortSignal };

/** The objects of one site as merging reads and writes them. */
export interface SiteObjects {
  /** Version (`apps/v1`) in which objects of the kind are followed here; `undefined` while the kind is not served. */
  versionOf(key: ObjectKey): string | undefined;
  /** In that version; `undefined` where it does not exist. */
  find(key: ObjectKey, apiVersion: string, options: Options): Promise<KubeObject | undefined>;
  create(object: KubeObject, options: Options): Promise<KubeObject>;
  /** Rejects with reason Conflict where the object is no longer at its `resourceVersion`. */
  replace(object: KubeObject, options: Options): Promise<KubeObject>;
  /** As {@link replace}. */
  remove(live: KubeObject, options: Options): Promise<void>;
  /** What Lifeboat has written belongs to nobody from here on. Changes nothing else; does nothing on a conflict. */
  disown(object: KubeObject, options: Options): Promise<void>;
  /** What rendering the object has to know of this site. */
  facts(key: ObjectKey, object: KubeObject, options: Options): Promise<Facts>;
  /** The same, after rendering has said what it waits for. */
  readyServices(keys: readonly ObjectKey[], options: Options): Promise<ReadonlySet<ObjectKey>>;
}

export interface KubeObjectsOptions {
  readonly client: KubeClient;
  readonly discovery: Discovery;
  readonly pool: Pick<WatchPool, "resource">;
  readonly group: string;
}

/** Those of an API server. */
export class KubeObjects implements SiteObjects {
  readonly #options: KubeObjectsOptions;
  readonly #manager: string;

  constructor(options: KubeObjectsOptions) {
    this.#options = options;
    this.#manager = managerOf(options.group);
  }

  versionOf(key: ObjectKey): string | undefined {
    const { pool, discovery } = this.#options;
    const { group, kind } = parseKey(key);
    const resource = pool.resource(group, kind) ?? discovery.find(group, kind)?.versions[0];
    return resource === undefined ? undefined : apiVersionOf(resource);
  }

  find(key: ObjectKey, apiVersion: string, { signal }: Options): Promise<KubeObject | undefined> {
    const { kind, namespace, name } = parseKey(key);
    const place = namespace === "" ? { name } : { namespace, name };
    return this.#options.client.find(this.#resource({ apiVersion, kind }), place, { signal });
  }

  async create(object: KubeObject, { signal }: Options): Promise<KubeObject> {
    const { client, discovery } = this.#options;
    const made = await client.create(this.#resource(object), object, { fieldManager: this.#manager, signal });
    if (object.kind === "CustomResourceDefinition") discovery.lookSoon();
    return made;
  }

  replace(object: KubeObject, { signal }: Options): Promise<KubeObject> {
    return this.#options.client.put(this.#resource(object), object, { fieldManager: this.#manager, signal });
  }

  async remove(live: KubeObject, { signal }: Options): Promise<void> {
    const { uid, resourceVersion } = live.metadata;
    const options = { uid, resourceVersion, propagation: "Background" as const, signal };
    await this.#options.client.delete(this.#resource(live), placeOf(live), options);
  }

  async disown(object: KubeObject, { signal }: Options): Promise<void> {
    const { resourceVersion, managedFields = [] } = object.metadata;
    const others = managedFields.filter(({ manager }) => manager !== this.#manager);
    if (others.length === managedFields.length) return;
    const body = { metadata: { resourceVersion, managedFields: others.length > 0 ? others : [{}] } };
    try {
      const options = { fieldManager: this.#manager, signal };
      await this.#options.client.patch(this.#resource(object), placeOf(object), { type: "merge", body }, options);
    } catch (error) {
      if (!hasReason(error, "Conflict") && !hasReason(error, "NotFound")) throw error;
    }
  }

  async facts(key: ObjectKey, object: KubeObject, { signal }: Options): Promise<Facts> {
    const { client, discovery, group } = this.#options;
    const observed = nothingObserved();
    if (isShared(key)) await observeShared({ client, discovery, group, observed }, key, signal);
    const kinds = discovery.kinds().map(({ group: of, kind, versions }) => {
      return [kindName(of, kind), versions.map(({ version }) => version)] as const;
    });
    const { storedVersions, subjects } = observed;
    return { storedVersions, subjects, versions: new Map(kinds), uids: await this.#ownersOf(object, signal) };
  }

  async #ownersOf(object: KubeObject, signal: AbortSignal): Promise<Map<ObjectKey, string>> {
    const uids = new Map<ObjectKey, string>();
    for (const { apiVersion, kind, name } of object.metadata.ownerReferences ?? []) {
      const resource = this.#options.discovery.resource(apiVersion, kind);
      if (resource === undefined) continue;
      const namespace = resource.namespaced ? (object.metadata.namespace ?? "") : "";
      const place = namespace === "" ? { name } : { namespace, name };
      const uid = (await this.#options.client.find(resource, place, { signal }))?.metadata.uid;
      if (uid !== undefined) uids.set(formatKey({ group: groupOf(apiVersion), kind, namespace, name }), uid);
    }
    return uids;
  }

  async readyServices(keys: readonly ObjectKey[], { signal }: Options): Promise<ReadonlySet<ObjectKey>> {
    const { client, discovery, group } = this.#options;
    const observed = nothingObserved();
    await observeServices({ client, discovery, group, observed }, keys, signal);
    return observed.readyServices;
  }

  #resource({ apiVersion, kind }: { readonly apiVersion: string; readonly kind: string }): KubeResource {
    const resource = this.#options.discovery.resource(apiVersion, kind);
    if (resource !== undefined) return resource;
    throw new LifeboatError("NotFound", `${apiVersion} ${kind} is not served here`, { retryable: true });
  }
}
