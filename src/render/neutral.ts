import type { GroupSpec } from "../config/group.ts";
import { cloneJson } from "../objects/json.ts";
import { keyOf } from "../objects/key.ts";
import { marks, type KubeObject, type ManagedFieldsEntry } from "../objects/object.ts";
import { specOf } from "./kinds/rule.ts";
import { ruleFor } from "./kinds/table.ts";
import { applyUndo, formHash, fromHeld, stripMarks } from "./marks.ts";
import { dropFinalizers, dropServerFields } from "./metadata.ts";
import { Report, scopeOf } from "./report.ts";
import type { RenderContext } from "./types.ts";

/**
 * What an object says, whichever site it is at: without what its API server and controllers add, what is held back of
 * it and what mutations and a surge have changed. It tells whether somebody has written something new.
 */

/** Site and group of an object that is looked at where it is. */
export interface Place {
  readonly spec: GroupSpec;
  readonly group: string;
  readonly site: string;
}

/** Equal for equal intent. `object` is not changed. */
export function contentHash(live: KubeObject, place: Place): string {
  const object = live.metadata.annotations?.[marks.held] === undefined ? cloneJson(live) : fromHeld(live);
  applyUndo(object);
  const managers = live.metadata.managedFields ?? [];
  const form = ownForm({ ...object, metadata: { ...object.metadata, managedFields: [...managers] } }, place);
  stripMarks(form);
  if (isAutoscaled(managers)) delete specOf(form)["replicas"];
  // A mapped namespace has another name at the other site.
  delete form.metadata.namespace;
  return formHash(form);
}

/**
 * The object without what belongs to this API server, and nothing else changed: what can be compared with what render
 * makes for this site. Marks that say what was changed here stay.
 */
export function ownForm(live: KubeObject, place: Place): KubeObject {
  const object = cloneJson(live);
  const managers = live.metadata.managedFields ?? [];
  dropServerFields(object);
  const context: RenderContext = { ...place, source: place.site, role: "active", epoch: "", facts: {} };
  const key = keyOf(live);
  ruleFor(object).prepare?.(object, scopeOf({ key, object: live, managers }, context, new Report(key)));
  dropFinalizers(object);
  delete object.metadata.ownerReferences;
  return object;
}

/**
 * Whether an autoscaler of this site says how many replicas there are: then their number is the site's own. A person
 * scales through the same subresource, under another manager's name.
 */
export function isAutoscaled(managers: readonly ManagedFieldsEntry[]): boolean {
  return managers.some(
    ({ manager, subresource, fieldsV1 }) =>
      manager === "kube-controller-manager" &&
      subresource === "scale" &&
      (fieldsV1?.["f:spec"] as Record<string, unknown> | undefined)?.["f:replicas"] !== undefined,
  );
}
