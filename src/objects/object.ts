/**
 * The shape of a Kubernetes object as Lifeboat handles it: plain JSON as the API server wrote it, never a typed
 * class. Only the fields that Lifeboat itself reads are named; all others pass through untouched.
 */

export interface OwnerReference {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  readonly uid?: string;
  readonly controller?: boolean;
  readonly blockOwnerDeletion?: boolean;
}

/** One entry of `metadata.managedFields`. */
export interface ManagedFieldsEntry {
  readonly manager: string;
  readonly operation: "Apply" | "Update";
  readonly apiVersion: string;
  readonly fieldsType?: string;
  readonly fieldsV1?: Readonly<Record<string, unknown>>;
  readonly subresource?: string;
  readonly time?: string;
}

export interface ObjectMeta {
  name: string;
  namespace?: string;
  generateName?: string;
  uid?: string;
  resourceVersion?: string;
  generation?: number;
  creationTimestamp?: string | null;
  deletionTimestamp?: string;
  deletionGracePeriodSeconds?: number;
  selfLink?: string;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
  finalizers?: string[];
  ownerReferences?: OwnerReference[];
  managedFields?: ManagedFieldsEntry[];
}

export interface KubeObject {
  apiVersion: string;
  kind: string;
  metadata: ObjectMeta;
  [field: string]: unknown;
}

/** The field manager under which a group's copies are written. */
export function managerOf(group: string): string {
  return `lifeboat-${group}`;
}

/** Labels, annotations and names that Lifeboat writes; each begins with `lifeboat.dev/`. */
export const marks = {
  /** Label on every copy: the group it belongs to. */
  group: "lifeboat.dev/group",
  /** Annotation on a shared cluster-scoped copy: comma-separated groups that need it. */
  groups: "lifeboat.dev/groups",
  /** Annotation: the site whose object this is a copy of. */
  source: "lifeboat.dev/source",
  /** Annotation: epoch under which the copy was written. */
  epoch: "lifeboat.dev/epoch",
  /** Annotation: hash of what was rendered, so that a no-op apply is skipped. */
  hash: "lifeboat.dev/hash",
  /** Annotation: JSON `{path: value}` of what is held back on the standby (replicas, suspend, selector). */
  held: "lifeboat.dev/held",
  /**
   * Annotation: JSON `{path: [value before, value after]}` of what mutations changed in the active form, with null for
   * absent. It travels with the object so that the other site gets the values from before.
   */
  undo: "lifeboat.dev/undo",
  /**
   * Label or annotation set by users, in mode ActiveActive: `"true"` for an object that must not run at both sites; on
   * a Namespace, for everything in it.
   */
  singleton: "lifeboat.dev/singleton",
  /** Annotation set by users, in mode ActiveActive: this workload's replicas in percent while a survivor bears the load. */
  surge: "lifeboat.dev/surge",
  /** Annotation, in mode ActiveActive: JSON of the version that was last brought here, and the hash of what it says. */
  version: "lifeboat.dev/version",
  /** Annotation set by users: the wave a workload starts in at promotion. @default 0 */
  wave: "lifeboat.dev/wave",
  /** Annotation on a ProtectionGroup: request a failover to `SITE` or, safe to apply again, `SITE@EPOCH`. */
  failover: "lifeboat.dev/failover",
  /** Annotation on a ProtectionGroup at the standby: a read-only mirror, and of which site. */
  mirror: "lifeboat.dev/mirror-of",
} as const;

/** The API group of an `apiVersion`: `""` for `v1`, `apps` for `apps/v1`. */
export function groupOf(apiVersion: string): string {
  const slash = apiVersion.indexOf("/");
  return slash < 0 ? "" : apiVersion.slice(0, slash);
}
