import { type KubeObject, marks } from "../objects/object.ts";
import { entriesOf } from "./fields.ts";

/**
 * Whether Lifeboat has written the object for this group. The label alone does not say so: anybody can set it, and
 * controllers copy it to what they make. What says so is the owner of fields, which the API server itself writes down.
 */
export function isOurs(
  live: KubeObject,
  group: { readonly name: string; readonly manager: string; readonly own: ReadonlySet<string> },
): boolean {
  if (live.metadata.labels?.[marks.group] !== group.name) return false;
  return entriesOf(live, group.manager).length > 0 || group.own.has(live.metadata.uid ?? "");
}
