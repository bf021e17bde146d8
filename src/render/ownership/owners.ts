import type { KubeObject, ManagedFieldsEntry } from "../../objects/object.ts";
import { isJson } from "../pointer.ts";
import { hasField, union, within, type FieldSet, type FieldStep } from "./field-set.ts";

/**
 * Field ownership travels: after a promotion every field has the owners that it had at the source, so that kubectl,
 * GitOps and autoscalers meet no conflict and what they leave out of their manifests disappears.
 *
 * An API server takes `metadata.managedFields` as given when a patch changes nothing else, also without times; entries
 * of versions that it does not serve are dropped, names of fields that do not exist are kept and do no harm. The
 * recipe for one object (each step is one request of `requests.ts`):
 *
 * 1. **absorb**, only where others have written to the copy: all their fields become ours as one `Apply` entry. A
 *    forced apply alone would change their values but leave the fields that only they own.
 * 2. **apply** the active form: what it does not have is removed, since all of it is ours now. Fields that the site's
 *    control plane filled in (addresses, bound volumes) have no owner or its own and stay.
 * 3. **restore** the source's owners, with the resourceVersion of the answer to step 2.
 *
 * Steps 1 and 3 carry a resourceVersion: on a conflict (a controller wrote in between) read the object and make the
 * request again from what was read.
 *
 * After step 3 we own nothing. A client-side `kubectl apply` also needs its annotation with the last applied manifest
 * to know what was removed from it since, so that annotation is part of what is replicated.
 */

/** Whether any manager owns the field at `path`, itself or something in it. */
export function ownsField(managers: readonly ManagedFieldsEntry[], path: readonly FieldStep[]): boolean {
  return managers.some((entry) => hasField(entry.fieldsV1, path));
}

/**
 * Managers that belong to a site: what they write into an object (a bound volume, an injected authority) is about
 * that site, does not travel and is not taken from them.
 */
const siteManagers = new Set([
  "kube-apiserver",
  "kube-controller-manager",
  "kube-scheduler",
  "kubelet",
  "cloud-controller-manager",
  "cert-manager-cainjector",
  "cainjector",
]);

function isSubresource(entry: ManagedFieldsEntry): boolean {
  return (entry.subresource ?? "") !== "";
}

/** Entries that stay with the site whatever happens: every status, and what the control plane wrote. */
function belongsToSite(entry: ManagedFieldsEntry): boolean {
  return entry.subresource === "status" || (!isSubresource(entry) && siteManagers.has(entry.manager));
}

/**
 * Step 1: entries in which all that others own is ours. `undefined` where nobody but us and the site has written.
 * @param manager the field manager under which copies are applied
 */
export function absorbedOwners(live: KubeObject, manager: string): ManagedFieldsEntry[] | undefined {
  const entries = live.metadata.managedFields ?? [];
  const taken = entries.filter((entry) => !belongsToSite(entry));
  if (taken.every((entry) => entry.manager === manager && entry.operation === "Apply")) return undefined;
  const fieldsV1 = taken.reduce((all, entry) => union(all, entry.fieldsV1 ?? {}), {});
  const own = { manager, operation: "Apply", apiVersion: live.apiVersion, fieldsType: "FieldsV1", fieldsV1 } as const;
  return [own, ...entries.filter(belongsToSite)];
}

export interface OwnersToRestore {
  /** managedFields of the source, as its record has them. */
  readonly source: readonly ManagedFieldsEntry[];
  /** The active form that was applied. */
  readonly rendered: KubeObject;
  /** managedFields that the object has at the site now. */
  readonly live: readonly ManagedFieldsEntry[];
  /** Our field manager. */
  readonly manager: string;
}

/**
 * Step 3: the entries that the object must have. Owners of fields that the active form does not have (a node port that
 * was taken, a label that was renamed) own them no more; a field that the mappings or mutations changed keeps its
 * owner, who may change it back.
 */
export function ownersToRestore({ source, rendered, live, manager }: OwnersToRestore): ManagedFieldsEntry[] {
  const result = live.filter((entry) => belongsToSite(entry) && entry.manager !== manager);
  for (const entry of source) {
    if (entry.manager === manager || entry.subresource === "status") continue;
    const fieldsV1 = within(withoutOwners(entry.fieldsV1 ?? {}), rendered);
    if (fieldsV1 !== undefined) add(result, { ...entry, fieldsV1 });
  }
  return result;
}

/** References to owners are told apart by UID, and each site has its own. */
function withoutOwners(fields: FieldSet): FieldSet {
  const metadata = fields["f:metadata"];
  if (!isJson(metadata) || metadata["f:ownerReferences"] === undefined) return fields;
  const kept = Object.entries(metadata).filter(([name]) => name !== "f:ownerReferences");
  return { ...fields, "f:metadata": Object.fromEntries(kept) };
}

/** Two entries of one manager, operation, version and subresource are one: the API server would refuse both. */
function add(entries: ManagedFieldsEntry[], entry: ManagedFieldsEntry): void {
  const index = entries.findIndex(
    (other) =>
      other.manager === entry.manager &&
      other.operation === entry.operation &&
      other.apiVersion === entry.apiVersion &&
      (other.subresource ?? "") === (entry.subresource ?? ""),
  );
  const other = entries[index];
  if (other === undefined) entries.push(entry);
  else entries[index] = { ...other, fieldsV1: union(other.fieldsV1 ?? {}, entry.fieldsV1 ?? {}) };
}
