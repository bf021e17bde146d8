import { kindName } from "../../objects/key.ts";
import { groupOf, type KubeObject } from "../../objects/object.ts";
import { isBuiltIn } from "../builtin.ts";
import { clusterRoleBinding, role, roleBinding, serviceAccount } from "./access.ts";
import { configMap, namespace, priorityClass, resourceQuota, secret } from "./configuration.ts";
import { customResource } from "./custom.ts";
import { apiService, customResourceDefinition, webhooks } from "./extensions.ts";
import { cronJob, job } from "./jobs.ts";
import { protectionGroup } from "./lifeboat.ts";
import { published } from "./networking.ts";
import { pod } from "./pods.ts";
import type { KindRule } from "./rule.ts";
import { endpoints, service } from "./services.ts";
import { claim, ingressClass, storageClass, volume } from "./volumes.ts";
import { daemonSet, replicated, statefulSet } from "./workloads.ts";

/** The rule of each kind that has one. Built-in kinds without a rule are copied as they are. */
const rules: ReadonlyMap<string, KindRule> = new Map<string, KindRule>([
  ["apps/Deployment", replicated],
  ["apps/ReplicaSet", replicated],
  ["ReplicationController", replicated],
  ["apps/StatefulSet", statefulSet],
  ["apps/DaemonSet", daemonSet],
  ["batch/Job", job],
  ["batch/CronJob", cronJob],
  ["Pod", pod],
  ["Service", service],
  ["Endpoints", endpoints],
  ["discovery.k8s.io/EndpointSlice", endpoints],
  ["PersistentVolumeClaim", claim],
  ["PersistentVolume", volume],
  ["storage.k8s.io/StorageClass", storageClass],
  ["networking.k8s.io/IngressClass", ingressClass],
  ["gateway.networking.k8s.io/GatewayClass", ingressClass],
  ["Namespace", namespace],
  ["Secret", secret],
  ["ConfigMap", configMap],
  ["ResourceQuota", resourceQuota],
  ["scheduling.k8s.io/PriorityClass", priorityClass],
  ["ServiceAccount", serviceAccount],
  ["rbac.authorization.k8s.io/Role", role],
  ["rbac.authorization.k8s.io/ClusterRole", role],
  ["rbac.authorization.k8s.io/RoleBinding", roleBinding],
  ["rbac.authorization.k8s.io/ClusterRoleBinding", clusterRoleBinding],
  ["networking.k8s.io/Ingress", published],
  ["gateway.networking.k8s.io/Gateway", published],
  ["gateway.networking.k8s.io/HTTPRoute", published],
  ["gateway.networking.k8s.io/GRPCRoute", published],
  ["gateway.networking.k8s.io/TLSRoute", published],
  ["gateway.networking.k8s.io/TCPRoute", published],
  ["gateway.networking.k8s.io/UDPRoute", published],
  ["route.openshift.io/Route", published],
  ["networking.istio.io/Gateway", published],
  ["networking.istio.io/VirtualService", published],
  ["traefik.io/IngressRoute", published],
  ["projectcontour.io/HTTPProxy", published],
  ["admissionregistration.k8s.io/ValidatingWebhookConfiguration", webhooks],
  ["admissionregistration.k8s.io/MutatingWebhookConfiguration", webhooks],
  ["apiregistration.k8s.io/APIService", apiService],
  ["apiextensions.k8s.io/CustomResourceDefinition", customResourceDefinition],
  ["lifeboat.dev/ProtectionGroup", protectionGroup],
]);

const nothing: KindRule = {};

export function ruleFor(object: KubeObject): KindRule {
  const group = groupOf(object.apiVersion);
  return rules.get(kindName(group, object.kind)) ?? (isBuiltIn(group) ? nothing : customResource);
}
