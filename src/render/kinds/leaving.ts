import type { ProfileSpec } from "../../config/group.ts";
import { kindName } from "../../objects/key.ts";
import { groupOf, type KubeObject } from "../../objects/object.ts";
import { profileFor, profileOf } from "./custom.ts";

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

/** Whether a standby does not have objects of the kind at all: pods, and kinds whose profile says so. */
export function isWithheld(
  kind: { readonly group: string; readonly kind: string },
  own: readonly ProfileSpec[],
): boolean {
  return kindName(kind.group, kind.kind) === "Pod" || profileOf(kind, own)?.withhold === true;
}
