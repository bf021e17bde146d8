import type { KubeResource } from "../kube/resource.ts";
import { formatKey, keyOf, type ObjectKey, parseKey } from "../objects/key.ts";
import { groupOf, type KubeObject } from "../objects/object.ts";
import type { GroupSite } from "./site.ts";

/** Pods of what was stopped: a workload at zero still runs while its last pod shuts down. */

const pollMs = 500;
/** Pod → ReplicaSet → Deployment → a custom resource → one more. */
export const ownersMaxDepth = 5;

export interface PodsWaitOptions {
  /** Stops what does not end by itself. Called now and then while pods are left. */
  readonly insist: (signal: AbortSignal) => Promise<void>;
  readonly signal: AbortSignal;
}

/** Pods that are still there after so long may not end by themselves: whoever should end them is gone, or slow. */
export const slowAfterMs = 30_000;

/** Resolves when no pod of these workloads is left. Rejects with the signal's reason, or where pods cannot be read. */
export async function waitForPods(
  site: GroupSite,
  workloads: ReadonlySet<ObjectKey>,
  { insist, signal }: PodsWaitOptions,
): Promise<void> {
  const { clock, log } = site.options;
  let insistedMs = clock.monotonicMs();
  for (let told = false; ; told = true) {
    const left = await podsOf(site, workloads, signal);
    if (left.length === 0) return;
    if (!told) log.info({ pods: left.slice(0, shownMaxCount), count: left.length }, "waiting for pods to go");
    if (clock.monotonicMs() - insistedMs >= slowAfterMs) {
      insistedMs = clock.monotonicMs();
      log.warn({ pods: left.slice(0, shownMaxCount), count: left.length }, "pods do not go; what runs them is stopped");
      await insist(signal);
    }
    await clock.sleep(pollMs, { signal });
  }
}

const shownMaxCount = 10;

/** Pods that run, or end, because of one of these workloads. */
async function podsOf(site: GroupSite, workloads: ReadonlySet<ObjectKey>, signal: AbortSignal): Promise<ObjectKey[]> {
  const resource = site.options.discovery.resource("v1", "Pod");
  if (resource === undefined) return [];
  const found: ObjectKey[] = [];
  const known = new Map<ObjectKey, boolean>();
  for (const namespace of new Set([...workloads].map((key) => parseKey(key).namespace))) {
    if (namespace === "") continue;
    for await (const page of site.options.client.list(resource, { namespace, signal })) {
      for (const pod of page.items) {
        if (isOver(pod)) continue;
        if (workloads.has(keyOf(pod)) || (await comesFrom(site, pod, { workloads, known, depth: 0, signal })))
          found.push(keyOf(pod));
      }
    }
  }
  return found;
}

export function isOver(pod: KubeObject): boolean {
  const phase = (pod["status"] as { phase?: string } | undefined)?.phase;
  return phase === "Succeeded" || phase === "Failed";
}

interface Search {
  readonly workloads: ReadonlySet<ObjectKey>;
  /** Owners that were looked at. */
  readonly known: Map<ObjectKey, boolean>;
  readonly depth: number;
  readonly signal: AbortSignal;
}

/** Where the controller of an object is. */
export interface Controller {
  readonly resource: KubeResource;
  readonly place: { readonly namespace: string; readonly name: string };
  readonly key: ObjectKey;
}

/** The controller of an object; `undefined` where it has none in its namespace, of a kind that the site serves. */
export function controllerOf(site: GroupSite, { metadata }: KubeObject): Controller | undefined {
  const owner = metadata.ownerReferences?.find((reference) => reference.controller === true);
  if (owner === undefined) return undefined;
  const { apiVersion, kind, name } = owner;
  const resource = site.options.discovery.resource(apiVersion, kind);
  if (resource === undefined || !resource.namespaced) return undefined;
  const { namespace = "" } = metadata;
  return {
    resource,
    place: { namespace, name },
    key: formatKey({ group: groupOf(apiVersion), kind, namespace, name }),
  };
}

/** Whether a chain of controllers leads from the object to one of these workloads. */
export async function comesFrom(site: GroupSite, object: KubeObject, search: Search): Promise<boolean> {
  const { workloads, known, depth, signal } = search;
  const controller = depth < ownersMaxDepth ? controllerOf(site, object) : undefined;
  if (controller === undefined) return false;
  const { resource, place, key } = controller;
  if (workloads.has(key)) return true;
  const seen = known.get(key);
  if (seen !== undefined) return seen;
  const live = await site.options.client.find(resource, place, { signal });
  const answer = live !== undefined && (await comesFrom(site, live, { ...search, depth: depth + 1 }));
  known.set(key, answer);
  return answer;
}
