import { placeOf, type KubeResource } from "../kube/resource.ts";
import { parseJson } from "../objects/json.ts";
import { keyOf, type ObjectKey, parseKey } from "../objects/key.ts";
import { type KubeObject, marks } from "../objects/object.ts";
import { fromHeld } from "../render/marks.ts";
import { waveOf } from "../render/waves.ts";
import { classify, type Failure } from "./failures.ts";
import { mergePatchOf, setIn } from "./merge.ts";
import type { Plan, Stage } from "./plan.ts";
import type { GroupSite } from "./site.ts";

/**
 * The last resort of a promotion: with source and journal both lost, the standby's own objects say in an annotation
 * what was held back of them. What was never applied (pods that belong to nobody, webhooks) is not among them, and
 * owners of fields cannot be put back.
 */
export async function copiesPlan(site: GroupSite, signal: AbortSignal): Promise<Plan> {
  const stages = new Map<number, Stage>();
  const held = new Map<ObjectKey, { resource: KubeResource; object: KubeObject }>();
  for (const resource of listable(site)) {
    for (const object of await listCopies(site, resource, signal)) {
      const key = keyOf(object);
      const wave = waveOf(object);
      const stage = stages.get(wave) ?? { wave, keys: [] };
      stages.set(wave, stage);
      stage.keys.push(key);
      site.assignments.assign(key, [key]);
      held.set(key, { resource, object });
    }
  }
  const bring = async (key: ObjectKey, own: AbortSignal): Promise<Failure | undefined> => {
    const copy = held.get(key);
    return copy === undefined ? undefined : giveBack(site, copy.resource, copy.object, own);
  };
  return { stages: [...stages.values()].sort((a, b) => a.wave - b.wave), bring };
}

function listable(site: GroupSite): KubeResource[] {
  const resources = site.options.discovery.kinds().map(({ versions }) => versions[0]);
  return resources.filter(({ verbs, group }) => verbs.has("list") && verbs.has("patch") && group !== "lifeboat.dev");
}

async function listCopies(site: GroupSite, resource: KubeResource, signal: AbortSignal): Promise<KubeObject[]> {
  const labelSelector = `${marks.group}=${site.journal.group}`;
  const found: KubeObject[] = [];
  try {
    for await (const page of site.options.client.list(resource, { labelSelector, signal })) {
      // Controllers copy labels to what they make; only what was applied names its source.
      found.push(...page.items.filter((item) => item.metadata.annotations?.[marks.source] !== undefined));
    }
  } catch (error) {
    signal.throwIfAborted();
    site.options.log.warn({ kind: resource.kind, err: error }, "kind could not be listed for a promotion");
  }
  return found;
}

async function giveBack(
  site: GroupSite,
  resource: KubeResource,
  object: KubeObject,
  signal: AbortSignal,
): Promise<Failure | undefined> {
  const text = object.metadata.annotations?.[marks.held];
  if (text === undefined) return undefined;
  try {
    const body = mergePatchOf(Object.keys(parseJson(text) as Record<string, unknown>), fromHeld(object));
    setIn(body, ["metadata", "annotations", marks.held], null);
    const patch = { type: "merge", body } as const;
    await site.options.client.patch(resource, placeOf(object), patch, { fieldManager: site.manager, signal });
    return undefined;
  } catch (error) {
    signal.throwIfAborted();
    return classify(error, parseKey(keyOf(object)));
  }
}
