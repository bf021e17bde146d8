import { placeOf, type KubeResource } from "../kube/resource.ts";
import { parseJson } from "../objects/json.ts";
import { formatKey, keyOf, type ObjectKey, parseKey } from "../objects/key.ts";
import { type KubeObject, marks } from "../objects/object.ts";
import { fromHeld } from "../render/marks.ts";
import { waveOf } from "../render/waves.ts";
import { kubeStatusOf } from "../kube/status.ts";
import { classify, type Failure } from "./failures.ts";
import { mergePatchOf, setIn } from "./merge.ts";
import type { Plan, Stage } from "./plan.ts";
import type { GroupSite } from "./site.ts";
import { runWave } from "./waves.ts";

/**
 * The last resort of a promotion: with source and journal both lost, the standby's own objects say in an annotation
 * what was held back of them. What was never applied (pods that belong to nobody, webhooks) is not among them, and
 * owners of fields cannot be put back.
 */
export async function copiesPlan(
  site: GroupSite,
  signal: AbortSignal,
): Promise<{ plan: Plan; unread: ReadonlyMap<ObjectKey, Failure> }> {
  const stages = new Map<number, Stage>();
  const held = new Map<ObjectKey, { resource: KubeResource; object: KubeObject }>();
  const note = (resource: KubeResource, object: KubeObject): void => {
    const key = keyOf(object);
    const wave = waveOf(object);
    const stage = stages.get(wave) ?? { wave, keys: [] };
    stages.set(wave, stage);
    stage.keys.push(key);
    site.assignments.assign(key, [key]);
    held.set(key, { resource, object });
  };
  const kinds = listable(site);
  const unread = await runWave(site, [...kinds.keys()], {
    timeoutMs: listTimeoutMs,
    signal,
    work: async (kind, own) => {
      const resource = kinds.get(kind);
      if (resource === undefined) return undefined;
      const { copies, failure } = await listCopies(site, resource, own);
      for (const object of copies) note(resource, object);
      return failure;
    },
  });
  for (const [kind, failure] of unread) {
    site.options.log.warn(
      { kind, ...failure },
      "a kind could not be read for a promotion: its copies may be held back",
    );
  }
  const bring = async (key: ObjectKey, own: AbortSignal): Promise<Failure | undefined> => {
    const copy = held.get(key);
    return copy === undefined ? undefined : giveBack(site, copy.resource, copy.object, own);
  };
  return { plan: { stages: [...stages.values()].sort((a, b) => a.wave - b.wave), bring }, unread };
}

/** A kind that cannot be read for so long is gone on without, and reported. */
const listTimeoutMs = 20_000;

/** Kinds that copies can be of, by their keys without a name. */
function listable(site: GroupSite): Map<ObjectKey, KubeResource> {
  const resources = site.options.discovery.kinds().map(({ versions }) => versions[0]);
  return new Map(
    resources
      .filter(({ verbs, group }) => verbs.has("list") && verbs.has("patch") && group !== "lifeboat.dev")
      .map((resource) => [
        formatKey({ group: resource.group, kind: resource.kind, namespace: "", name: "" }),
        resource,
      ]),
  );
}

/** All of them or why not: a part of a kind would look like the whole. */
async function listCopies(
  site: GroupSite,
  resource: KubeResource,
  signal: AbortSignal,
): Promise<{ copies: readonly KubeObject[]; failure?: Failure }> {
  const labelSelector = `${marks.group}=${site.journal.group}`;
  const found: KubeObject[] = [];
  try {
    for await (const page of site.options.client.list(resource, { labelSelector, signal })) {
      // Controllers copy labels to what they make; only what was applied names its source.
      found.push(...page.items.filter((item) => item.metadata.annotations?.[marks.source] !== undefined));
    }
    return { copies: found };
  } catch (error) {
    signal.throwIfAborted();
    const code = kubeStatusOf(error)?.code;
    // Not served any more, or never listable: there are no copies of it.
    if (code === 404 || code === 405) return { copies: [] };
    return { copies: [], failure: classify(error, { group: resource.group, kind: resource.kind, namespace: "" }) };
  }
}

/** Gives back all copies of a kind (a key without a name) that could not be read before. */
export async function giveBackKind(
  site: GroupSite,
  kind: ObjectKey,
  signal: AbortSignal,
): Promise<Failure | undefined> {
  const resource = listable(site).get(kind);
  if (resource === undefined) return undefined;
  const { copies, failure } = await listCopies(site, resource, signal);
  for (const copy of copies) {
    const refused = await giveBack(site, resource, copy, signal);
    if (refused !== undefined) return refused;
  }
  return failure;
}

/** The same for one copy. */
export async function giveBackCopy(site: GroupSite, key: ObjectKey, signal: AbortSignal): Promise<Failure | undefined> {
  const { group, kind, namespace, name } = parseKey(key);
  const resource = site.options.discovery.find(group, kind)?.versions[0];
  if (resource === undefined) return undefined;
  const place = namespace === "" ? { name } : { namespace, name };
  const live = await site.options.client.find(resource, place, { signal });
  return live === undefined ? undefined : giveBack(site, resource, live, signal);
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
