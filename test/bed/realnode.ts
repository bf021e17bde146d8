/** A real node: Debian's containerd and runc, kubelet and kube-proxy of the bed's Kubernetes, in a site's place. */
import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { stringify } from "yaml";
import type { Api } from "./api.ts";
import type { Authority } from "./certificates.ts";
import { writeKeyPair } from "./certificates.ts";
import { cgroupPath } from "./cgroups.ts";
import { run } from "./command.ts";
import type { ControlPlane } from "./controlplane.ts";
import { kubeconfigPath, pki, pkiPath } from "./credentials.ts";
import { agnhostImage, agnhostSpec, busyboxSpec, localImage } from "./images.ts";
import type { LocalImage } from "./images.ts";
import { writeKubeconfig } from "./kubeconfig.ts";
import { clusterRanges } from "./network.ts";
import type { Place } from "./places.ts";
import { waitUntil } from "./processes.ts";
import type { BedProcess } from "./processes.ts";
import { nodesReady } from "./simulated.ts";

const containerdLimitMs = 30_000;
const nodeLimitMs = 120_000;

/** In the site's own /run. */
const containerdSocket = "/run/containerd/containerd.sock";

/** CNI plugins of Debian's containernetworking-plugins. */
const cniPlugins = "/usr/lib/cni";

export interface NodePlan extends ControlPlane {
  readonly bedId: string;
  readonly server: string;
}

export function realNodeName(site: string): string {
  return `${site}-node`;
}

/** containerd's configuration. Everything that must not outlive the site's processes is in the site's own /run. */
export function containerdConfig(dir: string): string {
  return `version = 2
root = "${dir}/containerd"
state = "/run/containerd"
[grpc]
  address = "${containerdSocket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "${dir}/containerd-opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "${agnhostImage}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "${cniPlugins}"
    conf_dir = "${dir}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
`;
}

function cniConfig(dir: string, pods: string): string {
  return JSON.stringify({
    cniVersion: "1.0.0",
    name: "pods",
    plugins: [
      {
        type: "bridge",
        bridge: "pods0",
        isGateway: true,
        // Addresses are translated by a rule of ours: the plugin would need iptables.
        ipMasq: false,
        hairpinMode: true,
        ipam: {
          type: "host-local",
          ranges: [[{ subnet: pods }]],
          routes: [{ dst: "0.0.0.0/0" }],
          dataDir: `${dir}/cni-leases`,
        },
      },
    ],
  });
}

function kubeletConfig(plan: NodePlan): string {
  const node = join(plan.dir, "node");
  return stringify({
    apiVersion: "kubelet.config.k8s.io/v1beta1",
    kind: "KubeletConfiguration",
    containerRuntimeEndpoint: `unix://${containerdSocket}`,
    cgroupDriver: "cgroupfs",
    cgroupRoot: cgroupPath(plan.bedId, plan.plan.name),
    enforceNodeAllocatable: ["none"],
    failCgroupV1: false,
    failSwapOn: false,
    localStorageCapacityIsolation: false,
    // A full disk of the developer's machine is not a fault that a test asked for.
    evictionHard: {
      "nodefs.available": "0%",
      "nodefs.inodesFree": "0%",
      "imagefs.available": "0%",
      "imagefs.inodesFree": "0%",
    },
    // Images cannot be pulled again.
    imageGCHighThresholdPercent: 100,
    oomScoreAdj: 0,
    podLogsDir: join(node, "pod-logs"),
    volumePluginDir: join(node, "volume-plugins"),
    tlsCertFile: `${join(node, "kubelet")}.crt`,
    tlsPrivateKeyFile: `${join(node, "kubelet")}.key`,
    authentication: {
      anonymous: { enabled: false },
      webhook: { enabled: true },
      x509: { clientCAFile: `${pkiPath(plan.dir, pki.authority)}.crt` },
    },
    authorization: { mode: "Webhook" },
    maxPods: 250,
    registryPullQPS: 0,
  });
}

function kubeProxyConfig(plan: NodePlan): string {
  return stringify({
    apiVersion: "kubeproxy.config.k8s.io/v1alpha1",
    kind: "KubeProxyConfiguration",
    mode: "nftables",
    clientConnection: { kubeconfig: kubeconfigPath(plan.dir, "kube-proxy") },
    clusterCIDR: clusterRanges(plan.plan.index).pods,
    hostnameOverride: realNodeName(plan.plan.name),
    // The limits are the machine's, not the namespace's, and cannot be set from here.
    conntrack: { maxPerCore: 0, min: 0 },
    oomScoreAdj: 0,
  });
}

async function writeFiles(plan: NodePlan, authority: Authority): Promise<void> {
  const { dir } = plan;
  const node = join(dir, "node");
  const { pods } = clusterRanges(plan.plan.index);
  const name = realNodeName(plan.plan.name);
  const subject = { commonName: `system:node:${name}`, organizations: ["system:nodes"] };
  // Addresses given out in an earlier life belong to Pods that died with it.
  await rm(join(node, "cni-leases"), { recursive: true, force: true });
  await Promise.all(
    ["cni", "kubelet", "pod-logs"].map(async (folder) => mkdir(join(node, folder), { recursive: true })),
  );
  const [kubelet, proxy] = await Promise.all([
    authority.issue({ ...subject, names: [plan.address, name] }),
    authority.issue({ commonName: "system:kube-proxy" }),
  ]);
  const access = { site: plan.plan.name, server: plan.server, caPem: authority.certPem };
  await Promise.all([
    writeKeyPair(join(node, "kubelet"), kubelet),
    writeKubeconfig(kubeconfigPath(dir, "kubelet"), { ...access, user: name, credential: kubelet }),
    writeKubeconfig(kubeconfigPath(dir, "kube-proxy"), { ...access, user: "kube-proxy", credential: proxy }),
    writeFile(join(node, "containerd.toml"), containerdConfig(node)),
    writeFile(join(node, "cni", "pods.conflist"), cniConfig(node, pods)),
    writeFile(join(node, "kubelet.yaml"), kubeletConfig(plan)),
    writeFile(join(node, "kube-proxy.yaml"), kubeProxyConfig(plan)),
  ]);
}

/** Pods reach other places from the site's address. */
async function translatePodAddresses(place: Place, pods: string): Promise<void> {
  await run(place.enter(["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]));
  const rules = `table ip bed_pods {
  chain postrouting {
    type nat hook postrouting priority srcnat
    ip saddr ${pods} oifname "eth0" masquerade
  }
}
`;
  await run(place.enter(["nft", "-f", "-"]), { input: rules });
}

/** Brings an image into a site's containerd. */
export async function importImage(place: Place, image: LocalImage): Promise<void> {
  await run(place.enter(["ctr", "-a", containerdSocket, "-n", "k8s.io", "images", "import", image.archive]));
}

/** Starts the container runtime, which needs no API server: it comes up beside the control plane. */
export async function startRuntime(
  plan: NodePlan,
  authority: Authority,
  place: Place,
  signal: AbortSignal | undefined,
): Promise<BedProcess> {
  const { name } = plan.plan;
  await Promise.all([writeFiles(plan, authority), translatePodAddresses(place, clusterRanges(plan.plan.index).pods)]);
  const config = join(plan.dir, "node", "containerd.toml");
  const containerd = place.spawn(`${name}/containerd`, ["containerd", `--config=${config}`]);
  const answers = async (): Promise<boolean> =>
    run(place.enter(["ctr", "-a", containerdSocket, "--connect-timeout", "1s", "version"])).then(
      () => true,
      () => false,
    );
  await waitUntil(`containerd of ${name}`, answers, {
    everyMs: 100,
    limitMs: containerdLimitMs,
    processes: [containerd],
    signal,
  });
  const specs = [agnhostSpec(plan.programs["agnhost"] ?? "agnhost"), await busyboxSpec()];
  for (const spec of specs) await importImage(place, await localImage(spec));
  return containerd;
}

/** Starts kubelet and kube-proxy and waits until the node is Ready. */
export async function startNode(
  plan: NodePlan,
  place: Place,
  api: Api,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { name } = plan.plan;
  const node = join(plan.dir, "node");
  const kubelet = place.spawn(`${name}/kubelet`, [
    plan.programs["kubelet"] ?? "kubelet",
    `--config=${join(node, "kubelet.yaml")}`,
    `--kubeconfig=${kubeconfigPath(plan.dir, "kubelet")}`,
    `--root-dir=${join(node, "kubelet")}`,
    `--cert-dir=${join(node, "kubelet-certificates")}`,
    `--hostname-override=${realNodeName(name)}`,
    `--node-ip=${plan.address}`,
  ]);
  const proxy = place.spawn(`${name}/kube-proxy`, [
    plan.programs["kube-proxy"] ?? "kube-proxy",
    `--config=${join(node, "kube-proxy.yaml")}`,
  ]);
  const startedAtMs = Date.now();
  const ready = async (): Promise<boolean> => nodesReady(api, 1, startedAtMs);
  await waitUntil(`the node of ${name}`, ready, { limitMs: nodeLimitMs, processes: [kubelet, proxy], signal });
}
