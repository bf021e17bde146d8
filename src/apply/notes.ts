import type { ObjectKey } from "../objects/key.ts";
import type { Finding } from "../render/types.ts";
import type { Failure } from "./failures.ts";

/**
 * What a person should know about single objects, kept until it is no longer so. Bounded by the number of objects;
 * what is shown of it is bounded by {@link shownMaxCount}.
 */
export const shownMaxCount = 100;

export interface FailingKey {
  /** Key at the source. */
  readonly key: ObjectKey;
  readonly reason: Failure["reason"];
  readonly message: string;
  /** Wall clock. */
  readonly sinceMs: number;
}

export interface ConflictingKey {
  /** Key at the standby. */
  readonly key: ObjectKey;
  readonly message: string;
}

export interface DroppedFields {
  /** Key at the standby. */
  readonly key: ObjectKey;
  readonly fields: readonly string[];
}

export class Notes {
  readonly failing = new Map<ObjectKey, FailingKey>();
  readonly conflicts = new Map<ObjectKey, ConflictingKey>();
  readonly dropped = new Map<ObjectKey, DroppedFields>();
  readonly withheld = new Map<ObjectKey, { readonly reason: string; readonly message: string }>();
  readonly findings = new Map<ObjectKey, readonly Finding[]>();

  failed(key: ObjectKey, failure: Failure, wallMs: number): void {
    const { reason, message } = failure;
    const known = this.failing.get(key);
    const sinceMs = known?.reason === reason ? known.sinceMs : wallMs;
    this.failing.set(key, { key, reason, message, sinceMs });
  }

  /** What the API server did not keep of a target; none clears the note. */
  droppedFrom(key: ObjectKey, fields: readonly string[]): void {
    if (fields.length === 0) this.dropped.delete(key);
    else this.dropped.set(key, { key, fields });
  }

  foundIn(key: ObjectKey, findings: readonly Finding[]): void {
    if (findings.length === 0) this.findings.delete(key);
    else this.findings.set(key, findings);
  }

  forgetTarget(key: ObjectKey): void {
    this.conflicts.delete(key);
    this.dropped.delete(key);
  }

  forgetSource(key: ObjectKey): void {
    this.failing.delete(key);
    this.withheld.delete(key);
    this.findings.delete(key);
  }

  clear(): void {
    for (const map of [this.failing, this.conflicts, this.dropped, this.withheld, this.findings]) map.clear();
  }
}

/** The first entries of a map, for a report. */
export function shown<T>(map: ReadonlyMap<ObjectKey, T>): T[] {
  return [...map.values().take(shownMaxCount)];
}
