import { parsePointer } from "../objects/pointer.ts";

/** Merge patches (RFC 7386) from JSON pointers. */

/** The patch that gives the fields at `pointers` the values that they have in `target`; those it lacks are removed. */
export function mergePatchOf(pointers: Iterable<string>, target: unknown): Record<string, unknown> {
  const body: Record<string, unknown> = {};
  for (const pointer of pointers) {
    const path = parsePointer(pointer);
    // A list changes as a whole in a merge patch.
    const whole = path.slice(0, firstListStep(path, target));
    setIn(body, whole, getIn(target, whole) ?? null);
  }
  return body;
}

/** Sets a value deep in a patch, making the objects on the way. */
export function setIn(root: Record<string, unknown>, path: readonly string[], value: unknown): void {
  let node = root;
  for (const [index, step] of path.entries()) {
    if (index === path.length - 1) node[step] = value;
    else node = (node[step] ??= {}) as Record<string, unknown>;
  }
}

/** Number of leading steps of `path` that lead through objects only. */
function firstListStep(path: readonly string[], root: unknown): number {
  let node = root;
  for (const [index, step] of path.entries()) {
    if (Array.isArray(node)) return index;
    node = typeof node === "object" && node !== null ? (node as Record<string, unknown>)[step] : undefined;
  }
  return path.length;
}

function getIn(root: unknown, path: readonly string[]): unknown {
  let node = root;
  for (const step of path) {
    node = typeof node === "object" && node !== null ? (node as Record<string, unknown>)[step] : undefined;
  }
  return node;
}
