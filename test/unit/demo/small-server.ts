/** A real HTTP server that answers as an API server with ConfigMaps and Namespaces alone does, for what the demo asks. */
import { mkdtemp, writeFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { stringify } from "yaml";
import { connect, type KubeClient } from "../../../src/kube/client.ts";
import type { KubeObject } from "../../../src/objects/object.ts";

const verbs = ["get", "list", "watch", "create", "patch"];
const served = [
  { resource: "namespaces", scope: "Cluster", verbs, responseKind: { kind: "Namespace" } },
  { resource: "configmaps", scope: "Namespaced", verbs, responseKind: { kind: "ConfigMap" } },
];

interface Answer {
  readonly code: number;
  readonly body: unknown;
}

export class SmallServer {
  /** By path: `/api/v1/namespaces/shop/configmaps/prices`. */
  readonly objects = new Map<string, KubeObject>();
  /** What is refused with 500, as by a webhook that does not answer: the reason, or `undefined`. */
  refuse: (method: string, path: string) => string | undefined = () => undefined;
  readonly client: KubeClient;
  readonly #close: () => Promise<void>;

  private constructor(client: KubeClient, close: () => Promise<void>) {
    this.client = client;
    this.#close = close;
  }

  static async start(): Promise<SmallServer> {
    let answerer: SmallServer | undefined;
    const server = createServer((request, response) => {
      void answerer?.answer(request, response);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const client = await clientOf(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
    answerer = new SmallServer(client, async () => {
      await client.close();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    });
    return answerer;
  }

  put(...objects: readonly KubeObject[]): void {
    for (const object of objects) this.objects.set(pathOfObject(object), object);
  }

  async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname, searchParams } = new URL(request.url ?? "", "http://server");
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const text = Buffer.concat(chunks).toString();
    const { code, body } = this.#decide(request.method ?? "", pathname, searchParams, text);
    response.writeHead(code, { "content-type": "application/json" });
    response.end(JSON.stringify(body));
  }

  #decide(method: string, path: string, query: URLSearchParams, text: string): Answer {
    const refusal = this.refuse(method, path);
    if (refusal !== undefined) return failure(500, "InternalError", refusal);
    if (path === "/api") return { code: 200, body: groups([{ metadata: {}, versions: [version()] }]) };
    if (path === "/apis") return { code: 200, body: groups([]) };
    const found = this.objects.get(path);
    if (method === "POST") return this.#create(path, JSON.parse(text) as KubeObject, query.has("dryRun"));
    if (method === "GET" && /\/(configmaps|namespaces)$/.test(path)) return this.#list(path);
    if (found === undefined) return failure(404, "NotFound", "not found");
    if (method === "PATCH") {
      const { annotations } = (JSON.parse(text) as KubeObject).metadata;
      const metadata = { ...found.metadata, annotations: { ...found.metadata.annotations, ...annotations } };
      this.objects.set(path, { ...found, metadata });
    }
    return { code: 200, body: this.objects.get(path) };
  }

  #create(collection: string, given: KubeObject, dry: boolean): Answer {
    const { name = `${given.metadata.generateName}x7k2p` } = given.metadata as { readonly name?: string };
    const object = { ...given, metadata: { ...given.metadata, name } };
    const path = `${collection}/${name}`;
    if (this.objects.has(path)) return failure(409, "AlreadyExists", "already exists");
    if (!dry) this.objects.set(path, object);
    return { code: 201, body: object };
  }

  #list(path: string): Answer {
    const plural = path.slice(path.lastIndexOf("/") + 1);
    const items = [...this.objects].flatMap(([at, object]) => (at.split("/").at(-2) === plural ? [object] : []));
    const kind = plural === "configmaps" ? "ConfigMapList" : "NamespaceList";
    return { code: 200, body: { kind, apiVersion: "v1", metadata: { resourceVersion: "1" }, items } };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#close();
  }
}

function pathOfObject({ kind, metadata: { namespace, name } }: KubeObject): string {
  return kind === "Namespace" ? `/api/v1/namespaces/${name}` : `/api/v1/namespaces/${namespace}/configmaps/${name}`;
}

function version(): unknown {
  return { version: "v1", freshness: "Current", resources: served };
}

function groups(items: readonly unknown[]): unknown {
  return { kind: "APIGroupDiscoveryList", apiVersion: "apidiscovery.k8s.io/v2", metadata: {}, items };
}

function failure(code: number, reason: string, message: string): Answer {
  return { code, body: { kind: "Status", apiVersion: "v1", status: "Failure", code, reason, message } };
}

async function clientOf(server: string): Promise<KubeClient> {
  const path = join(await mkdtemp(join(tmpdir(), "lifeboat-")), "kubeconfig");
  const config = {
    "current-context": "c",
    contexts: [{ name: "c", context: { cluster: "c", user: "u" } }],
    clusters: [{ name: "c", cluster: { server } }],
    users: [{ name: "u", user: {} }],
  };
  await writeFile(path, stringify(config));
  return connect({ from: "files", paths: [path] });
}
