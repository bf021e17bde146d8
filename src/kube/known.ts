import type { ObjectPlace } from "./resource.ts";

/** Names of the objects of one kind that were last seen to exist, each with its resourceVersion. */
export class KnownObjects {
  /** By namespace (`""` for cluster-scoped kinds), then by name. */
  readonly #byNamespace = new Map<string, Map<string, string>>();
  #count = 0;

  get count(): number {
    return this.#count;
  }

  version(place: ObjectPlace): string | undefined {
    return this.#byNamespace.get(place.namespace ?? "")?.get(place.name);
  }

  set(place: ObjectPlace, version: string): void {
    const namespace = place.namespace ?? "";
    let names = this.#byNamespace.get(namespace);
    if (names === undefined) this.#byNamespace.set(namespace, (names = new Map<string, string>()));
    if (!names.has(place.name)) this.#count++;
    names.set(place.name, version);
  }

  delete(place: ObjectPlace): boolean {
    const namespace = place.namespace ?? "";
    const names = this.#byNamespace.get(namespace);
    if (names?.delete(place.name) !== true) return false;
    if (names.size === 0) this.#byNamespace.delete(namespace);
    this.#count--;
    return true;
  }

  /** Whether any object is known in this namespace. */
  hasNamespace(namespace: string): boolean {
    return this.#byNamespace.has(namespace);
  }

  /** The same names, each as if its object had changed since. */
  unversioned(): KnownObjects {
    const copy = new KnownObjects();
    for (const place of this.places()) copy.set(place, "");
    return copy;
  }

  *places(): Generator<{ readonly namespace: string; readonly name: string }> {
    for (const [namespace, names] of this.#byNamespace) {
      for (const name of names.keys()) yield { namespace, name };
    }
  }
}

const decimal = /^\d+$/;

/**
 * Order of two resourceVersions of one kind: negative, zero or positive; `undefined` where they are not numbers
 * (an aggregated API may use anything).
 */
export function compareVersions(a: string, b: string): number | undefined {
  if (!decimal.test(a) || !decimal.test(b)) return undefined;
  return a.length - b.length || (a < b ? -1 : a > b ? 1 : 0);
}
