import { kindName } from "../objects/key.ts";
import { groupOf, type KubeObject, marks } from "../objects/object.ts";
import { specOf } from "./kinds/rule.ts";
import { podSpecOf } from "./mutations/label-places.ts";
import { listAt } from "./pointer.ts";

/**
 * In mode ActiveActive everything runs at both sites but what is single: an object with the label or annotation
 * `lifeboat.dev/singleton: "true"`, everything in a namespace by the same on the Namespace, and what mounts a claim,
 * since the two sites' volumes are two. `"false"` says of such a one that each site is to run it on a volume of its own.
 */
export function isSingle(object: KubeObject): boolean {
  const { labels, annotations } = object.metadata;
  const said = [labels?.[marks.singleton], annotations?.[marks.singleton]];
  if (said.includes("true")) return true;
  return !said.includes("false") && mountsClaim(object);
}

/** Of other kinds nobody knows what they mount. */
const running: ReadonlySet<string> = new Set([
  "Pod",
  "ReplicationController",
  "apps/Deployment",
  "apps/StatefulSet",
  "apps/DaemonSet",
  "apps/ReplicaSet",
  "batch/Job",
  "batch/CronJob",
]);

function mountsClaim(object: KubeObject): boolean {
  if (!running.has(kindName(groupOf(object.apiVersion), object.kind))) return false;
  if (listAt(specOf(object), "volumeClaimTemplates").length > 0) return true;
  return listAt(podSpecOf(object), "volumes").some((volume) => volume["persistentVolumeClaim"] !== undefined);
}
