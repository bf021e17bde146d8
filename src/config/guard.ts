import * as z from "zod";
import { agentAddress, agentConfigSchema } from "./agent.ts";
import { namespaceName } from "./fields.ts";

const { site, pair, tls, listen, logLevel } = agentConfigSchema.shape;
const address = listen.unwrap();

/** `lifeboat guard --config FILE`: one per node. Paths are those of the node itself. */
export const guardConfigSchema = z
  .strictObject({
    site,
    pair,
    node: z.string().min(1).describe("Name of this machine's Node object. Absent: its host name.").optional(),
    agent: z
      .strictObject({ address: agentAddress("Address of this site's agent; a list where several take turns.") })
      .describe("The site's agent, which says how long the site may run its groups."),
    tls,
    dataDir: z
      .string()
      .min(1)
      .default("/var/lib/lifeboat-guard")
      .describe("Folder of what must survive a reboot: which groups this node may not run without a grant."),
    runDir: z
      .string()
      .min(1)
      .default("/run/lifeboat-guard")
      .describe("Folder of what must not survive a reboot, on a tmpfs: the copies of the leases."),
    podLogsDir: z
      .string()
      .min(1)
      .default("/var/log/pods")
      .describe("The kubelet's podLogsDir; its folders tell the namespace of each pod."),
    cgroups: z.string().min(1).default("/sys/fs/cgroup").describe("Where cgroups are mounted."),
    cgroupRoot: z.string().startsWith("/").default("/").describe("The kubelet's cgroupRoot."),
    bundles: z
      .string()
      .min(1)
      .default("/run/containerd/io.containerd.runtime.v2.task/k8s.io")
      .describe("Bundles of the container runtime, a second source for the namespaces of pods."),
    never: z
      .array(namespaceName("A namespace."))
      .max(256)
      .default(["kube-system", "kube-public", "kube-node-lease", "lifeboat-system"])
      .describe("Namespaces that are never touched, whatever the agent says."),
    metrics: address.describe("Address of /metrics, /healthz and /readyz. Absent: none.").optional(),
    logLevel,
  })
  .describe("Configuration of a node guard.");

export type GuardConfig = z.output<typeof guardConfigSchema>;
