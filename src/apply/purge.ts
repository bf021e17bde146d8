import type { KubeResource } from "../kube/resource.ts";
import { formatKey, keyOf, type ObjectKey, parseKey } from "../objects/key.ts";
import { type KubeObject, marks } from "../objects/object.ts";
import { waveOfKey } from "../render/waves.ts";
import { classify, type Failure, terminating } from "./failures.ts";
import { isOurs } from "./ours.ts";
import { groupsOn } from "./shared.ts";
import type { GroupSite } from "./site.ts";
import { isShared } from "./view.ts";
import { runWave } from "./waves.ts";

/** Removing a group's objects from its standby. */
export interface PurgeOptions {
  /** Only tells what would be removed. @default false */
  readonly dryRun?: boolean;
  readonly signal: AbortSignal;
}

export interface PurgeReport {
  /** What was, or would be, removed: keys at this site, in the order in which they go. */
  readonly keys: readonly ObjectKey[];
  /** What stays, and why. A kind that could not be read is a key without a name. */
  readonly failed: readonly { readonly key: ObjectKey; readonly failure: Failure }[];
}

/** Long enough for finalizers of ordinary controllers. */
const waveTimeoutMs = 60_000;
const listTimeoutMs = 20_000;

export async function purge(site: GroupSite, options: PurgeOptions): Promise<PurgeReport> {
  const { signal } = options;
  const { uids, failed } = await findAll(site, signal);
  for (const key of uids.keys()) {
    const failure = isNamespace(key) ? await site.mayDeleteNamespace(parseKey(key).name, { signal }) : undefined;
    if (failure !== undefined) failed.set(key, failure);
  }
  const keys = [...uids.keys()].filter((key) => !failed.has(key)).sort((a, b) => waveOfKey(b) - waveOfKey(a));
  const stages = options.dryRun === true ? new Map<number, ObjectKey[]>() : Map.groupBy(keys, waveOfKey);
  for (const stage of stages.values()) {
    const work = (key: ObjectKey, own: AbortSignal): Promise<Failure | undefined> =>
      removeOne(site, key, uids.get(key) ?? "", own);
    const failures = await runWave(site, stage, { work, timeoutMs: waveTimeoutMs, signal });
    for (const [key, failure] of failures) failed.set(key, failure);
  }
  return {
    keys: keys.filter((key) => !failed.has(key)),
    failed: [...failed].map(([key, failure]) => ({ key, failure })),
  };
}

function isNamespace(key: ObjectKey): boolean {
  const { group, kind } = parseKey(key);
  return group === "" && kind === "Namespace";
}

interface Found {
  /** UIDs of what is to go. */
  readonly uids: Map<ObjectKey, string>;
  readonly failed: Map<ObjectKey, Failure>;
}

/**
 * Everything at this site that Lifeboat has put there for the group, of whatever kind: also what a lost journal had
 * put there. What merely carries the group's label is left, and told.
 */
async function findAll(site: GroupSite, signal: AbortSignal): Promise<Found> {
  const uids = new Map<ObjectKey, string>();
  const left = new Map<ObjectKey, Failure>();
  const kinds = new Map<ObjectKey, KubeResource>();
  for (const { versions } of site.options.discovery.kinds()) {
    const [resource] = versions;
    const { verbs, group, kind } = resource;
    if (!verbs.has("list") || !verbs.has("delete") || group === "lifeboat.dev") continue;
    kinds.set(formatKey({ group, kind, namespace: "", name: "" }), resource);
  }
  const failed = await runWave(site, [...kinds.keys()], {
    timeoutMs: listTimeoutMs,
    signal,
    work: async (key, own) => {
      const resource = kinds.get(key);
      return resource === undefined ? undefined : findKind(site, resource, { uids, failed: left }, own);
    },
  });
  for (const [key, failure] of left) failed.set(key, failure);
  return { uids, failed };
}

async function findKind(
  site: GroupSite,
  resource: KubeResource,
  found: Found,
  signal: AbortSignal,
): Promise<Failure | undefined> {
  const { group, kind } = resource;
  const mayBeShared = isShared(formatKey({ group, kind, namespace: resource.namespaced ? "any" : "", name: "any" }));
  // Shared objects carry no label: they belong to several groups, and name them.
  const selected = mayBeShared ? {} : { labelSelector: `${marks.group}=${site.journal.group}` };
  try {
    for await (const page of site.options.client.list(resource, { ...selected, metadataOnly: true, signal })) {
      for (const { metadata } of page.items) {
        const object = { apiVersion: group === "" ? resource.version : `${group}/${resource.version}`, kind, metadata };
        if (mayBeShared) noteShared(site, object, found);
        else noteCopy(site, object, found);
      }
    }
    return undefined;
  } catch (error) {
    signal.throwIfAborted();
    const failure = classify(error, { group, kind, namespace: "" });
    // Not served any more: there is nothing of it.
    return failure.reason === "KindMissing" ? undefined : failure;
  }
}

function noteCopy(site: GroupSite, object: KubeObject, { uids, failed }: Found): void {
  // What a controller made from a copy carries its labels too, and goes with it.
  if (object.metadata.ownerReferences?.some((owner) => owner.controller === true) === true) return;
  const { journal, manager, own } = site;
  if (isOurs(object, { name: journal.group, manager, own })) {
    uids.set(keyOf(object), object.metadata.uid ?? "");
  } else if ((object.metadata.managedFields ?? []).some((entry) => !systemWriters.has(entry.manager))) {
    const message = "carries the group's label, but was not put there by Lifeboat for this group";
    failed.set(keyOf(object), { reason: "Exists", message });
  }
}

/** They copy labels of a Service to its endpoints, and nobody needs to be told of those. */
const systemWriters: ReadonlySet<string> = new Set(["kube-controller-manager", "kube-apiserver", "kubelet"]);

function noteShared(site: GroupSite, object: KubeObject, { uids }: Found): void {
  const groups = groupsOn(object);
  // One that other groups need loses the name of this one and stays.
  if (groups?.includes(site.journal.group) === true) uids.set(keyOf(object), "");
}

async function removeOne(
  site: GroupSite,
  key: ObjectKey,
  uid: string,
  signal: AbortSignal,
): Promise<Failure | undefined> {
  if (isShared(key)) {
    const verdict = await site.reconciler.remove(key, { role: "standby", signal });
    return verdict.kind === "failed" ? verdict.failure : undefined;
  }
  const { group, kind, namespace, name } = parseKey(key);
  const resource = site.options.discovery.find(group, kind)?.versions[0];
  if (resource === undefined) return undefined;
  try {
    // Somebody may have put something there while the rest was removed.
    const occupied = isNamespace(key) ? await site.mayDeleteNamespace(name, { signal }) : undefined;
    if (occupied !== undefined) return occupied;
    const existed = await site.writer.remove(resource, { namespace, name }, { uid, propagation: "Background", signal });
    if (!existed) return undefined;
    const place = namespace === "" ? { name } : { namespace, name };
    const left = await site.options.client.find(resource, place, { signal });
    if (left === undefined || left.metadata.uid !== uid) return undefined;
    return terminating;
  } catch (error) {
    signal.throwIfAborted();
    const failure = classify(error, { group, kind, namespace });
    return failure.reason === "Replaced" ? undefined : failure;
  }
}
