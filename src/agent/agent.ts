import { readFile } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { runTogether } from "../abort.ts";
import { AdmissionGates } from "../admission/gates.ts";
import { WatchPool } from "../capture/pool.ts";
import { systemClock, type Random } from "../clock.ts";
import type { AgentConfig } from "../config/agent.ts";
import { LifeboatError } from "../errors.ts";
import { ExchangeLinks } from "../failover/runner/links.ts";
import { claimIncarnation, type DurableRecords } from "../failover/runner/records.ts";
import { StateFile } from "../journal/state.ts";
import { connect, type KubeClient } from "../kube/client.ts";
import { Discovery } from "../kube/discovery.ts";
import { EventWriter } from "../kube/events.ts";
import { kubeSourceFrom } from "../kube/kubeconfig.ts";
import { Certificates } from "../rpc/certificates.ts";
import { exchangeService } from "../rpc/exchange.ts";
import { guardService } from "../rpc/guard.ts";
import { Link } from "../rpc/link.ts";
import { replicationService } from "../rpc/replication.ts";
import { startRpcServer } from "../rpc/server.ts";
import { createLog, safeError, type Log } from "../telemetry/log.ts";
import { startTelemetryServer } from "../telemetry/server.ts";
import { ElectedAgent, type LeaderSetup } from "./elected.ts";
import { GroupSet } from "./group-set.ts";
import { followNodes } from "./guard-nodes.ts";
import { GuardDesk } from "./guards.ts";
import { AgentMetrics } from "./metrics.ts";
import type { AgentParts } from "./parts.ts";
import { PeerVersions } from "./peer-versions.ts";
import { mayFollowRestored, readVersions, RewindKeeper } from "./rewind.ts";
import { type PeerSays, ServedGroups } from "./served-groups.ts";

export interface AgentEnvironment {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly signal: AbortSignal;
}

/** Streams that are open longer than this at the end are cut; shorter than any pod's grace period. */
const closeDeadlineMs = 2000;
/** Whether the own API server answers is asked this often: the protocol shows it, nothing stops because of it. */
const probeEveryMs = 2000;
const probeTimeoutMs = 3000;
/** A start waits this long for the API server between attempts. */
const startRetryMs = 1000;
const keyBytes = 32;

/**
 * `lifeboat agent`, until the signal aborts; then it ends in order and leaves what runs at the site running. Rejects
 * with ConfigInvalid, KubeconfigInvalid, PeerCertificate or JournalCorrupt where it cannot start. An API server, a peer
 * or a witness that cannot be reached is waited for.
 */
export async function runAgent(config: AgentConfig, { env, signal }: AgentEnvironment): Promise<void> {
  const log = createLog({ level: config.logLevel, fields: { site: config.site, pair: config.pair } });
  const { cert, key, ca } = config.tls;
  const certificates = await Certificates.load({ certFile: cert, keyFile: key, caFile: ca });
  const client = await connect(kubeSourceFrom(env, { kubeconfig: config.kubeconfig, context: config.context }));
  const journalKey = config.journalKey === undefined ? undefined : await readKey(config.journalKey);
  const records = StateFile.open({
    path: join(config.dataDir, "agent.db"),
    ...(journalKey === undefined ? {} : { key: journalKey }),
  });
  const common = { config, log, certificates, client, journalKey };
  const machine = await readBootId();
  try {
    if (config.election === undefined) await new Agent({ ...common, records, bootIds: [machine] }).run({ signal });
    else {
      const { election } = config;
      const setup = { ...common, election, local: records, machine, clock: systemClock, random: Math.random };
      const lead = (leader: LeaderSetup, options: { signal: AbortSignal }): Promise<void> =>
        new Agent({ ...common, ...leader }).run(options);
      await new ElectedAgent({ ...setup, lead }).run({ signal });
    }
  } finally {
    records.close();
    certificates.close();
    await client.close();
  }
}

interface AgentSetup extends Partial<LeaderSetup> {
  readonly config: AgentConfig;
  readonly log: Log;
  readonly certificates: Certificates;
  readonly client: KubeClient;
  readonly journalKey: Uint8Array | undefined;
  readonly records: DurableRecords;
  readonly bootIds: readonly string[];
}

class Agent {
  readonly #setup: AgentSetup;
  readonly #clock = systemClock;
  readonly #random: Random = Math.random;

  constructor(setup: AgentSetup) {
    this.#setup = setup;
  }

  async run({ signal }: { signal: AbortSignal }): Promise<void> {
    const { config, log, records, certificates } = this.#setup;
    const clock = this.#clock;
    const incarnation = await claimIncarnation(records, clock, this.#setup.above);
    const common = { clock, random: this.#random, log };
    const links = new ExchangeLinks({
      pair: config.pair,
      site: config.site,
      incarnation,
      certificates,
      witness: config.witness?.address,
      peers: config.peers.map(({ site, address }) => ({ site, address })),
      ...common,
    });
    const parts = this.#parts(incarnation, links);
    const groups = new GroupSet(parts, signal);
    this.#groups = groups;
    const expect = { pair: config.pair, roles: ["site"] as const };
    const expectGuard = { pair: config.pair, roles: ["guard"] as const, site: config.site };
    const server = await startRpcServer({
      listen: config.listen,
      certificates,
      services: [
        replicationService(expect, parts.served),
        exchangeService(expect, { connect: links.accept }),
        guardService(expectGuard, parts.guards),
      ],
      log,
    });
    const telemetry = await startTelemetryServer({
      listen: config.metrics,
      registry: parts.metrics.metrics.registry,
      isReady: () => this.#ready,
      log,
    });
    log.info({ listen: config.listen, incarnation }, "agent started");
    try {
      await this.#work(parts, groups, links, signal);
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      await groups.close();
      await server.close({ deadlineMs: closeDeadlineMs });
      await telemetry.close();
      log.info("agent stopped");
    }
  }

  #ready = false;
  #groups: GroupSet | undefined;

  #parts(incarnation: number, links: ExchangeLinks): AgentParts {
    const { config, log, client, certificates, records, shared, onDeposed, bootIds, journalKey } = this.#setup;
    const common = { clock: this.#clock, random: this.#random, log };
    const discovery = new Discovery({ client, ...common });
    const metrics = new AgentMetrics({ site: config.site, clock: this.#clock });
    metrics.certificate(() => certificates.expiresAtMs);
    const dataLinks = new Map(
      config.peers.flatMap(({ site, address }) => {
        if (address === undefined) return [];
        const expect = { pair: config.pair, roles: ["site"] as const, site };
        const onChange = (): void => metrics.linkChanged(site, link.state.kind === "up");
        const link = new Link({ address, certificates, expect, onChange, ...common });
        metrics.linkChanged(site, false);
        return [[site, link] as const];
      }),
    );
    const peerVersions = new PeerVersions();
    const pool = new WatchPool({
      client,
      discovery,
      chooseVersion: (kind) => peerVersions.choose(kind),
      versions: readVersions(records),
      ...common,
    });
    const onPeerAsks = (site: string, { kinds, kept }: PeerSays): void => {
      if (peerVersions.learn(site, kinds)) pool.reconsider();
      if (kept !== undefined) this.#groups?.peerKeeps(site, kept);
    };
    return {
      config,
      client,
      discovery,
      pool,
      mayFollowRestored: () => mayFollowRestored((this.#groups?.runtimes ?? []).map(({ origin }) => origin)),
      peerVersions,
      gates: new AdmissionGates({ client, site: config.site, ...common }),
      guards: new GuardDesk({
        records,
        groups: () => (this.#groups?.runtimes ?? []).map(({ guarding }) => guarding),
        clock: this.#clock,
        log,
      }),
      served: new ServedGroups({
        site: config.site,
        clock: this.#clock,
        onPeerAsks,
      }),
      links,
      dataLinks,
      records,
      shared,
      onDeposed,
      events: new EventWriter({ client, component: "lifeboat-agent", instance: hostname(), clock: this.#clock, log }),
      metrics,
      incarnation,
      bootIds,
      journalKey,
      ...common,
    };
  }

  async #work(parts: AgentParts, groups: GroupSet, links: ExchangeLinks, signal: AbortSignal): Promise<void> {
    await runTogether(
      [
        (inner) => links.run(inner),
        (inner) => parts.events.run(inner),
        ...[...parts.dataLinks.values()].map(
          (link) => async (inner: { signal: AbortSignal }) => void (await link.run(inner)),
        ),
        ...[...parts.dataLinks.keys()].map(
          (site) => (inner: { signal: AbortSignal }) => groups.followPeer(site, inner),
        ),
        (inner) => this.#probe(parts, groups, inner),
        (inner) => followNodes({ ...parts, desk: parts.guards }, inner),
        async (inner) => {
          // A standby can take over from its journal without its own API server's list of kinds; the rest waits for it.
          await groups.openJournals();
          await this.#firstLook(parts, inner.signal);
          this.#ready = true;
          await runTogether(
            [
              (each) => parts.discovery.run(each),
              (each) => parts.pool.run(each),
              (each) => parts.gates.run(each),
              (each) => this.#rewinds(parts).run(each),
              (each) => groups.followObjects(each),
              (each) => groups.refreshStatus(each),
            ],
            inner,
          );
        },
      ],
      { signal },
    );
  }

  #rewinds({ pool, mayFollowRestored, records, clock, log }: AgentParts): RewindKeeper {
    return new RewindKeeper({ pool, records, mayFollow: mayFollowRestored, clock, log });
  }

  /** Waits until the API server has said which kinds it serves. */
  async #firstLook({ discovery, clock, log }: AgentParts, signal: AbortSignal): Promise<void> {
    for (;;) {
      try {
        await discovery.refresh({ signal });
        return;
      } catch (error) {
        signal.throwIfAborted();
        log.warn({ error: safeError(error) }, "the API server cannot be read; trying again");
        await clock.sleep(startRetryMs, { signal });
      }
    }
  }

  async #probe(parts: AgentParts, groups: GroupSet, { signal }: { signal: AbortSignal }): Promise<never> {
    for (;;) {
      const up = await parts.client.request("GET", "/readyz", { timeoutMs: probeTimeoutMs, signal }).then(
        () => true,
        () => false,
      );
      parts.client.readiness.note(up);
      for (const runtime of groups.runtimes) runtime.setApi(up);
      await parts.clock.sleep(probeEveryMs, { signal });
    }
  }
}

async function readBootId(): Promise<string> {
  return (await readFile("/proc/sys/kernel/random/boot_id", "utf8")).trim();
}

async function readKey(path: string): Promise<Uint8Array> {
  const key = await readFile(path).catch((cause: unknown) => {
    throw new LifeboatError("ConfigInvalid", `cannot read the journal's key ${path}`, { op: "agent.start", cause });
  });
  if (key.byteLength === keyBytes) return key;
  throw new LifeboatError("ConfigInvalid", `${path} holds ${key.byteLength} bytes, a journal's key has ${keyBytes}`, {
    op: "agent.start",
    hint: `head -c ${keyBytes} /dev/urandom > ${path}`,
  });
}
