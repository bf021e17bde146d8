/** Simulated nodes: kwok plays the kubelets of nodes that are objects only. */
import { fileURLToPath } from "node:url";
import { createObject } from "./api.ts";
import type { Api } from "./api.ts";
import { kubeconfigPath } from "./credentials.ts";
import { clusterRanges } from "./network.ts";
import type { SitePlan } from "./options.ts";

const stagesPath = fileURLToPath(new URL("simulated/stages.yaml", import.meta.url));

/** As long as kubelet's own leases, so that the controllers' grace periods mean what they mean for real nodes. */
const leaseDurationSeconds = 40;

export function kwokArgv(program: string, plan: SitePlan, dir: string, address: string): string[] {
  return [
    program,
    `--kubeconfig=${kubeconfigPath(dir, "admin")}`,
    `--config=${stagesPath}`,
    "--manage-all-nodes",
    `--node-ip=${address}`,
    `--node-lease-duration-seconds=${leaseDurationSeconds}`,
    `--cidr=${clusterRanges(plan.index).pods}`,
  ];
}

export function nodeName(plan: SitePlan, at: number): string {
  return `${plan.name}-node-${at}`;
}

/** Creates the node objects; those of an earlier life of the site stay. */
export async function createNodes(api: Api, plan: SitePlan): Promise<void> {
  const names = Array.from({ length: plan.nodeCount }, (_, at) => nodeName(plan, at));
  await Promise.all(
    names.map(async (name, at) =>
      createObject(api, "/api/v1/nodes", {
        apiVersion: "v1",
        kind: "Node",
        metadata: {
          name,
          labels: {
            "kubernetes.io/hostname": name,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": process.arch === "arm64" ? "arm64" : "amd64",
            "topology.kubernetes.io/zone": `${plan.name}-${at % 3}`,
          },
        },
      }),
    ),
  );
}

interface NodeCondition {
  readonly type: string;
  readonly status: string;
  readonly lastHeartbeatTime: string;
}

interface NodeList {
  readonly items: readonly {
    readonly spec?: { readonly taints?: readonly { readonly key: string }[] };
    readonly status?: { readonly conditions?: readonly NodeCondition[] };
  }[];
}

/**
 * Whether at least `count` nodes are Ready and take Pods. What a node said before `sinceMs` (on this machine's clock)
 * does not count: a site that comes back remembers nodes that were ready when it was killed.
 */
export async function nodesReady(api: Api, count: number, sinceMs = 0): Promise<boolean> {
  const answer = await api.request("GET", "/api/v1/nodes").catch(() => undefined);
  if (answer?.status !== 200) return false;
  // Times in the API have whole seconds.
  const isRecent = (condition: NodeCondition): boolean => Date.parse(condition.lastHeartbeatTime) > sinceMs - 1_000;
  const ready = (JSON.parse(answer.text) as NodeList).items.filter(
    (node) =>
      node.status?.conditions?.some((entry) => entry.type === "Ready" && entry.status === "True" && isRecent(entry)) ===
        true && !(node.spec?.taints ?? []).some((taint) => taint.key === "node.kubernetes.io/not-ready"),
  );
  return ready.length >= count;
}
