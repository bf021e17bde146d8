/**
 * What is known about a bed beyond what the kernel knows: written to its folder, durably, before anything that it names
 * is created, so that whoever comes next can remove it.
 */
import { randomBytes } from "node:crypto";
import { mkdir, open, readFile, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { LifeboatError } from "../../src/errors.ts";
import { isAlive, thisProcess } from "./identity.ts";
import type { Identity } from "./identity.ts";
import type { Isolation, SitePlan } from "./options.ts";

const fileName = "bed.json";

export interface SitePorts {
  readonly apiserver: number;
  readonly etcdClient: number;
  readonly etcdPeer: number;
}

export interface BedRecord {
  readonly version: 1;
  /** Random; part of cgroup names. */
  readonly id: string;
  readonly name: string;
  readonly dir: string;
  readonly isolation: Isolation;
  readonly createdAt: string;
  /** The process that stops the bed; `null` once `up` has handed it to the user. */
  readonly owner: Identity | null;
  /** B of 10.87.B.0/24; `null` in loopback mode. */
  readonly subnet: number | null;
  readonly sites: readonly (SitePlan & { readonly ports: SitePorts })[];
  /** Paths of built programs. */
  readonly programs: Readonly<Record<string, string>>;
}

export async function writeJsonDurably(path: string, value: unknown): Promise<void> {
  const unfinished = `${path}.${randomBytes(4).toString("hex")}.unfinished`;
  const file = await open(unfinished, "w");
  try {
    await file.writeFile(JSON.stringify(value, null, 2));
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(unfinished, path);
}

export async function saveRecord(record: BedRecord): Promise<void> {
  await writeJsonDurably(join(record.dir, fileName), record);
}

export async function readRecord(dir: string): Promise<BedRecord | undefined> {
  try {
    return JSON.parse(await readFile(join(dir, fileName), "utf8")) as BedRecord;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/** Every bed under `home` that has a record. */
export async function readRecords(home: string): Promise<BedRecord[]> {
  const entries = await readdir(home, { withFileTypes: true }).catch(() => []);
  const records = await Promise.all(
    entries.filter((entry) => entry.isDirectory()).map((entry) => readRecord(join(home, entry.name))),
  );
  return records.filter((record) => record !== undefined);
}

/** A new folder that appears together with its record. Throws ConfigInvalid when the name is taken. */
export async function createRecord(
  home: string,
  name: string,
  isolation: Isolation,
  sites: BedRecord["sites"],
): Promise<BedRecord> {
  const id = randomBytes(4).toString("hex");
  const dir = join(home, name);
  const unborn = join(home, `.${id}`);
  const record: BedRecord = {
    version: 1,
    id,
    name,
    dir,
    isolation,
    createdAt: new Date().toISOString(),
    owner: await thisProcess(),
    subnet: null,
    sites,
    programs: {},
  };
  await mkdir(unborn, { recursive: true });
  await writeJsonDurably(join(unborn, fileName), record);
  try {
    await rename(unborn, dir);
  } catch (error) {
    await rm(unborn, { recursive: true, force: true });
    throw new LifeboatError("ConfigInvalid", `a bed named ${name} is up already`, {
      hint: "npm run bed -- down",
      cause: error,
    });
  }
  return record;
}

/** Whether a process that would have stopped the bed is gone. */
export async function isOrphan(record: BedRecord): Promise<boolean> {
  return record.owner !== null && !(await isAlive(record.owner));
}
