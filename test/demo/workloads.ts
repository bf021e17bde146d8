/** Whether what runs pods does run them, and if not, why. */
import type { KubeClient } from "../../src/kube/client.ts";
import { resources as known } from "../../src/kube/resource.ts";
import type { KubeResource } from "../../src/kube/resource.ts";
import { keyOf } from "../../src/objects/key.ts";
import type { ObjectKey } from "../../src/objects/key.ts";
import type { KubeObject } from "../../src/objects/object.ts";

function workload(group: string, kind: string, plural: string): KubeResource {
  return { ...known.configMaps, group, kind, plural };
}

const pods = workload("", "Pod", "pods");
const kinds: readonly KubeResource[] = [
  workload("apps", "Deployment", "deployments"),
  workload("apps", "StatefulSet", "statefulsets"),
  workload("apps", "DaemonSet", "daemonsets"),
  workload("apps", "ReplicaSet", "replicasets"),
  workload("", "ReplicationController", "replicationcontrollers"),
  pods,
];

export interface Workload {
  readonly key: ObjectKey;
  /** Pods that there should be. */
  readonly wanted: number;
  /** Ready pods, none while the controller has not yet seen the object as it is. */
  readonly ready: number;
  /** Ready pods by the last word of the controller. */
  readonly lastReady: number;
  /** Pods that exist, ready or not. */
  readonly running: number;
  readonly object: KubeObject;
}

/** All pods that it should have are ready, and it should have some. */
export function isUp({ wanted, ready }: Workload): boolean {
  return wanted > 0 && ready >= wanted;
}

interface Counts {
  readonly replicas?: number;
  readonly readyReplicas?: number;
  readonly observedGeneration?: number;
  readonly desiredNumberScheduled?: number;
  readonly currentNumberScheduled?: number;
  readonly numberReady?: number;
  readonly conditions?: readonly Condition[];
  readonly containerStatuses?: readonly {
    readonly state?: { readonly waiting?: { readonly reason?: string; readonly message?: string } };
  }[];
}

interface Condition {
  readonly type: string;
  readonly status: string;
  readonly reason?: string;
  readonly message?: string;
}

function read(object: KubeObject): Workload {
  const spec = (object["spec"] ?? {}) as { readonly replicas?: number };
  const status = (object["status"] ?? {}) as Counts;
  const key = keyOf(object);
  if (object.kind === "Pod") {
    const ready = isTrue(status, "Ready") ? 1 : 0;
    return { key, wanted: 1, ready, lastReady: ready, running: 1, object };
  }
  // What a controller has not yet seen says nothing about the spec as it is.
  const seen = (status.observedGeneration ?? 0) >= (object.metadata.generation ?? 0);
  if (object.kind === "DaemonSet") {
    const running = status.currentNumberScheduled ?? 0;
    const wanted = seen ? (status.desiredNumberScheduled ?? 0) : 1;
    const lastReady = status.numberReady ?? 0;
    return { key, wanted, ready: seen ? lastReady : 0, lastReady, running, object };
  }
  const running = status.replicas ?? 0;
  const lastReady = status.readyReplicas ?? 0;
  return { key, wanted: spec.replicas ?? 1, ready: seen ? lastReady : 0, lastReady, running, object };
}

function isTrue(status: Counts, type: string): boolean {
  return status.conditions?.some((condition) => condition.type === type && condition.status === "True") ?? false;
}

export interface WorkloadOptions {
  readonly namespaces: ReadonlySet<string>;
  readonly signal: AbortSignal;
}

/** Workloads in the namespaces that nothing else controls, by key. */
export async function readWorkloads(client: KubeClient, options: WorkloadOptions): Promise<Map<ObjectKey, Workload>> {
  const lists = await Promise.all(kinds.map(async (kind) => listIn(client, kind, options)));
  const free = lists
    .flat()
    .filter((object) => object.metadata.ownerReferences?.some((owner) => owner.controller) !== true);
  return new Map(free.map((object) => [keyOf(object), read(object)]));
}

async function listIn(
  client: KubeClient,
  kind: KubeResource,
  { namespaces, signal }: WorkloadOptions,
): Promise<KubeObject[]> {
  const found: KubeObject[] = [];
  for await (const page of client.list(kind, { signal })) {
    found.push(...page.items.filter((object) => namespaces.has(object.metadata.namespace ?? "")));
  }
  return found;
}

/** Why a workload is not up, in words: from its own conditions, or from a pod of it. */
export async function whyDown(
  client: KubeClient,
  { key, object, wanted, ready }: Workload,
  options: WorkloadOptions,
): Promise<string> {
  const own = (object["status"] ?? {}) as Counts;
  const failure = own.conditions?.find(({ type, status }) => type === "ReplicaFailure" && status === "True");
  if (failure?.message !== undefined) return failure.message;
  const { namespace = "", name } = object.metadata;
  const all = await listIn(client, pods, { ...options, namespaces: new Set([namespace]) });
  const mine = all.filter((pod) => pod.metadata.name === name || pod.metadata.name.startsWith(`${name}-`));
  for (const pod of mine) {
    const status = (pod["status"] ?? {}) as Counts;
    const waiting = status.containerStatuses?.find(({ state }) => state?.waiting !== undefined)?.state?.waiting;
    if (waiting !== undefined) return `${waiting.reason ?? "waiting"}: ${waiting.message ?? ""}`.replace(/: $/, "");
    const unscheduled = status.conditions?.find(({ type, status: is }) => type === "PodScheduled" && is === "False");
    if (unscheduled?.message !== undefined) return unscheduled.message;
  }
  const events = await eventsOf(client, namespace, name, options.signal);
  return events ?? `${ready} of ${wanted} pods of ${key} are ready`;
}

async function eventsOf(
  client: KubeClient,
  namespace: string,
  name: string,
  signal: AbortSignal,
): Promise<string | undefined> {
  let newest: string | undefined;
  for await (const page of client.list(known.events, { namespace, signal })) {
    for (const event of page.items) {
      const about = event["involvedObject"] as { readonly name?: string } | undefined;
      const belongs = about?.name === name || about?.name?.startsWith(`${name}-`) === true;
      if (event["type"] === "Warning" && belongs) newest = String(event["message"]);
    }
  }
  return newest;
}
