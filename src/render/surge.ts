import { surgePercents } from "../config/group.ts";
import { keyOf, kindName, type ObjectKey, parseKey } from "../objects/key.ts";
import { groupOf, type KubeObject, marks } from "../objects/object.ts";
import { specOf } from "./kinds/rule.ts";

/**
 * The load of both sites on one: more replicas of what is told how many it has, and wider limits of what finds that out
 * by itself. Made like a mutation, so that it is noted in the object, undone at the other site and taken back here.
 */

const replicated: ReadonlySet<string> = new Set([
  "apps/Deployment",
  "apps/StatefulSet",
  "apps/ReplicaSet",
  "ReplicationController",
]);
const autoscaler = "autoscaling/HorizontalPodAutoscaler";

/** Whether a surge changes such an object. */
export function isSurged(key: ObjectKey): boolean {
  const { group, kind } = parseKey(key);
  const name = kindName(group, kind);
  return replicated.has(name) || name === autoscaler;
}

/** By a workload's own annotation; `undefined` where that says nothing, or no percentage that a group may have. */
function ownPercent({ metadata }: KubeObject): number | undefined {
  const said = metadata.annotations?.[marks.surge] ?? "";
  const percent = /^\d{1,4}$/.test(said) ? Number(said) : 0;
  return percent >= surgePercents.least && percent <= surgePercents.most ? percent : undefined;
}

/** Why what an object says of its own surge does not count; `undefined` where it does, or says nothing. */
export function whySurgeIgnored(object: KubeObject): string | undefined {
  const said = object.metadata.annotations?.[marks.surge];
  if (said === undefined || !isSurged(keyOf(object)) || ownPercent(object) !== undefined) return undefined;
  const { least, most } = surgePercents;
  return `annotation ${marks.surge}: ${JSON.stringify(said)} is no whole percentage from ${least} to ${most}; the group's counts`;
}

/** In place. What is at zero stays there. */
export function surge(object: KubeObject, groupsPercent: number): void {
  const percent = ownPercent(object) ?? groupsPercent;
  const kind = kindName(groupOf(object.apiVersion), object.kind);
  const spec = specOf(object);
  const raise = (field: string, standard: number): void => {
    const count = spec[field] ?? standard;
    if (typeof count === "number") spec[field] = Math.ceil((count * percent) / 100);
  };
  if (replicated.has(kind)) raise("replicas", 1);
  if (kind === autoscaler) {
    raise("minReplicas", 1);
    raise("maxReplicas", 1);
  }
}
