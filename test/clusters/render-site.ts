import { normalise } from "../../src/capture/normalise.ts";
import { groupSpecSchema, type GroupSpec, type GroupSpecInput } from "../../src/config/group.ts";
import { connect, type KubeClient } from "../../src/kube/client.ts";
import { pathOf, type KubeResource } from "../../src/kube/resource.ts";
import { parseJson } from "../../src/objects/json.ts";
import { keyOf } from "../../src/objects/key.ts";
import { groupOf, marks, type KubeObject, type ManagedFieldsEntry } from "../../src/objects/object.ts";
import { applyRequest, type PatchRequest } from "../../src/render/ownership/requests.ts";
import { render } from "../../src/render/render.ts";
import type { Facts, Rendered, Role, SourceRecord } from "../../src/render/types.ts";
import { kubeconfigs, type Kubeconfigs } from "./sites.ts";

/** What the tests of render need of real API servers: objects in and out, and rendering what was really stored. */

export const manager = "lifeboat-shop";

const never = new AbortController().signal;

/** Long enough for a controller on a busy machine. */
const patienceMs = 30_000;

export class Site {
  readonly client: KubeClient;
  readonly #resources = new Map<string, KubeResource>();

  constructor(client: KubeClient) {
    this.client = client;
  }

  static async open(name: keyof Kubeconfigs): Promise<Site> {
    return new Site(await connect({ from: "files", paths: [kubeconfigs()[name]] }));
  }

  async create(object: KubeObject, fieldManager = "kubectl-create"): Promise<KubeObject> {
    const path = pathOf(await this.resourceOf(object), { namespace: object.metadata.namespace });
    return this.#send("POST", path, object, { fieldManager });
  }

  async get(object: KubeObject): Promise<KubeObject> {
    return this.#send("GET", await this.#pathOf(object));
  }

  /** The object, or `undefined` when it does not exist. */
  async find(object: KubeObject): Promise<KubeObject | undefined> {
    return this.get(object).catch(() => undefined);
  }

  async patch(object: KubeObject, request: PatchRequest, subresource = ""): Promise<KubeObject> {
    const path = (await this.#pathOf(object)) + (subresource === "" ? "" : `/${subresource}`);
    return this.#send("PATCH", path, request.body, request.query, request.contentType);
  }

  /** Server-side apply of a copy. */
  async apply(object: KubeObject): Promise<KubeObject> {
    return this.patch(object, applyRequest(object, manager));
  }

  async remove(object: KubeObject): Promise<void> {
    await this.#send("DELETE", await this.#pathOf(object)).catch(() => undefined);
  }

  /** Waits until the object satisfies `check`; the last state when it never does. */
  async eventually(object: KubeObject, check: (live: KubeObject) => boolean): Promise<KubeObject> {
    const endMs = Date.now() + patienceMs;
    for (;;) {
      const live = await this.find(object);
      if (live !== undefined && check(live)) return live;
      if (Date.now() > endMs) throw new Error(`${keyOf(object)} is not as expected: ${JSON.stringify(live)}`);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }

  /** Waits until a new kind can be used. */
  async served(apiVersion: string, kind: string): Promise<void> {
    const endMs = Date.now() + patienceMs;
    for (;;) {
      try {
        const resource = await this.resourceOf({ apiVersion, kind });
        await this.client.requestJson("GET", pathOf(resource), { signal: never });
        return;
      } catch (error) {
        if (Date.now() > endMs) throw error;
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    }
  }

  async resourceOf(object: Pick<KubeObject, "apiVersion" | "kind">): Promise<KubeResource> {
    const name = `${object.apiVersion} ${object.kind}`;
    const known = this.#resources.get(name);
    if (known !== undefined) return known;
    const group = groupOf(object.apiVersion);
    const version = group === "" ? object.apiVersion : object.apiVersion.slice(group.length + 1);
    const path = group === "" ? `/api/${version}` : `/apis/${group}/${version}`;
    const found = (await this.#discover(path)).find((entry) => entry.kind === object.kind && !entry.name.includes("/"));
    if (found === undefined) throw new Error(`${name} is not served`);
    const resource = {
      group,
      version,
      kind: object.kind,
      plural: found.name,
      namespaced: found.namespaced,
      verbs: new Set<string>(),
      subresources: new Set<string>(),
    };
    this.#resources.set(name, resource);
    return resource;
  }

  async #discover(path: string): Promise<{ name: string; kind: string; namespaced: boolean }[]> {
    const answer = (await this.client.requestJson("GET", path, { signal: never })) as {
      resources: { name: string; kind: string; namespaced: boolean }[];
    };
    return answer.resources;
  }

  async #pathOf(object: KubeObject): Promise<string> {
    const { name, namespace } = object.metadata;
    return pathOf(await this.resourceOf(object), { name, namespace });
  }

  async #send(
    method: "GET" | "POST" | "PATCH" | "PUT" | "DELETE",
    path: string,
    body?: unknown,
    query: Readonly<Record<string, string>> = {},
    contentType = "application/json",
  ): Promise<KubeObject> {
    const sent = body === undefined ? {} : { body: JSON.stringify(body) };
    return (await this.client.requestJson(method, path, { ...sent, query, contentType, signal: never })) as KubeObject;
  }
}

/** The record that the journal would have of a live object. */
export function recordOf(live: KubeObject): SourceRecord {
  const { object, managers } = normalise(live);
  const parsed = parseJson(object) as KubeObject;
  return { key: keyOf(parsed), object: parsed, managers: JSON.parse(managers) as ManagedFieldsEntry[] };
}

export function specFor(namespace: string, more: Partial<GroupSpecInput> = {}): GroupSpec {
  return groupSpecSchema.parse({
    sites: [{ name: "east" }, { name: "west" }],
    select: { namespaces: { names: [namespace] } },
    ...more,
  });
}

/** Renders what east has for west. */
export function renderLive(live: KubeObject, spec: GroupSpec, role: Role, facts: Facts = {}): Rendered {
  return render(recordOf(live), { spec, group: "shop", site: "west", source: "east", role, epoch: "1.1", facts });
}

export function heldIn(object: KubeObject): Record<string, unknown> {
  return JSON.parse(object.metadata.annotations?.[marks.held] ?? "{}") as Record<string, unknown>;
}
