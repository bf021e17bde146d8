/**
 * `npm run bench -- witness`: what a witness costs that serves 2,000 groups on the heartbeat of the `fast` profile.
 * The witness is the real process with its store on disk; both sites speak over real streams from here, as agents do:
 * every group a heartbeat of its own in both sites, sent at its own moment of the interval.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { systemClock } from "../../src/clock.ts";
import type { FromWitness, Renew, Stamp } from "../../src/failover/messages.ts";
import type { Cert } from "../../src/failover/epoch.ts";
import { ExchangeLinks } from "../../src/failover/runner/links.ts";
import { profiles } from "../../src/failover/timing.ts";
import { Certificates } from "../../src/rpc/certificates.ts";
import type { PeerIdentity } from "../../src/rpc/identity.ts";
import { createAuthority, issueCertificate } from "../../src/rpc/pki.ts";
import { silentLog } from "../../src/telemetry/log.ts";
import { freePorts } from "../bed/ports.ts";
import { roundCount, say, type BenchOptions, type BenchResult } from "./bench.ts";
import { medians, percentile, round } from "./statistics.ts";
import { cpuPercent, rssMiB } from "./usage.ts";

const pair = "bench";
const groupCount = 2000;
const { heartbeatMs, leaseMs } = profiles.fast;
const guardMs = 9600;
/** How often due heartbeats are handed to the links, which batch by a window of their own. */
const slotMs = 10;
const measureS = 20;

export async function bench({ signal }: BenchOptions): Promise<BenchResult> {
  const folder = await mkdtemp(join(tmpdir(), "lifeboat-bench-witness-"));
  const rounds = [];
  try {
    for (let index = 0; index < roundCount; index++) {
      rounds.push(await oneRound(join(folder, String(index)), folder, signal));
      say(`round ${index + 1} of ${roundCount}: ${JSON.stringify(rounds.at(-1))}`);
    }
  } finally {
    await rm(folder, { recursive: true });
  }
  const figures = medians(rounds);
  return {
    groups: groupCount,
    renewsPerS: round(figures.renewsPerS, 0),
    p50Ms: round(figures.p50Ms),
    p99Ms: round(figures.p99Ms),
    coreShare: round(figures.coreShare, 3),
    rssMiB: round(figures.rssMiB, 0),
    unanswered: figures.unanswered,
  };
}

async function oneRound(dataDir: string, folder: string, signal: AbortSignal) {
  const authority = await createAuthority(pair, validity());
  const material = async (identity: PeerIdentity) => {
    const { cert, key } = await issueCertificate(authority, identity, validity());
    return { cert, key, ca: authority.cert };
  };
  const [port = 0, metricsPort = 0] = await freePorts(2);
  const child = await startWitness({
    folder,
    dataDir,
    port,
    metricsPort,
    tls: await material({ pair, role: "witness" }),
  });
  const life = new AbortController();
  try {
    const sites = [new Site("east", "west"), new Site("west", "east")] as const;
    const running = sites.map(async (site) => {
      const { cert, key, ca } = await material({ pair, role: "site", site: site.name });
      const certificates = new Certificates({ cert: Buffer.from(cert), key: Buffer.from(key), ca: Buffer.from(ca) });
      await site.run(certificates, port, life.signal).catch(() => {});
    });
    await allGranted(sites, signal);
    for (const site of sites) site.reset();
    const startMs = systemClock.monotonicMs();
    const [share = Number.NaN] = await cpuPercent([child.pid ?? 0], measureS, { signal });
    const seconds = (systemClock.monotonicMs() - startMs) / 1000;
    const latencies = sites.flatMap(({ latenciesMs }) => latenciesMs);
    const figures = {
      renewsPerS: latencies.length / seconds,
      p50Ms: percentile(latencies, 0.5),
      p99Ms: percentile(latencies, 0.99),
      coreShare: share / 100,
      rssMiB: await rssMiB(child.pid ?? 0),
      unanswered: sites.reduce((sum, { missed }) => sum + missed, 0),
    };
    life.abort(new Error("done"));
    await Promise.all(running);
    return figures;
  } finally {
    life.abort(new Error("done"));
    child.kill("SIGTERM");
    if (child.exitCode === null) await once(child, "exit");
  }
}

function validity() {
  return { nowMs: Date.now(), days: 1 };
}

async function startWitness(options: {
  readonly folder: string;
  readonly dataDir: string;
  readonly port: number;
  readonly metricsPort: number;
  readonly tls: { readonly cert: string; readonly key: string; readonly ca: string };
}): Promise<ChildProcess> {
  const { folder, dataDir, port, metricsPort, tls } = options;
  const paths = { cert: join(folder, "tls.crt"), key: join(folder, "tls.key"), ca: join(folder, "ca.crt") };
  await Promise.all([writeFile(paths.cert, tls.cert), writeFile(paths.key, tls.key), writeFile(paths.ca, tls.ca)]);
  const file = join(folder, "witness.json");
  const listen = `127.0.0.1:${port}`;
  const metrics = `127.0.0.1:${metricsPort}`;
  await writeFile(file, JSON.stringify({ pair, listen, tls: paths, dataDir, metrics, logLevel: "warn" }));
  const main = fileURLToPath(new URL("../../src/main.ts", import.meta.url));
  return spawn(process.execPath, [main, "witness", "--config", file], { stdio: ["ignore", "ignore", "inherit"] });
}

async function allGranted(sites: readonly Site[], signal: AbortSignal): Promise<void> {
  const [east] = sites;
  for (;;) {
    await systemClock.sleep(200, { signal });
    if (east !== undefined && east.granted === groupCount && sites.every(({ promised }) => promised)) return;
  }
}

/** What one site knows of one group. */
interface Known {
  cert: Cert | null;
  stamp: Stamp | null;
  seq: number;
  sentAtMs: number;
  answered: boolean;
}

class Site {
  readonly name: string;
  readonly latenciesMs: number[] = [];
  missed = 0;
  granted = 0;
  /** The last answer was what is to be measured: a promise, or at the standby the knowledge of who holds. */
  promised = false;
  readonly #peer: string;
  readonly #groups = new Map<string, Known>();

  constructor(name: string, peer: string) {
    this.name = name;
    this.#peer = peer;
    for (let index = 0; index < groupCount; index++) {
      this.#groups.set(`group-${index}`, { cert: null, stamp: null, seq: 0, sentAtMs: 0, answered: true });
    }
  }

  reset(): void {
    this.latenciesMs.length = 0;
    this.missed = 0;
  }

  async run(certificates: Certificates, port: number, signal: AbortSignal): Promise<void> {
    const links = new ExchangeLinks({
      pair,
      site: this.name,
      incarnation: 1,
      certificates,
      witness: `127.0.0.1:${port}`,
      peers: [],
      clock: systemClock,
      random: Math.random,
      log: silentLog,
    });
    for (const [group, known] of this.#groups) {
      links.register(group, this.#peer, {
        fromWitness: (message) => this.#hear(links, group, known, message),
        fromPeer: () => {},
      });
    }
    await Promise.all([links.run({ signal }), this.#beat(links, signal)]);
  }

  /** Each group in its own slot of the interval. */
  async #beat(links: ExchangeLinks, signal: AbortSignal): Promise<void> {
    const groups = [...this.#groups];
    const slots = heartbeatMs / slotMs;
    const startMs = systemClock.monotonicMs();
    for (let slot = 0; ; slot++) {
      await systemClock.sleep(Math.max(0, startMs + slot * slotMs - systemClock.monotonicMs()), { signal });
      for (let index = slot % slots; index < groups.length; index += slots) {
        const [group, known] = groups[index] ?? [];
        if (group !== undefined && known !== undefined) this.#renew(links, group, known);
      }
    }
  }

  #renew(links: ExchangeLinks, group: string, known: Known): void {
    if (!known.answered) this.missed++;
    known.seq++;
    known.sentAtMs = systemClock.monotonicMs();
    known.answered = false;
    const holds = known.cert?.holder === this.name;
    const message: Renew = {
      type: "Renew",
      group,
      site: this.name,
      peer: this.#peer,
      incarnation: 1,
      seq: known.seq,
      cert: known.cert,
      state: holds ? "Active" : "Standby",
      warm: false,
      disarm: "no",
      armed: true,
      ready: "Ready",
      obstacle: "",
      paused: false,
      lagMs: 0,
      fenceCap: "guard",
      stopBoundMs: guardMs,
      longestMs: 0,
      generation: 0,
      echo: known.stamp,
      leaseMs,
      guardMs,
      opId: "",
    };
    links.toWitness(message);
  }

  #hear(links: ExchangeLinks, group: string, known: Known, message: FromWitness): void {
    if (message.type === "Grant") {
      known.cert = message.cert;
      this.granted++;
    }
    if (message.type !== "RenewAck" || message.seq !== known.seq) return;
    known.answered = true;
    known.stamp = message.stamp;
    if (message.cert !== null) known.cert = message.cert;
    this.latenciesMs.push(systemClock.monotonicMs() - known.sentAtMs);
    this.promised = this.name === "east" ? message.ok : message.cert !== null;
    if (this.name === "east" && known.cert === null && message.refusal?.code !== "Recovering")
      this.#adopt(links, group, known);
  }

  #adopt(links: ExchangeLinks, group: string, known: Known): void {
    known.seq++;
    known.answered = true;
    links.toWitness({
      type: "Acquire",
      group,
      site: this.name,
      incarnation: 1,
      seq: known.seq,
      kind: "adopt",
      cert: null,
      nonce: group,
      echo: known.stamp,
      ready: "Ready",
      lagMs: 0,
      silentMs: 0,
      maxLagMs: 0,
      cooldownMs: 0,
      unproven: false,
      recoveryPoint: "",
      leaseMs,
      guardMs,
      opId: "",
    });
  }
}
