import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { run } from "../bed/command.ts";
import { holderOf } from "../bed/places.ts";
import { readBeats, uptimeMs } from "../demo/beats.ts";
import { spawnGuard } from "../pair/guard.ts";
import { waitFor } from "../pair/wait.ts";
import { apply, beating, certOf, crash, namespace, startGuardScene, timing, type GuardScene } from "./guard-harness.ts";

/** From the end of the last copy of a lease: τ + P + S of the profile. */
const stopBoundMs = timing.stopBoundMs;
const patienceMs = 90_000;

let scene: GuardScene;

beforeAll(async () => {
  scene = await startGuardScene();
  const { bed, beatsDir } = scene;
  await bed.kubectl("east", ["create", "namespace", namespace]);
  await apply(bed, beating("web", beatsDir));
  await waitFor("a beating pod", async () => ((await lastBeatAgeMs()) < 500 ? true : undefined), {
    limitMs: patienceMs,
    signal: new AbortController().signal,
  });
});

afterAll(async () => scene?.stop());

async function lastBeatMs(): Promise<number> {
  const beats = (await readBeats(scene.beatsDir, ["east"])).get("east") ?? [];
  return Math.max(0, ...beats.map(({ toMs }) => toMs));
}

async function lastBeatAgeMs(): Promise<number> {
  return (await uptimeMs()) - (await lastBeatMs());
}

async function runsAgain(): Promise<void> {
  await expect.poll(lastBeatAgeMs, { timeout: patienceMs }).toBeLessThan(500);
}

/** In a new pod: a kubelet waits up to five minutes before it starts once more what was killed again and again. */
async function runsAnew(): Promise<void> {
  await scene.bed.kubectl("east", ["delete", "pods", "-n", namespace, "-l", "app=web", "--wait=false"]);
  await runsAgain();
}

/** Waits until no beat came for a while, and returns when the last one did. */
async function stopped(): Promise<number> {
  await expect.poll(lastBeatAgeMs, { timeout: 30_000 }).toBeGreaterThan(1500);
  return lastBeatMs();
}

/** Whether the pod answers the API server, which is in the node's network here. */
async function answers(): Promise<boolean> {
  const { bed } = scene;
  const selector = ["get", "pods", "-n", namespace, "-l", "app=web", "-o", "jsonpath={.items[0].metadata.name}"];
  const pod = (await bed.kubectl("east", selector)).trim();
  const path = `/api/v1/namespaces/${namespace}/pods/${pod}:8080/proxy/hostname`;
  return bed
    .site("east")
    .api.request("GET", path)
    .then(
      ({ status }) => status === 200,
      () => false,
    );
}

async function nft(...args: string[]): Promise<string> {
  const holder = await holderOf(scene.bed.dir, "east");
  return run(["nsenter", "-t", String(holder), "-n", "--", "nft", ...args]);
}

/** Addresses of pods that the node's kernel cuts off unless a living guard goes on extending their time. */
async function gatedCount(): Promise<number> {
  const listed = await nft("list", "set", "inet", "lifeboat_guard", "gated4").catch(() => "");
  return listed.match(/10\.150\.\d+\.\d+/g)?.length ?? 0;
}

test("before the first grant nothing is gated, and nothing stops when the agent goes", async () => {
  const { side } = scene;
  await expect.poll(() => side.last?.mode, { timeout: patienceMs }).toBe("open");
  await scene.closeAgent();
  await sleep(timing.leaseMs + stopBoundMs);
  expect(await lastBeatAgeMs()).toBeLessThan(500);
  await scene.openAgent();
});

test("a granted group runs on while the agent renews, and its guard has written down what it holds", async () => {
  const { side } = scene;
  side.word = { verdict: "open", cert: null };
  await expect.poll(() => side.last?.applied, { timeout: 10_000 }).toBeGreaterThan(0);
  side.word = { verdict: "hold", cert: certOf(1) };
  await expect.poll(() => side.last?.mode, { timeout: 10_000 }).toBe("leased");
  await sleep(2 * timing.leaseMs);
  expect(await lastBeatAgeMs()).toBeLessThan(500);
  expect(scene.desk.guards.get("east-node")?.facts).toMatchObject({ deadMan: true, uncutPods: 0, runningPods: 1 });
});

test("with the agent dead, pods stop within the bound and stay down although the kubelet starts them again", async () => {
  await scene.closeAgent();
  const deadAtMs = await uptimeMs();
  const lastMs = await stopped();
  expect(lastMs - deadAtMs).toBeLessThan(timing.leaseMs + stopBoundMs);
  expect(lastMs - deadAtMs).toBeGreaterThan(timing.holderMs - 2 * timing.tickMs - 500);
  // A live kubelet has tried by now.
  await sleep(12_000);
  expect(await lastBeatMs()).toBe(lastMs);
  await scene.openAgent();
  await runsAgain();
  expect(scene.side.last?.stopMs).toBeGreaterThanOrEqual(0);
  expect(scene.side.last?.stopMs).toBeLessThan(timing.stopMs);
});

test("a denial stops pods at once, and a pod that is made meanwhile never runs an instruction", async () => {
  const { side, bed, beatsDir } = scene;
  side.word = { verdict: "deny", cert: certOf(2, "west") };
  const deniedAtMs = await uptimeMs();
  const lastMs = await stopped();
  expect(lastMs - deniedAtMs).toBeLessThan(timing.tickMs + timing.latenessMs + 500);
  await apply(bed, beating("other", beatsDir));
  await sleep(10_000);
  expect(await lastBeatMs()).toBe(lastMs);
  const listed = await bed.kubectl("east", ["get", "pods", "-n", namespace, "-l", "app=other", "-o", "name"]);
  expect(listed.trim()).not.toBe("");
  side.word = { verdict: "hold", cert: certOf(3) };
  await runsAnew();
});

test("a pod that is deleted while it is held back goes", async () => {
  const { side, bed } = scene;
  side.word = { verdict: "deny", cert: certOf(3) };
  await stopped();
  await bed.kubectl("east", [
    "delete",
    "deployment",
    "other",
    "-n",
    namespace,
    "--cascade=foreground",
    "--timeout=60s",
  ]);
  const left = await bed.kubectl("east", ["get", "pods", "-n", namespace, "-l", "app=other", "-o", "name"]);
  expect(left.trim()).toBe("");
  side.word = { verdict: "hold", cert: certOf(4) };
  await runsAnew();
});

test("with the guard itself killed, the kernel cuts the pods' traffic when the lease ends", async () => {
  const { bed, guard, configPath } = scene;
  await expect.poll(async () => answers(), { timeout: patienceMs, interval: 500 }).toBe(true);
  // The kernel knows only what the guard has seen, a quarter of a second after its start at the latest.
  await expect.poll(gatedCount, { timeout: 10_000 }).toBe(1);
  await bed.faults.kill("east/guard");
  await guard.exited;
  await sleep(timing.leaseMs + 500);
  expect(await answers()).toBe(false);
  expect(await lastBeatAgeMs()).toBeLessThan(500);
  // Back, it holds on under what the agent says, and the traffic is there again.
  scene.guard = spawnGuard(bed, "east", configPath);
  await expect.poll(async () => answers(), { timeout: patienceMs, interval: 500 }).toBe(true);
  expect(await lastBeatAgeMs()).toBeLessThan(500);
});

test("a guard that is restarted within the lease stops nothing", async () => {
  const { bed, guard, configPath, side } = scene;
  // A lease in which a busy machine, too, starts a process.
  side.remainingMs = 30_000;
  await sleep(4 * timing.tickMs);
  const before = side.last;
  await bed.faults.kill("east/guard");
  await guard.exited;
  scene.guard = spawnGuard(bed, "east", configPath);
  await expect.poll(() => (side.last?.seq ?? 0) > (before?.seq ?? 0) + 1, { timeout: 30_000 }).toBe(true);
  side.remainingMs = timing.holderMs;
  await sleep(2 * timing.leaseMs);
  expect(await lastBeatAgeMs()).toBeLessThan(500);
  expect(side.last?.bootId).toBe(before?.bootId);
  const beats = (await readBeats(scene.beatsDir, ["east"])).get("east") ?? [];
  expect(beats.at(-1)?.fromMs).toBeLessThan((await uptimeMs()) - 2 * timing.leaseMs);
});

test("a pod on the node's own network is reported as one that the kernel cannot cut, and is killed all the same", async () => {
  const { bed, side, desk, beatsDir } = scene;
  const uncut = () => desk.guards.get("east-node")?.facts.uncutPods;
  expect(uncut()).toBe(0);
  const hosted = beating("hosted", beatsDir, { hostNetwork: true, dnsPolicy: "Default" });
  await apply(bed, hosted);
  await expect.poll(uncut, { timeout: patienceMs }).toBe(1);
  // The node itself must not be cut off with it.
  expect(await bed.kubectl("east", ["get", "nodes", "-o", "name"])).toContain("east-node");
  side.word = { verdict: "deny", cert: certOf(4) };
  await stopped();
  await bed.kubectl("east", ["delete", "deployment", "hosted", "-n", namespace, "--cascade=foreground"]);
  side.word = { verdict: "hold", cert: certOf(4) };
  await expect.poll(uncut, { timeout: patienceMs }).toBe(0);
  await runsAnew();
});

test("rules that somebody has flushed are back within seconds", async () => {
  // One that was just deleted is counted until its cgroup has gone.
  await expect.poll(gatedCount, { timeout: patienceMs }).toBe(1);
  await nft("delete", "table", "inet", "lifeboat_guard");
  await expect.poll(gatedCount, { timeout: timing.leaseMs }).toBe(1);
});

test("with API server, kubelet, container runtime and agent all dead, pods stop within the bound", async () => {
  const { bed } = scene;
  for (const program of ["kube-apiserver", "kubelet", "containerd"]) await crash(bed, "east", program);
  await sleep(2 * timing.leaseMs);
  expect(await lastBeatAgeMs()).toBeLessThan(500);
  await scene.closeAgent();
  const deadAtMs = await uptimeMs();
  const lastMs = await stopped();
  expect(lastMs - deadAtMs).toBeLessThan(timing.leaseMs + stopBoundMs);
  expect(lastMs - deadAtMs).toBeGreaterThan(timing.holderMs - 2 * timing.tickMs - 500);
});

test("a node that boots starts nothing of the group before a grant; the grant brings it up", async () => {
  const { bed, side } = scene;
  await bed.faults.kill("east");
  const killedAtMs = await uptimeMs();
  await bed.faults.restore("east");
  // Kubelet and API server are up, and the pods are bound to this node.
  await sleep(15_000);
  expect(await lastBeatMs()).toBeLessThan(killedAtMs);
  side.word = { verdict: "wait", cert: certOf(4) };
  await scene.openAgent();
  await expect.poll(() => side.last?.mode, { timeout: patienceMs }).toBe("fenced");
  await sleep(2000);
  expect(await lastBeatMs()).toBeLessThan(killedAtMs);
  // What a site set back in time believes opens nothing.
  side.word = { verdict: "hold", cert: certOf(2) };
  await sleep(2000);
  expect(await lastBeatMs()).toBeLessThan(killedAtMs);
  side.word = { verdict: "hold", cert: certOf(5) };
  await runsAgain();
});

test("the listing says what would be stopped, and removing the guard lets everything go", async () => {
  const { bed, configPath, side } = scene;
  const program = new URL("../../src/main.ts", import.meta.url).pathname;
  const holder = await holderOf(bed.dir, "east");
  const inSite = ["nsenter", "-t", String(holder), "-n", "-m", "-p", "--", process.execPath, program, "guard"];
  const list = () => run([...inSite, "--config", configPath, "--once"]);
  const listing = await list();
  expect(listing).toMatch(/shop +shop +leased/);
  expect(listing).toMatch(/shop\/web-\S+ +\d+ +10\.150\.\S+ +would be killed/);
  side.word = { verdict: "deny", cert: certOf(5) };
  await stopped();
  // There is something to hold back only when the kubelet has started the pod again, which takes its time.
  await expect.poll(list, { timeout: patienceMs, interval: 1000 }).toMatch(/held back/);
  await bed.faults.kill("east/guard");
  expect(await list()).toMatch(/held back/);
  expect(await run([...inSite, "--config", configPath, "--remove"])).toContain("forgotten: shop");
  await runsAgain();
});
