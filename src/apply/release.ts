import { parseJson } from "../objects/json.ts";
import { keyOf, type ObjectKey, parseKey } from "../objects/key.ts";
import { type KubeObject, marks } from "../objects/object.ts";
import { placeOf, type KubeResource } from "../kube/resource.ts";
import { hasReason } from "../kube/status.ts";
import { classify, type Failure } from "./failures.ts";
import { fromHeld } from "../render/marks.ts";
import { mergePatchOf, setIn } from "./merge.ts";
import type { GroupSite } from "./site.ts";

/**
 * The way back from a demotion: the site's own objects are given the values that were held back, and the pods and
 * webhooks that were deleted are created anew from what the demotion kept. The journal plays no part, since it knows
 * less than this site.
 */
export interface ReleaseOptions {
  readonly signal: AbortSignal;
}

export interface ReleaseReport {
  readonly released: readonly ObjectKey[];
  readonly failed: readonly { readonly key: ObjectKey; readonly failure: Failure }[];
}

export async function release(site: GroupSite, { signal }: ReleaseOptions): Promise<ReleaseReport> {
  const released: ObjectKey[] = [];
  const failed: { key: ObjectKey; failure: Failure }[] = [];
  const attempt = async (key: ObjectKey, work: () => Promise<boolean>): Promise<void> => {
    try {
      if (await work()) released.push(key);
    } catch (error) {
      signal.throwIfAborted();
      failed.push({ key, failure: classify(error, parseKey(key)) });
    }
  };
  const labelSelector = `${marks.group}=${site.journal.group}`;
  for (const { versions } of site.options.discovery.kinds()) {
    const [resource] = versions;
    if (!resource.verbs.has("list") || !resource.verbs.has("patch")) continue;
    for (const object of await heldObjects(site, resource, labelSelector, signal)) {
      await attempt(keyOf(object), () => giveBack(site, resource, object, signal));
    }
  }
  for (const { key } of site.journal.divergentKeys()) {
    await attempt(key, () => recreate(site, key, signal));
  }
  if (failed.length === 0) await site.journal.clearDivergence();
  return { released, failed };
}

/** A kind that cannot be listed (gone, forbidden) holds nothing that could be given back. */
async function heldObjects(
  site: GroupSite,
  resource: KubeResource,
  labelSelector: string,
  signal: AbortSignal,
): Promise<KubeObject[]> {
  const held: KubeObject[] = [];
  try {
    for await (const page of site.options.client.list(resource, { labelSelector, signal })) {
      held.push(...page.items.filter((object) => object.metadata.annotations?.[marks.held] !== undefined));
    }
  } catch (error) {
    signal.throwIfAborted();
    site.options.log.warn({ kind: resource.kind, err: error }, "a kind could not be read for what is held back");
  }
  return held;
}

async function giveBack(
  site: GroupSite,
  resource: KubeResource,
  object: KubeObject,
  signal: AbortSignal,
): Promise<boolean> {
  const held = parseJson(object.metadata.annotations?.[marks.held] ?? "{}") as Record<string, unknown>;
  const body = mergePatchOf(Object.keys(held), fromHeld(object));
  setIn(body, ["metadata", "annotations", marks.held], null);
  setIn(body, ["metadata", "labels", marks.group], null);
  const patch = { type: "merge", body } as const;
  await site.options.client.patch(resource, placeOf(object), patch, { fieldManager: site.manager, signal });
  return true;
}

/** What a demotion deletes: bare pods, and webhooks and aggregated APIs whose pods went. */
const deletedKinds = new Set(["Pod", "ValidatingWebhookConfiguration", "MutatingWebhookConfiguration", "APIService"]);

async function recreate(site: GroupSite, key: ObjectKey, signal: AbortSignal): Promise<boolean> {
  const { group, kind } = parseKey(key);
  const kept = deletedKinds.has(kind) ? site.journal.divergent(key) : undefined;
  const resource = site.options.discovery.find(group, kind)?.versions[0];
  if (kept === undefined || resource === undefined) return false;
  try {
    await site.writer.create(resource, parseJson(kept.object) as KubeObject, signal);
    return true;
  } catch (error) {
    if (hasReason(error, "AlreadyExists")) return false;
    throw error;
  }
}
