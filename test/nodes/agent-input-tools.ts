/** What the tests of wrong input need beside a scene. */
import { readFile, writeFile } from "node:fs/promises";
import { parse, stringify } from "yaml";
import type { GroupSpecInput, GroupStatus } from "../../src/config/group.ts";
import { apiVersionOf, type KubeResource } from "../../src/kube/resource.ts";
import type { KubeObject } from "../../src/objects/object.ts";
import { configMap, groupSpec, namespace, type Scene, type SiteName } from "./agent-harness.ts";

export const secretValue = "a-value-that-no-log-may-show";

/** Message of a condition that holds, with its reason; "" where it does not hold. */
export function held({ conditions }: Partial<GroupStatus>, type: string): string {
  const found = conditions?.find((condition) => condition.type === type);
  return found?.status === "True" ? `${found.reason}: ${found.message}` : "";
}

export function resource(
  group: string,
  version: string,
  kind: string,
  plural: string,
  namespaced: boolean,
): KubeResource {
  return { group, version, kind, plural, namespaced, verbs: new Set(), subresources: new Set() };
}

/** A group over a namespace with one ConfigMap, active at east. */
export async function protect(scene: Scene, name: string, change: Partial<GroupSpecInput> = {}): Promise<void> {
  await scene.apply("east", namespace(name), configMap(name, "first", { a: "1" }));
  await scene.pair.applyGroup("east", name, groupSpec([name], change), scene.signal);
}

export async function untilDegraded(
  scene: Scene,
  site: SiteName,
  group: string,
  pattern: RegExp,
): Promise<Partial<GroupStatus>> {
  return scene.untilStatus(`degraded (${pattern.source})`, site, group, (status) =>
    pattern.test(held(status, "Degraded")),
  );
}

/** Of the agent's events about a group: `Reason: note`. */
export async function events(scene: Scene, site: SiteName, group: string): Promise<string[]> {
  const text = await scene.client(site).request("GET", "/apis/events.k8s.io/v1/events", { signal: scene.signal });
  const { items } = JSON.parse(text) as { items: { reason: string; note: string; regarding?: { name: string } }[] };
  return items.filter(({ regarding }) => regarding?.name === group).map(({ reason, note }) => `${reason}: ${note}`);
}

/** Runs an agent with a changed configuration for as long as `work` takes. */
export async function withConfig(
  scene: Scene,
  site: SiteName,
  change: Readonly<Record<string, unknown>>,
  work: () => Promise<void>,
): Promise<void> {
  const path = scene.pair.configPath(site);
  const before = await readFile(path, "utf8");
  await scene.pair.stopMember(site);
  await writeFile(path, stringify({ ...(parse(before) as object), ...change }));
  try {
    await scene.pair.startAgent(site);
    await work();
  } finally {
    await scene.pair.stopMember(site);
    await writeFile(path, before);
    await scene.pair.startAgent(site);
  }
}

/** Writes an object of a kind that the harness does not know. */
export async function write(
  scene: Scene,
  site: SiteName,
  kind: KubeResource,
  object: Readonly<Record<string, unknown>>,
): Promise<void> {
  const whole = { apiVersion: apiVersionOf(kind), kind: kind.kind, ...object } as KubeObject;
  await scene.client(site).apply(kind, whole, { fieldManager: "user", force: true, signal: scene.signal });
}

export async function discard(scene: Scene, site: SiteName, kind: KubeResource, name: string): Promise<void> {
  await scene.client(site).delete(kind, { name }, { signal: scene.signal });
}
