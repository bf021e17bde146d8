import { existsSync } from "node:fs";
import { join } from "node:path";
import { kill } from "node:process";
import { LifeboatError } from "../errors.ts";
import { foldersIn, readText, writeText } from "./files.ts";

/** The cgroups below which a node's pods are: how they are listed, killed, and kept from running. */
export interface CgroupTree {
  readonly version: "v1" | "v2";
  /** The kubelet's cgroup root in the hierarchy that is used here. */
  readonly base: string;
  /** Whether what is added to a pod's cgroup can be kept from running at all. */
  readonly canFreeze: boolean;
}

/** v1 hierarchies that hold the processes of pods, the one that can also freeze them first. */
const v1Hierarchies = ["freezer", "pids", "memory", "systemd"];

/** Throws ConfigInvalid where no cgroups are mounted. */
export function findCgroups(mount: string, root: string): CgroupTree {
  if (existsSync(join(mount, "cgroup.controllers"))) {
    return { version: "v2", base: join(mount, root), canFreeze: true };
  }
  const hierarchy = v1Hierarchies.find((name) => existsSync(join(mount, name, "cgroup.procs")));
  if (hierarchy === undefined) {
    throw new LifeboatError("ConfigInvalid", `no cgroups are mounted at ${mount}`, {
      op: "guard.cgroups",
      hint: "in a pod, mount the node's /sys/fs/cgroup; on the node, set `cgroups` to where they are",
    });
  }
  return { version: "v1", base: join(mount, hierarchy, root), canFreeze: hierarchy === "freezer" };
}

/** Folders on the way to pods: kubepods, kubepods.slice, kubelet-kubepods.slice, burstable … */
const leadsToPods = /kube|burstable|besteffort|guaranteed/;
const podFolder = /^(?:[\w-]*-)?pod([0-9a-f][0-9a-f_-]{30,35})(?:\.slice)?$/;
/** kubelet.slice / kubelet-kubepods.slice / …-burstable.slice / …-pod.slice, and one to spare. */
const depthMax = 5;

/** The uid in the name of a pod's cgroup, with either driver; undefined for any other folder. */
export function uidOfFolder(name: string): string | undefined {
  return podFolder.exec(name)?.[1]?.replaceAll("_", "-");
}

/** Cgroups of the pods on this node, by the pod's uid. */
export function podCgroups(tree: CgroupTree): Map<string, string> {
  const found = new Map<string, string>();
  const walk = (dir: string, depth: number): void => {
    for (const name of foldersIn(dir)) {
      const uid = uidOfFolder(name);
      if (uid !== undefined) found.set(uid, join(dir, name));
      else if (depth < depthMax && leadsToPods.test(name)) walk(join(dir, name), depth + 1);
    }
  };
  walk(tree.base, 0);
  return found;
}

/** Living processes in a cgroup and below it. */
export function processesIn(dir: string): number[] {
  const own = readText(join(dir, "cgroup.procs"))
    .split("\n")
    // 0 stands for a process that this one cannot see.
    .filter((line) => line !== "" && line !== "0")
    .map(Number);
  return [...own, ...foldersIn(dir).flatMap((name) => processesIn(join(dir, name)))];
}

/**
 * SIGKILL to everything in a cgroup and below. v2 does that at one moment. In v1 it is frozen while its processes are
 * listed and signalled, so that nothing forks away, and thawed at once, since a frozen process does not die.
 */
export function killAll(tree: CgroupTree, dir: string): void {
  if (tree.version === "v2" && writeText(join(dir, "cgroup.kill"), "1")) return;
  setFrozen(tree, dir, true);
  for (const pid of processesIn(dir)) signalKill(pid);
  setFrozen(tree, dir, false);
}

function signalKill(pid: number): void {
  try {
    kill(pid, "SIGKILL");
  } catch {
    // Gone already; one that may not be killed shows as still there.
  }
}

/** While frozen, what the kubelet starts in the cgroup halts before it runs a single instruction of the pod. */
export function setFrozen(tree: CgroupTree, dir: string, frozen: boolean): boolean {
  if (!tree.canFreeze) return false;
  return tree.version === "v2"
    ? writeText(join(dir, "cgroup.freeze"), frozen ? "1" : "0")
    : writeText(join(dir, "freezer.state"), frozen ? "FROZEN" : "THAWED");
}

/** Whether it was asked to be frozen, by itself and not by a cgroup above. */
export function isFrozen(tree: CgroupTree, dir: string): boolean {
  if (!tree.canFreeze) return false;
  const file = tree.version === "v2" ? "cgroup.freeze" : "freezer.self_freezing";
  return readText(join(dir, file)).trim() === "1";
}
