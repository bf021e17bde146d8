import { groupOf, type KubeObject, type ObjectMeta, type OwnerReference } from "../objects/object.ts";
import { formatKey } from "../objects/key.ts";
import { isBuiltIn } from "./builtin.ts";
import type { Scope } from "./kinds/rule.ts";

/** What every kind has in common: fields of the API server, finalizers, owners. */

const serverFields = [
  "uid",
  "resourceVersion",
  "generation",
  "creationTimestamp",
  "deletionTimestamp",
  "deletionGracePeriodSeconds",
  "selfLink",
  "managedFields",
] as const satisfies readonly (keyof ObjectMeta)[];

/** Removes what an API server writes into every object, and its status. */
export function dropServerFields(object: KubeObject): void {
  for (const field of serverFields) delete object.metadata[field];
  delete object["status"];
}

/**
 * Finalizers stay at their site. A controller adds its own to what it looks after; one whose controller does not run
 * would block every deletion.
 */
export function dropFinalizers(object: KubeObject): void {
  delete object.metadata.finalizers;
}

/**
 * Owners by the UIDs that they have at the site. A reference whose owner is not there (yet) is left out: with a wrong
 * UID the site's garbage collector would delete the object.
 */
export function settleOwners(object: KubeObject, scope: Scope): void {
  const owners = object.metadata.ownerReferences;
  if (owners === undefined) return;
  const kept = owners.flatMap((owner) => remapOwner(owner, object, scope));
  if (kept.length > 0) object.metadata.ownerReferences = kept;
  else delete object.metadata.ownerReferences;
}

function remapOwner(owner: OwnerReference, object: KubeObject, scope: Scope): OwnerReference[] {
  const group = groupOf(owner.apiVersion);
  const places = [object.metadata.namespace ?? "", ""];
  const keys = places.map((namespace) => formatKey({ group, kind: owner.kind, namespace, name: owner.name }));
  for (const key of keys) {
    const uid = scope.facts.uids?.get(key);
    if (uid !== undefined) return [{ ...owner, uid }];
  }
  const key = keys[0];
  if (key !== undefined) scope.waitFor(key);
  scope.find("OwnerMissing", `its owner ${owner.kind} ${owner.name} does not exist at the site`);
  return [];
}

/** Says so when the site does not serve the object's version. Returns whether it does. */
export function isServed(object: KubeObject, scope: Scope): boolean {
  const group = groupOf(object.apiVersion);
  const served = scope.facts.versions?.get(group === "" ? object.kind : `${group}/${object.kind}`);
  const version = object.apiVersion.slice(group === "" ? 0 : group.length + 1);
  if (served === undefined || served.includes(version)) return true;
  const advice = isBuiltIn(group) ? "the sites' Kubernetes versions are too far apart" : "the definition differs";
  scope.find("VersionNotServed", `the site serves ${served.join(", ") || "no version"}, not ${version}: ${advice}`);
  return false;
}
