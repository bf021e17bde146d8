import { hasCode } from "../errors.ts";
import { pathOf, placeOf } from "../kube/resource.ts";
import { hasReason } from "../kube/status.ts";
import { type ObjectKey, parseKey } from "../objects/key.ts";
import type { KubeObject } from "../objects/object.ts";
import { restoreRequest } from "../render/ownership/requests.ts";
import { classify, type Failure } from "./failures.ts";
import type { Stage } from "./plan.ts";
import { groupsOn, sharedManager } from "./shared.ts";
import type { GroupSite } from "./site.ts";
import { isShared, managersOf } from "./view.ts";
import { runWave } from "./waves.ts";

/** A promotion's last part: whoever owned a field at the source owns it here; their next write meets no conflict. */

/** A promotion's last part may take as long as it needs for many objects: what runs does not wait for it. */
const ownersTimeoutMs = 10 * 60_000;
/** What is refused is reported soon. */
const ownersRetryTimeoutMs = 20_000;

/** Gives back what every key of the stages holds, but those `skipped`. Returns what was refused, by key at this site. */
export async function restoreAllOwners(
  site: GroupSite,
  stages: readonly Stage[],
  skipped: readonly ObjectKey[],
  signal: AbortSignal,
): Promise<{ key: ObjectKey; failure: Failure }[]> {
  const left = new Set(skipped);
  const keys = stages.flatMap((stage) => stage.keys).filter((key) => !left.has(key));
  const refused: ObjectKey[] = [];
  const unreached = await runWave(site, keys, {
    timeoutMs: ownersTimeoutMs,
    signal,
    work: async (key, own) => {
      if ((await restoreOwners(site, key, own)) !== undefined) refused.push(key);
      return undefined;
    },
  });
  const failures = await runWave(site, refused, {
    timeoutMs: ownersRetryTimeoutMs,
    signal,
    work: (key, own) => restoreOwners(site, key, own),
  });
  return [...unreached, ...failures].map(([key, failure]) => ({
    key: site.assignments.targetsOf(key)[0] ?? key,
    failure,
  }));
}

/** Whether fields of an object are still Lifeboat's that are to be their owners' again. */
export function holdsFields(live: KubeObject, key: ObjectKey, manager: string): boolean {
  const own = isShared(key) ? sharedManager : manager;
  const isHeld = live.metadata.managedFields?.some((entry) => entry.manager === own) ?? false;
  // Other groups that need it may still be standby here.
  return isHeld && !(isShared(key) && (groupsOn(live) ?? []).length > 1);
}

/** Gives the fields of a key's objects back to the managers that own them at the source. */
export async function restoreOwners(
  site: GroupSite,
  key: ObjectKey,
  signal: AbortSignal,
): Promise<Failure | undefined> {
  const { client, discovery } = site.options;
  const made = site.view.renderKey(key, "active");
  for (const target of made?.targets ?? []) {
    const { object } = target;
    const resource = discovery.resource(object.apiVersion, object.kind);
    if (resource === undefined) continue;
    try {
      const live = await client.find(resource, placeOf(object), { signal });
      if (live === undefined || !holdsFields(live, target.key, site.manager)) continue;
      const manager = isShared(target.key) ? sharedManager : site.manager;
      const request = restoreRequest(live, made === undefined ? [] : managersOf(made.entry), object, manager);
      await client.request("PATCH", pathOf(resource, placeOf(object)), {
        query: request.query,
        body: JSON.stringify(request.body),
        contentType: request.contentType,
        signal,
      });
    } catch (error) {
      signal.throwIfAborted();
      if (hasReason(error, "Conflict")) return { reason: "Replaced", message: "it was changed at the same moment" };
      if (hasCode(error, "NotFound")) continue;
      const { group, kind, namespace } = parseKey(target.key);
      return classify(error, { group, kind, namespace });
    }
  }
  return undefined;
}
