import { kindName } from "../objects/key.ts";
import { groupOf, type KubeObject } from "../objects/object.ts";

/**
 * Which kinds control objects of which kinds, as far as seen: enough to tell which custom resources run pods, by
 * themselves or through a StatefulSet, a Deployment or another custom resource. Grows with kinds, never with objects.
 */
export class OwnerKinds {
  /** By kind: the kinds that control some of its objects. */
  readonly #controllers = new Map<string, Set<string>>();
  #podOwners: readonly string[] | undefined = [];

  /** Notes the controller of an object. */
  note(object: KubeObject): void {
    const owner = object.metadata.ownerReferences?.find((reference) => reference.controller === true);
    if (owner === undefined) return;
    const kind = kindName(groupOf(object.apiVersion), object.kind);
    const controllers = this.#controllers.get(kind) ?? new Set();
    const before = controllers.size;
    this.#controllers.set(kind, controllers.add(kindName(groupOf(owner.apiVersion), owner.kind)));
    if (controllers.size > before) this.#podOwners = undefined;
  }

  /** Kinds (`group/Kind`) of custom resources that run pods, sorted. */
  podOwners(): readonly string[] {
    this.#podOwners ??= this.#find();
    return this.#podOwners;
  }

  #find(): string[] {
    const found = new Set<string>();
    const due = ["Pod"];
    for (let kind = due.pop(); kind !== undefined; kind = due.pop()) {
      for (const owner of this.#controllers.get(kind) ?? []) {
        if (found.has(owner)) continue;
        found.add(owner);
        due.push(owner);
      }
    }
    return [...found].filter(isCustom).sort();
  }
}

/** Groups of Kubernetes' own workloads have no dot. */
function isCustom(kind: string): boolean {
  return kind.slice(0, kind.indexOf("/")).includes(".");
}
