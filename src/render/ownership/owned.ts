import type { ManagedFieldsEntry } from "../../objects/object.ts";
import { equalJson, isJson, type Json } from "../pointer.ts";

/**
 * Sets of fields in the form of managedFields (`fieldsV1`): a tree whose names are `f:NAME` for a field, `k:{…}` for
 * the entry of a list with these key fields, `v:VALUE` for a value in a set, `i:N` for a position, and `.` for the
 * node itself.
 */
export type FieldSet = Readonly<Record<string, unknown>>;

/** A step into an object: the name of a field, or the key fields of a list's entry. */
export type FieldStep = string | Readonly<Record<string, unknown>>;

/** Whether any manager owns the field at `path`, itself or something in it. */
export function ownsField(managers: readonly ManagedFieldsEntry[], path: readonly FieldStep[]): boolean {
  return managers.some((entry) => hasField(entry.fieldsV1, path));
}

function hasField(set: unknown, path: readonly FieldStep[]): boolean {
  let node = set;
  for (const step of path) {
    if (!isJson(node)) return false;
    node = typeof step === "string" ? node[`f:${step}`] : entryOf(node, step);
  }
  return node !== undefined;
}

function entryOf(node: Json, keys: Readonly<Record<string, unknown>>): unknown {
  for (const [name, value] of Object.entries(node)) {
    if (name.startsWith("k:") && equalJson(JSON.parse(name.slice(2)), keys)) return value;
  }
  return undefined;
}
