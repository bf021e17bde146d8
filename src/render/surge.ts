import { surgePercents } from "../config/group.ts";
import { kindName, type ObjectKey, parseKey } from "../objects/key.ts";
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

/** By a workload's own annotation, if that is a percentage that a group may have, or else by its group's. */
function percentOf({ metadata }: KubeObject, groups: number): number {
  const said = metadata.annotations?.[marks.surge] ?? "";
  const percent = /^\d{1,4}$/.test(said) ? Number(said) : 0;
  return percent >= surgePercents.least && percent <= surgePercents.most ? percent : groups;
}

/** In place. What is at zero stays there. */
export function surge(object: KubeObject, groupsPercent: number): void {
  const percent = percentOf(object, groupsPercent);
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
