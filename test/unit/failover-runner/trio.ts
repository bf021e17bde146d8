import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../../src/clock.ts";
import type { Policy } from "../../../src/failover/agent-state.ts";
import { claimIncarnation } from "../../../src/failover/runner/records.ts";
import { ExchangeLinks } from "../../../src/failover/runner/links.ts";
import { FailoverRunner } from "../../../src/failover/runner/runner.ts";
import { profileTiming } from "../../../src/failover/timing.ts";
import { StateFile } from "../../../src/journal/state.ts";
import { exchangeService } from "../../../src/rpc/exchange.ts";
import type { PeerIdentity } from "../../../src/rpc/identity.ts";
import { issueCertificate, type KeyAndCertificate } from "../../../src/rpc/pki.ts";
import { startRpcServer } from "../../../src/rpc/server.ts";
import { createLog, silentLog, type Log } from "../../../src/telemetry/log.ts";
import {
  createPair,
  eventually,
  pairName,
  site as siteIdentity,
  validity,
  witness,
  type TestPair,
} from "../rpc/pair.ts";
import { startProxy, type Proxy } from "../rpc/proxy.ts";
import type { WitnessEnvironment, WitnessOptions } from "../../../src/witness/witness.ts";
import { TestSite } from "./site.ts";
import { startWitnessHere, startWitnessProcess, type StartedWitness } from "./witness-process.ts";

/**
 * Two sites and a witness with real processes' parts: gRPC with mTLS on loopback, state files on disk, the shipped
 * reducers and runners, and a proxy on every path. Only the application is made up (site.ts).
 */

export const timing = profileTiming("test");
export const group = "shop";

/** Room for a loaded machine: none of the bounds in question is this short. */
export const slackMs = 1500;

export type SiteName = "east" | "west";
export const other = (name: SiteName): SiteName => (name === "east" ? "west" : "east");

export interface TrioOptions {
  /** Fields of the policy that differ from the default. */
  readonly policy?: Partial<Policy>;
  /** Run the witness as a process of its own, so that it can be killed. */
  readonly witnessProcess?: boolean;
}

const log: Log = process.env["LIFEBOAT_TEST_LOG"] === undefined ? silentLog : createLog({ level: "debug" });

export class Trio implements AsyncDisposable {
  readonly folder: string;
  readonly pair: TestPair;
  readonly policy: Policy;
  /** One proxy per direction of dialling. */
  readonly paths: Record<"eastToWitness" | "westToWitness" | "eastToWest" | "westToEast", Proxy>;
  readonly sites: Record<SiteName, TestSite>;
  readonly agents: Partial<Record<SiteName, Agent>> = {};
  readonly #witnessProcess: boolean;
  #witness: StartedWitness | undefined;

  private constructor(folder: string, pair: TestPair, paths: Trio["paths"], options: TrioOptions) {
    this.folder = folder;
    this.pair = pair;
    this.paths = paths;
    this.#witnessProcess = options.witnessProcess ?? false;
    this.sites = { east: new TestSite("east", systemClock), west: new TestSite("west", systemClock) };
    this.policy = {
      timing,
      automatic: true,
      unproven: true,
      maxLagMs: 30_000,
      cooldownMs: 3_600_000,
      ...options.policy,
    };
  }

  /** Everything up; the application runs at east, as it did before anybody knew of Lifeboat. */
  static async start(options: TrioOptions = {}): Promise<Trio> {
    const trio = await Trio.prepare(options);
    trio.sites.east.running = true;
    await trio.startWitness();
    await Promise.all([trio.startAgent("east"), trio.startAgent("west")]);
    return trio;
  }

  static async prepare(options: TrioOptions = {}): Promise<Trio> {
    const folder = await mkdtemp(join(tmpdir(), "lifeboat-trio-"));
    const [eastToWitness, westToWitness, eastToWest, westToEast] = await Promise.all(
      [0, 0, 0, 0].map(() => startProxy(1)),
    );
    if (!eastToWitness || !westToWitness || !eastToWest || !westToEast) throw new Error("no proxies");
    return new Trio(folder, await createPair(), { eastToWitness, westToWitness, eastToWest, westToEast }, options);
  }

  async startWitness(
    options: { identity?: PeerIdentity; environment?: Partial<WitnessEnvironment> } = {},
  ): Promise<StartedWitness> {
    const config = await this.witnessConfig(options.identity);
    const started = await (this.#witnessProcess
      ? startWitnessProcess(config)
      : startWitnessHere(config, log, options.environment));
    this.#witness = started;
    this.paths.eastToWitness.target = started.port;
    this.paths.westToWitness.target = started.port;
    return started;
  }

  async witnessConfig(identity: PeerIdentity = witness): Promise<WitnessOptions & { readonly dataDir: string }> {
    const tls = await this.writeCertificate("witness", identity);
    return { pair: pairName, listen: "127.0.0.1:0", tls, dataDir: join(this.folder, "witness") };
  }

  async stopWitness(): Promise<void> {
    await this.#witness?.stop();
    this.#witness = undefined;
  }

  /** SIGKILL, when it is a process of its own. */
  async killWitness(): Promise<void> {
    await this.#witness?.kill();
    this.#witness = undefined;
  }

  async loseWitnessDisk(): Promise<void> {
    await rm(join(this.folder, "witness"), { recursive: true });
  }

  async writeCertificate(name: string, identity: PeerIdentity): Promise<{ cert: string; key: string; ca: string }> {
    const leaf: KeyAndCertificate = await issueCertificate(this.pair.authority, identity, validity);
    const files = { cert: `${name}.crt`, key: `${name}.key`, ca: `${name}-ca.crt` };
    const paths = {
      cert: join(this.folder, files.cert),
      key: join(this.folder, files.key),
      ca: join(this.folder, files.ca),
    };
    await writeFile(paths.cert, leaf.cert);
    await writeFile(paths.key, leaf.key);
    await writeFile(paths.ca, this.pair.authority.cert);
    return paths;
  }

  /** Starts the agent of a site, or starts it again. `bootId` is that of the machine. */
  async startAgent(name: SiteName, options: { bootId?: string } = {}): Promise<Agent> {
    const agent = await Agent.start(this, name, options.bootId ?? `boot-${name}`);
    this.agents[name] = agent;
    this.paths[name === "east" ? "westToEast" : "eastToWest"].target = agent.port;
    return agent;
  }

  agent(name: SiteName): Agent {
    const agent = this.agents[name];
    if (agent === undefined) throw new Error(`the agent of ${name} does not run`);
    return agent;
  }

  /** The agent process ends at once; the application goes on. */
  async killAgent(name: SiteName): Promise<void> {
    await this.agents[name]?.stop();
    delete this.agents[name];
  }

  /** Everything of a site ends at once, the application too. */
  async killSite(name: SiteName): Promise<void> {
    this.sites[name].running = false;
    await this.killAgent(name);
  }

  /** Nothing goes between the site and anybody, and nobody is told. */
  isolate(name: SiteName): void {
    for (const path of this.pathsOf(name)) path.mode = "silent";
  }

  heal(): void {
    for (const path of Object.values(this.paths)) {
      path.mode = "pass";
      path.reset();
    }
  }

  pathsOf(name: SiteName): Proxy[] {
    const { eastToWitness, westToWitness, eastToWest, westToEast } = this.paths;
    return [name === "east" ? eastToWitness : westToWitness, eastToWest, westToEast];
  }

  peerPaths(): Proxy[] {
    return [this.paths.eastToWest, this.paths.westToEast];
  }

  witnessPaths(): Proxy[] {
    return [this.paths.eastToWitness, this.paths.westToWitness];
  }

  /** Until `name` runs under a lease and automatic failover away from it is armed, as both sites see it. */
  async untilArmed(name: SiteName, limitMs = 15_000): Promise<void> {
    await eventually(
      () => this.agent(name).runner.snapshot().armed && this.agent(other(name)).runner.snapshot().armed,
      limitMs,
    );
  }

  /** Until a witness that was just started has heard both sites and promises to `name` again. */
  async untilPromisedAnew(name: SiteName): Promise<void> {
    const sinceMs = systemClock.monotonicMs();
    await eventually(() => this.agent(name).runner.state.witness.promisedAtMs > sinceMs, 15_000);
    await this.untilArmed(name);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.killAgent("east"), this.killAgent("west"), this.killWitness()]);
    await Promise.all(Object.values(this.paths).map((path) => path[Symbol.asyncDispose]()));
    await rm(this.folder, { recursive: true });
  }
}

/** One agent process: server, links, runner. */
export class Agent {
  readonly runner: FailoverRunner;
  readonly links: ExchangeLinks;
  /** What survives its end. */
  readonly records: StateFile;
  readonly port: number;
  /** Why the runner ended by itself, if it did. */
  failure: unknown;
  readonly #stop: () => Promise<void>;

  private constructor(
    runner: FailoverRunner,
    links: ExchangeLinks,
    records: StateFile,
    port: number,
    stop: () => Promise<void>,
  ) {
    this.runner = runner;
    this.links = links;
    this.records = records;
    this.port = port;
    this.#stop = stop;
  }

  static async start(trio: Trio, name: SiteName, bootId: string): Promise<Agent> {
    const certificates = await trio.pair.certificatesFor(siteIdentity(name));
    const records = StateFile.open({ path: join(trio.folder, `${name}.db`) });
    const incarnation = await claimIncarnation(records, systemClock);
    const common = { clock: systemClock, random: Math.random, log: log.child({ site: name }) };
    const peer = other(name);
    const { eastToWitness, westToWitness, eastToWest, westToEast } = trio.paths;
    const links = new ExchangeLinks({
      pair: pairName,
      site: name,
      incarnation,
      certificates,
      witness: `127.0.0.1:${(name === "east" ? eastToWitness : westToWitness).port}`,
      peers: [{ site: peer, address: `127.0.0.1:${(name === "east" ? eastToWest : westToEast).port}` }],
      ...common,
    });
    const application = trio.sites[name];
    const runner = await FailoverRunner.open({
      config: { group, site: name, peer, source: name === "east", policy: trio.policy },
      incarnation,
      records,
      bootIds: [bootId],
      links,
      actions: application,
      ...common,
    });
    const expect = { pair: pairName, roles: ["site"] as const };
    const server = await startRpcServer({
      listen: "127.0.0.1:0",
      certificates,
      services: [exchangeService(expect, { connect: links.accept })],
      log: common.log,
    });
    const life = new AbortController();
    const agent = new Agent(runner, links, records, server.port, async () => {
      life.abort(new Error("killed"));
      await Promise.all([running, linking, server.close({ deadlineMs: 50 })]);
      records.close();
    });
    const fail = (error: unknown) => {
      if (!life.signal.aborted) agent.failure = error;
    };
    runner.setFence({ cap: "api", stopBoundMs: timing.stopBoundMs });
    const running = Promise.all([
      runner.run({ signal: life.signal }).catch(fail),
      application.replicate(runner, { signal: life.signal }).catch(fail),
    ]);
    const linking = links.run({ signal: life.signal }).catch(fail);
    return agent;
  }

  async stop(): Promise<void> {
    await this.#stop();
  }
}
