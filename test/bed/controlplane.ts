/** Command lines of a site's control plane. Pure; why a flag is there is said where it is not obvious. */
import { join } from "node:path";
import { kubeconfigPath, pki, pkiPath } from "./credentials.ts";
import { clusterRanges } from "./network.ts";
import type { Isolation, SitePlan } from "./options.ts";
import type { SitePorts } from "./record.ts";

export interface ControlPlane {
  readonly plan: SitePlan;
  readonly isolation: Isolation;
  readonly dir: string;
  readonly address: string;
  readonly ports: SitePorts;
  /** Paths of built programs by name. */
  readonly programs: Readonly<Record<string, string>>;
}

function program(site: ControlPlane, name: string): string {
  return site.programs[name] ?? name;
}

export function etcdArgv(site: ControlPlane): string[] {
  const client = `http://127.0.0.1:${site.ports.etcdClient}`;
  const peer = `http://127.0.0.1:${site.ports.etcdPeer}`;
  return [
    program(site, "etcd"),
    `--name=${site.plan.name}`,
    `--data-dir=${join(site.dir, "etcd")}`,
    `--listen-client-urls=${client}`,
    `--advertise-client-urls=${client}`,
    `--listen-peer-urls=${peer}`,
    `--initial-advertise-peer-urls=${peer}`,
    `--initial-cluster=${site.plan.name}=${peer}`,
    // A bed tests killed processes, not lost power: what was written is in the kernel's hands.
    "--unsafe-no-fsync",
    "--log-level=warn",
  ];
}

function emulated(site: ControlPlane): string[] {
  return site.plan.emulatedVersion === undefined ? [] : [`--emulated-version=kube=${site.plan.emulatedVersion}`];
}

function networkFlags(site: ControlPlane): string[] {
  // The address of loopback mode is not one that Endpoints may hold.
  return site.isolation === "loopback"
    ? ["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none"]
    : ["--bind-address=0.0.0.0", `--advertise-address=${site.address}`];
}

export function apiserverArgv(site: ControlPlane): string[] {
  const at = (name: string): string => pkiPath(site.dir, name);
  return [
    program(site, "kube-apiserver"),
    `--etcd-servers=http://127.0.0.1:${site.ports.etcdClient}`,
    `--secure-port=${site.ports.apiserver}`,
    ...networkFlags(site),
    `--tls-cert-file=${at(pki.apiserver)}.crt`,
    `--tls-private-key-file=${at(pki.apiserver)}.key`,
    `--client-ca-file=${at(pki.authority)}.crt`,
    `--service-account-key-file=${at(pki.serviceAccountPublic)}`,
    `--service-account-signing-key-file=${at(pki.serviceAccountPrivate)}`,
    "--service-account-issuer=https://kubernetes.default.svc",
    `--service-cluster-ip-range=${clusterRanges(site.plan.index).services}`,
    `--requestheader-client-ca-file=${at(pki.frontProxyAuthority)}.crt`,
    "--requestheader-allowed-names=front-proxy",
    "--requestheader-extra-headers-prefix=X-Remote-Extra-",
    "--requestheader-group-headers=X-Remote-Group",
    "--requestheader-username-headers=X-Remote-User",
    `--proxy-client-cert-file=${at(pki.frontProxy)}.crt`,
    `--proxy-client-key-file=${at(pki.frontProxy)}.key`,
    `--kubelet-client-certificate=${at(pki.apiserver)}.crt`,
    `--kubelet-client-key=${at(pki.apiserver)}.key`,
    `--kubelet-certificate-authority=${at(pki.authority)}.crt`,
    "--kubelet-preferred-address-types=InternalIP",
    "--authorization-mode=Node,RBAC",
    "--allow-privileged=true",
    // Aggregated APIs are reached at their pods: without nodes no proxy translates service addresses.
    "--enable-aggregator-routing=true",
    "--profiling=false",
    ...emulated(site),
    ...site.plan.apiserverFlags,
  ];
}

export function controllerManagerArgv(site: ControlPlane): string[] {
  const at = (name: string): string => pkiPath(site.dir, name);
  const ranges = clusterRanges(site.plan.index);
  return [
    program(site, "kube-controller-manager"),
    `--kubeconfig=${kubeconfigPath(site.dir, "controller-manager")}`,
    `--root-ca-file=${at(pki.authority)}.crt`,
    `--service-account-private-key-file=${at(pki.serviceAccountPrivate)}`,
    `--cluster-signing-cert-file=${at(pki.authority)}.crt`,
    `--cluster-signing-key-file=${at(pki.authority)}.key`,
    `--service-cluster-ip-range=${ranges.services}`,
    `--cluster-cidr=${ranges.pods}`,
    "--use-service-account-credentials=true",
    // The defaults (20, 30) cost more than four seconds at start.
    "--kube-api-qps=500",
    "--kube-api-burst=1000",
    "--leader-elect=false",
    "--controllers=*",
    // The default (15 s) is most of the time of a test that waits for an autoscaler.
    "--horizontal-pod-autoscaler-sync-period=1s",
    "--secure-port=0",
    "--profiling=false",
    ...emulated(site),
  ];
}

export function schedulerArgv(site: ControlPlane): string[] {
  return [
    program(site, "kube-scheduler"),
    `--kubeconfig=${kubeconfigPath(site.dir, "scheduler")}`,
    "--leader-elect=false",
    "--secure-port=0",
    "--profiling=false",
    "--kube-api-qps=500",
    "--kube-api-burst=1000",
    ...emulated(site),
  ];
}
