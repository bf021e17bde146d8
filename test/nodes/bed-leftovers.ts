/** What a bed could leave behind on a machine, looked for in the kernel's own lists. */
import { readFile, readdir } from "node:fs/promises";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { loopDevicesBelow, mountsBelow } from "../bed/cleanup.ts";
import { hostLink } from "../bed/network.ts";
import { readRecord } from "../bed/record.ts";
import type { BedRecord } from "../bed/record.ts";

async function readText(path: string): Promise<string> {
  return readFile(path, "utf8").catch(() => "");
}

/** Processes that belong to a bed by environment, arguments or cgroup: Pods are found by the last alone. */
async function processesOf(record: BedRecord): Promise<string[]> {
  const pids = (await readdir("/proc")).filter((entry) => /^\d+$/.test(entry) && Number(entry) !== process.pid);
  const lines = await Promise.all(
    pids.map(async (pid) => {
      const [environ, cmdline, cgroup] = await Promise.all(
        ["environ", "cmdline", "cgroup"].map(async (file) => readText(`/proc/${pid}/${file}`)),
      );
      const marked = environ?.includes(`LIFEBOAT_BED_OF=${record.dir}\0`) ?? false;
      const named = cmdline?.includes(`${record.dir}/`) ?? false;
      const grouped = cgroup?.includes(`lifeboat-${record.id}`) ?? false;
      return marked || named || grouped ? `process ${pid} ${cmdline?.replaceAll("\0", " ") ?? ""}` : "";
    }),
  );
  return lines.filter((line) => line !== "");
}

async function cgroupsOf(record: BedRecord): Promise<string[]> {
  const name = `lifeboat-${record.id}`;
  const top = await readdir("/sys/fs/cgroup").catch((): string[] => []);
  const below = await Promise.all(
    top.map(async (entry) => {
      const entries = await readdir(join("/sys/fs/cgroup", entry)).catch((): string[] => []);
      return entries.includes(name) ? [`cgroup ${entry}/${name}`] : [];
    }),
  );
  return [...(top.includes(name) ? [`cgroup ${name}`] : []), ...below.flat()];
}

async function once(record: BedRecord): Promise<string[]> {
  const mountInfo = await readText("/proc/self/mountinfo");
  const claims = await readdir("/run/lifeboat-beds").catch(() => []);
  const claimed = await Promise.all(claims.map(async (claim) => readText(join("/run/lifeboat-beds", claim))));
  const link = record.subnet === null ? undefined : networkInterfaces()[hostLink(record.subnet)];
  const ownsLink = claimed.some((claim) => claim.includes(`"${record.dir}"`));
  return [
    ...(await processesOf(record)),
    ...(await cgroupsOf(record)),
    ...mountsBelow(mountInfo, record.dir).map((path) => `mount ${path}`),
    ...(await loopDevicesBelow(record.dir)).map((device) => `loop device ${device}`),
    ...(ownsLink ? [`claim of ${record.dir}`] : []),
    ...(link !== undefined && ownsLink ? [`link ${hostLink(record.subnet ?? 0)}`] : []),
    ...((await readRecord(record.dir)) === undefined ? [] : [`folder ${record.dir}`]),
  ];
}

/** Everything that is left of a bed; empty is as it should be. Namespaces live as long as processes or mounts do. */
export async function leftovers(record: BedRecord): Promise<string[]> {
  // A killed process stays in /proc until its parent has looked at it.
  for (let tries = 0; tries < 20; tries++) {
    const left = await once(record);
    if (left.length === 0) return left;
    await sleep(100);
  }
  return once(record);
}

/** Folders of the machine into which programs of a node write by default. */
export async function machineFolders(): Promise<string[]> {
  const folders = ["/var/lib", "/var/log", "/opt", "/etc", "/usr/libexec"];
  const entries = await Promise.all(
    folders.map(async (folder) => (await readdir(folder).catch(() => [])).map((name) => join(folder, name))),
  );
  return entries.flat().toSorted();
}
