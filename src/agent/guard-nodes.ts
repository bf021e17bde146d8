import { runTogether } from "../abort.ts";
import type { Clock, Random } from "../clock.ts";
import type { KubeClient } from "../kube/client.ts";
import { Reflector } from "../kube/reflector.ts";
import type { KubeResource } from "../kube/resource.ts";
import type { KubeObject } from "../objects/object.ts";
import type { Log } from "../telemetry/log.ts";
import type { SiteNode } from "./guard-fence.ts";
import type { GuardDesk } from "./guards.ts";

const nodes: KubeResource = {
  group: "",
  version: "v1",
  kind: "Node",
  plural: "nodes",
  namespaced: false,
  verbs: new Set(["get", "list", "watch"]),
  subresources: new Set(),
};

/** `lifeboat.dev/guard: none` on a Node: the operator vouches that no pod of a group ever runs there. */
const exemptLabel = "lifeboat.dev/guard";
const exemptValue = "none";

/** Silence is no event: guards are looked at this often. */
const reviewEveryMs = 2000;

export interface GuardNodesOptions {
  readonly client: KubeClient;
  readonly desk: GuardDesk;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** Tells the guard desk which nodes the site has, until the signal aborts; rejects with its reason. */
export async function followNodes(options: GuardNodesOptions, { signal }: { signal: AbortSignal }): Promise<void> {
  const { client, desk, clock, random, log } = options;
  const known = new Map<string, SiteNode>();
  let listed = false;
  const tell = () => {
    if (listed) desk.setNodes([...known.values()]);
  };
  const handler = {
    upsert: (object: KubeObject) => {
      const node = siteNode(object);
      const before = known.get(node.name);
      known.set(node.name, node);
      // A kubelet reports every few seconds; what matters here changes rarely.
      if (before?.ready !== node.ready || before.exempt !== node.exempt) tell();
    },
    removed: ({ name }: { readonly name: string }) => {
      if (known.delete(name)) tell();
    },
    synced: () => {
      listed = true;
      tell();
    },
  };
  const reflector = new Reflector({ client, resource: nodes, handler, clock, random, log });
  const review = async (inner: { signal: AbortSignal }): Promise<never> => {
    for (;;) {
      await clock.sleep(reviewEveryMs, inner);
      desk.review();
    }
  };
  await runTogether([(inner) => reflector.run(inner), review], { signal });
}

/** Boot ids of the kernels of the site's nodes that may run a group; those that are not real have none. */
export async function bootIdsOfNodes(client: KubeClient, { signal }: { signal: AbortSignal }): Promise<string[]> {
  const found: string[] = [];
  for await (const { items } of client.list(nodes, { signal })) {
    for (const object of items) {
      const { nodeInfo } = (object["status"] ?? {}) as { readonly nodeInfo?: { readonly bootID?: string } };
      if (!siteNode(object).exempt && nodeInfo?.bootID !== undefined) found.push(nodeInfo.bootID);
    }
  }
  return found.filter((bootId) => bootId !== "");
}

function siteNode(object: KubeObject): SiteNode {
  const { name, labels } = object.metadata;
  const { conditions = [] } = (object["status"] ?? {}) as {
    readonly conditions?: readonly { readonly type: string; readonly status: string }[];
  };
  const ready = conditions.some(({ type, status }) => type === "Ready" && status === "True");
  return { name, ready, exempt: labels?.[exemptLabel] === exemptValue };
}
