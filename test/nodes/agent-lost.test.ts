import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, it } from "vitest";
import { journalPath } from "../../src/agent/group-journal.ts";
import type { GroupStatus } from "../../src/config/group.ts";
import { marks } from "../../src/objects/object.ts";
import { hasCondition } from "../pair/pair.ts";
import {
  configMap,
  deployment,
  expectSame,
  groupSpec,
  isCaughtUp,
  namespace,
  replicasOf,
  type Scene,
  type SiteName,
  startScene,
} from "./agent-harness.ts";

/** What agents forget with a process or a disk, at the worst moment. One after the other: a site dies, and comes back. */

let scene: Scene;
const group = "shop";
const isRoot = process.getuid?.() === 0;
const web = deployment("shop", "web", 3);
/** A takeover waits for every promise to end; twice that, on a busy machine. */
const moveLimitMs = 90_000;
/** Several heartbeats, and the delay with which a status is written. */
const settleMs = 3_000;

beforeAll(async () => {
  scene = await startScene({ nodes: "simulated", nodeCount: 1 });
  await scene.apply("east", namespace("shop"), configMap("shop", "first", { a: "1" }), web);
  const failover = { automatic: true };
  await scene.pair.applyGroup("east", group, groupSpec(["shop"], { failover }), scene.signal);
  await expectFollowing("west", "east");
  const { epoch } = await scene.untilStatus("armed", "west", group, (status) => hasCondition(status, "Armed"));
  // West knows it all of east under this epoch, also after a restart, once it holds something of this epoch.
  const last = configMap("shop", "last", { a: "1" });
  await scene.apply("east", last);
  await scene.until(
    "a copy of this epoch",
    "west",
    last,
    (copy) => copy?.metadata.annotations?.[marks.epoch] === epoch,
  );
});
afterAll(async () => scene?.stop());

async function expectFollowing(site: SiteName, active: SiteName): Promise<void> {
  const follows = ({ role, active: at }: Partial<GroupStatus>) => role === "standby" && at === active;
  await scene.untilStatus("standby", site, group, follows, moveLimitMs);
  await scene.untilStatus("caught up", site, group, isCaughtUp, moveLimitMs);
  await scene.untilStatus("promotable", site, group, (status) => hasCondition(status, "Promotable"), moveLimitMs);
  await expectSame(scene, ["shop"]);
  expect(replicasOf(await scene.find(site, web))).toBe(0);
}

it("a standby whose agent restarts while the active site is dead takes over all the same, and says what may be lost", async () => {
  const killedMs = Date.now();
  await scene.bed.faults.kill("east");
  await scene.pair.restartAgent("west", { signal: "SIGKILL" });
  await scene.until("its replicas", "west", web, (found) => replicasOf(found) === 3, moveLimitMs);
  const { lastFailover } = await scene.untilStatus(
    "active",
    "west",
    group,
    ({ role, lastFailover: move }) => role === "active" && move !== undefined,
  );
  expect(lastFailover).toMatchObject({ automatic: true, kind: "failover", to: "west" });
  // An upper bound: east did nothing after it was killed, but nobody at west can know that.
  expect(lastFailover?.rpoMs).toBeGreaterThan(1000);
  expect(lastFailover?.rpoMs).toBeLessThan(Date.now() - killedMs + 10_000);
});

it("a former active site that comes back without its journal takes down what it ran, and follows", async () => {
  const path = journalPath(scene.pair.dataDir("east"), group);
  await Promise.all(["", "-wal", "-shm"].map((part) => rm(`${path}${part}`, { force: true })));
  await scene.bed.faults.restore("east");
  await scene.pair.startAgent("east");
  await expectFollowing("east", "west");
  expect(replicasOf(await scene.find("west", web))).toBe(3);
});

/** At both sites, and still once the answers have come that were on their way when a site came back. */
async function untilArmed(): Promise<void> {
  for (const look of [1, 2]) {
    if (look > 1) await sleep(settleMs);
    for (const site of ["east", "west"] as const) {
      await scene.untilStatus("armed", site, group, (status) => hasCondition(status, "Armed"), moveLimitMs);
    }
  }
}

const whatItDoes = "takes down what it ran, keeps what differs, and follows";
it.runIf(isRoot)(`a former active site whose agent has lost everything ${whatItDoes}`, async () => {
  await untilArmed();
  // What west does last never reaches east. Without delay: a holder that is cut off for long runs on, disarmed.
  await scene.bed.faults.partition("east", "west", { mode: "reset" });
  await scene.apply("west", configMap("shop", "first", { a: "at west" }), configMap("shop", "alone", { b: "1" }));
  await scene.bed.faults.kill("west");
  await scene.bed.faults.heal();
  await scene.until("its replicas", "east", web, (found) => replicasOf(found) === 3, moveLimitMs);
  await scene.untilStatus("active", "east", group, ({ role }) => role === "active");
  await scene.apply("east", configMap("shop", "first", { a: "at east" }));
  const dataDir = scene.pair.dataDir("west");
  for (const name of await readdir(dataDir)) await rm(join(dataDir, name), { recursive: true });
  await scene.bed.faults.restore("west");
  expect(replicasOf(await scene.find("west", web)), "it ran when it was lost").toBe(3);
  await scene.pair.startAgent("west");
  const kept = ({ divergence }: Partial<GroupStatus>) => (divergence?.count ?? 0) > 0;
  const status = await scene.untilStatus("divergence", "west", group, kept, moveLimitMs);
  const listed = ["/ConfigMap/shop/alone", "/ConfigMap/shop/first"];
  expect(status.divergence?.objects).toEqual(expect.arrayContaining(listed));
  await scene.remove("west", configMap("shop", "alone"));
  await expectFollowing("west", "east");
  expect(replicasOf(await scene.find("east", web))).toBe(3);
});

const whatItHad = "begins to follow, and lets the other one run again";
it.runIf(isRoot)(`a standby that has lost everything while the active site had to stop ${whatItHad}`, async () => {
  await untilArmed();
  await scene.untilStatus("brought up whole", "east", group, (now) => now.lastFailover?.to === "east", moveLimitMs);
  await scene.pair.stopMember("west", { signal: "SIGKILL" });
  await scene.bed.faults.partition("east", "witness", { mode: "reset" });
  const dataDir = scene.pair.dataDir("west");
  for (const name of await readdir(dataDir)) await rm(join(dataDir, name), { recursive: true });
  await scene.until("no replicas", "east", web, (found) => replicasOf(found) === 0, moveLimitMs);
  await scene.bed.faults.heal();
  // West, which may have been forced to take over, must be heard before east is granted anything.
  await scene.pair.startAgent("west");
  await scene.untilStatus("active", "east", group, ({ role }) => role === "active", moveLimitMs);
  await expectFollowing("west", "east");
  expect(replicasOf(await scene.find("east", web))).toBe(3);
});
