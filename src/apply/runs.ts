import type { Journal } from "../journal/journal.ts";
import { type KubeResource, placeOf } from "../kube/resource.ts";
import { keyOf, type ObjectKey, parseKey } from "../objects/key.ts";
import { groupOf, type KubeObject, marks } from "../objects/object.ts";
import { parsePointer } from "../objects/pointer.ts";
import { getAt } from "../render/pointer.ts";
import { setIn } from "./merge.ts";
import { comesFrom } from "./pods-left.ts";
import type { GroupSite } from "./site.ts";

/**
 * What somebody who is held back has begun goes on: Jobs of a suspended CronJob, the brokers of an operator that was
 * told to look away. At a site that stops it must not.
 */

/**
 * Stops everything that the owner runs: its Jobs are suspended, its workloads are scaled to nothing, pods that it has
 * made by itself are deleted. Returns the UIDs of the Jobs: a site that becomes a standby removes them, or their owner
 * would wait for them for ever when it runs again.
 */
export async function stopRuns(site: GroupSite, owner: ObjectKey, signal: AbortSignal): Promise<string[]> {
  const jobs = await suspendJobs(site, owner, signal);
  // A CronJob has nothing but Jobs.
  if (parseKey(owner).group === "batch") return jobs;
  await scaleDown(site, owner, signal);
  await deletePods(site, owner, signal);
  return jobs;
}

/** Whether somebody else than Kubernetes runs what the object asks for. */
export function isOperators(key: ObjectKey): boolean {
  return parseKey(key).group.includes(".");
}

async function suspendJobs(site: GroupSite, owner: ObjectKey, signal: AbortSignal): Promise<string[]> {
  const held: string[] = [];
  const body = {
    metadata: {
      labels: { [marks.group]: site.journal.group },
      annotations: { [marks.held]: JSON.stringify({ "/spec/suspend": false }) },
    },
    spec: { suspend: true },
  };
  const resource = site.options.discovery.find("batch", "Job")?.versions[0];
  if (resource === undefined) return held;
  for await (const job of owned(site, owner, resource, signal)) {
    if (isComplete(job)) continue;
    if (isSuspended(job) && job.metadata.annotations?.[marks.held] === undefined) continue;
    held.push(job.metadata.uid ?? "");
    if (isSuspended(job)) continue;
    const patch = { type: "merge", body } as const;
    await site.options.client.patch(resource, placeOf(job), patch, { fieldManager: site.manager, signal });
  }
  return held;
}

function isSuspended(job: KubeObject): boolean {
  return (job["spec"] as { suspend?: boolean } | undefined)?.suspend === true;
}

function isComplete(job: KubeObject): boolean {
  return ((job["status"] ?? {}) as { completionTime?: string }).completionTime !== undefined;
}

/** A workload of somebody else's that was scaled to nothing, and what it takes to undo that. */
interface ScaledDown {
  readonly key: ObjectKey;
  readonly uid: string;
  /** By JSON pointer; null: to be removed. */
  readonly held: Readonly<Record<string, unknown>>;
}

const recordName = "apply/scaled";

function scaledDown(journal: Journal): readonly ScaledDown[] {
  return (journal.getState(recordName) ?? []) as readonly ScaledDown[];
}

/** How something that makes pods is made to have none. */
interface Switch {
  /** JSON pointer of the field that says how many. */
  readonly pointer: string;
  readonly down: unknown;
  /** What the field is while it runs something, null for absent; `undefined` where it runs nothing. */
  readonly up: (object: KubeObject) => unknown;
}

const replicas: Switch = {
  pointer: "/spec/replicas",
  down: 0,
  up: (object) => {
    const count = getAt(object, "/spec/replicas") ?? 1;
    return count === 0 ? undefined : count;
  },
};
const nowhere = "/spec/template/spec/nodeSelector/lifeboat.dev~1nowhere";

const switches: Readonly<Record<string, Switch>> = {
  "apps/Deployment": replicas,
  "apps/StatefulSet": replicas,
  "apps/ReplicaSet": replicas,
  "/ReplicationController": replicas,
  "apps/DaemonSet": {
    pointer: nowhere,
    down: "true",
    up: (object) => (getAt(object, nowhere) === undefined ? null : undefined),
  },
  // Strimzi's pods, one by one: it removes those that are not in the list.
  "core.strimzi.io/StrimziPodSet": {
    pointer: "/spec/pods",
    down: [],
    up: (object) => {
      const pods = getAt(object, "/spec/pods");
      return Array.isArray(pods) && pods.length > 0 ? pods : undefined;
    },
  },
};

/** Whole pods may not fit into an annotation; the note in the journal has them all the same. */
const annotationMaxBytes = 64 * 1024;

/**
 * The workloads carry no label of the group: as copies they would be removed, and a StatefulSet may be set to take its
 * claims along. What was done to them is noted before it is done.
 */
async function scaleDown(site: GroupSite, owner: ObjectKey, signal: AbortSignal): Promise<void> {
  for (const [id, { pointer, down, up }] of Object.entries(switches)) {
    const [group = "", kind = ""] = id.split("/");
    const resource = site.options.discovery.find(group, kind)?.versions[0];
    if (resource === undefined) continue;
    for await (const object of owned(site, owner, resource, signal)) {
      const value = up(object);
      // A ReplicaSet of a Deployment goes with it.
      if (value === undefined || isControlledBy(object, switched)) continue;
      const held = { [pointer]: value };
      await remember(site.journal, { key: keyOf(object), uid: object.metadata.uid ?? "", held });
      const text = JSON.stringify(held);
      const note = text.length > annotationMaxBytes ? "{}" : text;
      const body: Record<string, unknown> = { metadata: { annotations: { [marks.held]: note } } };
      setIn(body, parsePointer(pointer), down);
      const patch = { type: "merge", body } as const;
      await site.options.client.patch(resource, placeOf(object), patch, { fieldManager: site.manager, signal });
    }
  }
}

/** The first note counts: a second look would take what is held for what ran. */
async function remember(journal: Journal, scaled: ScaledDown): Promise<void> {
  const known = scaledDown(journal);
  const isKnown = known.some(({ key, uid }) => key === scaled.key && uid === scaled.uid);
  if (isKnown) return;
  await journal.putState(recordName, [...known.filter(({ key }) => key !== scaled.key), scaled]);
}

/** Gives back what {@link stopRuns} took from workloads that are still the same and still held. */
export async function restoreRuns(site: GroupSite, signal: AbortSignal): Promise<void> {
  for (const { key, uid, held } of scaledDown(site.journal)) {
    const { group, kind, namespace, name } = parseKey(key);
    const resource = site.options.discovery.find(group, kind)?.versions[0];
    if (resource === undefined) continue;
    const live = await site.options.client.find(resource, { namespace, name }, { signal });
    if (live?.metadata.uid !== uid || live.metadata.annotations?.[marks.held] === undefined) continue;
    const body: Record<string, unknown> = { metadata: { annotations: { [marks.held]: null } } };
    for (const [pointer, value] of Object.entries(held)) setIn(body, parsePointer(pointer), value);
    const patch = { type: "merge", body } as const;
    await site.options.client.patch(resource, { namespace, name }, patch, { fieldManager: site.manager, signal });
  }
  if (scaledDown(site.journal).length > 0) await site.journal.putState(recordName, undefined);
}

/** Kubernetes' own, which take their pods away by themselves. */
const controllers: ReadonlySet<string> = new Set([
  "apps/ReplicaSet",
  "apps/StatefulSet",
  "apps/DaemonSet",
  "/ReplicationController",
  "batch/Job",
]);
const switched: ReadonlySet<string> = new Set(Object.keys(switches));

/** Pods that the owner, or another custom resource of its, has made by itself. */
async function deletePods(site: GroupSite, owner: ObjectKey, signal: AbortSignal): Promise<void> {
  const resource = site.options.discovery.resource("v1", "Pod");
  if (resource === undefined) return;
  for await (const pod of owned(site, owner, resource, signal)) {
    if (pod.metadata.deletionTimestamp !== undefined || isControlledBy(pod, controllers)) continue;
    const { namespace = "", name, uid = "" } = pod.metadata;
    await site.writer.remove(resource, { namespace, name }, { uid, propagation: "Background", signal });
  }
}

function isControlledBy(object: KubeObject, kinds: ReadonlySet<string>): boolean {
  const owner = object.metadata.ownerReferences?.find((reference) => reference.controller === true);
  return owner !== undefined && kinds.has(`${groupOf(owner.apiVersion)}/${owner.kind}`);
}

/** Objects of a kind that the owner controls, by itself or through others. */
async function* owned(
  site: GroupSite,
  owner: ObjectKey,
  resource: KubeResource,
  signal: AbortSignal,
): AsyncGenerator<KubeObject> {
  const { namespace } = parseKey(owner);
  const search = { workloads: new Set([owner]), known: new Map<ObjectKey, boolean>(), depth: 0, signal };
  for await (const page of site.options.client.list(resource, { namespace, signal })) {
    for (const object of page.items) if (await comesFrom(site, object, search)) yield object;
  }
}
