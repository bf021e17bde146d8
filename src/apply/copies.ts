import { hash } from "node:crypto";
import { keyOf, type ObjectKey } from "../objects/key.ts";
import type { KubeObject } from "../objects/object.ts";
import { entriesOf, foreignEntries } from "./fields.ts";

/**
 * What is known of the group's own objects at the standby: of each a few short texts, never the object. Read back
 * from watches and from the answers to writes.
 */

/** An object as it was last seen. */
export interface Seen {
  readonly uid: string;
  readonly resourceVersion: string;
  /** Fingerprint of the fields that our manager owns: it changes when somebody else writes one of them. */
  readonly owned: string;
  /** Fingerprint of the fields that other managers own (those of Kubernetes itself left out); `""` for none. */
  readonly foreign: string;
  readonly deleting: boolean;
}

interface Copy {
  seen: Seen;
  /** As it was after our last write, or when it was found to be right. */
  expected: Seen | undefined;
  /** Hash of what was rendered then. */
  hash: string;
}

export function look(object: KubeObject, manager: string): Seen {
  const own = entriesOf(object, manager);
  const foreign = foreignEntries(object, manager);
  return {
    uid: object.metadata.uid ?? "",
    resourceVersion: object.metadata.resourceVersion ?? "",
    owned: fingerprint(own),
    foreign: fingerprint(foreign),
    deleting: object.metadata.deletionTimestamp !== undefined,
  };
}

function fingerprint(entries: ReturnType<typeof entriesOf>): string {
  if (entries.length === 0) return "";
  return hash("sha1", JSON.stringify(entries.map(({ manager, fieldsV1 }) => [manager, fieldsV1])), "base64");
}

/** Whether two sightings of one object are the same to us: status and what Kubernetes fills in do not count. */
function sameToUs(a: Seen, b: Seen): boolean {
  return a.uid === b.uid && a.owned === b.owned && a.foreign === b.foreign && !a.deleting;
}

function isSighting(seen: Seen, object: KubeObject): boolean {
  return seen.resourceVersion === object.metadata.resourceVersion && seen.uid === object.metadata.uid;
}

/** Versions are decimal numbers that rise; where they are not, the later sighting counts as newer. */
function olderThan(a: Seen, b: Seen): boolean {
  const left = Number(a.resourceVersion);
  const right = Number(b.resourceVersion);
  return Number.isFinite(left) && Number.isFinite(right) && left < right;
}

export class CopyStore {
  readonly #manager: string;
  readonly #copies = new Map<ObjectKey, Copy>();
  readonly #uids = new Map<ObjectKey, string>();

  constructor(manager: string) {
    this.#manager = manager;
  }

  get count(): number {
    return this.#copies.size;
  }

  /** UIDs of all copies by their keys at the standby. */
  get uids(): ReadonlyMap<ObjectKey, string> {
    return this.#uids;
  }

  get(key: ObjectKey): Seen | undefined {
    return this.#copies.get(key)?.seen;
  }

  keys(): IterableIterator<ObjectKey> {
    return this.#copies.keys();
  }

  /** Whether the copy is as it was left when this was rendered. */
  isCurrent(key: ObjectKey, hash: string): boolean {
    const copy = this.#copies.get(key);
    return copy?.expected !== undefined && copy.hash === hash && sameToUs(copy.seen, copy.expected);
  }

  /** Whether the copy was written or verified with this hash, whatever somebody else did since. */
  hadHash(key: ObjectKey, hash: string): boolean {
    const copy = this.#copies.get(key);
    return copy?.expected !== undefined && copy.hash === hash;
  }

  /**
   * Notes what a watch delivered. `appeared`: not known before. `drifted`: somebody else changed what matters to us.
   * `unverified`: known from before our time, its fields are yet to be compared.
   */
  observe(object: KubeObject): "same" | "appeared" | "drifted" | "unverified" {
    const key = keyOf(object);
    const copy = this.#copies.get(key);
    // The echo of our own write, by far the most frequent case.
    if (copy?.expected !== undefined && isSighting(copy.seen, object)) return "same";
    const seen = look(object, this.#manager);
    if (copy === undefined) {
      this.#set(key, { seen, expected: undefined, hash: "" });
      return "appeared";
    }
    if (copy.seen.uid === seen.uid && olderThan(seen, copy.seen)) return "same";
    this.#set(key, { ...copy, seen });
    if (copy.expected === undefined) return "unverified";
    return sameToUs(seen, copy.expected) ? "same" : "drifted";
  }

  /**
   * The object was written, or found to be right, as `object` shows it, for what was rendered with this hash. `true`
   * when somebody else has changed it since.
   */
  expect(object: KubeObject, hash: string): boolean {
    const key = keyOf(object);
    const expected = look(object, this.#manager);
    const known = this.#copies.get(key)?.seen;
    const newer = known !== undefined && known.uid === expected.uid && olderThan(expected, known);
    this.#set(key, { seen: newer ? known : expected, expected, hash });
    return newer && !sameToUs(known, expected);
  }

  /** The object is gone; a sighting of an older life (`uid`) is ignored. */
  gone(key: ObjectKey, uid?: string): boolean {
    const copy = this.#copies.get(key);
    if (copy === undefined || (uid !== undefined && copy.seen.uid !== uid)) return false;
    this.#copies.delete(key);
    this.#uids.delete(key);
    return true;
  }

  clear(): void {
    this.#copies.clear();
    this.#uids.clear();
  }

  #set(key: ObjectKey, copy: Copy): void {
    this.#copies.set(key, copy);
    this.#uids.set(key, copy.seen.uid);
  }
}
