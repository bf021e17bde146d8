import type { GroupSpec } from "../config/group.ts";
import { formatEpoch, type Cert } from "../failover/epoch.ts";
import type { FailoverSnapshot } from "../failover/runner/snapshot.ts";
import type { EpochText } from "../objects/epoch.ts";
import type { GuardedGroup, ListProof } from "../rpc/guard-messages.ts";
import type { UnguardedNode } from "./guard-fence.ts";
import type { Origin } from "./origin.ts";
import { policyOf } from "./policy.ts";

/** Namespaces of the cluster itself, which no group may have guards stop, whatever its spec says. */
const systemNamespaces = new Set(["kube-system", "kube-public", "kube-node-lease"]);

/** Kinds that start no pods: leaving such objects out of a group leaves no pods out. */
const podlessKinds = new Set([
  "ConfigMap",
  "Endpoints",
  "LimitRange",
  "PersistentVolumeClaim",
  "ResourceQuota",
  "Secret",
  "Service",
  "ServiceAccount",
  "autoscaling/HorizontalPodAutoscaler",
  "discovery.k8s.io/EndpointSlice",
  "gateway.networking.k8s.io/HTTPRoute",
  "networking.k8s.io/Ingress",
  "networking.k8s.io/NetworkPolicy",
  "policy/PodDisruptionBudget",
  "rbac.authorization.k8s.io/Role",
  "rbac.authorization.k8s.io/RoleBinding",
]);

/**
 * Why guards cannot stop the group: they know a pod's namespace and nothing else of it. undefined where every pod of
 * the group's namespaces is the group's.
 */
export function whyNotGuarded({ mode, select }: GroupSpec): string | undefined {
  if (mode === "ActiveActive") {
    return "in mode ActiveActive only what is single must not run at both sites, and node guards stop whole namespaces";
  }
  const selector = select.objects?.selector;
  if (Object.keys(selector?.matchLabels ?? {}).length > 0 || (selector?.matchExpressions ?? []).length > 0) {
    return "spec.select.objects.selector leaves pods of its namespaces out, and node guards stop whole namespaces";
  }
  const podful = (select.exclude ?? []).find(
    ({ kinds }) => kinds === undefined || kinds.some((kind) => !podlessKinds.has(kind)),
  );
  return podful === undefined
    ? undefined
    : "spec.select.exclude may leave pods of its namespaces out, and node guards stop whole namespaces";
}

/** What of a site's knowledge makes its list of a group's namespaces a whole one. */
export interface ListKnowledge {
  readonly origin: Origin;
  /** This process has received everything of the source that it follows. */
  readonly current: boolean;
  /** Under which that source served. */
  readonly epoch: EpochText | undefined;
  /** Of whoever holds the group, as far as this site knows. */
  readonly cert: Cert | null;
  /** Of this agent. */
  readonly incarnation: number;
}

/**
 * A namespace that a standby does not know has left the group, where the standby follows the present holder and has
 * everything of it. Whatever else a site knows may be what it merely knows no more: after a restart, or from a backup.
 */
export function proofOf({ origin, current, epoch, cert, incarnation }: ListKnowledge): ListProof | undefined {
  const follows = origin === "copy" && current && cert !== null && epoch === formatEpoch(cert.epoch);
  return follows ? { cert, incarnation } : undefined;
}

/** What a site's guards are told of a group; without namespaces where they cannot tell its pods from others. */
export function guardedGroup(
  name: string,
  { spec, namespaces }: { readonly spec: GroupSpec; readonly namespaces: readonly string[] },
  agentNamespace: string,
  complete?: ListProof,
): GuardedGroup {
  const never = (namespace: string) => systemNamespaces.has(namespace) || namespace === agentNamespace;
  return {
    name,
    namespaces: whyNotGuarded(spec) === undefined ? namespaces.filter((each) => !never(each)).toSorted() : [],
    timing: policyOf(spec).timing,
    ...(complete === undefined ? {} : { complete }),
  };
}

/** Nodes that are named in one sentence; a site without guards has as many as it has nodes. */
const namedMaxCount = 3;

/** The protocol's account of a group, with why it is not guards that stop it, where that keeps it from being armed. */
export function explainFence(
  snapshot: FailoverSnapshot,
  spec: GroupSpec | undefined,
  unguarded: readonly UnguardedNode[],
): FailoverSnapshot {
  const isHolder = snapshot.holder === snapshot.site;
  if (spec === undefined || !isHolder || snapshot.fenceCap !== "api" || spec.failover.fencing.policy === "Unproven") {
    return snapshot;
  }
  const named = unguarded.slice(0, namedMaxCount).map(({ node, why }) => `${node}: ${why}`);
  const more = unguarded.length - named.length;
  const nodes = [...named, ...(more > 0 ? [`${more} more`] : [])].join(", ");
  const why = whyNotGuarded(spec) ?? (nodes === "" ? "its nodes are not known yet" : nodes);
  return { ...snapshot, notArmed: [...snapshot.notArmed, `node guards do not cover it: ${why}`] };
}
