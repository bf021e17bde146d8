import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { GroupStatus } from "../../src/config/group.ts";
import type { KubeResource } from "../../src/kube/resource.ts";
import type { KubeObject } from "../../src/objects/object.ts";
import { waitFor } from "../pair/wait.ts";
import {
  deployment,
  groupSpec,
  isCaughtUp,
  namespace,
  patienceMs,
  replicasOf,
  type Scene,
  type SiteName,
  startScene,
} from "./agent-harness.ts";
import { installKeda, kedaKinds, kedaProgram, scaledJob, scaledObject, startKeda } from "./keda.ts";

/**
 * A real operator at both sites, each seeing nothing but its own API server: KEDA, which would scale up at once what
 * arrives at the standby. Its trigger is active at both sites all the time.
 */

/** The operator's loop takes a second. */
const quietMs = 8_000;
const buildLimitMs = 1_800_000;
const ns = "shop";
const group = "shop";
const pausedReplicas = "autoscaling.keda.sh/paused-replicas";
const finalizer = "finalizer.keda.sh";
/** A site whose API server has just come back may not serve all kinds yet, and is looked at again after a while. */
const returnLimitMs = 120_000;

let scene: Scene;
let program: string;

async function find(site: SiteName, resource: KubeResource, name: string): Promise<KubeObject | undefined> {
  return scene.client(site).find(resource, { namespace: ns, name }, { signal: scene.signal });
}

async function namesOf(site: SiteName, resource: KubeResource): Promise<string[]> {
  const names: string[] = [];
  for await (const page of scene.client(site).list(resource, { namespace: ns, signal: scene.signal })) {
    names.push(...page.items.map(({ metadata }) => metadata.name));
  }
  return names;
}

/** What the operator has made of the group's objects at a site. */
interface Scaled {
  readonly web: number | undefined;
  readonly idle: number | undefined;
  readonly autoscalers: readonly string[];
  /** How many it starts is its own: two, where it looks again before it has seen the first. */
  readonly hasJobs: boolean;
}

async function scaledAt(site: SiteName): Promise<Scaled> {
  const [web, idle, autoscalers, jobs] = await Promise.all([
    find(site, kedaKinds.deployments, "web"),
    find(site, kedaKinds.deployments, "idle"),
    namesOf(site, kedaKinds.autoscalers),
    namesOf(site, kedaKinds.jobs),
  ]);
  return { web: replicasOf(web), idle: replicasOf(idle), autoscalers, hasJobs: jobs.length > 0 };
}

const nothing: Scaled = { web: 0, idle: 0, autoscalers: [], hasJobs: false };
const running = (web: number): Scaled => ({ web, idle: 1, autoscalers: ["keda-hpa-web"], hasJobs: true });

async function untilScaled(site: SiteName, wanted: Scaled): Promise<void> {
  let seen: Scaled | undefined;
  const probe = async (): Promise<true | undefined> => {
    seen = await scaledAt(site);
    return JSON.stringify(seen) === JSON.stringify(wanted) ? true : undefined;
  };
  await waitFor(`KEDA at ${site}`, probe, { limitMs: patienceMs, signal: scene.signal }).catch((error: unknown) => {
    throw new Error(`${String(error)}; it is ${JSON.stringify(seen)}`, { cause: error });
  });
}

/** What the operator itself says about pausing. */
async function isPaused(site: SiteName, resource: KubeResource, name: string): Promise<boolean | undefined> {
  const found = await find(site, resource, name);
  const { conditions } = (found?.["status"] ?? {}) as { conditions?: { type: string; status: string }[] };
  const paused = conditions?.find(({ type }) => type === "Paused");
  return paused === undefined ? undefined : paused.status === "True";
}

async function untilPaused(site: SiteName, resource: KubeResource, name: string, wanted: boolean): Promise<void> {
  const probe = async (): Promise<true | undefined> =>
    (await isPaused(site, resource, name)) === wanted ? true : undefined;
  const what = `${name} ${wanted ? "paused" : "not paused"} at ${site}`;
  await waitFor(what, probe, { limitMs: patienceMs, signal: scene.signal });
}

/** What anybody has written into the objects, status left out. */
async function writesAt(site: SiteName): Promise<string[]> {
  const writes: string[] = [];
  for (const resource of [kedaKinds.scaledObjects, kedaKinds.scaledJobs, kedaKinds.deployments]) {
    for await (const page of scene.client(site).list(resource, { namespace: ns, signal: scene.signal })) {
      for (const { metadata } of page.items) {
        const { resourceVersion: _version, managedFields = [], ...rest } = metadata;
        const writers = managedFields.filter(({ subresource }) => subresource !== "status");
        writes.push(JSON.stringify({ ...rest, writers }));
      }
    }
  }
  return writes;
}

/** The standby is at rest: the operator starts nothing, and nobody writes anything against anybody. */
async function expectQuiet(site: SiteName): Promise<void> {
  await scene.untilStatus("caught up", site, group, isCaughtUp);
  await untilScaled(site, nothing);
  for (const resource of [kedaKinds.scaledObjects, kedaKinds.scaledJobs]) {
    for (const name of await namesOf(site, resource)) await untilPaused(site, resource, name, true);
  }
  const before = await writesAt(site);
  const endMs = performance.now() + quietMs;
  while (performance.now() < endMs) {
    expect(await scaledAt(site)).toEqual(nothing);
    await delay(500);
  }
  expect(await writesAt(site)).toEqual(before);
  const status = await scene.status(site, group);
  expect(status.conditions?.filter(({ type, status: is }) => type === "Contested" && is === "True")).toEqual([]);
  expect(status.conditions?.filter(({ type, status: is }) => type === "Conflicts" && is === "True")).toEqual([]);
}

beforeAll(async () => {
  program = await kedaProgram();
  scene = await startScene({ nodes: "simulated", nodeCount: 1 });
  await Promise.all((["east", "west"] as const).map(async (site) => installKeda(scene, site)));
  await Promise.all((["east", "west"] as const).map(async (site) => startKeda(scene, program, site)));
  await scene.apply("east", namespace(ns), deployment(ns, "web", 1), deployment(ns, "idle", 3));
  const write = { fieldManager: "user", force: true, signal: scene.signal };
  const east = scene.client("east");
  await east.apply(kedaKinds.scaledObjects, scaledObject(ns, "web", 2), write);
  await east.apply(kedaKinds.scaledObjects, scaledObject(ns, "idle", 2, { [pausedReplicas]: "1" }), write);
  await east.apply(kedaKinds.scaledJobs, scaledJob(ns, "batch"), write);
  await scene.pair.applyGroup("east", group, groupSpec([ns]), scene.signal);
}, buildLimitMs);
afterAll(async () => scene?.stop());

it("the operator at the source scales, the one at the standby is held at nothing", async () => {
  await untilScaled("east", running(2));
  await expectQuiet("west");
});

it("a change of the source's scaling arrives, and is held too", async () => {
  const write = { fieldManager: "user", force: true, signal: scene.signal };
  await scene.client("east").apply(kedaKinds.scaledObjects, scaledObject(ns, "web", 3), write);
  await untilScaled("east", running(3));
  const arrived = async (): Promise<true | undefined> => {
    const spec = (await find("west", kedaKinds.scaledObjects, "web"))?.["spec"] as { minReplicaCount?: number };
    return spec.minReplicaCount === 3 ? true : undefined;
  };
  await waitFor("the change", arrived, { limitMs: patienceMs, signal: scene.signal });
  expect(await scaledAt("west")).toEqual(nothing);
});

it("after a promotion the operator there takes over, and what the source had paused stays paused", async () => {
  await scene.bed.faults.kill("east");
  const moved = await scene.lifeboat("west", "failover", group, "--to", "west", "--wait");
  expect(moved, JSON.stringify(await scene.status("west", group))).toMatchObject({ code: 0, err: "" });
  await untilScaled("west", running(3));
  await untilPaused("west", kedaKinds.scaledObjects, "web", false);
  // Its job above shows that it goes on; what its status says of it, two loops of the operator write over each other.
  const batch = await find("west", kedaKinds.scaledJobs, "batch");
  expect(Object.keys(batch?.metadata.annotations ?? {}).filter((name) => name.includes("paused"))).toEqual([]);
  const [web, idle] = await Promise.all(
    ["web", "idle"].map(async (name) => find("west", kedaKinds.scaledObjects, name)),
  );
  expect(web?.metadata.annotations?.[pausedReplicas]).toBeUndefined();
  expect(idle?.metadata.annotations?.[pausedReplicas]).toBe("1");
  expect(web?.metadata.finalizers).toEqual([finalizer]);

  const write = { fieldManager: "user", force: true, signal: scene.signal };
  await scene.client("west").apply(kedaKinds.scaledObjects, scaledObject(ns, "web", 4), write);
  await untilScaled("west", running(4));
});

it("the site that comes back stops its own, and is held", async () => {
  await scene.bed.faults.restore("east");
  await startKeda(scene, program, "east");
  await scene.pair.startAgent("east");
  const follows = ({ role, active }: Partial<GroupStatus>): boolean => role === "standby" && active === "west";
  await scene.untilStatus("standby", "east", group, follows, returnLimitMs);
  await expectQuiet("east");
  expect(await scaledAt("west")).toEqual(running(4));
});
