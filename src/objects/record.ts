import { hash } from "node:crypto";
import type { ObjectKey } from "./key.ts";

/**
 * One change on its way from the source to the standby.
 */
export interface ChangeRecord {
  /** Position in the source's ring; rises by at least one per change, never reused within a ring. */
  readonly seq: number;
  readonly key: ObjectKey;
  /** {@link hashOf} of `object` and `managers`; `""` for a delete. */
  readonly hash: string;
  /** Canonical JSON text of the normalised object; `undefined` for a delete (a tombstone). */
  readonly object: string | undefined;
  /** Canonical JSON text of the source's managedFields without times and status entries; `"[]"` for a delete. */
  readonly managers: string;
}

/** Bytes of hash kept, in hex digits: 128 bits, enough that two objects of a group never collide by chance. */
const hashDigits = 32;

export function hashOf(object: string, managers: string): string {
  return hash("sha256", `${object}\0${managers}`, "hex").slice(0, hashDigits);
}
