import type { KubeClient } from "../kube/client.ts";
import type { KubeResource } from "../kube/resource.ts";
import { formatKey, type ObjectKey, parseKey } from "../objects/key.ts";
import type { KubeObject } from "../objects/object.ts";
import { groupsOn } from "./shared.ts";
import type { ObservedFacts } from "./view.ts";

/** Facts about this site that rendering needs and that nobody watches: they are asked for when they matter. */

interface Finder {
  find(group: string, kind: string): { readonly versions: readonly [KubeResource, ...KubeResource[]] } | undefined;
}

export interface ObserveDeps {
  readonly client: KubeClient;
  readonly discovery: Finder;
  readonly group: string;
  readonly observed: ObservedFacts;
}

/** What is at this site of a shared object: who else needs it, which versions are stored, whom a binding binds. */
export async function observeShared(deps: ObserveDeps, key: ObjectKey, signal: AbortSignal): Promise<void> {
  const { group, kind, name } = parseKey(key);
  const resource = deps.discovery.find(group, kind)?.versions[0];
  if (resource === undefined || resource.namespaced) return;
  const live = await deps.client.find(resource, { name }, { signal });
  const { sharedWith, storedVersions, subjects } = deps.observed;
  const others = live === undefined ? [] : (groupsOn(live) ?? []).filter((entry) => entry !== deps.group);
  remember(sharedWith, key, others);
  const status = live?.["status"] as { storedVersions?: string[] } | undefined;
  if (kind === "CustomResourceDefinition") remember(storedVersions, key, status?.storedVersions ?? []);
  if (kind === "ClusterRoleBinding") {
    remember(subjects, key, (live?.["subjects"] as Record<string, unknown>[] | undefined) ?? []);
  }
}

function remember<T>(map: Map<ObjectKey, readonly T[]>, key: ObjectKey, list: readonly T[]): void {
  if (list.length === 0) map.delete(key);
  else map.set(key, list);
}

interface Slice {
  readonly endpoints?: ReadonlyArray<{ readonly conditions?: { readonly ready?: boolean } }> | null;
}

/** Looks which of these Services have a ready endpoint. Returns those for which that has changed. */
export async function observeServices(
  deps: ObserveDeps,
  services: Iterable<ObjectKey>,
  signal: AbortSignal,
): Promise<ObjectKey[]> {
  const changed: ObjectKey[] = [];
  const slices = deps.discovery.find("discovery.k8s.io", "EndpointSlice")?.versions[0];
  if (slices === undefined) return changed;
  for (const key of services) {
    const { group, kind, namespace, name } = parseKey(key);
    if (group !== "" || kind !== "Service") continue;
    const ready = await hasEndpoint(deps.client, slices, { namespace, name }, signal);
    if (ready === deps.observed.readyServices.has(key)) continue;
    if (ready) deps.observed.readyServices.add(key);
    else deps.observed.readyServices.delete(key);
    changed.push(key);
  }
  return changed;
}

async function hasEndpoint(
  client: KubeClient,
  slices: KubeResource,
  service: { namespace: string; name: string },
  signal: AbortSignal,
): Promise<boolean> {
  const labelSelector = `kubernetes.io/service-name=${service.name}`;
  for await (const page of client.list(slices, { namespace: service.namespace, labelSelector, signal })) {
    const ready = (page.items as unknown as Slice[]).some((slice) =>
      (slice.endpoints ?? []).some((endpoint) => endpoint.conditions?.ready !== false),
    );
    if (ready) return true;
  }
  return false;
}

interface ServicePort {
  readonly protocol?: string;
  readonly nodePort?: number;
}

/** Looks which node ports are in use at this site, after one was found taken. */
export async function observeNodePorts(deps: ObserveDeps, signal: AbortSignal): Promise<void> {
  const services = deps.discovery.find("", "Service")?.versions[0];
  if (services === undefined) return;
  const ports = new Map<string, ObjectKey>();
  for await (const page of deps.client.list(services, { signal })) {
    for (const service of page.items) notePorts(service, ports);
  }
  deps.observed.nodePorts = ports;
}

function notePorts(service: KubeObject, ports: Map<string, ObjectKey>): void {
  const { namespace = "", name } = service.metadata;
  const spec = service["spec"] as { ports?: ServicePort[]; healthCheckNodePort?: number } | undefined;
  const key = formatKey({ group: "", kind: "Service", namespace, name });
  for (const { protocol = "TCP", nodePort } of spec?.ports ?? []) {
    if (nodePort !== undefined && nodePort > 0) ports.set(`${protocol}/${nodePort}`, key);
  }
  if ((spec?.healthCheckNodePort ?? 0) > 0) ports.set(`TCP/${spec?.healthCheckNodePort}`, key);
}
