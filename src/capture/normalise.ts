import { requestAnnotation } from "../config/requests.ts";
import { canonicalJson } from "../objects/json.ts";
import { marks, type KubeObject, type ManagedFieldsEntry, type ObjectMeta } from "../objects/object.ts";
import { hashOf } from "../objects/record.ts";
import { fromHeld } from "../render/marks.ts";

/** An object as it travels. */
export interface Normalised {
  /** Canonical JSON text. */
  readonly object: string;
  /** Canonical JSON text of its field owners. */
  readonly managers: string;
  readonly hash: string;
}

/** Set by the API server, or meaningless at another one. */
const droppedMetadata: ReadonlySet<string> = new Set([
  "uid",
  "resourceVersion",
  "generation",
  "creationTimestamp",
  "deletionTimestamp",
  "deletionGracePeriodSeconds",
  "managedFields",
  "selfLink",
]);

/** What Lifeboat writes itself, at this site or the other, is not part of what users protect. */
const droppedAnnotations: ReadonlySet<string> = new Set([
  // Counted by the controller of each cluster for itself.
  "deployment.kubernetes.io/revision",
  // Renewed every two seconds by leaders that still elect themselves through ConfigMaps.
  "control-plane.alpha.kubernetes.io/leader",
  marks.groups,
  marks.source,
  marks.epoch,
  marks.hash,
  marks.held,
  marks.version,
  marks.failover,
  marks.mirror,
  // A request to one agent, consumed there.
  requestAnnotation,
]);
const droppedLabels: ReadonlySet<string> = new Set([marks.group]);

/**
 * The form in which objects are hashed, journalled and compared: what the user or a controller asked for, without
 * what belongs to one API server. Equal for equal intent: the same object read in two versions of itself, before and
 * after a status update or a restart, has the same text. Does not change `live`.
 */
export function normalise(live: KubeObject): Normalised {
  // A site that is taken down holds back values of its own objects; what travels is what they were.
  const object = live.metadata.annotations?.[marks.held] === undefined ? live : fromHeld(live);
  const kept: Record<string, unknown> = { ...object, metadata: normaliseMetadata(object.metadata) };
  delete kept["status"];
  // Only finalizers of the API server itself.
  if (object.kind === "Namespace" && object.apiVersion === "v1") delete kept["spec"];
  if (object.kind === "Secret" && object["type"] === serviceAccountToken) {
    // The token is signed by this cluster; the other one fills in its own.
    delete kept["data"];
  }
  const text = canonicalJson(kept);
  const managers = canonicalJson(normaliseManagers(live.metadata.managedFields ?? []));
  return { object: text, managers, hash: hashOf(text, managers) };
}

const serviceAccountToken = "kubernetes.io/service-account-token";

function normaliseMetadata(metadata: ObjectMeta): Record<string, unknown> {
  const kept: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(metadata)) {
    if (!droppedMetadata.has(name)) kept[name] = value;
  }
  setOrDelete(kept, "annotations", without(metadata.annotations, droppedAnnotations));
  setOrDelete(kept, "labels", without(metadata.labels, droppedLabels));
  const owners = (metadata.ownerReferences ?? []).map(({ uid: _uid, ...owner }) => owner);
  setOrDelete(kept, "ownerReferences", owners.length === 0 ? undefined : owners);
  setOrDelete(kept, "finalizers", metadata.finalizers?.length === 0 ? undefined : metadata.finalizers);
  return kept;
}

function without(
  map: Readonly<Record<string, string>> | undefined,
  names: ReadonlySet<string>,
): Record<string, string> | undefined {
  if (map === undefined) return undefined;
  const entries = Object.entries(map).filter(([name]) => !names.has(name));
  return entries.length === 0 ? undefined : Object.fromEntries(entries);
}

function setOrDelete(record: Record<string, unknown>, name: string, value: unknown): void {
  if (value === undefined) delete record[name];
  else record[name] = value;
}

/** Field owners without times, and without those of the status, which does not travel. */
function normaliseManagers(entries: readonly ManagedFieldsEntry[]): unknown[] {
  return entries.filter((entry) => entry.subresource !== "status").map(({ time: _time, ...entry }) => entry);
}
