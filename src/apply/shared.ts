import type { KubeResource } from "../kube/resource.ts";
import { isOwnersConflict } from "../kube/status.ts";
import { type KubeObject, marks } from "../objects/object.ts";
import { type ObjectKey, parseKey } from "../objects/key.ts";
import { differences } from "./compare.ts";
import { terminating } from "./failures.ts";
import { applied, failed, noteDropped, type ReconcileContext, type ReconcileDeps, type Verdict } from "./verdict.ts";
import type { Target } from "./view.ts";

/**
 * Cluster-scoped objects that several groups, and people, may need: definitions, cluster roles, classes. They carry
 * the list of groups that need them, are deleted with the last of these, and never take a field from its owner.
 */

/** One field manager for all groups: what one of them has written another may change. */
export const sharedManager = "lifeboat-shared";

/** Groups on a shared object; `undefined` for one that Lifeboat did not make. */
export function groupsOn(object: KubeObject): string[] | undefined {
  const text = object.metadata.annotations?.[marks.groups];
  return text?.split(",").filter((name) => name !== "");
}

export async function reconcileShared(
  deps: ReconcileDeps,
  resource: KubeResource,
  target: Target,
  context: ReconcileContext,
): Promise<Verdict> {
  const { writer, sharedWriter, notes } = deps;
  const live = await writer.find(resource, target.object, context.signal);
  if (live === undefined)
    return written(deps, target, await sharedWriter.create(resource, target.object, context.signal));
  if (live.metadata.deletionTimestamp !== undefined) {
    return failed(terminating);
  }
  const groups = groupsOn(live);
  const differing = differences(withoutMarks(target.object), live).filter(
    ({ what }) => what === "value" || what === "missing",
  );
  const own = context.own.has(live.metadata.uid ?? "");
  if (groups === undefined && differing.length === 0) {
    // Somebody else has put there just what the group needs.
    deps.copies.observe(live);
    notes.forgetTarget(target.key);
    return applied;
  }
  if (groups === undefined && !own && !context.adopt) {
    const fields = differing.map(({ path }) => path).join(", ");
    return conflict(deps, target, `exists on the standby, made by somebody else, and differs in ${fields}`);
  }
  // What the source has taken out since is no difference of a field: the mark tells. It covers the list of groups.
  const mark = (name: string, { metadata }: KubeObject): string | undefined => metadata.annotations?.[name];
  const sameGroups = mark(marks.groups, live) === mark(marks.groups, target.object);
  const isNarrower = sameGroups && mark(marks.hash, live) !== mark(marks.hash, target.object);
  const isRight = differing.length === 0 && !isNarrower && notes.dropped.get(target.key) === undefined;
  if (groups?.includes(deps.group) === true && isRight) {
    deps.copies.observe(live);
    notes.forgetTarget(target.key);
    return applied;
  }
  return change(deps, resource, target, live, { force: own, signal: context.signal });
}

async function change(
  deps: ReconcileDeps,
  resource: KubeResource,
  target: Target,
  live: KubeObject,
  options: { force: boolean; signal: AbortSignal },
): Promise<Verdict> {
  const { signal } = options;
  const settled = await deps.sharedWriter.settle(resource, live, [], signal);
  // With its version, so that two groups that add their names at once do not lose one.
  const { uid = "", resourceVersion = "" } = settled.metadata;
  const object = { ...target.object, metadata: { ...target.object.metadata, resourceVersion } };
  try {
    return written(
      deps,
      target,
      await deps.sharedWriter.apply(resource, object, { uid, force: options.force, signal }),
    );
  } catch (error) {
    if (!isOwnersConflict(error)) throw error;
    return conflict(deps, target, error instanceof Error ? error.message : String(error));
  }
}

/** Writes the list of groups where it differs. */
async function listGroup(
  deps: ReconcileDeps,
  resource: KubeResource,
  live: KubeObject,
  groups: readonly string[],
  signal: AbortSignal,
): Promise<KubeObject> {
  const list = [...new Set(groups)].sort().join(",");
  if (live.metadata.annotations?.[marks.groups] === list) return live;
  const { uid, resourceVersion, name } = live.metadata;
  const body = { metadata: { uid, resourceVersion, annotations: { [marks.groups]: list } } };
  return deps.client.patch(resource, { name }, { type: "merge", body }, { fieldManager: sharedManager, signal });
}

function written(deps: ReconcileDeps, target: Target, answer: KubeObject): Verdict {
  deps.copies.expect(answer, target.hash);
  noteDropped(deps.notes, target, answer);
  deps.notes.conflicts.delete(target.key);
  return applied;
}

function conflict(deps: ReconcileDeps, target: Target, message: string): Verdict {
  deps.notes.conflicts.set(target.key, { key: target.key, message });
  return failed({ reason: "Exists", message, slow: true });
}

/** Takes the group off the list, and deletes the object with the last group. One that others made stays. */
export async function removeShared(
  deps: ReconcileDeps,
  resource: KubeResource,
  key: ObjectKey,
  signal: AbortSignal,
): Promise<Verdict> {
  const { namespace, name, group, kind } = parseKey(key);
  const live = await deps.client.find(resource, { name }, { signal });
  const groups = live === undefined ? undefined : groupsOn(live);
  deps.notes.forgetTarget(key);
  if (live === undefined || groups === undefined || !groups.includes(deps.group)) {
    deps.copies.gone(key);
    return applied;
  }
  const others = groups.filter((entry) => entry !== deps.group);
  if (others.length > 0) {
    await listGroup(deps, resource, live, others, signal);
    deps.copies.gone(key);
    return applied;
  }
  const user = await otherUser(deps, live, signal);
  if (user !== undefined) return failed({ reason: "Needed", message: user });
  const uid = live.metadata.uid ?? "";
  await deps.writer.remove(resource, { namespace, name }, { uid, propagation: "Background", signal });
  return failed({ reason: "Terminating", message: `${group}/${kind} ${name} is being deleted` });
}

/** With a definition goes every object of its kind: it stays while there are objects that are not the group's. */
async function otherUser(deps: ReconcileDeps, live: KubeObject, signal: AbortSignal): Promise<string | undefined> {
  if (live.kind !== "CustomResourceDefinition") return undefined;
  const spec = live["spec"] as { group?: string; names?: { kind?: string } } | undefined;
  const resource = deps.discovery.find(spec?.group ?? "", spec?.names?.kind ?? "")?.versions[0];
  if (resource === undefined) return undefined;
  for await (const page of deps.client.list(resource, { pageCount: 1, signal })) {
    const first = page.items[0];
    if (first === undefined) return undefined;
    return `the standby still has objects of this kind, such as ${first.metadata.namespace ?? ""}/${first.metadata.name}`;
  }
  return undefined;
}

function withoutMarks(object: KubeObject): KubeObject {
  const {
    [marks.groups]: _,
    [marks.source]: _s,
    [marks.epoch]: _e,
    [marks.hash]: _h,
    ...rest
  } = object.metadata.annotations ?? {};
  const { annotations: _a, ...metadata } = object.metadata;
  return { ...object, metadata: Object.keys(rest).length === 0 ? metadata : { ...metadata, annotations: rest } };
}
