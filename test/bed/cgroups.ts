import { existsSync } from "node:fs";
import { mkdir, readFile, readdir, rmdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { LifeboatError } from "../../src/errors.ts";
import { signalPid } from "./processes.ts";

const root = "/sys/fs/cgroup";

/** Whether the machine has the unified hierarchy alone. */
export const isV2 = existsSync(join(root, "cgroup.controllers"));

/**
 * Hierarchies in which a site has a folder: the one of v2, or every controller of v1 together with the unified one
 * beside them, where the container runtime makes folders as well.
 */
async function hierarchies(): Promise<string[]> {
  if (isV2) return [root];
  const entries = await readdir(root).catch(() => []);
  return entries.map((name) => join(root, name));
}

/** Path of a site's cgroup below each hierarchy, as kubelet's `cgroupRoot` wants it. */
export function cgroupPath(bedId: string, site: string): string {
  return `/${bedFolder(bedId)}/${site}`;
}

function bedFolder(bedId: string): string {
  return `lifeboat-${bedId}`;
}

/** A v1 cpuset accepts no process before it has processors and memory. */
async function fillCpuset(parent: string, child: string): Promise<void> {
  if (isV2 || !existsSync(join(parent, "cpuset.cpus"))) return;
  for (const file of ["cpuset.cpus", "cpuset.mems"]) {
    await writeFile(join(child, file), await readFile(join(parent, file), "utf8"));
  }
}

async function delegate(dir: string): Promise<void> {
  if (!isV2) return;
  const controllers = (await readFile(join(dir, "cgroup.controllers"), "utf8")).trim().split(" ");
  for (const controller of controllers) {
    // A controller that the machine's root does not hand on is missed by kubelet with a message of its own.
    await writeFile(join(dir, "cgroup.subtree_control"), `+${controller}`).catch(() => undefined);
  }
}

/**
 * Makes a site's cgroups anew: what Pods of an earlier life left there would cost kubelet seconds each, and does not
 * survive on a machine that lost its power. Returns the folders that its own programs join, so that they can be
 * frozen; none where the machine's cgroups cannot be written.
 */
export async function createCgroups(bedId: string, site: string): Promise<string[]> {
  const joined: string[] = [];
  for (const hierarchy of await hierarchies()) {
    const bed = join(hierarchy, bedFolder(bedId));
    const own = join(bed, site);
    try {
      if (existsSync(own)) await removeTree(own);
      await mkdir(own, { recursive: true });
    } catch {
      continue;
    }
    await fillCpuset(hierarchy, bed);
    await fillCpuset(bed, own);
    if (isV2) {
      await delegate(root);
      await delegate(bed);
      await delegate(own);
      await mkdir(join(own, "system"), { recursive: true });
      joined.push(join(own, "system"));
    } else if (hierarchy.endsWith("/freezer")) {
      joined.push(own);
    }
  }
  return joined;
}

/** Stops or continues everything in a site's cgroups at once, pods included. Returns `false` where that is impossible. */
export async function freeze(bedId: string, site: string, frozen: boolean): Promise<boolean> {
  const path = cgroupPath(bedId, site);
  const [file, value] = isV2
    ? [join(root, path, "cgroup.freeze"), frozen ? "1" : "0"]
    : [join(root, "freezer", path, "freezer.state"), frozen ? "FROZEN" : "THAWED"];
  return writeFile(file, value).then(
    () => true,
    () => false,
  );
}

/** Short, so that what is held back goes on soon. */
const quotaPeriodUs = 10_000;

/**
 * Gives processes of a bed, together, no more than `cores` of the machine's processors, for as long as the bed is there.
 * Rejects with NeedsRoot where the machine's cgroups cannot be written.
 */
export async function limitProcessor(
  bedId: string,
  name: string,
  pids: readonly number[],
  cores: number,
): Promise<void> {
  const bed = join(isV2 ? root : join(root, "cpu"), bedFolder(bedId));
  const own = join(bed, name);
  const quotaUs = Math.round(cores * quotaPeriodUs);
  try {
    await mkdir(own, { recursive: true });
    await delegate(bed);
    if (isV2) {
      await writeFile(join(own, "cpu.max"), `${quotaUs} ${quotaPeriodUs}`);
    } else {
      await writeFile(join(own, "cpu.cfs_period_us"), String(quotaPeriodUs));
      await writeFile(join(own, "cpu.cfs_quota_us"), String(quotaUs));
    }
    for (const pid of pids) await writeFile(join(own, "cgroup.procs"), String(pid));
  } catch (cause) {
    throw new LifeboatError("NeedsRoot", "processes cannot be limited: the machine's cgroups cannot be written", {
      hint: "run it as root, with the cpu controller there",
      cause,
    });
  }
}

/** The kernel needs a moment after the last process before a cgroup can be removed. */
const removeTries = 50;
const removeEveryMs = 20;

async function removeTree(dir: string): Promise<void> {
  const entries = await readdir(dir, { withFileTypes: true }).catch(() => []);
  for (const entry of entries) if (entry.isDirectory()) await removeTree(join(dir, entry.name));
  const procs = await readFile(join(dir, "cgroup.procs"), "utf8").catch(() => "");
  for (const pid of procs.split("\n").filter((line) => line !== "" && line !== "0")) signalPid(Number(pid), "SIGKILL");
  for (let tries = 0; tries < removeTries; tries++) {
    const removed = await rmdir(dir).then(
      () => true,
      (error: NodeJS.ErrnoException) => error.code === "ENOENT",
    );
    if (removed) return;
    await sleep(removeEveryMs);
  }
}

/** Removes a bed's cgroups, killing what is left in them. */
export async function removeCgroups(bedId: string): Promise<void> {
  for (const hierarchy of await hierarchies()) {
    const bed = join(hierarchy, bedFolder(bedId));
    if (existsSync(bed)) await removeTree(bed);
  }
}
