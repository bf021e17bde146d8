import { keyOf, type ObjectKey, parseKey } from "../objects/key.ts";
import { marks } from "../objects/object.ts";
import { classify, type Failure } from "./failures.ts";
import { type GroupSite, isBookkeeping } from "./site.ts";
import { isShared } from "./view.ts";
import { runWave } from "./waves.ts";

/** Removing a group's objects from its standby. */
export interface PurgeOptions {
  /** Only tells what would be removed. @default false */
  readonly dryRun?: boolean;
  readonly signal: AbortSignal;
}

export interface PurgeReport {
  /** Keys at this site, in the order in which they are removed. */
  readonly keys: readonly ObjectKey[];
  readonly failed: readonly { readonly key: ObjectKey; readonly failure: Failure }[];
}

/** Long enough for finalizers of ordinary controllers. */
const waveTimeoutMs = 60_000;

export async function purge(site: GroupSite, options: PurgeOptions): Promise<PurgeReport> {
  const { signal } = options;
  const uids = await findAll(site, signal);
  const keys = [...uids.keys()].sort((a, b) => site.waveOfKey(b) - site.waveOfKey(a));
  if (options.dryRun === true) return { keys, failed: [] };
  const failed = new Map<ObjectKey, Failure>();
  const stages = Map.groupBy(keys, (key) => site.waveOfKey(key));
  for (const stage of stages.values()) {
    const work = (key: ObjectKey, own: AbortSignal): Promise<Failure | undefined> =>
      removeOne(site, key, uids.get(key) ?? "", own);
    const failures = await runWave(site, stage, { work, timeoutMs: waveTimeoutMs, signal });
    for (const [key, failure] of failures) failed.set(key, failure);
  }
  return { keys, failed: [...failed].map(([key, failure]) => ({ key, failure })) };
}

/** Everything at this site that carries the group's mark, of whatever kind: also what a lost journal had put there. */
async function findAll(site: GroupSite, signal: AbortSignal): Promise<Map<ObjectKey, string>> {
  const { client, discovery } = site.options;
  const found = new Map<ObjectKey, string>();
  const labelSelector = `${marks.group}=${site.journal.group}`;
  for (const { versions } of discovery.kinds()) {
    const [resource] = versions;
    if (!resource.verbs.has("list") || !resource.verbs.has("delete") || resource.group === "lifeboat.dev") continue;
    try {
      for await (const page of client.list(resource, { labelSelector, signal })) {
        for (const object of page.items) {
          // What a controller made from a copy carries its labels too, and goes with it.
          if (object.metadata.ownerReferences?.some((owner) => owner.controller === true) === true) continue;
          found.set(keyOf(object), object.metadata.uid ?? "");
        }
      }
    } catch (error) {
      signal.throwIfAborted();
      site.options.log.warn({ kind: resource.kind, err: error }, "kind could not be listed for a purge");
    }
  }
  for (const [source] of site.journal.entries()) if (isShared(source) && !isBookkeeping(source)) found.set(source, "");
  return found;
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
    const existed = await site.writer.remove(resource, { namespace, name }, { uid, propagation: "Background", signal });
    if (!existed) return undefined;
    const place = namespace === "" ? { name } : { namespace, name };
    const left = await site.options.client.find(resource, place, { signal });
    if (left === undefined || left.metadata.uid !== uid) return undefined;
    return { reason: "Terminating", message: "it is being deleted and waits for its finalizers" };
  } catch (error) {
    signal.throwIfAborted();
    const failure = classify(error, { group, kind, namespace });
    return failure.reason === "Replaced" ? undefined : failure;
  }
}
