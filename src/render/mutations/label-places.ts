import type { LabelSelector } from "../../config/fields.ts";
import type { Labels } from "../../config/match.ts";
import { kindName } from "../../objects/key.ts";
import { groupOf, type KubeObject } from "../../objects/object.ts";

import { isJson, type Json, jsonAt, listAt } from "../pointer.ts";

/** Where objects hold labels of pods and selectors over pods. */

/** A selector inside an object. */
export interface SelectorPlace {
  readonly selector: LabelSelector;
  /** The node to change in place: a label selector, or the plain map of labels that old kinds use. */
  readonly node: Json;
  /** Whether the API server refuses to change it once the object exists. */
  readonly immutable: boolean;
}

/** Labels of the pods that an object makes, or of itself for a pod. `undefined` for objects that make none. */
export function podLabelsOf(object: KubeObject): Labels | undefined {
  if (object.kind === "Pod" && object.apiVersion === "v1") return object.metadata.labels ?? {};
  const template = templateOf(object);
  return template === undefined ? undefined : ((jsonAt(template, "metadata", "labels") ?? {}) as Labels);
}

/** The pod template of a workload, also of a custom one that follows the convention. */
export function templateOf(object: KubeObject): Json | undefined {
  const spec = object["spec"];
  const template = jsonAt(spec, "template") ?? jsonAt(spec, "jobTemplate", "spec", "template");
  return Array.isArray(jsonAt(template, "spec")?.["containers"]) ? template : undefined;
}

/** What a pod, or the pods that an object makes, are to be. `undefined` for objects that make none. */
export function podSpecOf(object: KubeObject): Json | undefined {
  return object.kind === "Pod" ? jsonAt(object, "spec") : jsonAt(templateOf(object), "spec");
}

/** Workloads whose `spec.selector` cannot be changed. */
const fixedSelector = new Set([
  "apps/Deployment",
  "apps/StatefulSet",
  "apps/DaemonSet",
  "apps/ReplicaSet",
  "batch/Job",
]);
/** Kinds whose `spec.selector` is a plain map of labels. */
const plainSelector = new Set(["Service", "ReplicationController"]);
/** Kinds whose `spec.selector` selects pods in the usual form. */
const usualSelector = new Set([...fixedSelector, "policy/PodDisruptionBudget", "monitoring.coreos.com/PodMonitor"]);

/** Every selector over pods of the object's own namespace. */
export function podSelectorsOf(object: KubeObject): SelectorPlace[] {
  const kind = kindName(groupOf(object.apiVersion), object.kind);
  const spec = jsonAt(object, "spec");
  if (spec === undefined) return [];
  const places: SelectorPlace[] = [];
  const selector = jsonAt(spec, "selector");
  if (selector !== undefined && plainSelector.has(kind)) {
    places.push({ selector: { matchLabels: selector as Record<string, string> }, node: selector, immutable: false });
  }
  if (selector !== undefined && usualSelector.has(kind)) places.push(place(selector, fixedSelector.has(kind)));
  if (kind === "networking.k8s.io/NetworkPolicy") places.push(...policySelectors(spec));
  const podSpec = podSpecOf(object);
  if (podSpec !== undefined) places.push(...schedulingSelectors(podSpec));
  return places;
}

function place(node: Json, immutable = false): SelectorPlace {
  return { selector: node, node, immutable };
}

function policySelectors(spec: Json): SelectorPlace[] {
  const peers = [
    ...listAt(spec, "ingress").flatMap((rule) => listAt(rule, "from")),
    ...listAt(spec, "egress").flatMap((rule) => listAt(rule, "to")),
  ];
  // With a namespaceSelector the pods are those of other namespaces.
  const own = peers.filter((peer) => peer["namespaceSelector"] === undefined);
  return [spec, ...own].flatMap((node) => {
    const selector = jsonAt(node, "podSelector");
    return selector === undefined ? [] : [place(selector)];
  });
}

function schedulingSelectors(podSpec: Json): SelectorPlace[] {
  const terms = ["podAffinity", "podAntiAffinity"].flatMap((name) => {
    const affinity = jsonAt(podSpec, "affinity", name);
    const preferred = listAt(affinity, "preferredDuringSchedulingIgnoredDuringExecution");
    return [
      ...listAt(affinity, "requiredDuringSchedulingIgnoredDuringExecution"),
      ...preferred.map((entry) => jsonAt(entry, "podAffinityTerm")),
    ];
  });
  const own = terms.filter(
    (term) => isJson(term) && term["namespaceSelector"] === undefined && term["namespaces"] === undefined,
  );
  return [...own, ...listAt(podSpec, "topologySpreadConstraints")].flatMap((node) => {
    const selector = jsonAt(node, "labelSelector");
    return selector === undefined ? [] : [place(selector)];
  });
}

/** Every label selector over namespaces, wherever it stands. */
export function namespaceSelectorsOf(object: KubeObject): LabelSelector[] {
  const found: LabelSelector[] = [];
  collect(object["spec"], found);
  collect(object["webhooks"], found);
  return found;
}

function collect(node: unknown, found: LabelSelector[]): void {
  if (Array.isArray(node)) node.forEach((item) => collect(item, found));
  if (!isJson(node)) return;
  for (const [name, value] of Object.entries(node)) {
    if (name === "namespaceSelector" && isJson(value)) found.push(value);
    else collect(value, found);
  }
}
