import { groupOf, type KubeObject } from "../objects/object.ts";

/** One kind in one served version, as discovery describes it. */
export interface KubeResource {
  /** API group, `""` for core. */
  readonly group: string;
  readonly version: string;
  readonly kind: string;
  /** Plural name in paths: `deployments`. */
  readonly plural: string;
  readonly namespaced: boolean;
  /** `get`, `list`, `watch`, `create`, … */
  readonly verbs: ReadonlySet<string>;
  /** `status`, `scale`, … */
  readonly subresources: ReadonlySet<string>;
}

/** One kind with all the versions in which it is served; the first is the preferred one. */
export interface KubeKind {
  readonly group: string;
  readonly kind: string;
  readonly versions: readonly [KubeResource, ...KubeResource[]];
}

/** Where an object is: no `namespace` for cluster-scoped kinds. */
export interface ObjectPlace {
  readonly namespace?: string | undefined;
  readonly name: string;
}

/** `v1` or `apps/v1`. */
export function apiVersionOf(resource: Pick<KubeResource, "group" | "version">): string {
  return resource.group === "" ? resource.version : `${resource.group}/${resource.version}`;
}

/** Path of a collection (no `name`), of an object, or of its subresource. */
export function pathOf(
  resource: KubeResource,
  place: { namespace?: string | undefined; name?: string | undefined; subresource?: string | undefined } = {},
): string {
  const root = resource.group === "" ? `/api/${resource.version}` : `/apis/${resource.group}/${resource.version}`;
  const namespace =
    resource.namespaced && place.namespace !== undefined && place.namespace !== ""
      ? `/namespaces/${encodeURIComponent(place.namespace)}`
      : "";
  const name = place.name === undefined ? "" : `/${encodeURIComponent(place.name)}`;
  const subresource = place.subresource === undefined ? "" : `/${place.subresource}`;
  return `${root}${namespace}/${resource.plural}${name}${subresource}`;
}

/** Place of an object as it stands in its own metadata. */
export function placeOf(object: KubeObject): ObjectPlace {
  return { namespace: object.metadata.namespace, name: object.metadata.name };
}

/** Whether `object` is of this kind, in whatever version. */
export function isOfKind(object: KubeObject, kind: { group: string; kind: string }): boolean {
  return object.kind === kind.kind && groupOf(object.apiVersion) === kind.group;
}

/** A resource that Lifeboat itself uses before or without discovery. */
function wellKnown(group: string, version: string, kind: string, plural: string, namespaced: boolean): KubeResource {
  const verbs = new Set(["get", "list", "watch", "create", "update", "patch", "delete"]);
  return { group, version, kind, plural, namespaced, verbs, subresources: new Set() };
}

export const resources = {
  namespaces: wellKnown("", "v1", "Namespace", "namespaces", false),
  configMaps: wellKnown("", "v1", "ConfigMap", "configmaps", true),
  secrets: wellKnown("", "v1", "Secret", "secrets", true),
  events: wellKnown("", "v1", "Event", "events", true),
  leases: wellKnown("coordination.k8s.io", "v1", "Lease", "leases", true),
  crds: wellKnown("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", false),
  apiServices: wellKnown("apiregistration.k8s.io", "v1", "APIService", "apiservices", false),
  deployments: wellKnown("apps", "v1", "Deployment", "deployments", true),
  admissionPolicies: wellKnown(
    "admissionregistration.k8s.io",
    "v1",
    "ValidatingAdmissionPolicy",
    "validatingadmissionpolicies",
    false,
  ),
  admissionBindings: wellKnown(
    "admissionregistration.k8s.io",
    "v1",
    "ValidatingAdmissionPolicyBinding",
    "validatingadmissionpolicybindings",
    false,
  ),
  gates: wellKnown("lifeboat.dev", "v1alpha1", "Gate", "gates", false),
  protectionGroups: wellKnown("lifeboat.dev", "v1alpha1", "ProtectionGroup", "protectiongroups", false),
} as const;
