import { canaryPrefix } from "../objects/canary.ts";
import { groupApi } from "../config/group.ts";
import { groupOf, type KubeObject } from "../objects/object.ts";
import { at, list } from "./walk.ts";

/** Why an object of a selected namespace does not travel. */
export type LeftOut =
  /** Made anew by a controller at the other site from an object that does travel. */
  | "Controlled"
  /** Every cluster has its own. */
  | "SiteHasItsOwn"
  /** Work that is done. */
  | "Finished"
  /** Lifeboat's own bookkeeping. */
  | "Bookkeeping"
  /** Volumes that a provisioner made. */
  | "Provisioned";

/** Kinds that never travel, as `group/Kind`: they describe one cluster, its nodes or the present moment. */
const neverReplicated: ReadonlySet<string> = new Set([
  "/Node",
  "/Event",
  "events.k8s.io/Event",
  "coordination.k8s.io/Lease",
  "coordination.k8s.io/LeaseCandidate",
  "apps/ControllerRevision",
  "storage.k8s.io/CSINode",
  "storage.k8s.io/CSIStorageCapacity",
  "storage.k8s.io/VolumeAttachment",
  "resource.k8s.io/ResourceSlice",
  "metrics.k8s.io/PodMetrics",
  "metrics.k8s.io/NodeMetrics",
  "certificates.k8s.io/CertificateSigningRequest",
]);

/** Cluster-scoped kinds of which a group can need some: of all others no object is ever read. */
const clusterScopedNeeds: ReadonlySet<string> = new Set([
  "/Namespace",
  "/PersistentVolume",
  "apiextensions.k8s.io/CustomResourceDefinition",
  "rbac.authorization.k8s.io/ClusterRole",
  "rbac.authorization.k8s.io/ClusterRoleBinding",
  "scheduling.k8s.io/PriorityClass",
  "node.k8s.io/RuntimeClass",
  "networking.k8s.io/IngressClass",
  "gateway.networking.k8s.io/GatewayClass",
  "storage.k8s.io/StorageClass",
  "admissionregistration.k8s.io/ValidatingWebhookConfiguration",
  "admissionregistration.k8s.io/MutatingWebhookConfiguration",
  "apiregistration.k8s.io/APIService",
]);

/** Whether objects of a kind are read at all. */
export function isCaptured(kind: {
  readonly group: string;
  readonly kind: string;
  readonly namespaced: boolean;
  readonly verbs: ReadonlySet<string>;
}): boolean {
  if (!kind.verbs.has("list") || !kind.verbs.has("watch") || !kind.verbs.has("get")) return false;
  if (kind.group === groupApi.group) return false;
  const id = `${kind.group}/${kind.kind}`;
  return kind.namespaced ? !neverReplicated.has(id) : clusterScopedNeeds.has(id);
}

/**
 * Kept out of the API server's answers where a label tells: in a busy cluster almost all EndpointSlices are the
 * controllers', and they change with every pod.
 */
export function labelSelectorFor(group: string, kind: string): string | undefined {
  if (group !== "discovery.k8s.io" || kind !== "EndpointSlice") return undefined;
  return "endpointslice.kubernetes.io/managed-by notin (endpointslice-controller.k8s.io,endpointslicemirroring-controller.k8s.io)";
}

/**
 * Kinds whose objects travel though a controller owns them: what is in them (passwords that an operator made up once,
 * data) cannot be made anew from the owner.
 */
const travelsWhenOwned: ReadonlySet<string> = new Set([
  "/Secret",
  "/ConfigMap",
  "/PersistentVolumeClaim",
  "/PersistentVolume",
  "apiextensions.k8s.io/CustomResourceDefinition",
]);

/** The owner that makes the object anew where it is missing, if the object is of a kind that needs no copy then. */
export function recreatedBy(
  object: KubeObject,
): { apiVersion: string; group: string; kind: string; name: string } | undefined {
  const owner = object.metadata.ownerReferences?.find((reference) => reference.controller === true);
  if (owner === undefined || travelsWhenOwned.has(`${groupOf(object.apiVersion)}/${object.kind}`)) return undefined;
  const { apiVersion, kind, name } = owner;
  return { apiVersion, group: groupOf(apiVersion), kind, name };
}

type Rule = (object: KubeObject) => LeftOut | undefined;

const rules: Readonly<Record<string, Rule>> = {
  "/Pod": (pod) => {
    if (pod.metadata.annotations?.["kubernetes.io/config.mirror"] !== undefined) return "SiteHasItsOwn";
    if (hasController(pod)) return "Controlled";
    const phase = at(pod["status"], "phase");
    return phase === "Succeeded" || phase === "Failed" ? "Finished" : undefined;
  },
  "apps/ReplicaSet": (set) => (hasController(set) ? "Controlled" : undefined),
  "batch/Job": (job) => {
    if (hasController(job)) return "Controlled";
    const conditions = list(at(job["status"], "conditions"));
    const done = conditions.some(
      (entry) => (at(entry, "type") === "Complete" || at(entry, "type") === "Failed") && at(entry, "status") === "True",
    );
    return done ? "Finished" : undefined;
  },
  "/Secret": (secret) => {
    const type = secret["type"];
    if (type === "bootstrap.kubernetes.io/token") return "SiteHasItsOwn";
    // OpenShift's pull secrets for its internal registry hold a token of this cluster.
    if (type === "kubernetes.io/dockercfg" && annotation(secret, "openshift.io/token-secret.name")) return "Controlled";
    return type === "kubernetes.io/service-account-token" && onlyWrittenBy(secret, tokenControllers)
      ? "Controlled"
      : undefined;
  },
  "/ConfigMap": ({ metadata }) => {
    if (metadata.name === "kube-root-ca.crt" || metadata.name === "openshift-service-ca.crt") return "SiteHasItsOwn";
    return isCanary(metadata.name) || metadata.name.startsWith("lifeboat-result-") ? "Bookkeeping" : undefined;
  },
  "/ServiceAccount": (account) =>
    account.metadata.name === "default" && !isCustomised(account) ? "SiteHasItsOwn" : undefined,
  "/Service": ({ metadata }) =>
    metadata.namespace === "default" && metadata.name === "kubernetes" ? "SiteHasItsOwn" : undefined,
  "/Endpoints": (endpoints) => {
    const { labels, annotations, namespace, name } = endpoints.metadata;
    if (namespace === "default" && name === "kubernetes") return "SiteHasItsOwn";
    const controlled =
      labels?.["endpoints.kubernetes.io/managed-by"] === "endpoint-controller" ||
      annotations?.["endpoints.kubernetes.io/last-change-trigger-time"] !== undefined ||
      annotations?.["control-plane.alpha.kubernetes.io/leader"] !== undefined ||
      writtenBy(endpoints, "kube-controller-manager");
    return controlled ? "Controlled" : undefined;
  },
  "discovery.k8s.io/EndpointSlice": ({ metadata }) => {
    if (metadata.namespace === "default" && metadata.name === "kubernetes") return "SiteHasItsOwn";
    const manager = metadata.labels?.["endpointslice.kubernetes.io/managed-by"] ?? "";
    return manager.endsWith("-controller.k8s.io") ? "Controlled" : undefined;
  },
  "/PersistentVolume": (volume) => (annotation(volume, "pv.kubernetes.io/provisioned-by") ? "Provisioned" : undefined),
  "/Namespace": () => undefined,
  "rbac.authorization.k8s.io/Role": ({ metadata }) => systemName(metadata.name),
  "rbac.authorization.k8s.io/RoleBinding": ({ metadata }) => systemName(metadata.name),
  "rbac.authorization.k8s.io/ClusterRole": ({ metadata }) => systemName(metadata.name, metadata.labels),
  "rbac.authorization.k8s.io/ClusterRoleBinding": ({ metadata }) => systemName(metadata.name, metadata.labels),
  "scheduling.k8s.io/PriorityClass": ({ metadata }) =>
    metadata.name.startsWith("system-") ? "SiteHasItsOwn" : undefined,
};

/** Why an object never travels, whatever a spec says; `undefined` where it may. */
export function leftOut(object: KubeObject): LeftOut | undefined {
  return rules[`${groupOf(object.apiVersion)}/${object.kind}`]?.(object);
}

function isCanary(name: string): boolean {
  return name.startsWith(canaryPrefix);
}

function hasController(object: KubeObject): boolean {
  return object.metadata.ownerReferences?.some((owner) => owner.controller === true) ?? false;
}

function annotation(object: KubeObject, name: string): boolean {
  return object.metadata.annotations?.[name] !== undefined;
}

/** The control plane's own writers of ServiceAccount tokens: a Secret that nobody else wrote to was made by them. */
const tokenControllers: ReadonlySet<string> = new Set([
  "kube-controller-manager",
  "openshift-controller-manager",
  "kube-apiserver",
]);

function onlyWrittenBy(object: KubeObject, managers: ReadonlySet<string>): boolean {
  const entries = object.metadata.managedFields ?? [];
  return entries.length > 0 && entries.every((entry) => managers.has(entry.manager));
}

function writtenBy(object: KubeObject, manager: string): boolean {
  return object.metadata.managedFields?.some((entry) => entry.manager === manager) ?? false;
}

/** The `default` ServiceAccount is made in every namespace; what a person gave it makes it worth a copy. */
function isCustomised(account: KubeObject): boolean {
  const { labels, annotations } = account.metadata;
  const noted = Object.keys(annotations ?? {}).some(
    (name) => !name.startsWith("kubernetes.io/") && !name.startsWith("openshift.io/"),
  );
  return (
    noted ||
    Object.keys(labels ?? {}).length > 0 ||
    list(account["imagePullSecrets"]).length > 0 ||
    account["automountServiceAccountToken"] !== undefined
  );
}

function systemName(name: string, labels: Readonly<Record<string, string>> = {}): LeftOut | undefined {
  const bootstrapped = labels["kubernetes.io/bootstrapping"] !== undefined;
  return name.startsWith("system:") || bootstrapped ? "SiteHasItsOwn" : undefined;
}
