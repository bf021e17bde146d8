import { kindName } from "../objects/key.ts";
import { groupOf, type KubeObject } from "../objects/object.ts";
import { jsonAt, listAt, textAt, type Json } from "./pointer.ts";

export interface Readiness {
  readonly ready: boolean;
  /** A few words on what is still missing, or on what is there. */
  readonly reason: string;
}

/**
 * Whether a live object is as far as a promotion waits for before the next wave. Kinds without a notion of being
 * ready are ready once they exist.
 */
export function isReady(object: KubeObject): Readiness {
  const check = checks.get(kindName(groupOf(object.apiVersion), object.kind)) ?? customResource;
  const missing = isStale(object) ? "not yet seen by its controller" : check(object);
  return { ready: missing === undefined, reason: missing ?? "ready" };
}

/** Returns what is missing. */
type Check = (object: KubeObject) => string | undefined;

const checks: ReadonlyMap<string, Check> = new Map<string, Check>([
  ["apps/Deployment", deployment],
  ["apps/StatefulSet", (object) => countReady(object, "readyReplicas")],
  ["apps/ReplicaSet", (object) => countReady(object, "readyReplicas")],
  ["ReplicationController", (object) => countReady(object, "readyReplicas")],
  ["apps/DaemonSet", daemonSet],
  ["batch/Job", job],
  ["Pod", pod],
  ["PersistentVolumeClaim", claim],
  ["Namespace", (object) => phase(object, "Active")],
  ["apiextensions.k8s.io/CustomResourceDefinition", (object) => condition(object, "Established")],
  ["apiregistration.k8s.io/APIService", (object) => condition(object, "Available")],
]);

/** The status is about an older spec. */
function isStale(object: KubeObject): boolean {
  const observed = jsonAt(object, "status")?.["observedGeneration"];
  const { generation } = object.metadata;
  if (generation === undefined || typeof observed !== "number") return needsController(object);
  return observed < generation;
}

/** Kinds whose controllers always write the generation that they have seen. */
function needsController(object: KubeObject): boolean {
  return object.metadata.generation !== undefined && groupOf(object.apiVersion) === "apps";
}

function numberAt(node: Json | undefined, field: string, otherwise: number): number {
  const value = node?.[field];
  return typeof value === "number" ? value : otherwise;
}

function countReady(object: KubeObject, field: string): string | undefined {
  const wanted = numberAt(jsonAt(object, "spec"), "replicas", 1);
  const ready = numberAt(jsonAt(object, "status"), field, 0);
  return ready >= wanted ? undefined : `${ready} of ${wanted} ready`;
}

function deployment(object: KubeObject): string | undefined {
  const wanted = numberAt(jsonAt(object, "spec"), "replicas", 1);
  const updated = numberAt(jsonAt(object, "status"), "updatedReplicas", 0);
  return updated < wanted ? `${updated} of ${wanted} updated` : countReady(object, "availableReplicas");
}

function daemonSet(object: KubeObject): string | undefined {
  const status = jsonAt(object, "status");
  const wanted = numberAt(status, "desiredNumberScheduled", 0);
  const ready = numberAt(status, "numberReady", 0);
  return ready >= wanted ? undefined : `${ready} of ${wanted} ready`;
}

/** A Job that works is as good as one that is done: later waves do not depend on its end. */
function job(object: KubeObject): string | undefined {
  if (jsonAt(object, "spec")?.["suspend"] === true) return undefined;
  const status = jsonAt(object, "status");
  if (condition(object, "Failed") === undefined) return "failed";
  const seen = numberAt(status, "active", 0) + numberAt(status, "succeeded", 0);
  return seen > 0 || condition(object, "Complete") === undefined ? undefined : "not started";
}

function pod(object: KubeObject): string | undefined {
  return textAt(object["status"], "phase") === "Succeeded" ? undefined : condition(object, "Ready");
}

/** A claim of a class that binds on first use cannot be bound before its pod exists. */
function claim(object: KubeObject): string | undefined {
  const current = textAt(object["status"], "phase");
  if (current === "Lost") return "its volume is lost";
  return current === "" ? "not yet seen by its controller" : undefined;
}

function phase(object: KubeObject, wanted: string): string | undefined {
  const current = textAt(object["status"], "phase");
  return current === wanted ? undefined : `phase ${current || "unknown"}`;
}

function condition(object: KubeObject, type: string): string | undefined {
  const found = listAt(object["status"], "conditions").find((item) => item["type"] === type);
  if (found?.["status"] === "True") return undefined;
  const reason = textAt(found, "reason");
  return `not ${type}${reason === "" ? "" : `: ${reason}`}`;
}

/** The convention of most operators: a condition Ready, where they have one. */
function customResource(object: KubeObject): string | undefined {
  const hasReady = listAt(object["status"], "conditions").some((item) => item["type"] === "Ready");
  return hasReady ? condition(object, "Ready") : undefined;
}
