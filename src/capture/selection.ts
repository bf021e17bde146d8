import type { GroupSpec } from "../config/group.ts";
import { firstSite, kindMatches, namespaceAt, objectMatches, selectorMatches, type Labels } from "../config/match.ts";
import type { KubeObject } from "../objects/object.ts";

/** The part of a spec that says what belongs to a group. */
export type SelectionSpec = Pick<GroupSpec, "select" | "mappings" | "sites">;

/** A spec's selection as questions about objects of one site. Pure; a changed spec makes a new one. */
export interface Selection {
  /** Whether the group takes a namespace of this name and these labels (`undefined`: it is not known to exist). */
  namespace(name: string, labels: Labels | undefined): boolean;
  /** Names that are selected whether or not such a namespace exists. */
  readonly namespaceNames: ReadonlySet<string>;
  /** Whether an entry of `exclude` names the object. */
  excludes(object: KubeObject): boolean;
  /** Whether all objects of a kind (`""`: a core one) are excluded. */
  excludesKind(group: string, kind: string): boolean;
  /** Whether an object of a selected namespace is taken for its labels. */
  labelled(labels: Labels | undefined): boolean;
  /** All objects of the namespaces are taken, so that references within them add nothing. */
  readonly whole: boolean;
  /** What the taken objects need comes along. */
  readonly references: boolean;
}

/** @param site the site whose objects are asked about: a mapped namespace has its name there */
export function compileSelection(spec: SelectionSpec, site: string): Selection {
  const first = firstSite(spec);
  const { namespaces, objects, exclude = [] } = spec.select;
  const names = new Set((namespaces.names ?? []).map((name) => namespaceAt(spec, name, first, site)));
  const objectSelector = objects?.selector;
  const whole =
    objectSelector === undefined ||
    (Object.keys(objectSelector.matchLabels ?? {}).length === 0 &&
      (objectSelector.matchExpressions ?? []).length === 0);
  return {
    namespaceNames: names,
    namespace: (name, labels) =>
      names.has(name) ||
      (namespaces.selector !== undefined && labels !== undefined && selectorMatches(namespaces.selector, labels)),
    excludes: (object) => {
      if (exclude.length === 0) return false;
      const local = object.kind === "Namespace" ? object.metadata.name : (object.metadata.namespace ?? "");
      const canonical = local === "" ? "" : namespaceAt(spec, local, site, first);
      return exclude.some((match) => objectMatches(match, object, canonical));
    },
    excludesKind: (group, kind) =>
      exclude.some(
        ({ kinds, names: some, namespaces: within, selector }) =>
          some === undefined &&
          within === undefined &&
          selector === undefined &&
          kinds?.some((pattern) => kindMatches(pattern, group, kind)) === true,
      ),
    labelled: (labels) => whole || selectorMatches(objectSelector, labels),
    whole,
    references: objects?.references ?? true,
  };
}

/** Whether two specs select the same by the letter. */
export function sameSelection(a: SelectionSpec, b: SelectionSpec): boolean {
  const relevant = (spec: SelectionSpec): string =>
    JSON.stringify([spec.select, spec.mappings?.namespaces ?? [], firstSite(spec)]);
  return relevant(a) === relevant(b);
}
