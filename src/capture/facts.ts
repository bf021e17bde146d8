import type { LabelSelector } from "../config/fields.ts";
import { formatKey, type ObjectKey } from "../objects/key.ts";
import { groupOf, type KubeObject } from "../objects/object.ts";
import { podTemplateOf, readPodSpec, type PodNeeds } from "./pod-facts.ts";
import { at, isRecord, list, record, text, type Json } from "./walk.ts";

/** How an object hangs together with others: all that membership in a group is decided from, apart from labels. */
export interface ObjectFacts {
  /** Objects of the same namespace that this one needs to work. */
  readonly needs: readonly ObjectKey[];
  /** Cluster-scoped objects that it needs. */
  readonly clusterNeeds: readonly ObjectKey[];
  /** The object serves these: where one of them is taken, so is the object. */
  readonly serves: readonly ObjectKey[];
  /** The object serves ServiceAccounts of these namespaces as a whole. */
  readonly servesNamespaces: readonly string[];
  /** For a Service: the pods that it selects. */
  readonly podSelector: LabelSelector | undefined;
  /** For anything that makes pods: their labels. */
  readonly podLabels: Readonly<Record<string, string>> | undefined;
}

/**
 * The facts without what only matters where objects are chosen by label: with whole namespaces taken, references
 * within them decide nothing.
 */
export function wholeFacts(facts: ObjectFacts): ObjectFacts {
  if (facts.needs.length === 0 && facts.podSelector === undefined && facts.podLabels === undefined) return facts;
  const { clusterNeeds, serves, servesNamespaces } = facts;
  if (clusterNeeds.length + serves.length + servesNamespaces.length === 0) return noFacts;
  return { ...noFacts, clusterNeeds, serves, servesNamespaces };
}

/** @param crd key of the CustomResourceDefinition of the object's kind, where it may have one */
export function factsOf(object: KubeObject, crd: ObjectKey | undefined): ObjectFacts {
  const builder = new FactsBuilder(object.metadata.namespace ?? "");
  if (crd !== undefined) builder.clusterNeeds.add(crd);
  const pods = podTemplateOf(object);
  if (pods !== undefined) builder.pods(readPodSpec(pods.spec));
  readers[`${groupOf(object.apiVersion)}/${object.kind}`]?.(object, builder);
  readScaleTarget(object, builder);
  return builder.build(pods?.labels);
}

class FactsBuilder {
  readonly namespace: string;
  readonly needs = new Set<ObjectKey>();
  readonly clusterNeeds = new Set<ObjectKey>();
  readonly serves = new Set<ObjectKey>();
  readonly servesNamespaces = new Set<string>();
  podSelector: LabelSelector | undefined;

  constructor(namespace: string) {
    this.namespace = namespace;
  }

  need(group: string, kind: string, name: string | undefined): void {
    if (name !== undefined) this.needs.add(formatKey({ group, kind, namespace: this.namespace, name }));
  }

  needCluster(group: string, kind: string, name: string | undefined): void {
    if (name !== undefined) this.clusterNeeds.add(formatKey({ group, kind, namespace: "", name }));
  }

  serve(group: string, kind: string, namespace: string, name: string | undefined): void {
    if (name !== undefined) this.serves.add(formatKey({ group, kind, namespace, name }));
  }

  pods(needs: PodNeeds): void {
    this.need("", "ServiceAccount", needs.serviceAccount);
    for (const name of needs.secrets) this.need("", "Secret", name);
    for (const name of needs.configMaps) this.need("", "ConfigMap", name);
    for (const name of needs.claims) this.need("", "PersistentVolumeClaim", name);
    for (const name of needs.resourceClaimTemplates) this.need("resource.k8s.io", "ResourceClaimTemplate", name);
    for (const name of needs.storageClasses) this.needCluster("storage.k8s.io", "StorageClass", name);
    this.needCluster("scheduling.k8s.io", "PriorityClass", needs.priorityClass);
    this.needCluster("node.k8s.io", "RuntimeClass", needs.runtimeClass);
  }

  #isEmpty(): boolean {
    const size = this.needs.size + this.clusterNeeds.size + this.serves.size + this.servesNamespaces.size;
    return size === 0 && this.podSelector === undefined;
  }

  build(podLabels: Readonly<Record<string, string>> | undefined): ObjectFacts {
    if (this.#isEmpty() && podLabels === undefined) return noFacts;
    return {
      needs: frozen(this.needs),
      clusterNeeds: frozen(this.clusterNeeds),
      serves: frozen(this.serves),
      servesNamespaces: frozen(this.servesNamespaces),
      podSelector: this.podSelector,
      podLabels,
    };
  }
}

const nothing: readonly string[] = [];

/** Shared by all objects that refer to nothing, which are most. */
const noFacts: ObjectFacts = {
  needs: nothing,
  clusterNeeds: nothing,
  serves: nothing,
  servesNamespaces: nothing,
  podSelector: undefined,
  podLabels: undefined,
};

function frozen(set: ReadonlySet<string>): readonly string[] {
  return set.size === 0 ? nothing : [...set];
}

type Reader = (object: KubeObject, facts: FactsBuilder) => void;

const readers: Readonly<Record<string, Reader>> = {
  "apps/StatefulSet": readStatefulSet,
  "/ServiceAccount": (account, facts) => {
    for (const entry of list(account["imagePullSecrets"])) facts.need("", "Secret", text(entry, "name"));
  },
  "/Service": (service, facts) => {
    const selector = record(at(service["spec"], "selector"));
    if (Object.keys(selector).length > 0) facts.podSelector = { matchLabels: selector as Record<string, string> };
  },
  "/PersistentVolumeClaim": (claim, facts) => {
    facts.needCluster("storage.k8s.io", "StorageClass", text(claim["spec"], "storageClassName"));
    facts.needCluster("", "PersistentVolume", text(claim["spec"], "volumeName"));
  },
  "networking.k8s.io/Ingress": readIngress,
  "gateway.networking.k8s.io/Gateway": readGateway,
  "gateway.networking.k8s.io/HTTPRoute": readRoute,
  "gateway.networking.k8s.io/GRPCRoute": readRoute,
  "gateway.networking.k8s.io/TLSRoute": readRoute,
  "gateway.networking.k8s.io/TCPRoute": readRoute,
  "gateway.networking.k8s.io/UDPRoute": readRoute,
  "rbac.authorization.k8s.io/RoleBinding": readBinding,
  "rbac.authorization.k8s.io/ClusterRoleBinding": readBinding,
  "admissionregistration.k8s.io/ValidatingWebhookConfiguration": readWebhooks,
  "admissionregistration.k8s.io/MutatingWebhookConfiguration": readWebhooks,
  "apiregistration.k8s.io/APIService": (service, facts) => serveService(at(service["spec"], "service"), facts),
};

/** Claims that the set makes are named after its templates and its pods' numbers. */
function readStatefulSet(set: KubeObject, facts: FactsBuilder): void {
  const spec = set["spec"];
  facts.need("", "Service", text(spec, "serviceName"));
  const first = Number(at(at(spec, "ordinals"), "start") ?? 0);
  const replicas = Math.min(Number(at(spec, "replicas") ?? 1), ordinalsMaxCount);
  for (const template of list(at(spec, "volumeClaimTemplates"))) {
    const name = text(at(template, "metadata"), "name") ?? "";
    facts.needCluster("storage.k8s.io", "StorageClass", text(at(template, "spec"), "storageClassName"));
    for (let ordinal = first; ordinal < first + replicas; ordinal++) {
      facts.need("", "PersistentVolumeClaim", `${name}-${set.metadata.name}-${ordinal}`);
    }
  }
}

/** More pods than a StatefulSet is run with; bounds what a mistyped replica count costs. */
const ordinalsMaxCount = 1_000;

function readIngress(ingress: KubeObject, facts: FactsBuilder): void {
  const spec = ingress["spec"];
  facts.needCluster("networking.k8s.io", "IngressClass", text(spec, "ingressClassName"));
  for (const tls of list(at(spec, "tls"))) facts.need("", "Secret", text(tls, "secretName"));
  const paths = list(at(spec, "rules")).flatMap((rule) => list(at(at(rule, "http"), "paths")));
  for (const backend of [at(spec, "defaultBackend"), ...paths.map((path) => at(path, "backend"))]) {
    const name = text(at(backend, "service"), "name");
    facts.need("", "Service", name);
    facts.serve("", "Service", facts.namespace, name);
  }
}

function readGateway(gateway: KubeObject, facts: FactsBuilder): void {
  facts.needCluster("gateway.networking.k8s.io", "GatewayClass", text(gateway["spec"], "gatewayClassName"));
  for (const listener of list(at(gateway["spec"], "listeners"))) {
    for (const reference of list(at(at(listener, "tls"), "certificateRefs"))) {
      if (isHere(reference, facts)) facts.need("", "Secret", text(reference, "name"));
    }
  }
}

function readRoute(route: KubeObject, facts: FactsBuilder): void {
  for (const parent of list(at(route["spec"], "parentRefs"))) {
    const kind = text(parent, "kind") ?? "Gateway";
    if (isHere(parent, facts))
      facts.need(text(parent, "group") ?? "gateway.networking.k8s.io", kind, text(parent, "name"));
  }
  for (const rule of list(at(route["spec"], "rules"))) {
    for (const backend of list(at(rule, "backendRefs"))) {
      if ((text(backend, "kind") ?? "Service") !== "Service" || !isHere(backend, facts)) continue;
      facts.need("", "Service", text(backend, "name"));
      facts.serve("", "Service", facts.namespace, text(backend, "name"));
    }
  }
}

function isHere(reference: Json, facts: FactsBuilder): boolean {
  const namespace = text(reference, "namespace");
  return namespace === undefined || namespace === facts.namespace;
}

function readBinding(binding: KubeObject, facts: FactsBuilder): void {
  const role = text(binding["roleRef"], "name");
  if (text(binding["roleRef"], "kind") === "ClusterRole") facts.needCluster(rbac, "ClusterRole", role);
  else facts.need(rbac, "Role", role);
  for (const subject of list(binding["subjects"])) readSubject(subject, facts);
}

const rbac = "rbac.authorization.k8s.io";
const serviceAccountUser = /^system:serviceaccount:([^:]+):([^:]+)$/;
const serviceAccountGroup = /^system:serviceaccounts:([^:]+)$/;

/** ServiceAccounts are named as such, or as the user and the groups that they act as. */
function readSubject(subject: Json, facts: FactsBuilder): void {
  const name = text(subject, "name") ?? "";
  const kind = text(subject, "kind");
  const account = kind === "User" ? serviceAccountUser.exec(name) : null;
  if (kind === "ServiceAccount" || account !== null) {
    const namespace = account?.[1] ?? text(subject, "namespace") ?? facts.namespace;
    facts.serve("", "ServiceAccount", namespace, account?.[2] ?? name);
    facts.servesNamespaces.add(namespace);
  }
  const namespace = kind === "Group" ? serviceAccountGroup.exec(name)?.[1] : undefined;
  if (namespace !== undefined) facts.servesNamespaces.add(namespace);
}

function readWebhooks(configuration: KubeObject, facts: FactsBuilder): void {
  for (const webhook of list(configuration["webhooks"])) {
    serveService(at(at(webhook, "clientConfig"), "service"), facts);
  }
}

function serveService(reference: Json, facts: FactsBuilder): void {
  facts.serve("", "Service", text(reference, "namespace") ?? "", text(reference, "name"));
}

/** Autoscalers, KEDA's included, come along with what they scale. */
function readScaleTarget(object: KubeObject, facts: FactsBuilder): void {
  const target = at(object["spec"], "scaleTargetRef");
  if (!isRecord(target)) return;
  const group = groupOf(text(target, "apiVersion") ?? "apps/v1");
  facts.serve(group, text(target, "kind") ?? "Deployment", facts.namespace, text(target, "name"));
}
