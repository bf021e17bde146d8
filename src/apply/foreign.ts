import type { KubeObject } from "../objects/object.ts";
import { entriesOf, foreignEntries, resolveFields } from "./fields.ts";

/** What another manager holds of an object that should be ours. */
export interface ForeignClaim {
  readonly manager: string;
  /** Fields that were rendered and that we no longer own: it wrote another value. */
  readonly lost: readonly string[];
  /** Fields that were not rendered. */
  readonly extra: readonly string[];
}

/**
 * What managers other than ours and those of Kubernetes hold, each with what it took and what it added. A manager that
 * owns the same values beside us is no claim.
 */
export function foreignClaims(live: KubeObject, desired: KubeObject, manager: string): ForeignClaim[] {
  const ours = new Set<string>();
  for (const entry of entriesOf(live, manager)) {
    for (const path of resolveFields(entry.fieldsV1 ?? {}, desired).present) ours.add(path);
  }
  const claims: ForeignClaim[] = [];
  for (const entry of foreignEntries(live, manager)) {
    const { present, extra } = resolveFields(entry.fieldsV1 ?? {}, desired);
    const lost = present.filter((path) => !ours.has(path));
    claims.push({ manager: entry.manager, lost, extra: extra.filter((path) => !belongsToSite(path)) });
  }
  return claims.filter((claim) => claim.lost.length + claim.extra.length > 0);
}

/**
 * Fields that we wrote by another verb than apply (when the object was created) and that are no longer rendered: an
 * apply does not remove those. Mostly none, which saves two requests at an object's first change.
 */
export function leftovers(live: KubeObject, desired: KubeObject, manager: string): string[] {
  return entriesOf(live, manager)
    .filter((entry) => entry.operation === "Update")
    .flatMap((entry) => resolveFields(entry.fieldsV1 ?? {}, desired).extra)
    .filter((path) => !belongsToSite(path));
}

/**
 * Status, finalizers and owners are written by the controllers of the site that the object is at; taking a finalizer
 * away from its controller would leak what it guards.
 */
function belongsToSite(path: string): boolean {
  return /^(status|metadata\.(finalizers|ownerReferences))(\.|\[|$)/.test(path);
}
