/** The fence end to end: two sites with real pods and a guard on each node, measured by what the pods write. */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { profileTiming } from "../../src/failover/timing.ts";
import { startBed } from "../bed/bed.ts";
import type { Bed } from "../bed/running.ts";
import { overlapMs, readBeats, type Interval } from "../demo/beats.ts";
import { hasCondition, startPair, type Pair } from "../pair/pair.ts";
import { waitFor } from "../pair/wait.ts";
import { groupSpec } from "./agent-harness.ts";
import { beating, crash, namespace, uptimeMs } from "./guard-harness.ts";

const group = "shop";
const timing = profileTiming("test");
/** A stop under the leases of the profile, as the other site waits for it. */
const stopMaxMs = timing.leaseMs + timing.stopBoundMs;
const patienceMs = 120_000;

let bed: Bed;
let pair: Pair;
let beatsDir: string;
const stopping = new AbortController();
const { signal } = stopping;

beforeAll(async () => {
  bed = await startBed({ nodes: "real", install: true }, { signal });
  pair = await startPair(bed, { signal, guards: true });
  beatsDir = join(bed.dir, "beats");
  await mkdir(beatsDir, { recursive: true });
  const input = JSON.stringify({
    apiVersion: "v1",
    kind: "List",
    items: [{ apiVersion: "v1", kind: "Namespace", metadata: { name: namespace } }, beating("web", beatsDir)],
  });
  await bed.kubectl("east", ["apply", "-f", "-"], { input });
  await beats("east");
});

afterAll(async () => {
  stopping.abort(new Error("the tests are over"));
  await pair?.stop();
  await bed?.stop();
});

async function intervals(site: string): Promise<readonly Interval[]> {
  return (await readBeats(beatsDir, ["east", "west"])).get(site) ?? [];
}

async function lastBeatMs(site: string): Promise<number> {
  return Math.max(0, ...(await intervals(site)).map(({ toMs }) => toMs));
}

/** Waits until pods of the site write. */
async function beats(site: string): Promise<void> {
  const probe = async () => ((await uptimeMs()) - (await lastBeatMs(site)) < 500 ? true : undefined);
  await waitFor(`beats at ${site}`, probe, { limitMs: patienceMs, signal });
}

async function settled(active: string, standby: string): Promise<void> {
  const options = { limitMs: patienceMs, signal };
  await pair.waitActive(active, group, options);
  await pair.waitSynced(standby, group, options);
  const armed = await pair.waitForStatus(active, group, "armed", (status) => hasCondition(status, "Armed"), options);
  expect(armed.role).toBe("active");
  await beats(active);
}

async function overlap(): Promise<number> {
  return overlapMs(await intervals("east"), await intervals("west"));
}

/** Cuts a site's agent off from everyone but its own site. */
async function isolate(site: string, peer: string): Promise<void> {
  await bed.faults.partition(`${site}/agent`, peer);
  await bed.faults.partition(`${site}/agent`, "witness");
}

test("a group whose nodes all have guards is armed under fencing Guard, and its pods run on", async () => {
  const failover = { automatic: true, fencing: { policy: "Guard" } } as const;
  await pair.applyGroup("east", group, groupSpec([namespace], { failover }), signal);
  await settled("east", "west");
  expect((await intervals("east")).length).toBe(1);
});

test("a killed agent that comes back within the lease stops nothing", async () => {
  await pair.restartAgent("east", { signal: "SIGKILL" });
  await settled("east", "west");
  expect((await intervals("east")).length).toBe(1);
});

test("the active site isolated, its API server alive: its pods are dead before the other site starts", async () => {
  await isolate("east", "west");
  const cutAtMs = await uptimeMs();
  await beats("west");
  const [first] = await intervals("west");
  const last = await lastBeatMs("east");
  expect(last - cutAtMs).toBeLessThan(stopMaxMs);
  expect(first?.fromMs).toBeGreaterThan(last);
  expect(await overlap()).toBe(0);
  await bed.faults.heal();
  await settled("west", "east");
  expect(await overlap()).toBe(0);
});

test("isolated with API server, kubelet and container runtime dead, its pods are dead before the other site starts", async () => {
  await isolate("west", "east");
  const cutAtMs = await uptimeMs();
  for (const program of ["kube-apiserver", "kubelet", "containerd"]) await crash(bed, "west", program);
  await beats("east");
  const last = await lastBeatMs("west");
  expect(last - cutAtMs).toBeLessThan(stopMaxMs + 5000);
  const back = (await intervals("east")).find(({ toMs }) => toMs > cutAtMs);
  expect(back?.fromMs).toBeGreaterThan(last);
  expect(await overlap()).toBe(0);
});

test("that site powered off and on again starts nothing, with and without its agent", async () => {
  await bed.faults.heal();
  await bed.faults.kill("west");
  const killedAtMs = await uptimeMs();
  await bed.faults.restore("west");
  await sleep(15_000);
  expect(await lastBeatMs("west")).toBeLessThan(killedAtMs);
  await pair.startAgent("west");
  await settled("east", "west");
  expect(await lastBeatMs("west")).toBeLessThan(killedAtMs);
  expect(await overlap()).toBe(0);
});
