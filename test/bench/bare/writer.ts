/**
 * Writers without Lifeboat: what an API server of this machine can take. They send prepared texts and look at nothing
 * of the answers, so that a bench compares with the fastest that a client can be.
 */
import { connect } from "../../../src/kube/client.ts";
import type { KubeClient } from "../../../src/kube/client.ts";
import { pathOf, resources } from "../../../src/kube/resource.ts";
import { objectPath } from "../objects.ts";
import type { Made } from "../objects.ts";

/** Connections of one client; a writer with more workers takes several clients. */
const connectionsPerClient = 16;

export interface WriterOptions {
  readonly concurrency: number;
  readonly signal: AbortSignal;
}

/** Runs `work` over all items with so many at once. */
export async function spread<T>(
  items: readonly T[],
  concurrency: number,
  work: (item: T, worker: number) => Promise<unknown>,
): Promise<void> {
  let next = 0;
  await Promise.all(
    Array.from({ length: concurrency }, async (_, worker) => {
      for (let item = items[next++]; item !== undefined; item = items[next++]) await work(item, worker);
    }),
  );
}

/** Runs `work` with clients enough for `concurrency` requests at once. */
export async function withClients<T>(
  kubeconfig: string,
  concurrency: number,
  work: (clientOf: (worker: number) => KubeClient) => Promise<T>,
): Promise<T> {
  const count = Math.ceil(concurrency / connectionsPerClient);
  const clients = await Promise.all(
    Array.from({ length: count }, async () => connect({ from: "files", paths: [kubeconfig] })),
  );
  const [first] = clients;
  if (first === undefined) throw new RangeError("concurrency must be positive");
  try {
    return await work((worker) => clients[worker % count] ?? first);
  } finally {
    await Promise.all(clients.map(async (client) => client.close()));
  }
}

/** Server-side apply of every object. Returns objects per second. */
export async function applyAll(kubeconfig: string, made: readonly Made[], options: WriterOptions): Promise<number> {
  return writeAll(kubeconfig, made, options, async (client, path, body) =>
    client.request("PATCH", path, {
      query: { fieldManager: "bare", force: true },
      body,
      contentType: "application/apply-patch+yaml",
      signal: options.signal,
    }),
  );
}

/** Creates every object, which is faster than applying it. Returns objects per second. */
export async function createAll(kubeconfig: string, made: readonly Made[], options: WriterOptions): Promise<number> {
  return writeAll(kubeconfig, made, options, async (client, path, body) =>
    client.request("POST", path.slice(0, path.lastIndexOf("/")), { body, signal: options.signal }),
  );
}

async function writeAll(
  kubeconfig: string,
  made: readonly Made[],
  { concurrency }: WriterOptions,
  send: (client: KubeClient, path: string, body: string) => Promise<unknown>,
): Promise<number> {
  const prepared = made.map((entry) => ({ path: objectPath(entry), body: JSON.stringify(entry.object) }));
  return withClients(kubeconfig, concurrency, async (clientOf) => {
    const startedAtMs = performance.now();
    await spread(prepared, concurrency, async ({ path, body }, worker) => send(clientOf(worker), path, body));
    return (prepared.length / (performance.now() - startedAtMs)) * 1000;
  });
}

/** Creates namespaces, with labels where given; those that exist stay. */
export async function createNamespaces(
  client: KubeClient,
  names: readonly string[],
  { signal, labels = {} }: { readonly signal: AbortSignal; readonly labels?: Record<string, string> },
): Promise<void> {
  await spread(names, 8, async (name) =>
    client.apply(
      resources.namespaces,
      { apiVersion: "v1", kind: "Namespace", metadata: { name, labels } },
      { fieldManager: "bare", signal },
    ),
  );
}

/** How many objects of the kinds the API server has, from its own count of what a first page leaves. */
export async function countObjects(
  client: KubeClient,
  kinds: readonly Made["resource"][],
  { signal }: { readonly signal: AbortSignal },
): Promise<number> {
  const counts = await Promise.all(
    kinds.map(async (resource) => {
      const list = (await client.requestJson("GET", pathOf(resource), { query: { limit: 1 }, signal })) as {
        readonly metadata: { readonly remainingItemCount?: number };
        readonly items: readonly unknown[] | null;
      };
      return (list.items?.length ?? 0) + (list.metadata.remainingItemCount ?? 0);
    }),
  );
  return counts.reduce((sum, count) => sum + count, 0);
}
