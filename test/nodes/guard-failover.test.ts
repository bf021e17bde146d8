/** The fence end to end: two sites with real pods and a guard on each node, measured by what the pods write. */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { profileTiming } from "../../src/failover/timing.ts";
import { startBed } from "../bed/bed.ts";
import { run } from "../bed/command.ts";
import { busyboxImage } from "../bed/images.ts";
import { holderOf } from "../bed/places.ts";
import type { Bed } from "../bed/running.ts";
import { overlapMs, readBeats, uptimeMs, type Interval } from "../demo/beats.ts";
import { hasCondition, startPair, type Pair } from "../pair/pair.ts";
import { waitFor } from "../pair/wait.ts";
import { runLifeboat } from "../pair/run-lifeboat.ts";
import { groupSpec } from "./agent-harness.ts";
import { beating, crash, namespace } from "./guard-harness.ts";

const group = "shop";
const timing = profileTiming("test");
/** A stop under the leases of the profile, as the other site waits for it. */
const stopMaxMs = timing.leaseMs + timing.stopBoundMs;
const patienceMs = 60_000;

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
  await waitFor(`beats at ${site}`, probe, { limitMs: patienceMs, signal }).catch(async (error: unknown) => {
    throw new Error(`${String(error)}; ${await pair.words(signal)}`, { cause: error });
  });
}

async function settled(active: string, standby: string): Promise<void> {
  // A site that comes back waits for its pods to end, which a kubelet gives 30 s.
  const options = { limitMs: 2 * patienceMs, signal };
  await pair.waitActive(active, group, options);
  await pair.waitSynced(standby, group, options);
  const armed = await pair.waitForStatus(active, group, "armed", (status) => hasCondition(status, "Armed"), options);
  expect(armed.role).toBe("active");
  // A status may still be the word of a process that was killed since.
  const now = async () => ((await pair.metrics(active)).value("lifeboat_armed", { group }) === 1 ? true : undefined);
  await waitFor(`${active} armed by its agent's own word`, now, options);
  // A standby that has just come back takes over from what the witness hears after it: the holder's next heartbeats.
  await sleep(3 * timing.heartbeatMs);
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

/** Creates the group where it runs, or changes how it is fenced. */
async function protect(
  site: string,
  policy: "Guard" | "Unproven",
  more: readonly string[] = [],
  profile: "test" | "fast" = "test",
): Promise<void> {
  const failover = { automatic: true, profile, fencing: { policy } } as const;
  await pair.applyGroup(site, group, groupSpec([namespace, ...more], { failover }), signal);
}

/** What the guard of a site's node says that it would stop. */
async function listed(site: string): Promise<string> {
  const holder = await holderOf(bed.dir, site);
  const program = fileURLToPath(new URL("../../src/main.ts", import.meta.url));
  const command = [process.execPath, program, "guard", "--config", pair.guardConfigPath(site), "--once"];
  return run(["nsenter", "-t", String(holder), "-n", "-m", "-p", "--", ...command]);
}

async function untilListed(site: string, wanted: RegExp, timeout = patienceMs): Promise<void> {
  await expect.poll(() => listed(site), { timeout, interval: 1000 }).toMatch(wanted);
}

test("a group whose nodes all have guards is armed under fencing Guard, and its pods run on", async () => {
  await protect("east", "Guard");
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

test("a switchover hands the group over under both guards", async () => {
  // A site that has just come back may still have pods that end; until then it is no target, and says so.
  let said = "";
  const move = async () => {
    const flags = ["--to", "west", "--wait", "--timeout", "60", "--kubeconfig", bed.site("east").kubeconfigPath];
    const { code, out, err } = await runLifeboat(["switchover", group, ...flags]);
    said = `${out}${err}`;
    return code === 0 ? true : undefined;
  };
  await waitFor("the switchover", move, { limitMs: patienceMs, everyMs: 2000, signal }).catch((error: unknown) => {
    throw new Error(`${String(error)}; it said: ${said}`, { cause: error });
  });
  await settled("west", "east");
  const last = await lastBeatMs("east");
  const back = (await intervals("west")).find(({ fromMs }) => fromMs > last);
  expect(back).toBeDefined();
  expect(await overlap()).toBe(0);
  await untilListed("east", /shop +shop +fenced/);
  await untilListed("west", /shop +shop +leased/);
});

test("as a control: with the guard killed and its absence accepted, the same isolation runs the group twice", async () => {
  await bed.faults.kill("west/guard");
  await protect("west", "Unproven");
  const options = { limitMs: patienceMs, signal };
  const unfenced = await pair.waitForStatus(
    "west",
    group,
    "fenced by its API alone",
    ({ leases }) => leases?.fence === "api",
    options,
  );
  expect(unfenced.role).toBe("active");
  await settled("west", "east");
  await isolate("west", "east");
  await crash(bed, "west", "kube-apiserver");
  await beats("east");
  await sleep(1000);
  expect(await overlap()).toBeGreaterThan(500);
  // The guard, back, ends it.
  pair.startGuard("west");
  await expect
    .poll(async () => (await uptimeMs()) - (await lastBeatMs("west")), { timeout: 30_000 })
    .toBeGreaterThan(2000);
});

test("the guards are relied on again once every node has one, and the site that ran it twice follows", async () => {
  await bed.faults.heal();
  await bed.faults.kill("west");
  await bed.faults.restore("west");
  await pair.startAgent("west");
  await protect("east", "Guard");
  await settled("east", "west");
  await untilListed("west", /shop +shop +fenced/);
});

test("a deleted group is let go of by the guards, and what runs goes on without any agent", async () => {
  const before = (await intervals("east")).length;
  await bed.kubectl("east", ["delete", "protectiongroup", group, "--timeout=60s"]);
  for (const site of ["east", "west"]) await untilListed(site, /no group has been heard of/);
  await pair.stopMember("east");
  await sleep(2 * timing.leaseMs);
  expect((await intervals("east")).length).toBe(before);
  expect((await uptimeMs()) - (await lastBeatMs("east"))).toBeLessThan(500);
});

test("created anew it is guarded again", async () => {
  await pair.startAgent("east");
  await protect("east", "Guard");
  await settled("east", "west");
  await untilListed("east", /shop +shop +leased/);
  await untilListed("west", /shop +shop +fenced/);
});

test("a namespace that leaves the group is let go at the standby, and something else may run in it there", async () => {
  const spare = { apiVersion: "v1", kind: "Namespace", metadata: { name: "spare" } };
  const own = {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name: "own", namespace: "spare" },
    spec: { containers: [{ name: "main", image: busyboxImage, imagePullPolicy: "Never", command: ["sleep", "3600"] }] },
  };
  const apply = (site: string, object: unknown) =>
    bed.kubectl(site, ["apply", "-f", "-"], { input: JSON.stringify(object) });
  await apply("east", spare);
  await protect("east", "Guard", ["spare"]);
  await untilListed("west", /shop +shop spare +fenced/);
  await pair.waitRefused("west", own, "runs at east", { limitMs: patienceMs, signal });
  await protect("east", "Guard");
  await untilListed("west", /shop +shop +fenced/, 2 * patienceMs);
  const runs = async () => {
    await apply("west", spare);
    await apply("west", own);
    const phase = await bed.kubectl("west", ["-n", "spare", "get", "pod", "own", "-o", "jsonpath={.status.phase}"]);
    return phase === "Running" ? true : undefined;
  };
  const patient = () => runs().catch(() => undefined);
  await waitFor("a pod in it", patient, { limitMs: patienceMs, everyMs: 1000, signal });
  await settled("east", "west");
});

/** Of a lease of 15 s two are spent on hearing that its agent is gone and back. */
const withinLeaseMs = 13_000;

test("a killed agent that comes back within the lease stops nothing", async () => {
  // On a machine that starts other clusters meanwhile an agent takes longer than the 5 s of the shortest profile.
  await protect("east", "Guard", [], "fast");
  await settled("east", "west");
  // The lease in force is the longer one.
  await sleep(3 * profileTiming("fast").heartbeatMs);
  const before = (await intervals("east")).length;
  const killedAtMs = await uptimeMs();
  await pair.restartAgent("east", { signal: "SIGKILL" });
  expect((await uptimeMs()) - killedAtMs, "the agent was not back within the lease").toBeLessThan(withinLeaseMs);
  await settled("east", "west");
  await sleep(profileTiming("fast").leaseMs);
  expect((await intervals("east")).length).toBe(before);
  expect((await uptimeMs()) - (await lastBeatMs("east"))).toBeLessThan(500);
});
