import { canonicalJson, cloneJson, isRawJson } from "../objects/json.ts";
import { formatPointer, parsePointer } from "../objects/pointer.ts";

/**
 * JSON pointers (RFC 6901) on plain JSON: read, write, remove, and the difference of two values as pointers. Writing
 * works in place, on copies that the caller owns.
 */

export type Json = Record<string, unknown>;

export function isJson(value: unknown): value is Json {
  return value !== null && typeof value === "object" && !Array.isArray(value) && !isRawJson(value);
}

/** The object at a field of `node`, if it is one. */
export function jsonAt(node: unknown, ...path: readonly string[]): Json | undefined {
  let at = node;
  for (const name of path) at = isJson(at) ? at[name] : undefined;
  return isJson(at) ? at : undefined;
}

/** The entries of a list field that are objects. */
export function listAt(node: unknown, field: string): Json[] {
  const list = isJson(node) ? node[field] : undefined;
  return Array.isArray(list) ? list.filter((item) => isJson(item)) : [];
}

/** The text at a field, or an empty one. */
export function textAt(node: unknown, field: string): string {
  const value = isJson(node) ? node[field] : undefined;
  return typeof value === "string" ? value : "";
}

function child(node: unknown, part: string): unknown {
  if (Array.isArray(node)) return /^\d+$/.test(part) ? (node[Number(part)] as unknown) : undefined;
  return isJson(node) && Object.hasOwn(node, part) ? node[part] : undefined;
}

/** The value at `pointer`, or `undefined`. */
export function getAt(root: unknown, pointer: string): unknown {
  let node = root;
  for (const part of parsePointer(pointer)) node = child(node, part);
  return node;
}

/** Writes `value`, making the objects on the way. Returns `false` where the way leads through something else. */
export function setAt(root: Json, pointer: string, value: unknown): boolean {
  const parts = parsePointer(pointer);
  const last = parts.pop();
  let node: unknown = root;
  for (const part of parts) {
    const next = child(node, part);
    if (next === undefined && isJson(node)) node = node[part] = {};
    else node = next;
  }
  if (last === undefined) return false;
  if (Array.isArray(node)) {
    if (!/^\d+$/.test(last) || Number(last) >= node.length) return false;
    node[Number(last)] = cloneJson(value);
    return true;
  }
  if (!isJson(node)) return false;
  node[last] = cloneJson(value);
  return true;
}

/** Removes the field at `pointer`; entries of lists are left alone. */
export function removeAt(root: Json, pointer: string): void {
  const parts = parsePointer(pointer);
  const last = parts.pop();
  const node = getAt(root, formatPointer(parts));
  if (last !== undefined && isJson(node)) delete node[last];
}

/** Every pointer that `pattern` stands for in `root`: a part that is `*` stands for each entry of a list or map. */
export function expandPointer(root: unknown, pattern: string): string[] {
  let found: { node: unknown; parts: string[] }[] = [{ node: root, parts: [] }];
  for (const part of parsePointer(pattern)) {
    found = found.flatMap(({ node, parts }) => {
      if (part !== "*") return [{ node: child(node, part), parts: [...parts, part] }];
      const names = Array.isArray(node) ? [...node.keys()].map(String) : isJson(node) ? Object.keys(node) : [];
      return names.map((name) => ({ node: child(node, name), parts: [...parts, name] }));
    });
  }
  return found.map(({ parts }) => formatPointer(parts));
}

/** One place where two values differ; `undefined` where the value is absent. */
export interface Difference {
  readonly pointer: string;
  readonly from: unknown;
  readonly to: unknown;
}

/**
 * Where `to` differs from `from`, as disjoint pointers, as deep as possible. Lists of the same length are compared
 * entry by entry, others differ as a whole: positions in them would not mean the same.
 */
export function differences(from: unknown, to: unknown): Difference[] {
  const result: Difference[] = [];
  collect(from, to, [], result);
  return result;
}

function collect(from: unknown, to: unknown, parts: string[], result: Difference[]): void {
  if (from === to) return;
  if (isJson(from) && isJson(to)) {
    for (const name of Object.keys({ ...from, ...to }).sort()) collect(from[name], to[name], [...parts, name], result);
  } else if (Array.isArray(from) && Array.isArray(to) && from.length === to.length) {
    for (const [index, item] of from.entries()) collect(item, to[index], [...parts, String(index)], result);
  } else if (!equalJson(from, to)) {
    result.push({ pointer: formatPointer(parts), from, to });
  }
}

/** Whether two values are the same JSON, whatever the order of their keys. */
export function equalJson(left: unknown, right: unknown): boolean {
  if (left === right) return true;
  if (left === undefined || right === undefined) return false;
  return canonicalJson(left) === canonicalJson(right);
}
