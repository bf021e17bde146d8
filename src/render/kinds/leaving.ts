import type { ProfileSpec } from "../../config/group.ts";
import { kindName } from "../../objects/key.ts";
import { groupOf, type KubeObject } from "../../objects/object.ts";
import { profileFor } from "./custom.ts";

/**
 * Whether what the object has started goes on when the object is held, so that a site that stops has to end that by
 * itself. `own` are the group's own profiles, which take the place of the built-in ones.
 */
export function leavesRunning(object: KubeObject, own: readonly ProfileSpec[]): boolean {
  // Suspended, it starts no more Jobs.
  if (kindName(groupOf(object.apiVersion), object.kind) === "batch/CronJob") return true;
  const profile = profileFor(object, own);
  return profile !== undefined && "stops" in profile && !profile.stops;
}
