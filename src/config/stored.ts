import type { KubeObject } from "../objects/object.ts";
import type { GroupSpecInput, GroupStatus } from "./group.ts";

/**
 * A ProtectionGroup as a command finds it at a site. Nothing is refused here: a command that shows the state of a
 * broken spec must be able to read it.
 */
export interface StoredGroup {
  readonly name: string;
  readonly object: KubeObject;
  readonly annotations: Readonly<Record<string, string>>;
  /** RFC 3339, as the API server set it. */
  readonly createdAt: string | undefined;
  readonly spec: Partial<GroupSpecInput>;
  readonly status: Partial<GroupStatus>;
}

/** The status as stored; anything that is not an object counts as none. */
export function parseStoredStatus(status: unknown): Partial<GroupStatus> {
  return typeof status === "object" && status !== null ? status : {};
}
