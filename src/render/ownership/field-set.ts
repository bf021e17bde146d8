import { equalJson, isJson, type Json } from "../pointer.ts";

/**
 * Sets of fields in the form of managedFields (`fieldsV1`): a tree whose names are `f:NAME` for a field, `k:{…}` for
 * the entry of a list with these key fields, `v:VALUE` for a value in a set, `i:N` for a position, and `.` for the
 * node itself. A name without anything below it is a field that is owned as a whole.
 * https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management
 */
export type FieldSet = Readonly<Record<string, unknown>>;

/** A step into an object: the name of a field, or the key fields of a list's entry. */
export type FieldStep = string | Readonly<Record<string, unknown>>;

/** Whether the set holds the field at `path`, itself or something in it. */
export function hasField(set: unknown, path: readonly FieldStep[]): boolean {
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

/** Fields that are in either set. */
export function union(left: FieldSet, right: FieldSet): FieldSet {
  const result: Json = { ...left };
  for (const [name, below] of Object.entries(right)) {
    const own = result[name];
    result[name] = isJson(own) && isJson(below) ? union(own, below) : (own ?? below);
  }
  return result;
}

/** The part of a set whose fields the object has; `undefined` when it has none of them. */
export function within(set: FieldSet, object: unknown): FieldSet | undefined {
  const result: Json = {};
  for (const [name, below] of Object.entries(set)) {
    const value = name === "." ? object : resolve(name, object);
    if (value === undefined) continue;
    if (!isJson(below) || Object.keys(below).length === 0) {
      result[name] = {};
      continue;
    }
    const kept = within(below, value);
    if (kept !== undefined) result[name] = kept;
  }
  return Object.keys(result).length === 0 ? undefined : result;
}

/** The value that one name of the tree leads to. */
function resolve(name: string, node: unknown): unknown {
  const text = name.slice(2);
  if (name.startsWith("f:")) return isJson(node) ? node[text] : undefined;
  if (!Array.isArray(node)) return undefined;
  const list = node as unknown[];
  if (name.startsWith("i:")) return list[Number(text)];
  const wanted = JSON.parse(text) as unknown;
  if (name.startsWith("v:")) return list.find((item) => equalJson(item, wanted));
  return list.find((item) => isJson(item) && isJson(wanted) && hasKeys(item, wanted));
}

/** A key field that an entry leaves out has its default, and TCP is the only default of a key among built-in kinds. */
function hasKeys(item: Json, wanted: Json): boolean {
  return Object.entries(wanted).every(([name, value]) =>
    item[name] === undefined ? value === "TCP" : equalJson(item[name], value),
  );
}
