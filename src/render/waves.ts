import { kindName, type ObjectKey, parseKey } from "../objects/key.ts";
import { groupOf, marks, type KubeObject } from "../objects/object.ts";
import { isBuiltIn } from "./builtin.ts";

/**
 * The order of a first sync and of a promotion: lower waves first, each waited for. Deletes run in reverse. Within
 * `workloads` the annotation `lifeboat.dev/wave` (−49 to 49) orders further. In the steady state a change is applied
 * at once, whatever its wave.
 */
export const waves = {
  definitions: 0,
  namespaces: 100,
  clusterNeeds: 200,
  access: 300,
  configuration: 400,
  networking: 500,
  /** Custom resources; those of operators that are part of the group wait for their operator by being retried. */
  customResources: 600,
  workloads: 700,
  /** Bare pods: nothing starts them again, so everything that they need comes first. */
  pods: 760,
  /** A quota refuses what is over it, so the workloads that it was sized for come first. */
  quotas: 780,
  autoscalers: 800,
  ingress: 900,
  webhooks: 1000,
} as const;

/** Keeps the annotation's waves clear of those before and after workloads. */
const workloadWaveLimit = 49;

const kindWaves: Readonly<Record<string, number>> = {
  "apiextensions.k8s.io/CustomResourceDefinition": waves.definitions,
  Namespace: waves.namespaces,
  "scheduling.k8s.io/PriorityClass": waves.clusterNeeds,
  "node.k8s.io/RuntimeClass": waves.clusterNeeds,
  "networking.k8s.io/IngressClass": waves.clusterNeeds,
  "gateway.networking.k8s.io/GatewayClass": waves.clusterNeeds,
  "storage.k8s.io/StorageClass": waves.clusterNeeds,
  "storage.k8s.io/CSIDriver": waves.clusterNeeds,
  PersistentVolume: waves.clusterNeeds,
  ServiceAccount: waves.access,
  "rbac.authorization.k8s.io/ClusterRole": waves.access,
  "rbac.authorization.k8s.io/Role": waves.access,
  "rbac.authorization.k8s.io/ClusterRoleBinding": waves.access + 1,
  "rbac.authorization.k8s.io/RoleBinding": waves.access + 1,
  Secret: waves.configuration,
  ConfigMap: waves.configuration,
  PersistentVolumeClaim: waves.configuration,
  Service: waves.networking,
  Endpoints: waves.networking,
  LimitRange: waves.networking,
  "discovery.k8s.io/EndpointSlice": waves.networking,
  "networking.k8s.io/NetworkPolicy": waves.networking,
  "policy/PodDisruptionBudget": waves.networking,
  "apps/Deployment": waves.workloads,
  "apps/StatefulSet": waves.workloads,
  "apps/DaemonSet": waves.workloads,
  "apps/ReplicaSet": waves.workloads,
  ReplicationController: waves.workloads,
  "batch/Job": waves.workloads,
  "batch/CronJob": waves.workloads,
  Pod: waves.pods,
  ResourceQuota: waves.quotas,
  "autoscaling/HorizontalPodAutoscaler": waves.autoscalers,
  "autoscaling.k8s.io/VerticalPodAutoscaler": waves.autoscalers,
  "keda.sh/ScaledObject": waves.autoscalers,
  "networking.k8s.io/Ingress": waves.ingress,
  "gateway.networking.k8s.io/Gateway": waves.ingress,
  "route.openshift.io/Route": waves.ingress,
  "admissionregistration.k8s.io/ValidatingAdmissionPolicy": waves.webhooks,
  "admissionregistration.k8s.io/ValidatingAdmissionPolicyBinding": waves.webhooks + 1,
  "admissionregistration.k8s.io/MutatingAdmissionPolicy": waves.webhooks,
  "admissionregistration.k8s.io/MutatingAdmissionPolicyBinding": waves.webhooks + 1,
  "admissionregistration.k8s.io/ValidatingWebhookConfiguration": waves.webhooks,
  "admissionregistration.k8s.io/MutatingWebhookConfiguration": waves.webhooks,
  "apiregistration.k8s.io/APIService": waves.webhooks,
};

/** Routes lead to Services and belong to Gateways. */
const routeKind = /^gateway\.networking\.k8s\.io\/\w+Route$/;

/** Wave of an object; where only a key is known, pass its parts with empty metadata (the annotation then is 0). */
export function waveOf(
  object: Pick<KubeObject, "apiVersion" | "kind"> & Partial<Pick<KubeObject, "metadata">>,
): number {
  const group = groupOf(object.apiVersion);
  const kind = kindName(group, object.kind);
  const wave = kindWaves[kind];
  if (wave === waves.workloads) return wave + annotated(object.metadata?.annotations?.[marks.wave]);
  if (wave !== undefined) return wave;
  if (routeKind.test(kind)) return waves.ingress + 1;
  return isBuiltIn(group) ? waves.configuration : waves.customResources;
}

function annotated(text: string | undefined): number {
  const wave = Number(text ?? 0);
  return Number.isInteger(wave) ? Math.max(-workloadWaveLimit, Math.min(workloadWaveLimit, wave)) : 0;
}

/** Of a key alone: only workloads say their wave themselves. */
export function waveOfKey(key: ObjectKey): number {
  const { group, kind } = parseKey(key);
  return waveOf({ apiVersion: group === "" ? "v1" : `${group}/v1`, kind });
}
