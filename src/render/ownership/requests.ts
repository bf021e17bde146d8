import type { KubeObject, ManagedFieldsEntry } from "../../objects/object.ts";
import { absorbedOwners, ownersToRestore } from "./owners.ts";

/** The requests of the recipe in `owners.ts`, for whoever talks to the API server. All are PATCHes of the object. */
export interface PatchRequest {
  readonly contentType: "application/apply-patch+yaml" | "application/merge-patch+json";
  readonly query: Readonly<Record<string, string>>;
  readonly body: unknown;
}

/** Step 1; `undefined` where it is not needed. */
export function absorbRequest(live: KubeObject, manager: string): PatchRequest | undefined {
  const managedFields = absorbedOwners(live, manager);
  return managedFields === undefined ? undefined : ownersRequest(live, managedFields);
}

/** Step 2. Also how a standby's copy is applied. */
export function applyRequest(object: KubeObject, manager: string): PatchRequest {
  return {
    contentType: "application/apply-patch+yaml",
    query: { fieldManager: manager, force: "true" },
    body: object,
  };
}

/**
 * Step 3.
 * @param live the answer to step 2, or what was read after a conflict
 * @param source managedFields of the source
 */
export function restoreRequest(
  live: KubeObject,
  source: readonly ManagedFieldsEntry[],
  rendered: KubeObject,
  manager: string,
): PatchRequest {
  const entries = ownersToRestore({ source, rendered, live: live.metadata.managedFields ?? [], manager });
  // An empty list would be taken for a client that knows nothing of owners; one empty entry removes all.
  return ownersRequest(live, entries.length === 0 ? [{}] : entries);
}

function ownersRequest(live: KubeObject, managedFields: readonly unknown[]): PatchRequest {
  const { resourceVersion } = live.metadata;
  return {
    contentType: "application/merge-patch+json",
    query: {},
    body: { metadata: { ...(resourceVersion === undefined ? {} : { resourceVersion }), managedFields } },
  };
}
