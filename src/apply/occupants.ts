import { hasCode } from "../errors.ts";
import type { KubeClient } from "../kube/client.ts";
import type { KubeKind, KubeResource } from "../kube/resource.ts";
import { kubeStatusOf } from "../kube/status.ts";
import { keyOf, type ObjectKey } from "../objects/key.ts";
import { groupOf, type KubeObject } from "../objects/object.ts";
import { classify, type Failure } from "./failures.ts";
import { isOurs } from "./ours.ts";

/**
 * What a namespace at the standby holds besides the group's copies. With a namespace goes everything in it, so it is
 * deleted only when nothing of that is somebody else's.
 */
export interface OccupantsOptions {
  readonly client: KubeClient;
  readonly discovery: { kinds(): readonly KubeKind[] };
  readonly group: { readonly name: string; readonly manager: string; readonly own: ReadonlySet<string> };
  readonly signal: AbortSignal;
}

/** Found and not named; looking for more would only cost the API server. */
const shownMaxCount = 10;

/** Why the namespace must stay, with the first of what it holds; `undefined` when it may go. Rejects by the signal. */
export async function occupants(namespace: string, options: OccupantsOptions): Promise<Failure | undefined> {
  const found: ObjectKey[] = [];
  for (const { versions } of options.discovery.kinds()) {
    const [resource] = versions;
    // What cannot be deleted is a view of other things, such as the metrics of pods.
    if (!resource.namespaced || !resource.verbs.has("list") || !resource.verbs.has("delete")) continue;
    const outcome = await foreignOf(resource, namespace, options);
    if ("failure" in outcome) return outcome.failure;
    found.push(...outcome.keys);
    if (found.length >= shownMaxCount) break;
  }
  if (found.length === 0) return undefined;
  const named = found.slice(0, shownMaxCount).join(", ");
  const more = found.length >= shownMaxCount ? " and perhaps more" : "";
  const message = `it holds objects that are not the group's, and would take them along: ${named}${more}`;
  return { reason: "Occupied", message, slow: true };
}

/** Keys of somebody else's objects of one kind. A kind that cannot be read may have some. */
async function foreignOf(
  resource: KubeResource,
  namespace: string,
  { client, group, signal }: OccupantsOptions,
): Promise<{ keys: ObjectKey[] } | { failure: Failure }> {
  const keys: ObjectKey[] = [];
  try {
    for await (const page of client.list(resource, { namespace, metadataOnly: true, signal })) {
      for (const { metadata } of page.items) {
        const object = { apiVersion: apiVersionOf(resource), kind: resource.kind, metadata };
        if (!isOurs(object, group) && !comesWithNamespace(object)) keys.push(keyOf(object));
      }
      if (keys.length >= shownMaxCount) break;
    }
    return { keys };
  } catch (error) {
    signal.throwIfAborted();
    const code = kubeStatusOf(error)?.code;
    if ((code === 404 && !hasCode(error, "KubeForbidden")) || code === 405) return { keys };
    const { message, ...rest } = classify(error, { group: resource.group, kind: resource.kind, namespace });
    if (rest.reason === "ApiUnreachable") return { failure: { ...rest, message } };
    const what = `${resource.plural}${resource.group === "" ? "" : `.${resource.group}`}`;
    return {
      failure: { reason: "Occupied", message: `it may hold ${what}, which cannot be read: ${message}`, slow: true },
    };
  }
}

function apiVersionOf({ group, version }: KubeResource): string {
  return group === "" ? version : `${group}/${version}`;
}

/** Kinds that only tell of others, or are made anew for whatever needs them. */
const incidental: ReadonlySet<string> = new Set([
  "/Event",
  "events.k8s.io/Event",
  "coordination.k8s.io/Lease",
  "apps/ControllerRevision",
  "storage.k8s.io/CSIStorageCapacity",
]);

/**
 * Whether controllers make the object in every namespace, or for another object that is looked at itself. Pure.
 */
export function comesWithNamespace({ apiVersion, kind, metadata }: KubeObject): boolean {
  const { name, annotations, labels, ownerReferences } = metadata;
  const id = `${groupOf(apiVersion)}/${kind}`;
  if (incidental.has(id)) return true;
  if (ownerReferences?.some((owner) => owner.controller === true) === true) return true;
  switch (id) {
    case "/ServiceAccount":
      return name === "default" || openshiftAccounts.has(name);
    case "/ConfigMap":
      return name === "kube-root-ca.crt" || name === "openshift-service-ca.crt";
    case "/Secret":
      return annotations?.["kubernetes.io/service-account.name"] !== undefined && onlyBySystem(metadata);
    case "rbac.authorization.k8s.io/RoleBinding":
      return name.startsWith("system:");
    case "/Endpoints":
      return annotations?.["endpoints.kubernetes.io/last-change-trigger-time"] !== undefined || onlyBySystem(metadata);
    case "discovery.k8s.io/EndpointSlice":
      return (labels?.["endpointslice.kubernetes.io/managed-by"] ?? "").endsWith("-controller.k8s.io");
    default:
      return false;
  }
}

const openshiftAccounts: ReadonlySet<string> = new Set(["builder", "deployer"]);

const systemWriters: ReadonlySet<string> = new Set([
  "kube-controller-manager",
  "kube-apiserver",
  "openshift-controller-manager",
]);

function onlyBySystem({ managedFields = [] }: KubeObject["metadata"]): boolean {
  return managedFields.length > 0 && managedFields.every(({ manager }) => systemWriters.has(manager));
}
