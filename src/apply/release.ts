import { hasCode } from "../errors.ts";
import { placeOf, type KubeResource } from "../kube/resource.ts";
import { hasReason, kubeStatusOf } from "../kube/status.ts";
import { parseJson } from "../objects/json.ts";
import { formatKey, keyOf, type ObjectKey, parseKey } from "../objects/key.ts";
import { type KubeObject, marks } from "../objects/object.ts";
import { fromHeld } from "../render/marks.ts";
import { waveOfKey, waves } from "../render/waves.ts";
import { classify, type Failure, terminating } from "./failures.ts";
import { mergePatchOf, setIn } from "./merge.ts";
import { forgetRemoved, type RemovedObject, removedObjects } from "./removed.ts";
import { restoreRuns } from "./runs.ts";
import type { GroupSite } from "./site.ts";
import { runWave } from "./waves.ts";

/**
 * The way back from a demotion: the site's own objects are given the values that were held back, and the pods and
 * webhooks that were deleted are created anew from what the demotion kept. The journal plays no part, since it knows
 * less than this site.
 */
export interface ReleaseOptions {
  readonly signal: AbortSignal;
  /** Longest time for which what fails is tried again, for each of its steps. @default 60 s */
  readonly timeoutMs?: number;
}

export interface ReleaseReport {
  readonly released: readonly ObjectKey[];
  /** What is still taken down: a kind of which something is, as a key without a name, or an object that was deleted. */
  readonly failed: readonly { readonly key: ObjectKey; readonly failure: Failure }[];
}

const timeoutMsDefault = 60_000;
/** Stands for what operators run, which is no object of the group. */
const runsKey = formatKey({ group: "apps", kind: "StatefulSet", namespace: "", name: "" });
/** Of one kind at once; several kinds are worked on beside each other. */
const patchesMaxCount = 8;

export async function release(site: GroupSite, options: ReleaseOptions): Promise<ReleaseReport> {
  const { signal, timeoutMs = timeoutMsDefault } = options;
  const released: ObjectKey[] = [];
  const failed: { key: ObjectKey; failure: Failure }[] = [];
  const each = async <T>(
    items: ReadonlyMap<ObjectKey, T>,
    work: (item: T, own: AbortSignal) => Promise<boolean | Failure>,
  ): Promise<void> => {
    const attempt = async (key: ObjectKey, own: AbortSignal): Promise<Failure | undefined> => {
      try {
        const item = items.get(key);
        const done = item !== undefined && (await work(item, own));
        if (typeof done === "object") return done;
        if (done) released.push(key);
        return undefined;
      } catch (error) {
        own.throwIfAborted();
        return classify(error, parseKey(key));
      }
    };
    const failures = await runWave(site, [...items.keys()], { work: attempt, timeoutMs, signal });
    for (const [key, failure] of failures) failed.push({ key, failure });
  };
  await each(readable(site), (resource, own) => giveBackKind(site, resource, released, own));
  await each(new Map([[runsKey, site]]), (_site, own) => restoreRuns(site, own).then(() => false));
  const removed = removedObjects(site.journal);
  const isGate = ({ key }: RemovedObject): boolean => waveOfKey(key) >= waves.webhooks;
  // Webhooks come last: they would refuse what their own pods need.
  for (const gates of [false, true]) {
    const some = removed.filter((object) => isGate(object) === gates);
    await each(new Map(some.map((object) => [object.key, object])), (object, own) => recreate(site, object, own));
  }
  if (failed.length === 0) await forget(site);
  return { released, failed };
}

/** What the demotion kept is at its place again; what an earlier return of this site had kept is not touched. */
async function forget({ journal }: GroupSite): Promise<void> {
  const kept = journal.divergentKeys().filter(({ what }) => what === "unknown");
  await journal.judgeDivergence(
    [],
    kept.map(({ key }) => key),
  );
  await forgetRemoved(journal);
}

function readable(site: GroupSite): Map<ObjectKey, KubeResource> {
  const resources = site.options.discovery.kinds().map(({ versions }) => versions[0]);
  return new Map(
    resources
      .filter(({ verbs }) => verbs.has("list") && verbs.has("patch"))
      .map((resource) => [
        formatKey({ group: resource.group, kind: resource.kind, namespace: "", name: "" }),
        resource,
      ]),
  );
}

/** A kind that may not be listed or is gone holds nothing that could be given back; any other failure is one. */
async function heldObjects(site: GroupSite, resource: KubeResource, signal: AbortSignal): Promise<KubeObject[]> {
  const held: KubeObject[] = [];
  const labelSelector = `${marks.group}=${site.journal.group}`;
  try {
    for await (const page of site.options.client.list(resource, { labelSelector, signal })) {
      held.push(...page.items.filter((object) => object.metadata.annotations?.[marks.held] !== undefined));
    }
  } catch (error) {
    const code = kubeStatusOf(error)?.code;
    if (!hasCode(error, "KubeForbidden") && code !== 404 && code !== 405) throw error;
    site.options.log.warn({ kind: resource.kind, err: error }, "a kind could not be read for what is held back");
  }
  return held;
}

/** Gives back all that is held of one kind; rejects with a failure of one when the others have been tried. */
async function giveBackKind(
  site: GroupSite,
  resource: KubeResource,
  released: ObjectKey[],
  signal: AbortSignal,
): Promise<boolean> {
  const held = await heldObjects(site, resource, signal);
  let failure: unknown;
  for (let start = 0; start < held.length; start += patchesMaxCount) {
    const some = held.slice(start, start + patchesMaxCount);
    const outcomes = await Promise.allSettled(some.map((object) => giveBack(site, resource, object, signal)));
    signal.throwIfAborted();
    for (const [index, outcome] of outcomes.entries()) {
      const object = some[index];
      if (outcome.status === "rejected") failure = outcome.reason;
      else if (outcome.value && object !== undefined) released.push(keyOf(object));
    }
  }
  if (failure !== undefined) throw failure as Error;
  return false;
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
  try {
    const options = { fieldManager: site.manager, signal };
    await disown(site, resource, await site.options.client.patch(resource, placeOf(object), patch, options), signal);
    return true;
  } catch (error) {
    // Somebody has deleted it meanwhile.
    if (hasCode(error, "NotFound")) return false;
    throw error;
  }
}

/** Controllers write at the same moment; an owner too many is no reason to go on for ever. */
const disownMaxCount = 5;

/** What was held belongs to nobody from here on, so that whoever owned it applies it again without a conflict. */
async function disown(
  site: GroupSite,
  resource: KubeResource,
  patched: KubeObject,
  signal: AbortSignal,
): Promise<void> {
  const { client } = site.options;
  let live: KubeObject | undefined = patched;
  for (let count = 0; count < disownMaxCount && live !== undefined; count++) {
    const { resourceVersion, managedFields = [] } = live.metadata;
    const others = managedFields.filter(({ manager }) => manager !== site.manager);
    if (others.length === managedFields.length) return;
    const body = { metadata: { resourceVersion, managedFields: others.length > 0 ? others : [{}] } };
    try {
      await client.patch(resource, placeOf(live), { type: "merge", body }, { fieldManager: site.manager, signal });
      return;
    } catch (error) {
      if (!hasReason(error, "Conflict")) throw error;
      live = await client.find(resource, placeOf(live), { signal });
    }
  }
}

async function recreate(
  site: GroupSite,
  { key, object }: RemovedObject,
  signal: AbortSignal,
): Promise<boolean | Failure> {
  const { group, kind } = parseKey(key);
  const resource = site.options.discovery.find(group, kind)?.versions[0];
  if (resource === undefined) return false;
  const kept = parseJson(object) as KubeObject;
  // Owners are known by UIDs, which do not travel; without one the API server refuses a reference.
  const { ownerReferences: _, ...metadata } = kept.metadata;
  const wanted = { ...kept, metadata };
  const { made, live } = await site.writer.createOrFind(resource, wanted, signal);
  if (made === undefined && live === undefined)
    return { reason: "Replaced", message: "what was in its place has just gone" };
  // One that is still on its way out is in the way of its successor.
  return live?.metadata.deletionTimestamp === undefined ? made !== undefined : terminating;
}
