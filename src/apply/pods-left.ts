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

/** Whether a chain of controllers leads from the object to one of these workloads. */
export async function comesFrom(site: GroupSite, object: KubeObject, search: Search): Promise<boolean> {
  const owner = object.metadata.ownerReferences?.find((reference) => reference.controller === true);
  const { namespace = "" } = object.metadata;
  if (owner === undefined || search.depth >= ownersMaxDepth) return false;
  const resource = site.options.discovery.resource(owner.apiVersion, owner.kind);
  if (resource === undefined || !resource.namespaced) return false;
  const key = formatKey({ group: groupOf(owner.apiVersion), kind: owner.kind, namespace, name: owner.name });
  if (search.workloads.has(key)) return true;
  const seen = search.known.get(key);
  if (seen !== undefined) return seen;
  const answer = await ownerComesFrom(site, resource, { namespace, name: owner.name }, search);
  search.known.set(key, answer);
  return answer;
}

async function ownerComesFrom(
  site: GroupSite,
  resource: KubeResource,
  place: { readonly namespace: string; readonly name: string },
  search: Search,
): Promise<boolean> {
  const live = await site.options.client.find(resource, place, { signal: search.signal });
  return live !== undefined && comesFrom(site, live, { ...search, depth: search.depth + 1 });
}
