import type { GuardConfig } from "../config/guard.ts";
import type { GuardMode } from "../failover/messages.ts";
import { silentLog } from "../telemetry/log.ts";
import { isFrozen, processesIn, setFrozen } from "./cgroups.ts";
import { networkOf } from "./pods.ts";
import { guardParts } from "./start.ts";

/** What a guard would do on this node, and with what. */
export interface GuardListing {
  readonly node: string;
  readonly cgroups: "v1" | "v2";
  readonly canFreeze: boolean;
  /** Why the kernel cannot cut traffic; undefined when it can. */
  readonly trafficProblem: string | undefined;
  readonly groups: readonly ListedGroup[];
  readonly pods: readonly ListedPod[];
  /** Uids of pods that nobody can name. */
  readonly nameless: readonly string[];
}

export interface ListedGroup {
  readonly group: string;
  readonly namespaces: readonly string[];
  /** As the running guard has it; undefined when none runs since the boot. */
  readonly mode: GuardMode | undefined;
  readonly reason: string;
  /** Waits for a grant after a boot. */
  readonly known: boolean;
}

export interface ListedPod {
  readonly group: string;
  readonly namespace: string;
  readonly name: string;
  readonly processes: number;
  readonly addresses: readonly string[];
  /** It uses the node's own network: its traffic cannot be cut, it can only be killed. */
  readonly host: boolean;
  readonly heldBack: boolean;
}

/** Reads what a guard of this configuration would work on; changes nothing that runs. */
export async function listGuarded(config: GuardConfig, extra: readonly string[]): Promise<GuardListing> {
  const { node, tree, disk, finder, traffic, never } = guardParts(config, silentLog);
  const known = disk.records().map((record): ListedGroup => {
    const saved = disk.state(record.group);
    const { group, namespaces } = record;
    return { group, namespaces, mode: saved?.mode, reason: saved?.reason ?? "", known: record.known };
  });
  const asked = { group: "-", namespaces: extra, mode: undefined, reason: "", known: false };
  const groups = extra.length === 0 ? known : [...known, asked];
  const trafficProblem = await traffic.whyNot();
  const { pods, nameless } = finder.scan();
  return {
    node,
    cgroups: tree.version,
    canFreeze: tree.canFreeze,
    trafficProblem,
    groups,
    nameless,
    pods: pods.flatMap((pod) => {
      const group = never.has(pod.namespace)
        ? undefined
        : groups.find(({ namespaces }) => namespaces.includes(pod.namespace));
      if (group === undefined) return [];
      const { addresses, host } = networkOf(pod);
      const processes = processesIn(pod.cgroup).length;
      const heldBack = isFrozen(tree, pod.cgroup);
      return [{ group: group.group, namespace: pod.namespace, name: pod.name, processes, addresses, host, heldBack }];
    }),
  };
}

/** Takes the guard off this node: lifts the kernel's cut, lets go what is held back, forgets every group. */
export async function removeGuard(config: GuardConfig): Promise<readonly string[]> {
  const { tree, disk, finder, traffic, never } = guardParts(config, silentLog);
  const records = disk.records();
  for (const pod of finder.scan().pods) {
    const ours = records.some(({ namespaces }) => namespaces.includes(pod.namespace)) && !never.has(pod.namespace);
    if (ours && isFrozen(tree, pod.cgroup)) setFrozen(tree, pod.cgroup, false);
  }
  await traffic.remove();
  for (const { group } of records) disk.forget(group);
  return records.map(({ group }) => group);
}
