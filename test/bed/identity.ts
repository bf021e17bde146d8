import { readFile } from "node:fs/promises";

/**
 * A process, named so that a later process with the same number is not taken for it: start time in clock ticks since
 * boot (field 22 of /proc/PID/stat) and the boot's id.
 */
export interface Identity {
  readonly pid: number;
  readonly startTicks: string;
  readonly bootId: string;
}

let bootIdText: Promise<string> | undefined;

async function bootId(): Promise<string> {
  bootIdText ??= readFile("/proc/sys/kernel/random/boot_id", "utf8").then((text) => text.trim());
  return bootIdText;
}

async function startTicksOf(pid: number): Promise<string | undefined> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, "utf8");
    // The second field, the command, may hold spaces and parentheses; the third field starts after the last one.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return fields[0] === "Z" ? undefined : fields[19];
  } catch {
    return undefined;
  }
}

/** The identity of the running process. */
export async function thisProcess(): Promise<Identity> {
  const [startTicks, boot] = await Promise.all([startTicksOf(process.pid), bootId()]);
  return { pid: process.pid, startTicks: startTicks ?? "", bootId: boot };
}

/** Whether that very process still runs; zombies do not. */
export async function isAlive(identity: Identity): Promise<boolean> {
  const [startTicks, boot] = await Promise.all([startTicksOf(identity.pid), bootId()]);
  return boot === identity.bootId && startTicks === identity.startTicks;
}

/** Parses what `JSON.stringify` made of an Identity; `undefined` for anything else. */
export function identityOf(text: string): Identity | undefined {
  try {
    const value = JSON.parse(text) as Partial<Identity> | null;
    if (value === null || typeof value.pid !== "number") return undefined;
    return { pid: value.pid, startTicks: String(value.startTicks), bootId: String(value.bootId) };
  } catch {
    return undefined;
  }
}
