import { hasCode } from "../errors.ts";
import type { KubeClient } from "../kube/client.ts";
import { pathOf, resources } from "../kube/resource.ts";
import { hasReason } from "../kube/status.ts";
import type { KubeObject } from "../objects/object.ts";
import type { Register, RegisterValue } from "./register.ts";
import { full } from "./store-errors.ts";
import type { StoreOptions } from "./store.ts";

const annotation = "lifeboat.dev/witness";

/** The API server takes 256 KiB of annotations per object; some are others'. About 2,000 groups. */
const textLengthMax = 240 * 1024;

/** Shorter than a heartbeat of most profiles: an attempt that hangs is better made again. */
const requestTimeoutMs = 2000;

export interface LeaseRegisterOptions {
  readonly client: KubeClient;
  readonly namespace: string;
  readonly name: string;
  /** For a client that is this register's own. */
  readonly onClose?: () => Promise<void>;
}

/**
 * A Lease object in a third cluster as a register: its resource version is the version. Only the object is used; its
 * holder and times mean nothing to the witness.
 */
export class LeaseRegister implements Register {
  readonly #client: KubeClient;
  readonly #namespace: string;
  readonly #name: string;
  readonly #onClose: (() => Promise<void>) | undefined;

  constructor(options: LeaseRegisterOptions) {
    this.#client = options.client;
    this.#namespace = options.namespace;
    this.#name = options.name;
    this.#onClose = options.onClose;
  }

  get place(): string {
    return `lease ${this.#namespace}/${this.#name}`;
  }

  async read(options: StoreOptions): Promise<RegisterValue | null> {
    const lease = await this.#find(options);
    if (lease === undefined) return null;
    const { resourceVersion, annotations } = lease.metadata;
    return { version: resourceVersion ?? "", text: annotations?.[annotation] ?? "" };
  }

  async version(options: StoreOptions): Promise<string | null> {
    return (await this.read(options))?.version ?? null;
  }

  async replace(expected: string | null, text: string, options: StoreOptions): Promise<string | undefined> {
    if (text.length > textLengthMax) throw full(this.place, "witness.replace");
    const metadata = { namespace: this.#namespace, name: this.#name, annotations: { [annotation]: text } };
    const lease: KubeObject = {
      apiVersion: "coordination.k8s.io/v1",
      kind: "Lease",
      metadata: expected === null ? metadata : { ...metadata, resourceVersion: expected },
      spec: {},
    };
    const write = { fieldManager: "lifeboat", timeoutMs: requestTimeoutMs, ...options };
    try {
      const written =
        expected === null
          ? await this.#client.create(resources.leases, lease, write)
          : await this.#client.put(resources.leases, lease, write);
      return written.metadata.resourceVersion;
    } catch (error) {
      if (hasReason(error, "Conflict") || hasReason(error, "AlreadyExists") || hasReason(error, "NotFound"))
        return undefined;
      throw error;
    }
  }

  async close(): Promise<void> {
    await this.#onClose?.();
  }

  async #find({ signal }: StoreOptions): Promise<KubeObject | undefined> {
    const place = { namespace: this.#namespace, name: this.#name, subresource: undefined };
    try {
      const options = { timeoutMs: requestTimeoutMs, signal };
      return (await this.#client.requestJson("GET", pathOf(resources.leases, place), options)) as KubeObject;
    } catch (error) {
      if (hasCode(error, "NotFound")) return undefined;
      throw error;
    }
  }
}
