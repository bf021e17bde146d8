/** What a process of a bed uses, read from the kernel. */
import { readFile } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { LifeboatError } from "../../src/errors.ts";
import { limitProcessor } from "../bed/cgroups.ts";
import { findProcesses, isWrapper } from "../bed/processes.ts";
import type { Bed } from "../bed/running.ts";

/** Linux counts processor time in hundredths of a second for every architecture that Node runs on. */
const ticksPerS = 100;

/** The kernel's number of the process called `site/program`. */
export async function pidOf(bed: Bed, name: string): Promise<number> {
  const found = (await findProcesses(bed.dir)).find((entry) => entry.name === name && !isWrapper(entry));
  if (found === undefined) throw new LifeboatError("NotFound", `nothing runs as ${name}`);
  return found.pid;
}

export async function rssMiB(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  return Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1] ?? 0) / 1024;
}

async function cpuTicks(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8");
  // The name, in parentheses, may hold spaces; utime and stime are the 12th and 13th field after it.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return Number(fields[11]) + Number(fields[12]);
}

/** Processor time in milliseconds, this process as `bench`, the others by their names in the bed. */
export type CpuMs = Readonly<Record<string, number>>;

/** Runs `work` and returns what every process of the bed has used meanwhile. */
export async function cpuDuring<T>(bed: Bed, work: () => Promise<T>): Promise<{ result: T; cpuMs: CpuMs }> {
  const before = await cpuNow(bed);
  const result = await work();
  const after = await cpuNow(bed);
  return { result, cpuMs: Object.fromEntries([...after].map(([name, ms]) => [name, ms - (before.get(name) ?? 0)])) };
}

async function cpuNow(bed: Bed): Promise<Map<string, number>> {
  const { user, system } = process.cpuUsage();
  const all = new Map([["bench", (user + system) / 1000]]);
  for (const found of await findProcesses(bed.dir)) {
    if (isWrapper(found) || found.name.endsWith("/init")) continue;
    all.set(found.name, ((await cpuTicks(found.pid)) / ticksPerS) * 1000);
  }
  return all;
}

/** Share of one core, in percent, over `seconds`, of each process. */
export async function cpuPercent(
  pids: readonly number[],
  seconds: number,
  { signal }: { readonly signal: AbortSignal },
): Promise<number[]> {
  const before = await Promise.all(pids.map(cpuTicks));
  await delay(seconds * 1000, undefined, { signal });
  const after = await Promise.all(pids.map(cpuTicks));
  return after.map((ticks, at) => ((ticks - (before[at] ?? 0)) / ticksPerS / seconds) * 100);
}

/** Gives programs of a site, together, no more than this many cores. Rejects with NeedsRoot without root. */
export async function limitCores(bed: Bed, site: string, programs: readonly string[], cores: number): Promise<void> {
  const pids = await Promise.all(programs.map(async (program) => pidOf(bed, `${site}/${program}`)));
  await limitProcessor(bed.id, `${site}-limited`, pids, cores);
}
