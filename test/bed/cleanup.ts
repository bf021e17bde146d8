import { readFile, readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { freeze, removeCgroups } from "./cgroups.ts";
import { run } from "./command.ts";
import { unplugHost } from "./places.ts";
import { findProcesses, killProcesses, signalPid } from "./processes.ts";
import { isOrphan, readRecords } from "./record.ts";
import type { BedRecord } from "./record.ts";
import { releaseSubnets } from "./subnets.ts";

/** Mount points below `dir` in this namespace, deepest first. */
export function mountsBelow(mountInfo: string, dir: string): string[] {
  return mountInfo
    .split("\n")
    .map((line) =>
      (line.split(" ")[4] ?? "").replaceAll(/\\(\d{3})/g, (_, octal: string) =>
        String.fromCharCode(parseInt(octal, 8)),
      ),
    )
    .filter((path) => path === dir || path.startsWith(`${dir}/`))
    .toSorted((a, b) => b.length - a.length);
}

async function unmountBelow(dir: string): Promise<void> {
  const mountInfo = await readFile("/proc/self/mountinfo", "utf8");
  for (const path of mountsBelow(mountInfo, dir)) await run(["umount", "-l", path]).catch(() => undefined);
}

/** Loop devices whose file lies below `dir`. */
export async function loopDevicesBelow(dir: string): Promise<string[]> {
  const devices = (await readdir("/sys/block").catch(() => [])).filter((name) => name.startsWith("loop"));
  const backing = await Promise.all(
    devices.map(async (name) => readFile(`/sys/block/${name}/loop/backing_file`, "utf8").catch(() => "")),
  );
  return devices.filter((_, at) => backing[at]?.startsWith(`${dir}/`)).map((name) => `/dev/${name}`);
}

/**
 * Removes everything that a bed ever made: processes, namespaces, links, mounts, loop devices, cgroups, files. Works
 * from the record and the kernel's own lists, however far the bed had come, and may be repeated.
 */
export async function destroyBed(record: BedRecord): Promise<void> {
  // What is frozen dies only when it thaws, so the signal goes first.
  for (const found of await findProcesses(record.dir)) signalPid(found.pid, "SIGKILL");
  for (const site of record.sites) await freeze(record.id, site.name, false);
  await killProcesses(record.dir, () => true);
  await unmountBelow(record.dir);
  for (const device of await loopDevicesBelow(record.dir)) await run(["losetup", "-d", device]).catch(() => undefined);
  if (record.isolation === "netns") {
    if (record.subnet !== null) await unplugHost(record.subnet);
    await removeCgroups(record.id);
    await releaseSubnets(record.dir);
  }
  await rm(record.dir, { recursive: true, force: true, maxRetries: 5 });
}

/** Destroys the beds whose owner died without stopping them. Returns their names. */
export async function sweepOrphans(home: string): Promise<string[]> {
  const swept: string[] = [];
  for (const record of await readRecords(home)) {
    if (!(await isOrphan(record))) continue;
    await destroyBed(record);
    swept.push(record.name);
  }
  await removeUnborn(home);
  return swept;
}

/** A bed that was cut short before its folder had its name left a dot folder, and nothing else. */
async function removeUnborn(home: string): Promise<void> {
  const minuteMs = 60_000;
  const entries = await readdir(home).catch(() => []);
  for (const entry of entries.filter((name) => name.startsWith("."))) {
    const path = join(home, entry);
    const modifiedMs = await stat(path).then(
      (info) => info.mtimeMs,
      () => Date.now(),
    );
    if (Date.now() - modifiedMs > minuteMs) await rm(path, { recursive: true, force: true });
  }
}
