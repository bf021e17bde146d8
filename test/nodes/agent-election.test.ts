import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, expect, it } from "vitest";
import { journalsIn } from "../../src/agent/group-set.ts";
import { resources } from "../../src/kube/resource.ts";
import type { KubeObject } from "../../src/objects/object.ts";
import { killRestartable } from "../bed/restartable.ts";
import { agentNamespace } from "../pair/install.ts";
import { hasCondition } from "../pair/pair.ts";
import { waitFor } from "../pair/wait.ts";
import {
  configMap,
  deployment,
  expectSame,
  groupSpec,
  isCaughtUp,
  namespace,
  patienceMs,
  replicasOf,
  type Scene,
  type SiteName,
  startScene,
} from "./agent-harness.ts";

/** Two agents at each site, of which one leads: they die, stand still and come back, and nothing of the group stops. */

let scene: Scene;
const group = "shop";
const web = deployment("shop", "web", 3);
/** Of the profile `fast`, which leaves a busy machine some time: by then another agent must have renewed it. */
const leaseMs = 15_000;
const moveLimitMs = 120_000;
const lookEveryMs = 50;

beforeAll(async () => {
  scene = await startScene({ nodes: "simulated", nodeCount: 1, agents: 2 });
  await scene.apply("east", namespace("shop"), configMap("shop", "first", { a: "1" }), web);
  const failover = { automatic: true, profile: "fast" } as const;
  await scene.pair.applyGroup("east", group, groupSpec(["shop"], { failover }), scene.signal);
  await scene.untilStatus("granted", "east", group, ({ role, epoch }) => role === "active" && epoch !== undefined);
  await expectFollowing("west");
  await untilArmed();
}, 240_000);
afterAll(async () => scene?.stop());

async function expectFollowing(site: SiteName): Promise<void> {
  await scene.untilStatus("standby", site, group, ({ role }) => role === "standby", moveLimitMs);
  await scene.untilStatus("caught up", site, group, isCaughtUp);
  await expectSame(scene, ["shop"]);
  expect(replicasOf(await scene.find(site, web))).toBe(0);
}

async function untilArmed(): Promise<void> {
  await scene.untilStatus("armed", "west", group, (status) => hasCondition(status, "Armed"), moveLimitMs);
}

/** The name of the agent that leads a site, as the site's Lease says. */
async function leaderOf(site: SiteName): Promise<string> {
  const lease = await scene
    .client(site)
    .get(resources.leases, { namespace: agentNamespace, name: "lifeboat-agent" }, { signal: scene.signal });
  const { holderIdentity = "" } = lease["spec"] as { holderIdentity?: string };
  return holderIdentity.split("_")[0] ?? "";
}

function otherOf(site: SiteName, agent: string): string {
  return agent === site ? `${site}-2` : site;
}

async function untilLeads(agent: string): Promise<void> {
  const ready = async (): Promise<true | undefined> => {
    const response = await fetch(`${scene.pair.metricsUrl(agent)}/readyz`, { signal: AbortSignal.timeout(2000) });
    await response.text();
    return response.ok || undefined;
  };
  await waitFor(`${agent} leads`, ready, { limitMs: patienceMs, everyMs: lookEveryMs, signal: scene.signal });
}

/** Looks at the workload all the while: it must never be scaled, and its pods never be replaced. */
function watchRunning(site: SiteName): { stop(): Promise<readonly (number | undefined)[]> } {
  const stopping = new AbortController();
  const seen = new Set<number | undefined>();
  const looking = (async () => {
    while (!stopping.signal.aborted) {
      seen.add(replicasOf(await scene.find(site, web)));
      await delay(lookEveryMs);
    }
  })();
  return {
    stop: async () => {
      stopping.abort();
      await looking;
      return [...seen];
    },
  };
}

async function podsOf(site: SiteName): Promise<string[]> {
  const names: string[] = [];
  for await (const { items } of scene.client(site).list(pods, { namespace: "shop", signal: scene.signal })) {
    names.push(...items.map(({ metadata }: KubeObject) => metadata.name));
  }
  return names.sort();
}

const pods = { ...resources.secrets, kind: "Pod", plural: "pods" };

async function expectReplicates(name: string): Promise<void> {
  const made = configMap("shop", name, { made: "while another agent led" });
  await scene.apply("east", made);
  await scene.until("the new object", "west", made, (found) => found !== undefined);
}

it("a change is kept by both agents of the standby", async () => {
  const both = async (): Promise<true | undefined> => {
    const metrics = await scene.pair.metrics(await leaderOf("east"));
    return metrics.value("lifeboat_standby_journals", { group }) === 2 || undefined;
  };
  await waitFor("two journals", both, { limitMs: patienceMs, signal: scene.signal });
});

it("the leader of the active site is killed: the other agent goes on under the same epoch, and nothing is scaled", async () => {
  const leader = await leaderOf("east");
  const { epoch } = await scene.untilStatus("active", "east", group, ({ role }) => role === "active");
  const before = await podsOf("east");
  const watch = watchRunning("east");
  const killedMs = Date.now();
  await scene.pair.stopMember(leader, { signal: "SIGKILL" });
  await untilLeads(otherOf("east", leader));
  const tookMs = Date.now() - killedMs;
  await expectReplicates("after-the-active-leader");
  const after = await scene.untilStatus("active", "east", group, ({ role }) => role === "active");
  expect(after.epoch).toBe(epoch);
  expect(await watch.stop()).toEqual([3]);
  expect(await podsOf("east")).toEqual(before);
  expect(tookMs).toBeLessThan(leaseMs);
  await scene.pair.startAgent(leader);
});

it("the leader of the standby is killed: what changes at the active site goes on to arrive", async () => {
  const leader = await leaderOf("west");
  await scene.pair.stopMember(leader, { signal: "SIGKILL" });
  await expectReplicates("after-the-standby-leader");
  expect(await leaderOf("west")).toBe(otherOf("west", leader));
  await scene.untilStatus("caught up", "west", group, isCaughtUp);
  await expectSame(scene, ["shop"]);
  await scene.pair.startAgent(leader);
});

it("a leader that stood still while another one took over finds that out, and stands by", async () => {
  const leader = await leaderOf("east");
  const { epoch } = await scene.status("east", group);
  const watch = watchRunning("east");
  await scene.bed.faults.pause(scene.pair.process(leader).name);
  await untilLeads(otherOf("east", leader));
  await scene.bed.faults.resume(scene.pair.process(leader).name);
  const standsBy = async (): Promise<true | undefined> =>
    (await scene.log(leader)).includes("this agent no longer leads the site") || undefined;
  await waitFor(`${leader} stands by`, standsBy, { limitMs: patienceMs, signal: scene.signal });
  await expectReplicates("after-the-sleeper");
  const after = await scene.untilStatus("active", "east", group, ({ role }) => role === "active");
  expect(after.epoch).toBe(epoch);
  expect(await watch.stop()).toEqual([3]);
  expect(await leaderOf("east")).toBe(otherOf("east", leader));
});

it("an API server that is away for longer than the Lease lasts ends nothing: who led goes on", async () => {
  const { epoch } = await scene.untilStatus("active", "east", group, ({ role }) => role === "active");
  const startAgain = await killRestartable(scene.bed, "east", "kube-apiserver");
  await delay(2 * leaseMs);
  startAgain();
  const answers = async (): Promise<true | undefined> =>
    (await scene.client("east").request("GET", "/readyz", { signal: scene.signal })) === "ok" || undefined;
  await waitFor("API server of east", answers, { limitMs: patienceMs, signal: scene.signal });
  expect(replicasOf(await scene.find("west", web))).toBe(0);
  await expectReplicates("after-the-outage");
  const after = await scene.untilStatus("active", "east", group, ({ role }) => role === "active");
  expect(after.epoch).toBe(epoch);
  expect(replicasOf(await scene.find("east", web))).toBe(3);
});

async function moveTo(site: SiteName): Promise<void> {
  const ask = async (): Promise<true | undefined> => {
    const answer = await scene.lifeboat(site, "switchover", group, "--to", site, "--wait");
    return answer.code === 0 || undefined;
  };
  await waitFor(`switchover to ${site}`, ask, { limitMs: moveLimitMs, signal: scene.signal });
  await scene.untilStatus("active", site, group, ({ role }) => role === "active");
  await scene.until("its replicas", site, web, (found) => replicasOf(found) === 3);
}

it("after a switchover an agent that only kept the journal goes on with what the other one started", async () => {
  await moveTo("west");
  const leader = await leaderOf("west");
  const { epoch } = await scene.status("west", group);
  const own = configMap("shop", "written-at-west", { by: "a user" });
  await scene.apply("west", own);
  const watch = watchRunning("west");
  await scene.pair.stopMember(leader, { signal: "SIGKILL" });
  await untilLeads(otherOf("west", leader));
  await scene.until("what was written there", "east", own, (found) => found !== undefined);
  const after = await scene.untilStatus("active", "west", group, ({ role }) => role === "active");
  expect(after.epoch).toBe(epoch);
  expect(await watch.stop()).toEqual([3]);
  await scene.pair.startAgent(leader);
  await expectFollowing("east");
  await moveTo("east");
  await expectFollowing("west");
  expect(await scene.find("east", own)).toBeDefined();
}, 300_000);

it("a group that ended under one leader is not brought back by the next", async () => {
  const object: KubeObject = {
    apiVersion: "lifeboat.dev/v1alpha1",
    kind: "ProtectionGroup",
    metadata: { name: "brief" },
  };
  const job = deployment("brief", "web", 1);
  await scene.apply("east", namespace("brief"), job);
  await scene.pair.applyGroup("east", "brief", groupSpec(["brief"]), scene.signal);
  await scene.untilStatus("caught up", "west", "brief", isCaughtUp);
  await scene.untilStatus("granted", "east", "brief", ({ epoch }) => epoch !== undefined);
  const [east, west] = [await leaderOf("east"), await leaderOf("west")];
  await scene.remove("east", object);
  const over = async (): Promise<true | undefined> =>
    (await scene.log(east)).includes("the group has ended") || undefined;
  await waitFor("the group's end", over, { limitMs: patienceMs, signal: scene.signal });
  await delay(leaseMs / 3);
  for (const [site, leader] of [
    ["east", east],
    ["west", west],
  ] as const) {
    await scene.pair.stopMember(leader, { signal: "SIGKILL" });
    await untilLeads(otherOf(site, leader));
    await scene.pair.startAgent(leader);
  }
  await delay(leaseMs / 3);
  expect(await scene.find("east", object)).toBeUndefined();
  expect(replicasOf(await scene.find("east", job))).toBe(1);
  expect(await journalsIn(scene.pair.dataDir(await leaderOf("east")))).not.toContain("brief");
});

it("the active site dies with both agents, then the one that leads the standby: the other takes over from its journal", async () => {
  await untilArmed();
  const last = configMap("shop", "the-last", { made: "just before" });
  await scene.apply("east", last);
  await scene.until("the last object", "west", last, (found) => found !== undefined);
  const leader = await leaderOf("west");
  await scene.bed.faults.kill("east");
  await scene.pair.stopMember(leader, { signal: "SIGKILL" });
  await scene.until("its replicas", "west", web, (found) => replicasOf(found) === 3, moveLimitMs);
  await scene.untilStatus("active", "west", group, ({ role }) => role === "active");
  expect(await leaderOf("west")).toBe(otherOf("west", leader));
  expect(await scene.find("west", last)).toBeDefined();
});
