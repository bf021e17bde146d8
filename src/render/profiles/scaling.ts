import type { Profiles } from "./table.ts";

const noReplicas = { set: [{ path: "/spec/replicas", value: 0 }] } as const;

/** Kinds that scale or roll out pods in other ways than the built-in workloads. */
export const scaling: Profiles = {
  // KEDA would scale its target up; paused at zero it keeps it there.
  "keda.sh/ScaledObject": {
    set: [{ path: "/metadata/annotations/autoscaling.keda.sh~1paused-replicas", value: "0" }],
  },
  // Paused, it starts no more Jobs.
  "keda.sh/ScaledJob": {
    set: [{ path: "/metadata/annotations/autoscaling.keda.sh~1paused", value: "true" }],
    stops: false,
  },
  "argoproj.io/Rollout": noReplicas,
  // Knative: no instance before the first request, and none kept.
  "serving.knative.dev/Service": {
    set: [
      { path: "/spec/template/metadata/annotations/autoscaling.knative.dev~1min-scale", value: "0" },
      { path: "/spec/template/metadata/annotations/autoscaling.knative.dev~1initial-scale", value: "0" },
    ],
  },
  // KubeVirt: running and runStrategy exclude each other.
  "kubevirt.io/VirtualMachine": {
    set: [{ path: "/spec/running" }, { path: "/spec/runStrategy", value: "Halted" }],
  },
  "kubevirt.io/VirtualMachineInstance": { withhold: true },
  "kubevirt.io/VirtualMachineInstanceReplicaSet": noReplicas,
  "pool.kubevirt.io/VirtualMachinePool": noReplicas,
  // OpenKruise
  "apps.kruise.io/CloneSet": noReplicas,
  "apps.kruise.io/StatefulSet": noReplicas,
  "apps.kruise.io/UnitedDeployment": noReplicas,
  "apps.kruise.io/DaemonSet": {
    set: [{ path: "/spec/template/spec/nodeSelector", value: { "lifeboat.dev/nowhere": "true" } }],
  },
  "apps.kruise.io/AdvancedCronJob": { set: [{ path: "/spec/paused", value: true }], stops: false },
  "apps.kruise.io/BroadcastJob": { withhold: true, stops: false },
  // OpenShift
  "apps.openshift.io/DeploymentConfig": noReplicas,
  // LeaderWorkerSet
  "leaderworkerset.x-k8s.io/LeaderWorkerSet": noReplicas,
  // Prometheus operator
  "monitoring.coreos.com/Prometheus": noReplicas,
  "monitoring.coreos.com/PrometheusAgent": noReplicas,
  "monitoring.coreos.com/Alertmanager": noReplicas,
  "monitoring.coreos.com/ThanosRuler": noReplicas,
  // external-dns publishes these names: only the active site may.
  "externaldns.k8s.io/DNSEndpoint": { withhold: true },
};
