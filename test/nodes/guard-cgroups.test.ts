/** Killing and holding back with the machine's own cgroups, both versions where it has both. */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm, rmdir, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { systemClock } from "../../src/clock.ts";
import { isFrozen, killAll, processesIn, setFrozen, type CgroupTree } from "../../src/guard/cgroups.ts";
import { Warden } from "../../src/guard/warden.ts";
import { silentLog } from "../../src/telemetry/log.ts";

const mount = "/sys/fs/cgroup";
/** The unified hierarchy alone, or the one that a hybrid machine has beside v1. */
const unified = [mount, join(mount, "unified")].find((path) => existsSync(join(path, "cgroup.controllers")));
const freezer = join(mount, "freezer");

const trees: CgroupTree[] = [
  ...(unified === undefined ? [] : [{ version: "v2", base: unified, canFreeze: true } as const]),
  ...(existsSync(freezer) ? [{ version: "v1", base: freezer, canFreeze: true } as const] : []),
];

describe.each(trees)("cgroups $version", (tree) => {
  const pod = join(tree.base, `lifeboat-guard-test-${process.pid}`);
  const container = join(pod, "container");
  let dir: string;
  let beats: string;
  const children: ChildProcess[] = [];

  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), "lifeboat-guard-"));
    beats = join(dir, "beats");
    await mkdir(container, { recursive: true });
  });

  afterEach(async () => {
    setFrozen(tree, pod, false);
    for (const child of children.splice(0)) child.kill("SIGKILL");
    killAll(tree, pod);
    await expect.poll(() => processesIn(pod).length, { timeout: 5000 }).toBe(0);
    await sleep(50);
    await rmdir(container);
    await rmdir(pod);
    await rm(dir, { recursive: true });
  });

  /** A program that joins the cgroup as a container runtime's does, and then runs the pod's own first instruction. */
  function start(script: string): ChildProcess {
    const join = `echo $$ > '${container}/cgroup.procs'; echo started >> '${beats}'; ${script}`;
    const child = spawn("sh", ["-c", join], { stdio: "ignore" });
    children.push(child);
    return child;
  }

  const length = async (path: string) =>
    stat(path).then(
      ({ size }) => size,
      () => 0,
    );
  const ward = { pod: { uid: "u", namespace: "shop", name: "web", cgroup: pod }, treatment: { type: "down" } } as const;
  const held = { pod: ward.pod, treatment: { type: "held", untilMs: Number.MAX_SAFE_INTEGER } } as const;
  const warden = () => new Warden({ tree, clock: systemClock, log: silentLog });

  test("everything in a pod dies at once, also what forks all the time", async () => {
    const child = start("while :; do (sleep 0.01 &) ; done");
    await expect.poll(() => processesIn(pod).length, { timeout: 5000 }).toBeGreaterThan(1);
    const ended = once(child, "exit");
    const guard = warden();
    const startedMs = performance.now();
    await expect.poll(() => guard.inspect([ward]).alive.length, { timeout: 5000, interval: 10 }).toBe(0);
    expect(performance.now() - startedMs).toBeLessThan(1000);
    expect((await ended)[1]).toBe("SIGKILL");
    expect(processesIn(pod)).toEqual([]);
  });

  test("what is started in a pod that is held back does not get to its first instruction, and goes", async () => {
    const guard = warden();
    guard.inspect([ward]);
    expect(isFrozen(tree, pod)).toBe(true);
    const child = start("sleep 100");
    await sleep(300);
    expect(await length(beats)).toBe(0);
    const ended = once(child, "exit");
    await expect.poll(() => guard.inspect([ward]).alive.length, { timeout: 5000, interval: 50 }).toBe(0);
    expect((await ended)[1]).toBe("SIGKILL");
    expect(await length(beats)).toBe(0);
    expect(isFrozen(tree, pod)).toBe(true);
  });

  test("what was held back runs again once it may, also for a guard that was restarted", async () => {
    warden().inspect([ward]);
    warden().inspect([held]);
    expect(isFrozen(tree, pod)).toBe(false);
    start("sleep 100");
    await expect.poll(() => length(beats), { timeout: 5000 }).toBeGreaterThan(0);
    expect(await readFile(beats, "utf8")).toBe("started\n");
  });

  test("a pod that is nobody's is not touched, unless it was held back here", async () => {
    setFrozen(tree, pod, true);
    const guard = warden();
    guard.release(ward.pod);
    expect(isFrozen(tree, pod)).toBe(true);
    guard.inspect([ward]);
    guard.release(ward.pod);
    expect(isFrozen(tree, pod)).toBe(false);
    await writeFile(beats, "");
  });
});
