import type { Mutation } from "../../config/group.ts";
import type { LabelSelector } from "../../config/fields.ts";
import { objectMatches, selectorMatches, type Labels } from "../../config/match.ts";
import { keyOf, kindName, type ObjectKey } from "../../objects/key.ts";
import { groupOf, type KubeObject } from "../../objects/object.ts";
import { podLabelsOf, podSelectorsOf, namespaceSelectorsOf } from "./label-places.ts";
import { renameKeys, rewriteLabels } from "./label-changes.ts";

/**
 * Who selects whom by label in a group. A change of labels is right or wrong only in view of the selectors of other
 * objects, so whoever renders a whole group makes this index once and hands it to `render` as a fact.
 */
export interface LabelIndex {
  /** Objects that make pods (or are one), and objects that select pods, by namespace at the source. */
  readonly namespaces: ReadonlyMap<string, NamespaceLabels>;
  /** Selectors over namespaces anywhere in the group. */
  readonly namespaceSelectors: readonly SelectorUse[];
}

interface NamespaceLabels {
  readonly pods: PodLabels[];
  readonly selectors: SelectorUse[];
}

interface PodLabels {
  /** The object without its body: what a match looks at. */
  readonly object: KubeObject;
  readonly labels: Labels;
}

interface SelectorUse {
  readonly object: KubeObject;
  readonly selector: LabelSelector;
}

/** Index over all objects of a group at the source. */
export function indexLabels(objects: Iterable<KubeObject>): LabelIndex {
  const namespaces = new Map<string, NamespaceLabels>();
  const namespaceSelectors: SelectorUse[] = [];
  for (const object of objects) {
    const slim = identityOf(object);
    const place = namespaces.get(slim.metadata.namespace ?? "") ?? { pods: [], selectors: [] };
    namespaces.set(slim.metadata.namespace ?? "", place);
    const labels = podLabelsOf(object);
    if (labels !== undefined) place.pods.push({ object: slim, labels });
    for (const { selector } of podSelectorsOf(object)) place.selectors.push({ object: slim, selector });
    for (const selector of namespaceSelectorsOf(object)) namespaceSelectors.push({ object: slim, selector });
  }
  return { namespaces, namespaceSelectors };
}

function identityOf(object: KubeObject): KubeObject {
  const { name, namespace, labels } = object.metadata;
  return {
    apiVersion: object.apiVersion,
    kind: object.kind,
    metadata: { name, ...(namespace === undefined ? {} : { namespace }), ...(labels === undefined ? {} : { labels }) },
  };
}

/** Refusals by index, mutation and namespace: the same for every object, so worked out once. */
const cache = new WeakMap<LabelIndex, Map<Mutation, Map<string, string | undefined>>>();

/**
 * Why a label mutation must not be made in a namespace (of the source): a sentence that names the selector that would
 * gain or lose pods. `undefined` when every selector of the group selects the same pods before and after.
 *
 * @param canonical the namespace as named on the first site, for the mutation's match
 */
export function labelRefusal(
  index: LabelIndex,
  mutation: Mutation,
  namespace: string,
  canonical: string,
): string | undefined {
  const byMutation = cache.get(index) ?? new Map<Mutation, Map<string, string | undefined>>();
  cache.set(index, byMutation);
  const byNamespace = byMutation.get(mutation) ?? new Map<string, string | undefined>();
  byMutation.set(mutation, byNamespace);
  if (!byNamespace.has(namespace)) byNamespace.set(namespace, findBroken(index, mutation, namespace, canonical));
  return byNamespace.get(namespace);
}

function findBroken(index: LabelIndex, mutation: Mutation, namespace: string, canonical: string): string | undefined {
  const place = index.namespaces.get(namespace);
  const change = mutation.labels;
  if (place === undefined || change === undefined) return undefined;
  const matched = (object: KubeObject) => objectMatches(mutation.match, object, canonical);
  for (const { object, labels } of place.pods) {
    const podsChange = matched(object) && (change.templates || object.kind === "Pod");
    const after = podsChange ? rewriteLabels(labels, change).labels : labels;
    for (const use of place.selectors) {
      const selector = change.templates && matched(use.object) ? renameKeys(use.selector, change) : use.selector;
      if (selectorMatches(use.selector, labels) === selectorMatches(selector, after)) continue;
      return `the selector of ${keyOf(use.object)} would no longer select the same pods of ${keyOf(object)}`;
    }
  }
  return undefined;
}

/** Why a mutation must not change the labels of a Namespace. */
export function namespaceLabelRefusal(index: LabelIndex, before: Labels, after: Labels): string | undefined {
  const broken = index.namespaceSelectors.find(
    ({ selector }) => selectorMatches(selector, before) !== selectorMatches(selector, after),
  );
  return broken === undefined ? undefined : `a namespaceSelector of ${describe(broken.object)} selects by it`;
}

function describe(object: KubeObject): ObjectKey {
  return `${kindName(groupOf(object.apiVersion), object.kind)} ${object.metadata.name}`;
}
