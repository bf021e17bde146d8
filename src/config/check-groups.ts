import type { ProtectionGroup } from "./group.ts";
import { firstSite, namespaceAt } from "./match.ts";

/**
 * Problems between groups that share a site: a namespace belongs to one group, under the name that it has there.
 * `namespaces` gives each group's namespaces as named on its first site, selectors followed; absent, the names in the
 * spec stand for them. Returns sentences by the name of the group that came later, which is the one to be refused.
 */
export function checkGroups(
  groups: readonly Pick<ProtectionGroup, "name" | "spec">[],
  namespaces: ReadonlyMap<string, Iterable<string>> = new Map(),
): ReadonlyMap<string, readonly string[]> {
  const taken = new Map<string, { group: string; name: string }>();
  const problems = new Map<string, readonly string[]>();
  for (const { name: group, spec } of groups) {
    for (const name of new Set(namespaces.get(group) ?? spec.select.namespaces.names ?? [])) {
      for (const site of spec.sites) {
        const local = namespaceAt(spec, name, firstSite(spec), site.name);
        const place = `${site.name}/${local}`;
        const other = taken.get(place);
        if (other === undefined) {
          taken.set(place, { group, name });
          continue;
        }
        problems.set(group, [...(problems.get(group) ?? []), describe(other, { group, name }, site.name, local)]);
        // A namespace of the same name at both sites is one problem, not two.
        break;
      }
    }
  }
  return problems;
}

interface Claim {
  readonly group: string;
  readonly name: string;
}

function describe(other: Claim, own: Claim, site: string, local: string): string {
  if (other.group === own.group) return `namespaces ${other.name} and ${own.name} would both be ${local} at ${site}`;
  return `namespace ${local} at ${site} already belongs to the group ${other.group}`;
}
