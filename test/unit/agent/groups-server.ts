/**
 * A real HTTP server that answers as an API server does for the objects of groups, whose status and annotations can be
 * patched, and knows nothing else.
 */
import { text } from "node:stream/consumers";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { stringify } from "yaml";
import { connect, type KubeClient } from "../../../src/kube/client.ts";
import type { KubeObject } from "../../../src/objects/object.ts";

const groupsPath = "/apis/lifeboat.dev/v1alpha1/protectiongroups";
const definition = {
  apiVersion: "apiextensions.k8s.io/v1",
  kind: "CustomResourceDefinition",
  metadata: { name: "protectiongroups.lifeboat.dev", uid: "1" },
};

export class GroupsServer {
  readonly client: KubeClient;
  readonly #close: () => Promise<void>;
  readonly #objects = new Map<string, KubeObject>();
  readonly #watchers = new Set<ServerResponse>();
  #version = 100;

  private constructor(client: KubeClient, close: () => Promise<void>) {
    this.client = client;
    this.#close = close;
  }

  static async start(): Promise<GroupsServer> {
    let answerer: GroupsServer | undefined;
    const server = createServer((request, response) => void answerer?.answer(request, response));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const folder = await mkdtemp(join(tmpdir(), "lifeboat-groups-"));
    const client = await clientOf(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, folder);
    answerer = new GroupsServer(client, async () => {
      await client.close();
      await rm(folder, { recursive: true });
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    });
    return answerer;
  }

  put(object: KubeObject): void {
    const { name } = object.metadata;
    const type = this.#objects.has(name) ? "MODIFIED" : "ADDED";
    const put = { ...object, metadata: { ...object.metadata, resourceVersion: String(++this.#version) } };
    this.#objects.set(name, put);
    this.#tell(type, put);
  }

  remove(name: string): void {
    const object = this.#objects.get(name);
    if (object === undefined) return;
    this.#objects.delete(name);
    const resourceVersion = String(++this.#version);
    this.#tell("DELETED", { ...object, metadata: { ...object.metadata, resourceVersion } });
  }

  #tell(type: string, object: unknown): void {
    for (const watcher of this.#watchers) watcher.write(`${JSON.stringify({ type, object })}\n`);
  }

  /** As it is stored. */
  get(name: string): KubeObject | undefined {
    return this.#objects.get(name);
  }

  annotate(name: string, changes: Readonly<Record<string, string | null>>): void {
    const object = this.#objects.get(name);
    if (object === undefined) throw new Error(`no group ${name}`);
    const all = Object.entries({ ...object.metadata.annotations, ...changes });
    const annotations = Object.fromEntries(all.filter((entry): entry is [string, string] => entry[1] !== null));
    this.put({ ...object, metadata: { ...object.metadata, annotations } });
  }

  /** As an agent patches: its status as a whole, or annotations. */
  async #patch(name: string, request: IncomingMessage): Promise<KubeObject | undefined> {
    const body = JSON.parse(await text(request)) as unknown;
    const object = this.#objects.get(name);
    if (object === undefined) return undefined;
    if (Array.isArray(body)) this.put({ ...object, status: (body[0] as { value: unknown }).value });
    else this.annotate(name, (body as { metadata: { annotations: Record<string, null> } }).metadata.annotations);
    return this.#objects.get(name);
  }

  async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname, searchParams } = new URL(request.url ?? "", "http://server");
    if (pathname === groupsPath && searchParams.has("watch")) {
      response.writeHead(200, { "content-type": "application/json" });
      this.#watchers.add(response);
      for (const object of this.#objects.values()) response.write(`${JSON.stringify({ type: "ADDED", object })}\n`);
      const annotations = { "k8s.io/initial-events-end": "true" };
      const object = { kind: "ProtectionGroup", metadata: { resourceVersion: String(this.#version), annotations } };
      response.write(`${JSON.stringify({ type: "BOOKMARK", object })}\n`);
      return;
    }
    const isPatch = /^application\/(merge|json)-patch/.test(request.headers["content-type"] ?? "");
    const [name = ""] = pathname.slice(groupsPath.length + 1).split("/");
    const patched = isPatch && pathname.startsWith(groupsPath) ? await this.#patch(name, request) : undefined;
    const found = pathname.endsWith(`/${definition.metadata.name}`) ? definition : patched;
    response.writeHead(found === undefined ? 404 : 200, { "content-type": "application/json" });
    response.end(JSON.stringify(found ?? { kind: "Status", status: "Failure", code: 404, reason: "NotFound" }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#close();
  }
}

async function clientOf(server: string, folder: string): Promise<KubeClient> {
  const path = join(folder, "kubeconfig");
  const config = {
    "current-context": "c",
    contexts: [{ name: "c", context: { cluster: "c", user: "u" } }],
    clusters: [{ name: "c", cluster: { server } }],
    users: [{ name: "u", user: {} }],
  };
  await writeFile(path, stringify(config));
  return connect({ from: "files", paths: [path] });
}
