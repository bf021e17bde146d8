import { parseJson } from "../objects/json.ts";
import { groupOf, type KubeObject } from "../objects/object.ts";
import type { SiteMapping } from "./mapping.ts";
import { isJson, type Json } from "./pointer.ts";

/**
 * Mappings made on whole objects. Fields are found by the names that the Kubernetes API conventions give them, so that
 * one rule serves built-in kinds and custom resources: a reference is `{name or kind, namespace}`, an image is `image`,
 * and so on. Text that only an application reads (ConfigMaps, Secrets, environment) is never touched.
 */
export function rewrite(object: KubeObject, mapping: SiteMapping): void {
  if (!mapping.changes) return;
  rewriteMetadata(object, mapping);
  const rules = rulesFor(object, mapping);
  for (const [name, value] of Object.entries(object)) {
    if (!opaqueFields.has(name)) object[name] = walk(value, name, rules);
  }
}

/** `data` of ConfigMaps and Secrets is the application's; the others are not part of what is rewritten. */
const opaqueFields = new Set(["apiVersion", "kind", "metadata", "data", "stringData", "binaryData", "status"]);

/** Where the name of a host is a field of its own. In pods the same field names mean other things. */
const hostGroups = new Set([
  "networking.k8s.io",
  "gateway.networking.k8s.io",
  "route.openshift.io",
  "networking.istio.io",
  "cert-manager.io",
  "traefik.io",
  "projectcontour.io",
  "externaldns.k8s.io",
]);

/** Where a text that equals a mapped range can be nothing but that range. */
const rangeGroups = new Set(["networking.k8s.io", "cilium.io", "crd.projectcalico.org", "policy.networking.k8s.io"]);

const namespaceLabel = "kubernetes.io/metadata.name";
const account = /^system:serviceaccount:([^:]+):(.+)$/;
const accounts = /^system:serviceaccounts:([^:]+)$/;

type FieldRule = (value: string) => string;

interface Rules {
  /** Rules by the name of a field that holds a text or a list of texts. */
  readonly fields: ReadonlyMap<string, FieldRule>;
  readonly namespace: FieldRule;
  /** Field names whose subtree is left alone. */
  readonly opaque: ReadonlySet<string>;
}

function rulesFor(object: KubeObject, mapping: SiteMapping): Rules {
  const group = groupOf(object.apiVersion);
  const fields = new Map<string, FieldRule>([
    ["image", mapping.image],
    ["imageName", mapping.image],
    ["storageClassName", mapping.storageClass],
    ["storageClass", mapping.storageClass],
    ["ingressClassName", mapping.ingressClass],
    ["gatewayClassName", mapping.ingressClass],
    ["loadBalancerSourceRanges", mapping.cidr],
    ["loadBalancerIP", mapping.address],
    ["externalIPs", mapping.address],
    ["namespaces", mapping.namespace],
    ["matchNames", mapping.namespace],
  ]);
  if (hostGroups.has(group)) {
    for (const name of ["host", "hosts", "hostname", "hostnames", "dnsNames", "commonName", "dnsName", "fqdn"]) {
      fields.set(name, mapping.host);
    }
  }
  if (rangeGroups.has(group)) {
    for (const name of ["cidr", "except", "cidrs", "fromCIDR", "toCIDR", "nets", "notNets"]) {
      fields.set(name, mapping.cidr);
    }
  }
  // The schemas of a CustomResourceDefinition describe fields of these names without holding such values.
  const opaque = new Set(object.kind === "CustomResourceDefinition" ? ["versions"] : []);
  return { fields, namespace: mapping.namespace, opaque };
}

/** Returns the value to keep; objects and lists are changed in place. */
function walk(value: unknown, name: string, rules: Rules): unknown {
  const rule = rules.fields.get(name);
  if (typeof value === "string") return rule === undefined ? value : rule(value);
  if (rules.opaque.has(name)) return value;
  if (Array.isArray(value)) {
    for (const [index, item] of value.entries()) {
      if (typeof item !== "string" || rule !== undefined) value[index] = walk(item, name, rules);
    }
    return value;
  }
  if (!isJson(value)) return value;
  for (const [field, item] of Object.entries(value)) value[field] = walk(item, field, rules);
  rewriteReference(value, name, rules);
  return value;
}

function rewriteReference(node: Json, name: string, rules: Rules): void {
  if (typeof node["namespace"] === "string" && (typeof node["name"] === "string" || typeof node["kind"] === "string")) {
    node["namespace"] = rules.namespace(node["namespace"]);
  }
  if (name === "matchLabels" && typeof node[namespaceLabel] === "string") {
    node[namespaceLabel] = rules.namespace(node[namespaceLabel]);
  }
  if (node["key"] === namespaceLabel && Array.isArray(node["values"])) {
    node["values"] = node["values"].map((item: unknown) => (typeof item === "string" ? rules.namespace(item) : item));
  }
  // The image of an OCI volume.
  const reference = name === "image" ? node["reference"] : undefined;
  if (typeof reference === "string") node["reference"] = rules.fields.get("image")?.(reference);
}

/** Name of a User or Group that stands for ServiceAccounts of a namespace, with the namespace mapped. */
export function mapAccountName(name: string, mapping: SiteMapping): string {
  const [, namespace, rest] = account.exec(name) ?? [];
  if (namespace !== undefined) return `system:serviceaccount:${mapping.namespace(namespace)}:${rest}`;
  const [, all] = accounts.exec(name) ?? [];
  return all === undefined ? name : `system:serviceaccounts:${mapping.namespace(all)}`;
}

function rewriteMetadata(object: KubeObject, mapping: SiteMapping): void {
  const { metadata } = object;
  if (object.kind === "Namespace" && object.apiVersion === "v1") metadata.name = mapping.namespace(metadata.name);
  if (metadata.namespace !== undefined) metadata.namespace = mapping.namespace(metadata.namespace);
  for (const [name, value] of Object.entries(metadata.annotations ?? {})) {
    const rule = annotationRules.get(name);
    if (rule !== undefined && metadata.annotations !== undefined) metadata.annotations[name] = rule(value, mapping);
  }
}

const each = (value: string, rule: FieldRule) =>
  value
    .split(",")
    .map((item) => rule(item.trim()))
    .join(",");
const hostList = (value: string, mapping: SiteMapping) => each(value, mapping.host);
const addressList = (value: string, mapping: SiteMapping) => each(value, mapping.address);

/** Annotations with a meaning that a mapping is about. */
const annotationRules: ReadonlyMap<string, (value: string, mapping: SiteMapping) => string> = new Map([
  ["external-dns.alpha.kubernetes.io/hostname", hostList],
  ["external-dns.alpha.kubernetes.io/internal-hostname", hostList],
  ["external-dns.alpha.kubernetes.io/target", (value, mapping) => each(hostList(value, mapping), mapping.address)],
  ["nginx.ingress.kubernetes.io/server-alias", hostList],
  ["kubernetes.io/ingress.class", (value, mapping) => mapping.ingressClass(value)],
  ["volume.beta.kubernetes.io/storage-class", (value, mapping) => mapping.storageClass(value)],
  ["metallb.universe.tf/loadBalancerIPs", addressList],
  ["metallb.io/loadBalancerIPs", addressList],
  ["kube-vip.io/loadbalancerIPs", addressList],
  ["io.cilium/lb-ipam-ips", addressList],
  ["lbipam.cilium.io/ips", addressList],
  ["cert-manager.io/inject-ca-from", inNamespace],
  ["cert-manager.io/inject-ca-from-secret", inNamespace],
  ["kubectl.kubernetes.io/last-applied-configuration", inManifest],
]);

/** `namespace/name`. */
function inNamespace(value: string, mapping: SiteMapping): string {
  const [namespace = "", name] = value.split("/");
  return name === undefined ? value : `${mapping.namespace(namespace)}/${name}`;
}

/**
 * The manifest that kubectl last applied names the object that it is of. Only that name is mapped: kubectl reads
 * nothing else from here but which fields there are.
 */
function inManifest(value: string, mapping: SiteMapping): string {
  if (mapping.namespaces.size === 0) return value;
  try {
    const manifest = parseJson(value);
    const metadata = isJson(manifest) ? manifest["metadata"] : undefined;
    if (!isJson(manifest) || !isJson(metadata)) return value;
    const field = manifest["kind"] === "Namespace" && manifest["apiVersion"] === "v1" ? "name" : "namespace";
    const namespace = metadata[field];
    if (typeof namespace === "string") metadata[field] = mapping.namespace(namespace);
    return `${JSON.stringify(manifest)}\n`;
  } catch {
    return value;
  }
}
