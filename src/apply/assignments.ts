import type { ObjectKey } from "../objects/key.ts";

/** Which keys of the source are which objects at the standby, both ways, and who waits for what. */
export class Assignments {
  readonly #targets = new Map<ObjectKey, readonly ObjectKey[]>();
  readonly #sources = new Map<ObjectKey, ObjectKey>();
  readonly #waits = new Map<ObjectKey, readonly ObjectKey[]>();
  readonly #waiters = new Map<ObjectKey, Set<ObjectKey>>();

  targetsOf(source: ObjectKey): readonly ObjectKey[] {
    return this.#targets.get(source) ?? none;
  }

  sourceOf(target: ObjectKey): ObjectKey | undefined {
    return this.#sources.get(target);
  }

  /** Records what a key is rendered to; returns the targets that it had and no longer has. */
  assign(source: ObjectKey, targets: readonly ObjectKey[]): ObjectKey[] {
    const before = this.targetsOf(source);
    const left = before.filter((target) => !targets.includes(target) && this.#sources.get(target) === source);
    for (const target of left) this.#sources.delete(target);
    for (const target of targets) this.#sources.set(target, source);
    if (targets.length === 0) this.#targets.delete(source);
    else this.#targets.set(source, targets);
    return left;
  }

  /** `source` is to be rendered again when one of `targets` appears. */
  waitFor(source: ObjectKey, targets: readonly ObjectKey[]): void {
    for (const target of this.#waits.get(source) ?? none) {
      const waiters = this.#waiters.get(target);
      waiters?.delete(source);
      if (waiters?.size === 0) this.#waiters.delete(target);
    }
    if (targets.length === 0) {
      this.#waits.delete(source);
      return;
    }
    this.#waits.set(source, targets);
    for (const target of targets) {
      const waiters = this.#waiters.get(target) ?? new Set();
      this.#waiters.set(target, waiters.add(source));
    }
  }

  waitersOf(target: ObjectKey): Iterable<ObjectKey> {
    return this.#waiters.get(target) ?? none;
  }

  /** Everything that somebody waits for. */
  awaited(): Iterable<ObjectKey> {
    return this.#waiters.keys();
  }

  sources(): Iterable<ObjectKey> {
    return this.#targets.keys();
  }

  clear(): void {
    for (const map of [this.#targets, this.#sources, this.#waits, this.#waiters]) map.clear();
  }
}

const none: readonly ObjectKey[] = [];
