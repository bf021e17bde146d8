/**
 * Real Kubernetes clusters on this machine, for tests, benches and the demo.
 *
 * `startBed` makes a bed that its process owns: `stop()` removes it, and if the process dies first, the next
 * `startBed` does. `openBed` finds one that `npm run bed -- up` left running.
 */
import { randomBytes } from "node:crypto";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { LifeboatError } from "../../src/errors.ts";
import { destroyBed, sweepOrphans } from "./cleanup.ts";
import { bedsHome } from "./home.ts";
import { addressOf, isolatedPorts, witnessNumber } from "./network.ts";
import type { BedOptions, Isolation } from "./options.ts";
import { hold, holderOf, layWire, placeAt, plug } from "./places.ts";
import type { Place } from "./places.ts";
import { planSites, programsFor } from "./plan.ts";
import { freePorts } from "./ports.ts";
import { findProcesses } from "./processes.ts";
import { ensurePrograms } from "./programs.ts";
import type { BuildProgress } from "./programs.ts";
import { createRecord, readRecord, saveRecord } from "./record.ts";
import type { BedRecord, SitePorts } from "./record.ts";
import type { LogFn } from "./report.ts";
import { RunningBed } from "./running.ts";
import type { Bed } from "./running.ts";
import type { SiteContext } from "./site.ts";
import { claimSubnet } from "./subnets.ts";
import { ensureTools, ensureWatches } from "./tools.ts";

const isRoot = process.getuid?.() === 0;

/**
 * Starts a bed. Cleans up beds of dead processes first, builds programs that are missing.
 * Throws ConfigInvalid, NeedsRoot, ToolMissing, ProgramFailed or Timeout; nothing is left behind then, nor after `signal`.
 */
export async function startBed(
  options: BedOptions = {},
  { signal }: { readonly signal?: AbortSignal } = {},
): Promise<Bed> {
  const report = options.report ?? (() => undefined);
  const isolation = chooseIsolation(options.isolation);
  const plans = planSites(options, isolation);
  const realNodes = plans.some((plan) => plan.nodes === "real");
  await ensureTools({ isolation, realNodes, install: options.install ?? false, report });
  await ensureWatches({ realNodes, report });
  const home = bedsHome();
  await mkdir(home, { recursive: true });
  for (const name of await sweepOrphans(home)) report(`removed what was left of bed ${name}`);
  const programs = await ensurePrograms(programsFor(plans), {
    progress: progressLines(report),
    ...(signal === undefined ? {} : { signal }),
  });
  const name = options.name ?? `t${process.pid}-${randomBytes(3).toString("hex")}`;
  await removeIfDead(join(home, name));
  const sites = await Promise.all(plans.map(async (plan) => ({ ...plan, ports: await portsFor(isolation) })));
  const record = await createRecord(home, name, isolation, sites);
  try {
    return await startSites({ ...record, programs: Object.fromEntries(programs) }, signal);
  } catch (error) {
    await destroyBed((await readRecord(record.dir)) ?? record);
    throw error;
  }
}

function chooseIsolation(wanted: Isolation | undefined): Isolation {
  const isolation = wanted ?? (isRoot ? "netns" : "loopback");
  if (isolation === "loopback" || isRoot) return isolation;
  throw new LifeboatError("NeedsRoot", "sites in network namespaces need root", {
    hint: "run as root, or choose loopback",
  });
}

/** Lines about builds: the first at once, then one every ten seconds. */
function progressLines(report: LogFn): (event: BuildProgress) => void {
  const everyMs = 10_000;
  let saidAtMs = -everyMs;
  let last = "";
  return (event) => {
    const key = `${event.program} ${event.state}`;
    if (key === last && event.elapsedMs - saidAtMs < everyMs) return;
    last = key;
    saidAtMs = event.elapsedMs;
    const seconds = Math.round(event.elapsedMs / 1000);
    const verb = { waiting: "waiting for another build of", building: "building", built: "built" }[event.state];
    report(`${verb} ${event.program} (${event.index}/${event.total}), ${seconds} s`);
  };
}

/** After a reboot, a bed that was handed over is a folder without processes. */
async function removeIfDead(dir: string): Promise<void> {
  const record = await readRecord(dir);
  if (record?.owner === null && (await findProcesses(dir)).length === 0) await destroyBed(record);
}

async function portsFor(isolation: Isolation): Promise<SitePorts> {
  if (isolation === "netns") return isolatedPorts;
  const [apiserver = 0, etcdClient = 0, etcdPeer = 0] = await freePorts(3);
  return { apiserver, etcdClient, etcdPeer };
}

async function startSites(unplaced: BedRecord, signal: AbortSignal | undefined): Promise<Bed> {
  const startedAtMs = performance.now();
  await mkdir(join(unplaced.dir, "logs"), { recursive: true });
  const subnet = unplaced.isolation === "netns" ? await claimSubnet(unplaced.dir) : null;
  const record = { ...unplaced, subnet };
  await saveRecord(record);
  signal?.throwIfAborted();
  const wire = subnet === null ? undefined : await hold(record.dir, "wire", { signal });
  if (subnet !== null && wire !== undefined) await layWire(wire, subnet);
  const context: SiteContext = { record, wire, signal };
  const witness = await makeWitness(context);
  const bed = new RunningBed(context, witness);
  // Every start runs to its end before an error is thrown: cleaning up must not race with a site that still starts.
  const results = await Promise.allSettled(record.sites.map(async (site) => bed.startSite(site.name)));
  const failed = results.find((result) => result.status === "rejected");
  if (failed !== undefined) throw failed.reason;
  bed.startMs = Math.round(performance.now() - startedAtMs);
  return bed;
}

async function makeWitness(context: SiteContext): Promise<Place> {
  const { record, wire, signal } = context;
  const common = { bedDir: record.dir, name: "witness" };
  if (wire === undefined || record.subnet === null) return placeAt({ ...common, address: "127.0.0.1" });
  const address = addressOf(record.subnet, witnessNumber);
  const holder = await hold(record.dir, "witness", { signal });
  await plug(holder, wire, record.subnet, address);
  return placeAt({ ...common, address, holder });
}

/** A bed that an earlier process left running; throws NotFound when there is none of that name. */
export async function openBed(name: string): Promise<Bed> {
  const dir = join(bedsHome(), name);
  const record = await readRecord(dir);
  if (record === undefined)
    throw new LifeboatError("NotFound", `no bed named ${name} is up`, { hint: "npm run bed -- up" });
  const isolated = record.subnet !== null;
  if (isolated && (await findProcesses(dir)).length === 0) {
    throw new LifeboatError("NotFound", `bed ${name} has no process left`, { hint: "npm run bed -- down" });
  }
  const wire = isolated ? await holderOf(dir, "wire") : undefined;
  const witness = placeAt({
    bedDir: dir,
    name: "witness",
    address: record.subnet === null ? "127.0.0.1" : addressOf(record.subnet, witnessNumber),
    ...(isolated ? { holder: await holderOf(dir, "witness") } : {}),
  });
  const bed = new RunningBed({ record, wire }, witness);
  await Promise.all(record.sites.map(async (site) => bed.adoptSite(site.name)));
  return bed;
}
