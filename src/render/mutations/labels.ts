import { selectorMatches, type Labels } from "../../config/match.ts";
import type { KubeObject } from "../../objects/object.ts";

import { equalJson, jsonAt } from "../pointer.ts";
import type { Action } from "./action.ts";
import { renameKeys, rewriteLabels, type LabelChange } from "./label-changes.ts";
import { podSelectorsOf, templateOf, type SelectorPlace } from "./label-places.ts";

/**
 * Changes labels of the object. With `templates`, also those of its pods, and every selector over pods in the object
 * follows a rename. What would part a selector from its pods is refused as a whole.
 */
export const labels: Action = {
  apply(object, mutation, situation) {
    const change = mutation.labels;
    if (change === undefined) return undefined;
    const own = rewriteLabels(object.metadata.labels ?? {}, change);
    if (own.collision !== undefined) return `it already has the label ${own.collision} with another value`;
    const refusal =
      situation.labelRefusal ?? (change.templates ? podsRefusal(object, change, mutation.when) : undefined);
    if (refusal !== undefined) return refusal;
    if (change.templates) rewritePods(object, change);
    setLabels(object, own.labels);
    return undefined;
  },
};

function setLabels(object: KubeObject, labels: Labels): void {
  if (Object.keys(labels).length > 0) object.metadata.labels = { ...labels };
  else delete object.metadata.labels;
}

function podsRefusal(object: KubeObject, change: LabelChange, when: string): string | undefined {
  const template = templateOf(object);
  const pods = (jsonAt(template, "metadata", "labels") ?? {}) as Labels;
  const after = rewriteLabels(pods, change);
  if (after.collision !== undefined) return `its pods already have the label ${after.collision} with another value`;
  for (const place of podSelectorsOf(object).filter(({ immutable }) => immutable)) {
    const renamed = renameKeys(place.selector, change);
    if (!selectorMatches(renamed, after.labels)) return "its own selector would no longer select its pods";
    if (when === "always" || equalJson(place.selector, renamed)) continue;
    return "its selector uses the label and cannot be changed at promotion: use `when: always`";
  }
  return undefined;
}

function rewritePods(object: KubeObject, change: LabelChange): void {
  for (const place of podSelectorsOf(object)) rename(place, change);
  const metadata = jsonAt(templateOf(object), "metadata");
  if (metadata !== undefined) metadata["labels"] = rewriteLabels((metadata["labels"] ?? {}) as Labels, change).labels;
}

/** A plain map of labels is changed itself; in a label selector its two lists are replaced. */
function rename(place: SelectorPlace, change: LabelChange): void {
  const renamed = renameKeys(place.selector, change);
  if (place.selector.matchLabels !== place.node) {
    Object.assign(place.node, renamed);
    return;
  }
  for (const name of Object.keys(place.node)) delete place.node[name];
  Object.assign(place.node, renamed.matchLabels);
}
