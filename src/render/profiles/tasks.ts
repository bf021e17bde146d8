import type { Profiles } from "./table.ts";

const suspended = { set: [{ path: "/spec/suspend", value: true }] } as const;
const policySuspended = { set: [{ path: "/spec/runPolicy/suspend", value: true }] } as const;

/** Kinds that run to completion or by a schedule. */
export const tasks: Profiles = {
  // Suspended, it begins no further step; pods of present steps go on.
  "argoproj.io/Workflow": { ...suspended, stops: false },
  "argoproj.io/CronWorkflow": { ...suspended, stops: false },
  "tekton.dev/PipelineRun": { withhold: true, stops: false },
  "tekton.dev/TaskRun": { withhold: true, stops: false },
  "jobset.x-k8s.io/JobSet": suspended,
  "ray.io/RayCluster": suspended,
  "ray.io/RayJob": suspended,
  "kubeflow.org/PyTorchJob": policySuspended,
  "kubeflow.org/TFJob": policySuspended,
  "kubeflow.org/MPIJob": policySuspended,
  "flink.apache.org/FlinkDeployment": { set: [{ path: "/spec/job/state", value: "suspended" }] },
  "sparkoperator.k8s.io/ScheduledSparkApplication": { ...suspended, stops: false },
  "sparkoperator.k8s.io/SparkApplication": { withhold: true, stops: false },
};
