import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { LifeboatError } from "../../src/errors.ts";
import { connectApi } from "./api.ts";
import type { Api } from "./api.ts";
import { createAuthority } from "./certificates.ts";
import type { Authority } from "./certificates.ts";
import { createCgroups } from "./cgroups.ts";
import { apiserverArgv, controllerManagerArgv, etcdArgv, schedulerArgv } from "./controlplane.ts";
import type { ControlPlane } from "./controlplane.ts";
import { ensureCredentials, kubeconfigPath, readAdmin } from "./credentials.ts";
import type { LocalImage } from "./images.ts";
import { writeKubeconfig } from "./kubeconfig.ts";
import { clusterRanges, siteAddresses } from "./network.ts";
import { hold, placeAt, plug } from "./places.ts";
import type { Place, SpawnOptions } from "./places.ts";
import { waitUntil } from "./processes.ts";
import type { BedProcess } from "./processes.ts";
import type { BedRecord } from "./record.ts";
import { importImage, startNode, startRuntime } from "./realnode.ts";
import { createNodes, kwokArgv, nodesReady } from "./simulated.ts";

/** Two cores, two sites and a cold page cache: tens of seconds at worst. */
const apiserverLimitMs = 120_000;
const controllersLimitMs = 60_000;
const nodesLimitMs = 90_000;

/** Who a kubeconfig is for. */
export interface Identity {
  readonly user: string;
  readonly groups?: readonly string[];
  /** The certificate ended an hour ago. @default false */
  readonly expired?: boolean;
  /** The client's certificate is from an authority that the API server does not know. @default false */
  readonly unknownAuthority?: boolean;
  /** The kubeconfig trusts another authority than the API server's. @default false */
  readonly wrongCa?: boolean;
}

export interface SiteSpawnOptions extends SpawnOptions {
  /**
   * `agent`: a network of its own, as a Pod has, so that it can be cut off from its own API server;
   * `site`: the network of the control plane and the node. @default "agent"
   */
  readonly network?: "agent" | "site";
  /** Started again whenever the site is, before its container runtime and kubelet, as a unit of the node is. */
  readonly atBoot?: boolean;
}

/** A program that is started with its site. */
export interface BootUnit {
  readonly name: string;
  readonly argv: readonly string[];
  readonly options: SiteSpawnOptions;
}

/** A running site, or one that was killed and may be restored. */
export interface Site {
  readonly name: string;
  /** Folder of its data, the same path inside the site and on the host: fit for hostPath volumes. */
  readonly dir: string;
  /** e.g. `https://10.87.1.10:6443`; reached from the host and every place. */
  readonly server: string;
  /** The administrator's kubeconfig. */
  readonly kubeconfigPath: string;
  /** Address of the API server and of node ports. */
  readonly address: string;
  /** Address at which a program started with {@link spawn} listens. */
  readonly agentAddress: string;
  /** Requests as administrator. */
  readonly api: Api;
  /** Writes a kubeconfig for that user and returns its path. */
  kubeconfigFor(identity: Identity): Promise<string>;
  /** Brings an image into the site's real node. */
  importImage(image: LocalImage): Promise<void>;
  /** Starts a program that lives and dies with the site; it is then `site/name` for faults. */
  spawn(name: string, argv: readonly string[], options?: SiteSpawnOptions): BedProcess;
}

/** What a site needs from its bed. */
export interface SiteContext {
  readonly record: BedRecord;
  /** Holder of the bridge; `undefined` in loopback mode. */
  readonly wire: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** The places of a site's present life. */
export interface SitePlaces {
  readonly site: Place;
  readonly agent: Place;
}

export function sitePlan(record: BedRecord, name: string): BedRecord["sites"][number] {
  const plan = record.sites.find((site) => site.name === name);
  if (plan !== undefined) return plan;
  throw new LifeboatError("NotFound", `there is no site ${name}`, {
    hint: `sites: ${record.sites.map((site) => site.name).join(", ")}`,
  });
}

export function addressesOf(record: BedRecord, name: string): { site: string; agent: string } {
  const { index } = sitePlan(record, name);
  return record.subnet === null ? { site: "127.0.0.1", agent: "127.0.0.1" } : siteAddresses(record.subnet, index);
}

export function controlPlaneOf(record: BedRecord, name: string): ControlPlane {
  const plan = sitePlan(record, name);
  return {
    plan,
    isolation: record.isolation,
    dir: siteDir(record, name),
    address: addressesOf(record, name).site,
    ports: plan.ports,
    programs: record.programs,
  };
}

export function siteDir(record: BedRecord, name: string): string {
  return join(record.dir, "sites", name);
}

export function serverOf(record: BedRecord, name: string): string {
  return `https://${addressesOf(record, name).site}:${sitePlan(record, name).ports.apiserver}`;
}

/** Makes the namespaces of a site and of its agent, and connects both. */
export async function makePlaces(context: SiteContext, name: string): Promise<SitePlaces> {
  const { record, wire, signal } = context;
  const address = addressesOf(record, name);
  const common = { bedDir: record.dir };
  if (wire === undefined || record.subnet === null) {
    return {
      site: placeAt({ ...common, name, address: address.site }),
      agent: placeAt({ ...common, name: `${name}/agent`, address: address.agent }),
    };
  }
  const cgroupDirs = await createCgroups(record.id, name);
  const holder = await hold(record.dir, name, { cgroupDirs, signal });
  const site = placeAt({ ...common, name, address: address.site, holder, cgroupDirs });
  const agentHolder = await hold(record.dir, `${name}/agent`, { within: site, cgroupDirs, signal });
  const agent = placeAt({ ...common, name: `${name}/agent`, address: address.agent, holder: agentHolder, cgroupDirs });
  await plug(holder, wire, record.subnet, address.site);
  await plug(agentHolder, wire, record.subnet, address.agent);
  return { site, agent };
}

/** Certificates of a site, made on its first start. */
export async function credentialsOf(record: BedRecord, name: string): Promise<Authority> {
  const plan = sitePlan(record, name);
  const services = [
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
  ];
  const addresses = new Set([addressesOf(record, name).site, "127.0.0.1", clusterRanges(plan.index).firstService]);
  return ensureCredentials({
    site: name,
    dir: siteDir(record, name),
    server: serverOf(record, name),
    names: [...addresses, "localhost", name, ...services],
  });
}

/** Starts the control plane and the nodes of a site in `places` and waits until they work. */
export async function startPrograms(
  context: SiteContext,
  name: string,
  places: SitePlaces,
  authority: Authority,
  api: Api,
): Promise<void> {
  const { record, signal } = context;
  const spec = controlPlaneOf(record, name);
  if (spec.plan.nodes !== "real") return startControlPlane(spec, places, api, signal);
  const node = { ...spec, bedId: record.id, server: serverOf(record, name) };
  // Importing images takes as long as the control plane's start and needs nothing from it.
  const results = await Promise.allSettled([
    startControlPlane(spec, places, api, signal),
    startRuntime(node, authority, places.site, signal),
  ]);
  for (const result of results) if (result.status === "rejected") throw result.reason;
  await startNode(node, places.site, api, signal);
}

async function startControlPlane(
  spec: ControlPlane,
  places: SitePlaces,
  api: Api,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { name } = spec.plan;
  const start = (program: string, argv: readonly string[]): BedProcess => places.site.spawn(`${name}/${program}`, argv);
  await mkdir(spec.dir, { recursive: true });
  const processes = [start("etcd", etcdArgv(spec)), start("kube-apiserver", apiserverArgv(spec))];
  const answers = async (): Promise<boolean> =>
    api.request("GET", "/readyz").then(
      (answer) => answer.status === 200,
      () => false,
    );
  await waitUntil(`the API server of ${name}`, answers, { limitMs: apiserverLimitMs, processes, signal });
  if (!spec.plan.controllers) return;
  processes.push(start("kube-controller-manager", controllerManagerArgv(spec)));
  processes.push(start("kube-scheduler", schedulerArgv(spec)));
  const simulated = spec.plan.nodes === "simulated";
  if (simulated) {
    processes.push(start("kwok", kwokArgv(spec.programs["kwok"] ?? "kwok", spec.plan, spec.dir, spec.address)));
    await createNodes(api, spec.plan);
  }
  // The first Pod of a namespace needs this account; it is the last thing that a new cluster lacks.
  const hasAccount = async (): Promise<boolean> =>
    (await api.request("GET", "/api/v1/namespaces/default/serviceaccounts/default")).status === 200;
  await waitUntil(`the controllers of ${name}`, hasAccount, { limitMs: controllersLimitMs, processes, signal });
  if (!simulated) return;
  const ready = async (): Promise<boolean> => nodesReady(api, spec.plan.nodeCount);
  await waitUntil(`the nodes of ${name}`, ready, { limitMs: nodesLimitMs, processes, signal });
}

let kubeconfigCount = 0;

/** The administrator's connection to a site. */
export async function adminApi(record: BedRecord, name: string, authority: Authority): Promise<Api> {
  return connectApi(serverOf(record, name), authority.certPem, await readAdmin(siteDir(record, name)));
}

/** What users of the bed see of a site; `places` gives the ones of its present life. */
export function siteView(
  record: BedRecord,
  name: string,
  authority: Authority,
  api: Api,
  places: () => SitePlaces,
  units: Map<string, BootUnit>,
): Site {
  const dir = siteDir(record, name);
  const server = serverOf(record, name);
  const addresses = addressesOf(record, name);
  return {
    name,
    dir,
    server,
    kubeconfigPath: kubeconfigPath(dir, "admin"),
    address: addresses.site,
    agentAddress: addresses.agent,
    api,
    async kubeconfigFor(identity) {
      const stranger = await createAuthority("stranger");
      const issuer = identity.unknownAuthority === true ? stranger : authority;
      const credential = await issuer.issue({
        commonName: identity.user,
        organizations: identity.groups ?? [],
        expired: identity.expired ?? false,
      });
      kubeconfigCount += 1;
      const file = `user-${process.pid}-${kubeconfigCount}`;
      const caPem = identity.wrongCa === true ? stranger.certPem : authority.certPem;
      return writeKubeconfig(kubeconfigPath(dir, file), { site: name, server, caPem, user: identity.user, credential });
    },
    importImage: async (image) => importImage(places().site, image),
    spawn(program, argv, options = {}) {
      const { network = "agent", atBoot = false, ...rest } = options;
      if (atBoot) units.set(program, { name: program, argv, options: { ...rest, network } });
      return places()[network].spawn(`${name}/${program}`, argv, rest);
    },
  };
}
