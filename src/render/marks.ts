import { hash } from "node:crypto";
import { canonicalJson, cloneJson, parseJson } from "../objects/json.ts";
import { marks, type KubeObject } from "../objects/object.ts";
import { dropAnnotations } from "./kinds/rule.ts";
import { dropServerFields } from "./metadata.ts";
import { differences, equalJson, getAt, isJson, removeAt, setAt, type Json } from "./pointer.ts";
import type { RenderContext } from "./types.ts";

/**
 * The marks on a copy. A copy keeps them when its site becomes active: they tell whose it is after a failback. The
 * hash does not cover the epoch, so that a promotion writes only what really changes.
 */

/** Annotations may have 256 KiB in all (a limit of Kubernetes); the application's own need room too. */
const heldMaxBytes = 128 * 1024;

/** Hex digits of the rendered form's hash, 128 bits. */
const hashDigits = 32;

const bookkeeping = [marks.groups, marks.source, marks.epoch, marks.hash, marks.held, marks.version];

/** Removes all marks but {@link marks.undo} and those that people write. */
export function stripMarks(object: KubeObject): void {
  if (object.metadata.labels !== undefined) delete object.metadata.labels[marks.group];
  for (const name of bookkeeping) delete object.metadata.annotations?.[name];
  dropEmptyMaps(object);
}

/** Equal for objects that say the same. */
export function formHash(object: KubeObject): string {
  return hash("sha256", canonicalJson(object), "hex").slice(0, hashDigits);
}

export function setMarks(object: KubeObject, context: RenderContext, sharedWith: readonly string[]): void {
  const { metadata } = object;
  // Shared objects belong to several groups; a label can name only one.
  const isShared = metadata.namespace === undefined && object.kind !== "Namespace";
  if (!isShared) metadata.labels = { ...metadata.labels, [marks.group]: context.group };
  const annotations: Record<string, string> = { ...metadata.annotations, [marks.source]: context.source };
  if (isShared) annotations[marks.groups] = [...new Set([...sharedWith, context.group])].sort().join(",");
  metadata.annotations = annotations;
  annotations[marks.hash] = formHash(object);
  annotations[marks.epoch] = context.epoch;
}

/**
 * Writes what is held back on a standby: what has to be set (null: removed) to get the active form, by JSON pointer.
 * Returns `false` where that does not fit.
 */
export function setHeld(standby: KubeObject, active: KubeObject): boolean {
  const held: Record<string, unknown> = {};
  for (const { pointer, to } of differences(withMaps(standby), withMaps(active))) held[pointer] = to ?? null;
  if (Object.keys(held).length === 0) return true;
  const text = canonicalJson(held);
  if (Buffer.byteLength(text) > heldMaxBytes) return false;
  standby.metadata.annotations = { ...standby.metadata.annotations, [marks.held]: text };
  return true;
}

/** Labels and annotations differ entry by entry, also where one object has none. */
function withMaps(object: KubeObject): KubeObject {
  const { labels = {}, annotations = {} } = object.metadata;
  return { ...object, metadata: { ...object.metadata, labels, annotations } };
}

/**
 * Notes in the active form what mutations changed in it, so that the way back can undo it: `before` is the form
 * without mutations.
 */
export function setUndo(active: KubeObject, before: KubeObject): void {
  const undo: Record<string, unknown> = {};
  for (const { pointer, from, to } of differences(withMaps(before), withMaps(active))) {
    undo[pointer] = [from ?? null, to ?? null];
  }
  if (Object.keys(undo).length === 0) return;
  active.metadata.annotations = { ...active.metadata.annotations, [marks.undo]: canonicalJson(undo) };
}

/**
 * Undoes what mutations at the source had changed, and removes the note. A value that was changed since is kept, as
 * somebody meant it. Returns pointers of those.
 */
export function applyUndo(object: KubeObject): string[] {
  const text = object.metadata.annotations?.[marks.undo];
  if (text === undefined) return [];
  const undo = parseMap(text);
  dropAnnotations(object, [marks.undo]);
  const kept: string[] = [];
  for (const [pointer, pair] of Object.entries(undo)) {
    const [was, now] = Array.isArray(pair) ? (pair as unknown[]) : [];
    if (!equalJson(getAt(object, pointer) ?? null, now ?? null)) kept.push(pointer);
    else if (was === null || was === undefined) removeAt(object, pointer);
    else setAt(object, pointer, was);
  }
  dropEmptyMaps(object);
  return kept;
}

/**
 * The active form rebuilt from a standby's own copy, by its `held` annotation alone: the way back to service when
 * journal and source are both lost. `copy` may be a live object; what its API server added is dropped.
 */
export function fromHeld(copy: KubeObject): KubeObject {
  const object = cloneJson(copy);
  dropServerFields(object);
  const held = parseMap(object.metadata.annotations?.[marks.held] ?? "{}");
  dropAnnotations(object, [marks.held, marks.hash]);
  for (const [pointer, value] of Object.entries(held)) {
    if (value === null) removeAt(object, pointer);
    else setAt(object, pointer, value);
  }
  dropEmptyMaps(object);
  return object;
}

/** A malformed note (a person edited it) counts as empty. */
function parseMap(text: string): Json {
  try {
    const value = parseJson(text);
    return isJson(value) ? value : {};
  } catch {
    return {};
  }
}

function dropEmptyMaps({ metadata }: KubeObject): void {
  if (metadata.labels !== undefined && Object.keys(metadata.labels).length === 0) delete metadata.labels;
  if (metadata.annotations !== undefined && Object.keys(metadata.annotations).length === 0) delete metadata.annotations;
}
