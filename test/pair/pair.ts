/**
 * A pair on a bed: a witness, an agent at each site, the CRDs and certificates; what an operator does by hand or with
 * the chart. For tests, benches and the demo.
 */
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { GroupSpecInput, GroupStatus } from "../../src/config/group.ts";
import { groupApi } from "../../src/config/group.ts";
import { parseStoredStatus } from "../../src/config/stored.ts";
import { LifeboatError, messageOf } from "../../src/errors.ts";
import { connect } from "../../src/kube/client.ts";
import type { KubeClient } from "../../src/kube/client.ts";
import { type KubeResource, resources } from "../../src/kube/resource.ts";
import { groupOf, type KubeObject } from "../../src/objects/object.ts";
import { freePorts } from "../bed/ports.ts";
import type { BedProcess } from "../bed/processes.ts";
import type { Bed } from "../bed/running.ts";
import { agentNamespace, installSite } from "./install.ts";
import { guardName, pairName, writeCertificates, writeConfig } from "./files.ts";
import type { AgentFile, GuardFile, Ports, TlsFiles } from "./files.ts";
import { spawnGuard, writeGuardConfig } from "./guard.ts";
import { Metrics } from "./metrics.ts";
import { waitFor } from "./wait.ts";

/** Agents and witnesses start as installed ones do. */
const program = fileURLToPath(new URL("../../src/lifeboat.mjs", import.meta.url));
/** Type stripping of a cold cache and two busy cores included. */
const startLimitMs = 60_000;
/** A local scrape; a process that is halted must not hold its reader. */
const scrapeLimitMs = 2_000;

/** A process of the pair: `east`, `west` (their agents; a site's second one is `east-2`) or `witness`. */
export type MemberName = string;

export interface PairOptions {
  /** @default "info" */
  readonly logLevel?: AgentFile["logLevel"];
  /** Fields that are put into the configuration file of every agent. */
  readonly agent?: Partial<AgentFile>;
  /** Agents of each site; with several of them one is elected, fast enough for the shortest profile. @default 1 */
  readonly agents?: number;
  /** A node guard on each site's real node; `guard` has fields for their configuration files. @default false */
  readonly guards?: boolean;
  readonly guard?: Partial<GuardFile>;
  /** Flags of Node for the agents, e.g. `--cpu-prof`. */
  readonly nodeFlags?: readonly string[];
  readonly signal: AbortSignal;
}

interface Member {
  /** "" for the witness. */
  readonly site: string;
  readonly verb: "agent" | "witness";
  readonly configPath: string;
  readonly metricsUrl: string;
  readonly dataDir: string;
  process: BedProcess | undefined;
}

/** Makes certificates, configuration, CRDs; starts the witness and both agents and waits until all are healthy. */
export async function startPair(bed: Bed, options: PairOptions): Promise<Pair> {
  const pair = await preparePair(bed, options);
  try {
    const members = pair.members.filter((name) => name !== "witness");
    if (options.guards === true) for (const site of bed.sites.keys()) pair.startGuard(site);
    await Promise.all([pair.startWitness(), ...members.map(async (site) => pair.startAgent(site))]);
    return pair;
  } catch (error) {
    await pair.stop();
    throw error;
  }
}

/** Everything that {@link startPair} does before it starts processes. */
export async function preparePair(bed: Bed, options: PairOptions): Promise<Pair> {
  const { signal } = options;
  const sites = [...bed.sites.keys()];
  const dir = join(bed.dir, "pair");
  const agents = sites.flatMap((site) => agentsOf(site, options.agents ?? 1));
  const names = [...agents.map(({ name }) => name), "witness"];
  const [tls, ports] = await Promise.all([writeCertificates(dir, sites), portsOf(bed, names)]);
  const clients = new Map<string, KubeClient>();
  for (const name of sites) {
    clients.set(name, await connect({ from: "files", paths: [bed.site(name).kubeconfigPath] }));
  }
  await Promise.all([...clients.values()].map(async (client) => installSite(client, { signal })));
  const members = new Map<MemberName, Member>();
  for (const { name, site } of [...agents, { name: "witness", site: "" }]) {
    members.set(name, await layOut({ bed, dir, name, site, sites, tls, ports, options }));
  }
  const guards = new Map<string, string>();
  for (const site of options.guards === true ? sites : []) {
    guards.set(site, await layOutGuard({ bed, dir, name: site, site, sites, tls, ports, options }));
  }
  return new Pair(bed, clients, members, options, guards);
}

interface AgentOfSite {
  readonly name: MemberName;
  readonly site: string;
}

function agentsOf(site: string, count: number): AgentOfSite[] {
  return Array.from({ length: count }, (_, at) => ({ name: at === 0 ? site : `${site}-${at + 1}`, site }));
}

async function layOutGuard({ bed, dir, name: site, tls, ports, options }: LayOut): Promise<string> {
  return writeGuardConfig(bed, {
    dir,
    site,
    tls: tls.get(guardName(site)) ?? { cert: "", key: "", ca: "" },
    agentAddress: agentsOf(site, options.agents ?? 1).map(
      ({ name }) => `${bed.site(site).agentAddress}:${ports.get(name)?.rpc ?? 0}`,
    ),
    logLevel: options.logLevel ?? "info",
    ...(options.guard === undefined ? {} : { change: options.guard }),
  });
}

async function portsOf(bed: Bed, names: readonly MemberName[]): Promise<Map<string, Ports>> {
  // Agents of one site share its address.
  const at = (name: string): number => (name.endsWith("-2") ? 1 : 0);
  if (bed.isolation === "netns") {
    return new Map(names.map((name) => [name, { rpc: 7443 + at(name), metrics: 9440 + at(name) }]));
  }
  const free = await freePorts(names.length * 2);
  return new Map(names.map((name, at) => [name, { rpc: free[at * 2] ?? 0, metrics: free[at * 2 + 1] ?? 0 }]));
}

interface LayOut {
  readonly bed: Bed;
  readonly dir: string;
  readonly name: MemberName;
  /** "" for the witness. */
  readonly site: string;
  readonly sites: readonly string[];
  readonly tls: ReadonlyMap<string, TlsFiles>;
  readonly ports: ReadonlyMap<string, Ports>;
  readonly options: PairOptions;
}

async function layOut(given: LayOut): Promise<Member> {
  const { bed, dir, name, site: own, sites, options } = given;
  const count = options.agents ?? 1;
  const isWitness = name === "witness";
  const hostOf = (member: string): string =>
    member === "witness" ? bed.witnessAddress : bed.site(member).agentAddress;
  const portOf = (member: string): Ports => given.ports.get(member) ?? { rpc: 0, metrics: 0 };
  const host = hostOf(isWitness ? name : own);
  const listen = `${host}:${portOf(name).rpc}`;
  const metrics = `${host}:${portOf(name).metrics}`;
  const tls = given.tls.get(isWitness ? name : own) ?? { cert: "", key: "", ca: "" };
  const folder = name === own ? "lifeboat-data" : `lifeboat-data-${name}`;
  const dataDir = isWitness ? join(bed.dir, "witness-data") : join(bed.site(own).dir, folder);
  const addressOf = (site: string): string | string[] => {
    const all = agentsOf(site, count).map((agent) => `${hostOf(site)}:${portOf(agent.name).rpc}`);
    return all.length === 1 ? all.join() : all;
  };
  await mkdir(dataDir, { recursive: true });
  const common = { pair: pairName, listen, metrics, tls, dataDir, logLevel: options.logLevel ?? "info" };
  const file = isWitness
    ? common
    : {
        ...common,
        site: own,
        namespace: agentNamespace,
        kubeconfig: bed.site(own).kubeconfigPath,
        peers: sites.filter((site) => site !== own).map((site) => ({ site, address: addressOf(site) })),
        ...(count === 1 ? {} : { election: { identity: name, durationSeconds: 4 } }),
        witness: { address: `${hostOf("witness")}:${portOf("witness").rpc}` },
        ...options.agent,
      };
  return {
    site: own,
    verb: isWitness ? "witness" : "agent",
    configPath: await writeConfig(join(dir, `${name}.yaml`), file),
    metricsUrl: `http://${metrics}`,
    dataDir,
    process: undefined,
  };
}

export class Pair {
  readonly bed: Bed;
  readonly #clients: ReadonlyMap<string, KubeClient>;
  readonly #members: ReadonlyMap<MemberName, Member>;
  readonly #options: PairOptions;
  /** Configuration files by site. */
  readonly #guardConfigs: ReadonlyMap<string, string>;
  readonly #guards = new Map<string, BedProcess>();

  constructor(
    bed: Bed,
    clients: ReadonlyMap<string, KubeClient>,
    members: ReadonlyMap<MemberName, Member>,
    options: PairOptions,
    guardConfigs: ReadonlyMap<string, string>,
  ) {
    this.bed = bed;
    this.#clients = clients;
    this.#members = members;
    this.#options = options;
    this.#guardConfigs = guardConfigs;
  }

  guardConfigPath(site: string): string {
    const path = this.#guardConfigs.get(site);
    if (path === undefined) throw new LifeboatError("NotFound", `${site} has no guard`);
    return path;
  }

  /** Starts the guard of a site's node; it starts again by itself whenever the site is restored. */
  startGuard(site: string): BedProcess {
    const started = spawnGuard(this.bed, site, this.guardConfigPath(site));
    this.#guards.set(site, started);
    return started;
  }

  /** The sites, and `witness`. */
  get members(): readonly MemberName[] {
    return [...this.#members.keys()];
  }

  /** The administrator's client of a site. */
  client(site: string): KubeClient {
    const client = this.#clients.get(site);
    if (client === undefined) throw new LifeboatError("NotFound", `there is no site ${site}`);
    return client;
  }

  #member(name: MemberName): Member {
    const member = this.#members.get(name);
    if (member === undefined) throw new LifeboatError("NotFound", `there is no member ${name}`);
    return member;
  }

  configPath(name: MemberName): string {
    return this.#member(name).configPath;
  }

  /** Folder of its journals or of its store. */
  dataDir(name: MemberName): string {
    return this.#member(name).dataDir;
  }

  /** Where the process answers scrapes and probes. */
  metricsUrl(name: MemberName): string {
    return this.#member(name).metricsUrl;
  }

  /** The process as it was last started. */
  process(name: MemberName): BedProcess {
    const { process } = this.#member(name);
    if (process === undefined) throw new LifeboatError("NotFound", `${name} was not started`);
    return process;
  }

  /** Starts the agent of a site and waits until it is healthy. */
  async startAgent(site: string): Promise<void> {
    this.spawn(site);
    await this.healthy(site);
  }

  async startWitness(): Promise<void> {
    this.spawn("witness");
    await this.healthy("witness");
  }

  /** Starts a process without waiting for it. Throws NotFound while its site is down. */
  spawn(name: MemberName): BedProcess {
    const member = this.#member(name);
    const flags = this.#options.nodeFlags ?? [];
    const argv = [globalThis.process.execPath, ...flags, program, member.verb, "--config", member.configPath];
    member.process =
      name === "witness"
        ? this.bed.spawnWitness("witness", argv)
        : this.bed.site(member.site).spawn(name === member.site ? "agent" : `agent-${name}`, argv);
    return member.process;
  }

  /** Waits until the process answers that it is healthy; throws ProgramFailed with its last words when it ends. */
  async healthy(name: MemberName): Promise<void> {
    const { metricsUrl } = this.#member(name);
    const started = this.process(name);
    const answer = await waitFor(
      `${name} healthy`,
      async () => {
        if (started.hasExited) return "ended";
        const response = await fetch(`${metricsUrl}/healthz`, { signal: AbortSignal.timeout(scrapeLimitMs) });
        await response.text();
        return response.ok ? "healthy" : undefined;
      },
      { limitMs: startLimitMs, everyMs: 100, signal: this.#options.signal },
    );
    if (answer === "healthy") return;
    const tail = (await readFile(started.logPath, "utf8").catch(() => "")).slice(-2000);
    throw new LifeboatError("ProgramFailed", `${name} ended at its start\n${tail}`, {
      hint: `the whole log: ${started.logPath}`,
    });
  }

  /** Ends an agent (SIGTERM, or SIGKILL) and starts it again. */
  async restartAgent(site: string, { signal = "SIGTERM" }: { signal?: "SIGTERM" | "SIGKILL" } = {}): Promise<void> {
    await this.stopMember(site, { signal });
    await this.startAgent(site);
  }

  async stopMember(name: MemberName, { signal = "SIGTERM" }: { signal?: "SIGTERM" | "SIGKILL" } = {}): Promise<void> {
    const process = this.process(name);
    if (signal === "SIGKILL") {
      await process.kill("SIGKILL");
      await process.exited;
    } else await process.stop();
  }

  async metrics(name: MemberName): Promise<Metrics> {
    const { metricsUrl } = this.#member(name);
    const response = await fetch(`${metricsUrl}/metrics`, { signal: AbortSignal.timeout(scrapeLimitMs) });
    if (!response.ok) throw new LifeboatError("Internal", `metrics of ${name}: HTTP ${response.status}`);
    return Metrics.parse(await response.text());
  }

  /** Creates a protection group, or changes its spec. */
  async applyGroup(site: string, name: string, spec: GroupSpecInput, signal: AbortSignal): Promise<void> {
    const group = { apiVersion: groupApi.apiVersion, kind: groupApi.kind, metadata: { name }, spec };
    await this.client(site).apply(resources.protectionGroups, group, { fieldManager: "user", force: true, signal });
  }

  /** The group's status as a site's own object shows it; empty while there is none. */
  async status(site: string, group: string, signal: AbortSignal): Promise<Partial<GroupStatus>> {
    const found = await this.client(site).find(resources.protectionGroups, { name: group }, { signal });
    return parseStoredStatus(found?.["status"]);
  }

  /** Waits until the group's status at a site is as wanted, and returns it. */
  async waitForStatus(
    site: string,
    group: string,
    what: string,
    wanted: (status: Partial<GroupStatus>) => boolean,
    options: { readonly limitMs: number; readonly signal: AbortSignal },
  ): Promise<Partial<GroupStatus>> {
    let seen: Partial<GroupStatus> = {};
    try {
      return await waitFor(
        `group ${group} at ${site} ${what}`,
        async () => {
          seen = await this.status(site, group, options.signal);
          return wanted(seen) ? seen : undefined;
        },
        options,
      );
    } catch (error) {
      if (!(error instanceof LifeboatError && error.code === "Timeout")) throw error;
      const not = (seen.conditions ?? []).filter(({ status, message }) => status !== "True" && message !== "");
      const found = (seen.findings ?? []).map(({ code, object, message }) => `${code} ${object ?? ""}: ${message}`);
      const why = [...not.map(({ type, message }) => `${type}: ${message}`), ...found].join("; ");
      const where = `${seen.role ?? "no role"}, ${seen.state ?? "no state"}`;
      throw new LifeboatError("Timeout", `${error.message}; it is ${where}; ${why}`, { cause: error });
    }
  }

  /** What the groups of all sites say of themselves, for a test that waited in vain. */
  async words(signal: AbortSignal): Promise<string> {
    const said = [...this.bed.sites.keys()].map(async (name) => {
      try {
        const words = [];
        for await (const { items } of this.client(name).list(resources.protectionGroups, { signal })) {
          for (const { metadata, status } of items) words.push(`${metadata.name} ${JSON.stringify(status)}`);
        }
        return `${name} says ${words.join(", ")}`;
      } catch (error) {
        return `${name} says nothing: ${String(error)}`;
      }
    });
    return (await Promise.all(said)).join("; ");
  }

  /** Waits until the standby has everything: condition `Synced` at `site`. */
  async waitSynced(
    site: string,
    group: string,
    options: { readonly limitMs: number; readonly signal: AbortSignal },
  ): Promise<Partial<GroupStatus>> {
    return this.waitForStatus(site, group, "Synced", (status) => hasCondition(status, "Synced"), options);
  }

  /** Waits until `site` itself says that it runs the group. */
  async waitActive(
    site: string,
    group: string,
    options: { readonly limitMs: number; readonly signal: AbortSignal },
  ): Promise<Partial<GroupStatus>> {
    return this.waitForStatus(site, group, "active", (status) => status.role === "active", options);
  }

  /**
   * Waits until the API server of `site` refuses an object, and says so with `why` in it. It goes by what it has read of
   * its webhooks, quotas and policies, which takes a moment. Nothing is written.
   */
  async waitRefused(
    site: string,
    object: KubeObject,
    why: string,
    { limitMs, signal }: { readonly limitMs: number; readonly signal: AbortSignal },
  ): Promise<void> {
    const resource: KubeResource = {
      group: groupOf(object.apiVersion),
      version: object.apiVersion.split("/").at(-1) ?? "",
      kind: object.kind,
      plural: `${object.kind.toLowerCase()}s`,
      namespaced: object.metadata.namespace !== undefined,
      verbs: new Set(),
      subresources: new Set(),
    };
    let said = "";
    const refused = async (): Promise<true | undefined> => {
      said = await this.client(site)
        .apply(resource, object, { fieldManager: "user", dryRun: true, signal })
        .then(() => "it is accepted", messageOf);
      return said.includes(why) || undefined;
    };
    await waitFor(`the refusal (${why})`, refused, { limitMs, signal }).catch((error: unknown) => {
      throw new Error(`${messageOf(error)}: ${said}`, { cause: error });
    });
  }

  /** Ends all processes and connections; the bed stays. */
  async stop(): Promise<void> {
    const members = [...this.#members.values()].map(({ process }) => process);
    const running = [...members, ...this.#guards.values()].flatMap((process) =>
      process === undefined || process.hasExited ? [] : [process],
    );
    await Promise.all(running.map(async (process) => process.stop({ graceMs: 5_000 })));
    await this.close();
  }

  /** Ends the connections alone. */
  async close(): Promise<void> {
    await Promise.all([...this.#clients.values()].map(async (client) => client.close()));
  }
}

export function hasCondition(status: Partial<GroupStatus>, type: string): boolean {
  return status.conditions?.some((condition) => condition.type === type && condition.status === "True") ?? false;
}
