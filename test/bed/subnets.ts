import { mkdir, readFile, rm, rmdir, writeFile } from "node:fs/promises";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import { LifeboatError } from "../../src/errors.ts";
import { identityOf, isAlive, thisProcess } from "./identity.ts";
import { subnetMax, subnetMin } from "./network.ts";

/** Claims are the machine's, not the user's: two users' beds share the host's routes. */
const claimsFolder = "/run/lifeboat-beds";

interface Claim {
  readonly bedDir: string;
  readonly claimant: unknown;
}

function takenOnHost(subnet: number): boolean {
  const prefix = `10.87.${subnet}.`;
  return Object.values(networkInterfaces()).some((list) => list?.some((entry) => entry.address.startsWith(prefix)));
}

async function claim(subnet: number, bedDir: string): Promise<boolean> {
  const content: Claim = { bedDir, claimant: await thisProcess() };
  try {
    await writeFile(join(claimsFolder, String(subnet)), JSON.stringify(content), { flag: "wx" });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}

/**
 * A claim outlives its claimant while the bed does, so it is free only when both are gone: the folder of a bed that
 * was handed over still exists, that of one which was cut short is removed by the next start.
 */
async function dropIfAbandoned(subnet: number): Promise<void> {
  const path = join(claimsFolder, String(subnet));
  const text = await readFile(path, "utf8").catch(() => undefined);
  if (text === undefined || text === "") return;
  const { bedDir, claimant } = JSON.parse(text) as Claim;
  const identity = identityOf(JSON.stringify(claimant));
  if (identity !== undefined && (await isAlive(identity))) return;
  const record = await readFile(join(bedDir, "bed.json"), "utf8").catch(() => undefined);
  if (record === undefined) await rm(path, { force: true });
}

/** Claims a free B of 10.87.B.0/24 for the bed in `bedDir`. */
export async function claimSubnet(bedDir: string): Promise<number> {
  await mkdir(claimsFolder, { recursive: true });
  for (let subnet = subnetMin; subnet <= subnetMax; subnet++) {
    if (takenOnHost(subnet)) continue;
    if (await claim(subnet, bedDir)) return subnet;
    await dropIfAbandoned(subnet);
    if (await claim(subnet, bedDir)) return subnet;
  }
  throw new LifeboatError("ConfigInvalid", "no free network 10.87.x.0/24 on this machine", { op: "bed.start" });
}

/** Gives back what the bed in `bedDir` claimed. */
export async function releaseSubnets(bedDir: string): Promise<void> {
  for (let subnet = subnetMin; subnet <= subnetMax; subnet++) {
    const path = join(claimsFolder, String(subnet));
    const text = await readFile(path, "utf8").catch(() => "");
    if (text !== "" && (JSON.parse(text) as Claim).bedDir === bedDir) await rm(path, { force: true });
  }
  await rmdir(claimsFolder).catch(() => undefined);
}
