/** KEDA as a user of the bed's sites: its definitions, its objects, and the operator itself as a process. */
import { execFile } from "node:child_process";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { parseAllDocuments } from "yaml";
import { type KubeResource, resources } from "../../src/kube/resource.ts";
import type { KubeObject } from "../../src/objects/object.ts";
import { createAuthority } from "../bed/certificates.ts";
import { freePorts } from "../bed/ports.ts";
import type { BedProcess } from "../bed/processes.ts";
import { ensurePrograms } from "../bed/programs.ts";
import { isEstablished } from "../pair/install.ts";
import { waitFor } from "../pair/wait.ts";
import { patienceMs, type Scene, type SiteName } from "./agent-harness.ts";

const module = "github.com/kedacore/keda/v2";
const moduleFolder = fileURLToPath(new URL("../bed/programs/keda", import.meta.url));
const operatorNamespace = "keda";

const verbs = new Set(["get", "list", "watch", "create", "update", "patch", "delete"]);
const common = { namespaced: true, verbs, subresources: new Set<string>() };

/** Kinds that KEDA defines, and those that it makes. */
export const kedaKinds = {
  scaledObjects: { ...common, group: "keda.sh", version: "v1alpha1", kind: "ScaledObject", plural: "scaledobjects" },
  scaledJobs: { ...common, group: "keda.sh", version: "v1alpha1", kind: "ScaledJob", plural: "scaledjobs" },
  autoscalers: {
    ...common,
    group: "autoscaling",
    version: "v2",
    kind: "HorizontalPodAutoscaler",
    plural: "horizontalpodautoscalers",
  },
  jobs: { ...common, group: "batch", version: "v1", kind: "Job", plural: "jobs" },
  deployments: { ...common, group: "apps", version: "v1", kind: "Deployment", plural: "deployments" },
} as const satisfies Record<string, KubeResource>;

/** The operator's program; minutes when it has to be built. */
export async function kedaProgram(): Promise<string> {
  const found = (await ensurePrograms(["keda-operator"])).get("keda-operator");
  if (found === undefined) throw new Error("no program keda-operator");
  return found;
}

/** The definitions as the module of the operator's own version has them. */
async function definitions(): Promise<KubeObject[]> {
  const { stdout } = await promisify(execFile)("go", ["list", "-m", "-f", "{{.Dir}}", module], { cwd: moduleFolder });
  const folder = join(stdout.trim(), "config", "crd", "bases");
  const names = (await readdir(folder)).filter((name) => name.endsWith(".yaml"));
  const texts = await Promise.all(names.map(async (name) => readFile(join(folder, name), "utf8")));
  return texts.flatMap((text) => parseAllDocuments(text).map((document) => document.toJS() as KubeObject));
}

/** Puts KEDA's definitions into a site and waits until it serves them. */
export async function installKeda(scene: Scene, site: SiteName): Promise<void> {
  const { signal } = scene;
  const client = scene.client(site);
  const write = { fieldManager: "platform", force: true, signal };
  const namespace = { apiVersion: "v1", kind: "Namespace", metadata: { name: operatorNamespace } };
  await client.apply(resources.namespaces, namespace, write);
  const all = await definitions();
  await Promise.all(all.map(async (crd) => client.apply(resources.crds, crd, write)));
  const served = async (): Promise<true | undefined> => {
    const found = await Promise.all(
      all.map(async ({ metadata: { name } }) => client.get(resources.crds, { name }, { signal })),
    );
    return found.every(isEstablished) ? true : undefined;
  };
  await waitFor(`definitions of KEDA at ${site}`, served, { limitMs: patienceMs, signal });
}

/** Starts the operator at a site, as it runs in a Pod there. Without its metrics server, no HPA sees a metric. */
export async function startKeda(scene: Scene, program: string, name: SiteName): Promise<BedProcess> {
  const site = scene.bed.site(name);
  const certDir = join(site.dir, "keda");
  await mkdir(certDir, { recursive: true });
  const authority = await createAuthority("keda");
  const { certPem, keyPem } = await authority.issue({ commonName: "keda-operator", names: ["keda-operator"] });
  await writeFile(join(certDir, "ca.crt"), authority.certPem);
  await writeFile(join(certDir, "tls.crt"), certPem);
  await writeFile(join(certDir, "tls.key"), keyPem);
  const [probe = 0, service = 0] = scene.bed.isolation === "netns" ? [8081, 9666] : await freePorts(2);
  const argv = [
    program,
    `--kubeconfig=${site.kubeconfigPath}`,
    `--cert-dir=${certDir}`,
    `--health-probe-bind-address=${site.agentAddress}:${probe}`,
    `--metrics-service-bind-address=${site.agentAddress}:${service}`,
    "--enable-prometheus-metrics=false",
    "--zap-log-level=info",
  ];
  const env = {
    KEDA_CLUSTER_OBJECT_NAMESPACE: operatorNamespace,
    POD_NAMESPACE: operatorNamespace,
    // All.
    WATCH_NAMESPACE: "",
  };
  const started = site.spawn("keda-operator", argv, { env });
  const healthy = async (): Promise<true | undefined> => {
    if (started.hasExited) return true;
    const answer = await fetch(`http://${site.agentAddress}:${probe}/readyz`, { signal: AbortSignal.timeout(2_000) });
    return answer.ok ? true : undefined;
  };
  await waitFor(`KEDA at ${name}`, healthy, { limitMs: patienceMs, signal: scene.signal });
  if (started.hasExited)
    throw new Error(`KEDA ended at its start: ${(await readFile(started.logPath, "utf8")).slice(-2000)}`);
  return started;
}

/** Wants something at any minute of the year but its last. */
function always(desiredReplicas: number): Readonly<Record<string, unknown>> {
  const metadata = { timezone: "UTC", start: "0 0 1 1 *", end: "59 23 31 12 *", desiredReplicas: `${desiredReplicas}` };
  return { type: "cron", metadata };
}

/** Keeps a Deployment of the same name between `min` and 9 replicas. */
export function scaledObject(
  ns: string,
  name: string,
  min: number,
  annotations: Readonly<Record<string, string>> = {},
): KubeObject {
  return {
    apiVersion: "keda.sh/v1alpha1",
    kind: "ScaledObject",
    metadata: { namespace: ns, name, annotations },
    spec: {
      scaleTargetRef: { name },
      minReplicaCount: min,
      maxReplicaCount: 9,
      pollingInterval: 1,
      triggers: [always(9)],
    },
  };
}

/** Keeps one Job going, whose pod waits for a node for ever. */
export function scaledJob(ns: string, name: string): KubeObject {
  const containers = [{ name: "main", image: "any/job:1" }];
  return {
    apiVersion: "keda.sh/v1alpha1",
    kind: "ScaledJob",
    metadata: { namespace: ns, name },
    spec: {
      jobTargetRef: { template: { spec: { restartPolicy: "Never", nodeSelector: { not: "there" }, containers } } },
      maxReplicaCount: 1,
      pollingInterval: 1,
      triggers: [always(1)],
    },
  };
}
