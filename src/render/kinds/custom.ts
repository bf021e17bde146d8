import type { ProfileSpec } from "../../config/group.ts";
import { kindMatches } from "../../config/match.ts";
import { kindName } from "../../objects/key.ts";
import { groupOf, type KubeObject } from "../../objects/object.ts";
import { expandPointer, removeAt, setAt } from "../pointer.ts";
import { builtInProfiles, type Profile } from "../profiles/table.ts";
import type { KindRule, Scope, Withheld } from "./rule.ts";

/** Custom resources: standby profiles say how each kind is kept from running. */
export const customResource: KindRule = {
  hold(object, scope) {
    const profile = profileFor(object, scope.context.spec.profiles ?? []);
    if (profile !== undefined) return applyProfile(object, profile);
    warnIfUnknown(object, scope);
    return undefined;
  },
};

/** The group's own profile for a kind wins over the built-in one. */
export function profileFor(object: KubeObject, own: readonly ProfileSpec[]): Profile | ProfileSpec | undefined {
  return profileOf({ group: groupOf(object.apiVersion), kind: object.kind }, own);
}

export function profileOf(
  { group, kind }: { readonly group: string; readonly kind: string },
  own: readonly ProfileSpec[],
): Profile | ProfileSpec | undefined {
  return own.find((profile) => kindMatches(profile.kind, group, kind)) ?? builtInProfiles.get(kindName(group, kind));
}

function applyProfile(object: KubeObject, profile: Profile | ProfileSpec): Withheld | undefined {
  if (profile.withhold === true) return { reason: "StandbyRole", message: "created at promotion, as its profile says" };
  for (const { path, value } of profile.set ?? []) {
    for (const pointer of expandPointer(object, path)) {
      if (value === undefined) removeAt(object, pointer);
      else setAt(object, pointer, value);
    }
  }
  return undefined;
}

function warnIfUnknown(object: KubeObject, scope: Scope): void {
  const kind = kindName(groupOf(object.apiVersion), object.kind);
  if (scope.facts.podOwners?.has(kind) !== true) return;
  scope.find("MayRunOnStandby", `${kind} owns pods and has no standby profile; declare one in spec.profiles`);
}
