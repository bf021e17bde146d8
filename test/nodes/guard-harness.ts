/** One site with a real node and its guard, and an agent's side of the guard protocol that says what a test wants. */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { GuardDesk, type GuardedSide } from "../../src/agent/guards.ts";
import { systemClock } from "../../src/clock.ts";
import type { Cert } from "../../src/failover/epoch.ts";
import type { GuardAnswer, GuardPoll } from "../../src/failover/messages.ts";
import { profiles, profileTiming } from "../../src/failover/timing.ts";
import { StateFile } from "../../src/journal/state.ts";
import { Certificates } from "../../src/rpc/certificates.ts";
import { guardService } from "../../src/rpc/guard.ts";
import { startRpcServer, type RpcServer } from "../../src/rpc/server.ts";
import { silentLog } from "../../src/telemetry/log.ts";
import { startBed } from "../bed/bed.ts";
import { agnhostImage, busyboxImage } from "../bed/images.ts";
import { findProcesses, signalPid } from "../bed/processes.ts";
import type { BedProcess } from "../bed/processes.ts";
import type { Bed } from "../bed/running.ts";
import { beatLoop } from "../demo/beats.ts";
import { guardName, pairName, writeCertificates } from "../pair/files.ts";
import { spawnGuard, writeGuardConfig } from "../pair/guard.ts";

export const timing = profileTiming("test");
export const namespace = "shop";

const port = 7443;

export function certOf(counter: number, holder = "east"): Cert {
  return { epoch: { generation: 1_700_000_000, nonce: "n", counter, forcedBy: "" }, holder, sig: "" };
}

/** What the agent says of the group from now on. */
export interface Word {
  readonly verdict: GuardAnswer["verdict"];
  readonly cert: Cert | null;
}

/** Holds leases as an agent does that is renewed all the time, until the test says otherwise. */
export class ScriptedSide implements GuardedSide {
  readonly name = "shop";
  word: Word = { verdict: "wait", cert: null };
  readonly polls: GuardPoll[] = [];
  namespaces: readonly string[] = [namespace];
  /** Of the agent's process. */
  incarnation = 1;
  remainingMs = timing.holderMs;

  guarded() {
    return { name: this.name, namespaces: this.namespaces, timing: profiles.test };
  }

  poll(poll: GuardPoll): GuardAnswer {
    this.polls.push(poll);
    const nowMs = systemClock.monotonicMs();
    const { verdict, cert } = this.word;
    return {
      type: "GuardAnswer",
      group: poll.group,
      node: poll.node,
      bootId: poll.bootId,
      seq: poll.seq,
      verdict,
      cert,
      incarnation: this.incarnation,
      remainingMs: verdict === "hold" ? this.remainingMs : 0,
      agentNowMs: nowMs,
      leaseSentAtMs: nowMs,
      reason: verdict === "deny" ? "the test says so" : "",
    };
  }

  mayPlace(): boolean {
    return true;
  }

  setNodes(): void {}
  setFence(): void {}

  get last(): GuardPoll | undefined {
    return this.polls.at(-1);
  }
}

export interface GuardScene {
  readonly bed: Bed;
  readonly side: ScriptedSide;
  readonly desk: GuardDesk;
  readonly configPath: string;
  readonly beatsDir: string;
  guard: BedProcess;
  /** The agent's door opens, or is closed as by its death. */
  openAgent(): Promise<void>;
  closeAgent(): Promise<void>;
  stop(): Promise<void>;
}

export async function startGuardScene(): Promise<GuardScene> {
  const bed = await startBed({ sites: ["east"], nodes: "real", install: true });
  try {
    return await sceneOn(bed);
  } catch (error) {
    await bed.stop();
    throw error;
  }
}

async function sceneOn(bed: Bed): Promise<GuardScene> {
  const dir = join(bed.dir, "pair");
  const files = await writeCertificates(dir, ["east"]);
  const own = files.get("east");
  const tls = files.get(guardName("east"));
  if (own === undefined || tls === undefined) throw new Error("no certificates");
  const certificates = await Certificates.load({ certFile: own.cert, keyFile: own.key, caFile: own.ca });
  // The host's end of the bed's network: a process of the test reaches the node as an agent would.
  const host = bed.witnessAddress.replace(/\.\d+$/, ".1");
  const beatsDir = join(bed.site("east").dir, "beats");
  await mkdir(beatsDir, { recursive: true });
  const records = StateFile.open({ path: join(dir, "desk.db") });
  const side = new ScriptedSide();
  const desk = new GuardDesk({ records, groups: () => [side], clock: systemClock, log: silentLog });
  let server: RpcServer | undefined;
  const openAgent = async () => {
    const expect = { pair: pairName, roles: ["guard"] as const, site: "east" };
    const services = [guardService(expect, { connect: (...given) => desk.connect(...given) })];
    server = await startRpcServer({ listen: `${host}:${port}`, certificates, services, log: silentLog });
  };
  const closeAgent = async () => {
    await server?.close({ deadlineMs: 0 });
    server = undefined;
  };
  await openAgent();
  const configPath = await writeGuardConfig(bed, {
    dir,
    site: "east",
    tls,
    agentAddress: `${host}:${port}`,
    logLevel: "debug",
  });
  return {
    bed,
    side,
    desk,
    configPath,
    beatsDir,
    guard: spawnGuard(bed, "east", configPath),
    openAgent,
    closeAgent,
    async stop() {
      await closeAgent();
      certificates.close();
      records.close();
      await bed.stop();
    },
  };
}

/** A Deployment whose pod writes the machine's uptime into a file of its own about every 20 ms, and serves HTTP. */
export function beating(name: string, beatsDir: string, change: Record<string, unknown> = {}): unknown {
  const labels = { app: name };
  const field = (variable: string, fieldPath: string) => ({ name: variable, valueFrom: { fieldRef: { fieldPath } } });
  return {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name, namespace },
    spec: {
      replicas: 1,
      selector: { matchLabels: labels },
      template: {
        metadata: { labels },
        spec: {
          terminationGracePeriodSeconds: 0,
          ...change,
          containers: [
            {
              name: "beat",
              image: busyboxImage,
              imagePullPolicy: "Never",
              command: ["sh", "-c", beatLoop],
              env: [field("NODE", "spec.nodeName"), field("POD", "metadata.name")],
              volumeMounts: [{ name: "beats", mountPath: "/beats" }],
            },
            {
              name: "web",
              image: agnhostImage,
              imagePullPolicy: "Never",
              command: ["/agnhost", "netexec", "--http-port=8080"],
            },
          ],
          volumes: [{ name: "beats", hostPath: { path: beatsDir } }],
        },
      },
    },
  };
}

export async function apply(bed: Bed, ...objects: unknown[]): Promise<void> {
  const input = JSON.stringify({ apiVersion: "v1", kind: "List", items: objects });
  await bed.kubectl("east", ["apply", "-f", "-"], { input });
}

/** Ends one program of a site as a crash does: it alone, and not the shims of containers that it has started. */
export async function crash(bed: Bed, site: string, program: string): Promise<void> {
  const found = await findProcesses(bed.dir);
  const own = found.filter(({ name, command }) => name === `${site}/${program}` && command === program);
  if (own.length === 0) throw new Error(`${site}/${program} does not run`);
  for (const { pid } of own) signalPid(pid, "SIGKILL");
}
