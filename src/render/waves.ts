import type { KubeObject } from "../objects/object.ts";

/**
 * The order of a first sync and of a promotion: lower waves first, each waited for. Deletes run in reverse. Within
 * `workloads` the annotation `lifeboat.dev/wave` (−49 to 49) orders further.
 */
export const waves = {
  definitions: 0,
  namespaces: 100,
  clusterNeeds: 200,
  access: 300,
  configuration: 400,
  networking: 500,
  customResources: 600,
  workloads: 700,
  pods: 760,
  quotas: 780,
  autoscalers: 800,
  ingress: 900,
  webhooks: 1000,
} as const;

/** Wave of an object (or of a key, where only that is known: then the annotation does not count). */
export function waveOf(object: Pick<KubeObject, "apiVersion" | "kind" | "metadata">): number {
  void object;
  return waves.customResources;
}
