import { placeOf, type KubeResource } from "../kube/resource.ts";
import { isOwnersConflict } from "../kube/status.ts";
import { parseJson } from "../objects/json.ts";
import { type ObjectKey, parseKey } from "../objects/key.ts";
import { type KubeObject, marks } from "../objects/object.ts";
import { fromHeld } from "../render/marks.ts";
import { equalJson, getAt } from "../render/pointer.ts";
import { look } from "./copies.ts";
import { classify, type Failure, terminating } from "./failures.ts";
import { mergePatchOf, setIn } from "./merge.ts";
import type { GroupSite } from "./site.ts";
import { isShared, type Target } from "./view.ts";

/**
 * Bringing a copy up that people have changed since its site began to be the active one: the site's own from then on,
 * so what they wrote stays, and everything beside it becomes what the journal says.
 */

/**
 * Whether others hold something of the copy that they did not hold before. Asks the API server where the copy is not
 * watched.
 */
export async function isChanged(
  site: GroupSite,
  target: ObjectKey,
  before: string,
  signal: AbortSignal,
): Promise<boolean> {
  if (isShared(target)) return false;
  const seen = site.copies.get(target) ?? (await lookAt(site, target, signal));
  return seen !== undefined && seen.foreign !== "" && seen.foreign !== before;
}

async function lookAt(site: GroupSite, target: ObjectKey, signal: AbortSignal) {
  const { group, kind, namespace, name } = parseKey(target);
  const resource = site.options.discovery.find(group, kind)?.versions[0];
  if (resource === undefined) return undefined;
  const live = await site.options.client.find(resource, namespace === "" ? { name } : { namespace, name }, { signal });
  // What nobody has put there for the group is met, and judged, when it is written.
  return live?.metadata.labels?.[marks.group] === site.journal.group ? look(live, site.manager) : undefined;
}

/** Brings one object up and leaves alone what others hold of it. `undefined` when done. */
export async function bringBeside(
  site: GroupSite,
  source: ObjectKey,
  target: Target,
  signal: AbortSignal,
): Promise<Failure | undefined> {
  const { object } = target;
  const { group, kind, namespace } = parseKey(target.key);
  const resource = site.options.discovery.resource(object.apiVersion, object.kind);
  if (resource === undefined) return { reason: "KindMissing", message: `${object.apiVersion} ${kind} is not served` };
  try {
    const live = await site.writer.find(resource, object, signal);
    if (live === undefined) return { reason: "Replaced", message: "it was deleted at the same moment" };
    if (live.metadata.deletionTimestamp !== undefined) return terminating;
    const settled = await site.writer.settle(resource, live, [], signal);
    try {
      const options = { uid: settled.metadata.uid ?? "", force: false, signal };
      site.copies.expect(await site.writer.apply(resource, object, options), target.hash);
    } catch (error) {
      if (!isOwnersConflict(error)) throw error;
      site.options.log.warn(
        { key: target.key, err: error },
        "somebody has changed this during the promotion; it stays",
      );
      await giveBackRest(site, resource, { source, live: settled, target: target.key, signal });
    }
    return undefined;
  } catch (error) {
    signal.throwIfAborted();
    return classify(error, { group, kind, namespace });
  }
}

/** Of what is held back, gives the values that nobody has set to something else. */
async function giveBackRest(
  site: GroupSite,
  resource: KubeResource,
  copy: { source: ObjectKey; live: KubeObject; target: ObjectKey; signal: AbortSignal },
): Promise<void> {
  const { source, live, target, signal } = copy;
  const text = live.metadata.annotations?.[marks.held];
  if (text === undefined) return;
  const standby = site.view.renderKey(source, "standby")?.targets.find(({ key }) => key === target)?.object;
  const untouched = Object.keys(parseJson(text) as Record<string, unknown>).filter((pointer) =>
    equalJson(getAt(live, pointer), getAt(standby, pointer)),
  );
  const body = mergePatchOf(untouched, fromHeld(live));
  setIn(body, ["metadata", "annotations", marks.held], null);
  await site.options.client.patch(
    resource,
    placeOf(live),
    { type: "merge", body },
    { fieldManager: site.manager, signal },
  );
}
