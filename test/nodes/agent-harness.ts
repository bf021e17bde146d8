/** Two sites, a witness and the agents as real processes, and a user who works at them. For end-to-end tests. */
import { readFile } from "node:fs/promises";
import type { GroupSpecInput, GroupStatus } from "../../src/config/group.ts";
import type { KubeClient } from "../../src/kube/client.ts";
import { type KubeResource, resources } from "../../src/kube/resource.ts";
import { groupOf, type KubeObject } from "../../src/objects/object.ts";
import { startBed } from "../bed/bed.ts";
import { killRestartable } from "../bed/restartable.ts";
import type { BedOptions } from "../bed/options.ts";
import type { Bed } from "../bed/running.ts";
import { hasCondition, type Pair, type PairOptions, startPair } from "../pair/pair.ts";
import { type Answer, runLifeboat } from "../pair/run-lifeboat.ts";
import { waitFor } from "../pair/wait.ts";

/** Two busy cores: what takes a second on an idle machine. */
export const patienceMs = 60_000;
export type SiteName = "east" | "west";

export interface Scene {
  readonly bed: Bed;
  readonly pair: Pair;
  readonly signal: AbortSignal;
  client(site: SiteName): KubeClient;
  /** Runs `lifeboat ARGS --kubeconfig …` against a site. */
  lifeboat(site: SiteName, ...args: readonly string[]): Promise<Answer>;
  /** Writes objects as a user does with server-side apply. */
  apply(site: SiteName, ...objects: readonly KubeObject[]): Promise<void>;
  remove(site: SiteName, ...objects: readonly KubeObject[]): Promise<void>;
  find(site: SiteName, object: KubeObject): Promise<KubeObject | undefined>;
  /** Waits until `wanted` holds of an object at a site; `undefined` is given while it is not there. */
  until(
    what: string,
    site: SiteName,
    object: KubeObject,
    wanted: (found: KubeObject | undefined) => boolean,
    limitMs?: number,
  ): Promise<KubeObject | undefined>;
  status(site: SiteName, group: string): Promise<Partial<GroupStatus>>;
  untilStatus(
    what: string,
    site: SiteName,
    group: string,
    wanted: (status: Partial<GroupStatus>) => boolean,
    limitMs?: number,
  ): Promise<Partial<GroupStatus>>;
  /** Everything that an agent or the witness has logged since it was started first. */
  log(member: string): Promise<string>;
  stop(): Promise<void>;
}

/** Kinds that the tests use; enough to write and to compare them without asking for the list of kinds. */
const kinds: readonly KubeResource[] = [
  resources.namespaces,
  resources.configMaps,
  resources.secrets,
  resources.crds,
  resources.protectionGroups,
  kind("", "v1", "Service", "services"),
  kind("", "v1", "ResourceQuota", "resourcequotas"),
  kind("apps", "v1", "Deployment", "deployments"),
  kind("apps", "v1", "StatefulSet", "statefulsets"),
  kind("", "v1", "Pod", "pods"),
  kind("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles", false),
  kind("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding", "clusterrolebindings", false),
];

function kind(group: string, version: string, name: string, plural: string, namespaced = true): KubeResource {
  const verbs = new Set(["get", "list", "watch", "create", "update", "patch", "delete"]);
  return { group, version, kind: name, plural, namespaced, verbs, subresources: new Set() };
}

export function resourceOf(object: { readonly apiVersion: string; readonly kind: string }): KubeResource {
  const found = kinds.find(({ group, kind: name }) => name === object.kind && group === groupOf(object.apiVersion));
  if (found === undefined) throw new Error(`the harness does not know ${object.apiVersion} ${object.kind}`);
  return found;
}

function placeOf({ metadata: { namespace, name } }: KubeObject): { namespace?: string; name: string } {
  return namespace === undefined ? { name } : { namespace, name };
}

/** Starts a bed, the witness and both agents. */
export async function startScene(
  options: BedOptions & Pick<PairOptions, "logLevel" | "agents" | "nodeFlags">,
): Promise<Scene> {
  const stopping = new AbortController();
  const { signal } = stopping;
  const { logLevel = "info", agents = 1, nodeFlags = [], ...bedOptions } = options;
  const bed = await startBed({ install: true, ...bedOptions }, { signal });
  try {
    return sceneOf(bed, await startPair(bed, { signal, logLevel, agents, nodeFlags }), stopping);
  } catch (error) {
    await bed.stop();
    throw error;
  }
}

function sceneOf(bed: Bed, pair: Pair, stopping: AbortController): Scene {
  const { signal } = stopping;
  const find: Scene["find"] = (site, object) => pair.client(site).find(resourceOf(object), placeOf(object), { signal });
  return {
    bed,
    pair,
    signal,
    client: (site) => pair.client(site),
    lifeboat: (site, ...args) => runLifeboat([...args, "--kubeconfig", bed.site(site).kubeconfigPath]),
    async apply(site, ...objects) {
      for (const object of objects) {
        await pair.client(site).apply(resourceOf(object), object, { fieldManager: "user", force: true, signal });
      }
    },
    async remove(site, ...objects) {
      for (const object of objects) {
        await pair.client(site).delete(resourceOf(object), placeOf(object), { signal });
      }
    },
    find,
    async until(what, site, object, wanted, limitMs = patienceMs) {
      let seen: KubeObject | undefined;
      const probe = async () => {
        seen = await find(site, object);
        return wanted(seen) ? { seen } : undefined;
      };
      const { seen: found } = await waitFor(`${what} at ${site}`, probe, { limitMs, signal }).catch(
        async (error: unknown) => {
          const said = await pair.words(signal);
          throw new Error(`${String(error)}; it is ${JSON.stringify(seen)}; ${said}`, { cause: error });
        },
      );
      return found;
    },
    status: (site, group) => pair.status(site, group, signal),
    untilStatus: (what, site, group, wanted, limitMs = patienceMs) =>
      pair.waitForStatus(site, group, what, wanted, { limitMs, signal }),
    log: (member) => readFile(pair.process(member).logPath, "utf8"),
    async stop() {
      stopping.abort(new Error("the test is over"));
      await pair.stop();
      await bed.stop();
    },
  };
}

/** Ends a site's API server as a crash does and starts it again with the same flags; the agent lives on. */
export async function restartApiServer(scene: Scene, site: SiteName): Promise<void> {
  const { bed, signal } = scene;
  const startAgain = await killRestartable(bed, site, "kube-apiserver");
  startAgain();
  const answers = async () => (await scene.client(site).request("GET", "/readyz", { signal })) === "ok" || undefined;
  await waitFor(`API server of ${site}`, answers, { limitMs: patienceMs, signal });
}

export function namespace(name: string, labels: Readonly<Record<string, string>> = {}): KubeObject {
  return { apiVersion: "v1", kind: "Namespace", metadata: { name, labels } };
}

export function configMap(ns: string, name: string, data: Readonly<Record<string, string>> = {}): KubeObject {
  return { apiVersion: "v1", kind: "ConfigMap", metadata: { namespace: ns, name }, data };
}

export function secret(ns: string, name: string, value: string): KubeObject {
  const data = { value: Buffer.from(value).toString("base64") };
  return { apiVersion: "v1", kind: "Secret", metadata: { namespace: ns, name }, data };
}

export function service(ns: string, name: string, port = 80): KubeObject {
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: { namespace: ns, name },
    spec: { selector: { app: name }, ports: [{ name: "http", port }] },
  };
}

export function deployment(ns: string, name: string, replicas: number, image = "any/web:1"): KubeObject {
  const labels = { app: name };
  return {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { namespace: ns, name, labels },
    spec: {
      replicas,
      selector: { matchLabels: labels },
      template: { metadata: { labels }, spec: { containers: [{ name: "main", image }] } },
    },
  };
}

/** A group over namespaces with the shortest times that the protocol has. */
export function groupSpec(
  namespaces: readonly string[],
  change: { readonly failover?: GroupSpecInput["failover"] } & Partial<GroupSpecInput> = {},
): GroupSpecInput {
  const { failover, ...rest } = change;
  return {
    sites: [{ name: "east" }, { name: "west" }],
    select: { namespaces: { names: [...namespaces] } },
    ...rest,
    failover: { automatic: false, profile: "test", fencing: { policy: "Unproven" }, cooldown: "1s", ...failover },
  };
}

export function replicasOf(object: KubeObject | undefined): number | undefined {
  return (object?.["spec"] as { replicas?: number } | undefined)?.replicas;
}

export function dataOf(object: KubeObject | undefined): Readonly<Record<string, string>> {
  return (object?.["data"] ?? {}) as Readonly<Record<string, string>>;
}

/** Whether everything has arrived and is applied, by the standby's own word. */
export function isCaughtUp(status: Partial<GroupStatus>): boolean {
  return hasCondition(status, "Synced") && hasCondition(status, "Ready") && status.counts?.pending === 0;
}

const comparedKinds = ["ConfigMap", "Secret", "Service", "Deployment"];
/** What each cluster makes by itself in every namespace. */
const everywhere = new Set(["kube-root-ca.crt"]);

/** What a site has in some namespaces, as a user would compare it by eye, workloads as if at zero. */
export async function contents(
  scene: Scene,
  site: SiteName,
  namespaces: readonly string[],
): Promise<Record<string, unknown>> {
  const found: Record<string, unknown> = {};
  for (const resource of kinds.filter((each) => comparedKinds.includes(each.kind))) {
    for (const ns of namespaces) {
      for await (const page of scene.client(site).list(resource, { namespace: ns, signal: scene.signal })) {
        for (const item of page.items) {
          if (everywhere.has(item.metadata.name)) continue;
          found[`${resource.kind} ${ns}/${item.metadata.name}`] = essence(item);
        }
      }
    }
  }
  return found;
}

function essence(item: KubeObject): unknown {
  const { metadata, status: _status, apiVersion: _version, kind: _kind, ...rest } = item;
  const own = (map: Readonly<Record<string, string>> | undefined) =>
    Object.fromEntries(
      Object.entries(map ?? {}).filter(([key]) => !key.includes("lifeboat.dev/") && !key.includes("kubernetes.io/")),
    );
  const { labels, annotations } = metadata;
  const body = JSON.parse(JSON.stringify(rest)) as { spec?: Record<string, unknown> };
  for (const field of ["replicas", "clusterIP", "clusterIPs"]) delete body.spec?.[field];
  return { labels: own(labels), annotations: own(annotations), ...body };
}

/** Waits until both API servers hold the same in these namespaces; fails with what differs. */
export async function expectSame(
  scene: Scene,
  namespaces: readonly string[],
  { limitMs = patienceMs }: { readonly limitMs?: number } = {},
): Promise<void> {
  let difference = "";
  const probe = async () => {
    const [east, west] = await Promise.all([contents(scene, "east", namespaces), contents(scene, "west", namespaces)]);
    const names = [...new Set([...Object.keys(east), ...Object.keys(west)])];
    const differing = names.filter((name) => JSON.stringify(sorted(east[name])) !== JSON.stringify(sorted(west[name])));
    const texts = differing.map((name) => `${name}:\n  ${shown(east[name])}\n  ${shown(west[name])}`);
    difference = texts.join("\n");
    return differing.length === 0 ? true : undefined;
  };
  await waitFor(`the same at both sites`, probe, { limitMs, signal: scene.signal }).catch((error: unknown) => {
    throw new Error(`${String(error)}: ${difference}`, { cause: error });
  });
}

/** Objects may be as large as an API server takes. */
function shown(value: unknown): string {
  return (JSON.stringify(value) ?? "nothing").slice(0, 2_000);
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries.map(([key, item]) => [key, sorted(item)]));
}
