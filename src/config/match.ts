import { groupOf, type KubeObject } from "../objects/object.ts";
import { kindName } from "../objects/key.ts";
import type { GroupSpec } from "./group.ts";
import type { LabelSelector, ObjectMatch } from "./fields.ts";

/** Evaluates what a spec selects by: label selectors, patterns of names and kinds, namespaces by site. */

export type Labels = Readonly<Record<string, string>>;

/** Whether labels satisfy a selector. An empty or absent selector is satisfied by all. */
export function selectorMatches(selector: LabelSelector | undefined, labels: Labels = {}): boolean {
  if (selector === undefined) return true;
  for (const [key, value] of Object.entries(selector.matchLabels ?? {})) {
    if (labels[key] !== value) return false;
  }
  return (selector.matchExpressions ?? []).every(({ key, operator, values }) => {
    const label = labels[key];
    switch (operator) {
      case "Exists":
        return label !== undefined;
      case "DoesNotExist":
        return label === undefined;
      case "In":
        return label !== undefined && (values ?? []).includes(label);
      case "NotIn":
        return label === undefined || !(values ?? []).includes(label);
    }
  });
}

/** Whether `text` matches a pattern in which `*` stands for any characters. */
export function globMatches(pattern: string, text: string): boolean {
  if (!pattern.includes("*")) return pattern === text;
  return new RegExp(`^${globSource(pattern)}$`).test(text);
}

/** A pattern as the source of a regular expression, unanchored. RE2, which CEL uses, reads it too. */
export function globSource(pattern: string, any = ".*"): string {
  return pattern
    .split("*")
    .map((part) => part.replace(/[.+?^${}()|[\]\\]/g, "\\$&"))
    .join(any);
}

/** Whether `group/Kind` matches; the bare pattern `*` stands for every kind, `Pod*` for core kinds only. */
export function kindMatches(pattern: string, group: string, kind: string): boolean {
  if (pattern === "*") return true;
  if (group !== "" && !pattern.includes("/")) return false;
  return globMatches(pattern, kindName(group, kind));
}

/**
 * Whether an object is matched.
 * @param namespace the object's namespace as named on the first site (see {@link namespaceAt}); for a Namespace its
 * own name; empty for other cluster-scoped objects
 */
export function objectMatches(match: ObjectMatch, object: KubeObject, namespace: string): boolean {
  const { name, labels } = object.metadata;
  if (!selectorMatches(match.selector, labels)) return false;
  return nameMatches(match, { group: groupOf(object.apiVersion), kind: object.kind, name }, namespace);
}

/** {@link objectMatches} as far as it can be told without the object's labels. */
export function nameMatches(
  match: Omit<ObjectMatch, "selector">,
  object: { readonly group: string; readonly kind: string; readonly name: string },
  namespace: string,
): boolean {
  if (match.kinds !== undefined && !match.kinds.some((kind) => kindMatches(kind, object.group, object.kind))) {
    return false;
  }
  if (match.names !== undefined && !match.names.some((name) => globMatches(name, object.name))) return false;
  return match.namespaces === undefined || match.namespaces.some((pattern) => globMatches(pattern, namespace));
}

/** Name at `site` of a namespace that is called `name` at `from`. */
export function namespaceAt(spec: Pick<GroupSpec, "mappings">, name: string, from: string, site: string): string {
  const entry = (spec.mappings?.namespaces ?? []).find((mapping) => mapping[from] === name);
  return entry?.[site] ?? name;
}

/** Name of the first site: the one whose names a spec uses. */
export function firstSite(spec: Pick<GroupSpec, "sites">): string {
  return spec.sites[0]?.name ?? "";
}
