/**
 * Replication without Lifeboat, as a process of its own: a watch of ConfigMaps at one API server and one merge patch
 * at another for every event, at once. No queue, no coalescing, no journal, nothing is read back.
 *
 * `node loop.ts FROM_KUBECONFIG TO_KUBECONFIG NAMESPACE…`; prints `ready` when all watches are open.
 */
import { connect } from "../../../src/kube/client.ts";
import { forEachLine } from "../../../src/kube/lines.ts";
import { pathOf, resources } from "../../../src/kube/resource.ts";

interface WatchEvent {
  readonly type: string;
  readonly object: { readonly metadata: { readonly name: string; readonly namespace: string }; readonly data: unknown };
}

const [from = "", to = "", ...namespaces] = process.argv.slice(2);
const { signal } = new AbortController();
const [source, sink] = await Promise.all([from, to].map(async (path) => connect({ from: "files", paths: [path] })));
if (source === undefined || sink === undefined) throw new Error("wants two kubeconfigs");

async function forward(text: string): Promise<void> {
  const { type, object } = JSON.parse(text) as WatchEvent;
  if (type !== "MODIFIED") return;
  const { name, namespace } = object.metadata;
  await sink?.request("PATCH", pathOf(resources.configMaps, { namespace, name }), {
    body: JSON.stringify({ data: object.data }),
    contentType: "application/merge-patch+json",
    // A loop that falls behind has a queue of many minutes in the connections' pool.
    timeoutMs: 3_600_000,
    signal,
  });
}

const streams = await Promise.all(
  namespaces.map(async (namespace) =>
    source.stream(pathOf(resources.configMaps, { namespace }), {
      query: { watch: true, resourceVersion: await versionOf(namespace) },
      signal,
    }),
  ),
);

async function versionOf(namespace: string): Promise<string> {
  const list = (await source?.requestJson("GET", pathOf(resources.configMaps, { namespace }), {
    query: { limit: 1 },
    signal,
  })) as { metadata: { resourceVersion: string } };
  return list.metadata.resourceVersion;
}

process.stdout.write("ready\n");
await Promise.all(
  streams.map(async (stream) =>
    forEachLine(stream, (line) => {
      forward(line).catch((error: unknown) => process.stderr.write(`${String(error)}\n`));
    }),
  ),
);
