import type { ObjectKey } from "../../objects/key.ts";
import type { KubeObject, ManagedFieldsEntry } from "../../objects/object.ts";
import type { SiteMapping } from "../mapping.ts";
import { isJson, type Json } from "../pointer.ts";
import type { Facts, FindingCode, RenderContext, WithheldReason } from "../types.ts";

/**
 * A per-kind rule. To add one: write it in the file of its family in this folder and name it in `table.ts`.
 *
 * Both steps change a copy in place, or return why nothing is to be applied.
 */
export interface KindRule {
  /**
   * Turns the source's object, mapped to the site, into the form that the site has while active: drops what the
   * source's control plane filled in and what means something only there. Runs for both roles.
   */
  readonly prepare?: (object: KubeObject, scope: Scope) => Withheld | undefined;
  /** Keeps the object from running on a standby. What it changes is put into the `held` annotation by itself. */
  readonly hold?: (object: KubeObject, scope: Scope) => Withheld | undefined;
}

export interface Withheld {
  readonly reason: WithheldReason;
  readonly message: string;
}

/** What a rule may look at and say. */
export interface Scope {
  readonly context: RenderContext;
  readonly facts: Facts;
  readonly mapping: SiteMapping;
  /** The object as it is at the source. */
  readonly source: KubeObject;
  readonly managers: readonly ManagedFieldsEntry[];
  /** Namespaces of the group, as named at the source. */
  readonly sourceNamespaces: ReadonlySet<string>;
  /** The same as named at the site. */
  readonly siteNamespaces: ReadonlySet<string>;
  readonly find: (code: FindingCode, message: string) => void;
  /** The result would change when this key, at the target, appears or becomes ready. */
  readonly waitFor: (key: ObjectKey) => void;
}

export function siteHasItsOwn(message: string): Withheld {
  return { reason: "SiteHasItsOwn", message };
}

/** `object.spec`, or an empty object that belongs to nothing. */
export function specOf(object: KubeObject): Json {
  return isJson(object["spec"]) ? object["spec"] : {};
}

/** Removes annotations, and the map itself when nothing is left of it. */
export function dropAnnotations(object: KubeObject, names: Iterable<string>): void {
  const { annotations } = object.metadata;
  if (annotations === undefined) return;
  for (const name of names) delete annotations[name];
  if (Object.keys(annotations).length === 0) delete object.metadata.annotations;
}

/** Keeps the entries of a map that satisfy `keep`; removes the map from `node` when none is left. */
export function filterMap(node: Json, field: string, keep: (name: string) => boolean): void {
  const map = node[field];
  if (!isJson(map)) return;
  for (const name of Object.keys(map)) {
    if (!keep(name)) delete map[name];
  }
  if (Object.keys(map).length === 0) delete node[field];
}
