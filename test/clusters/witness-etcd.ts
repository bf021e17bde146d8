import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { freePorts } from "../bed/ports.ts";
import { ensurePrograms } from "../bed/programs.ts";

/** Three members on loopback with the disks' own syncs. */
export interface EtcdCluster extends AsyncDisposable {
  readonly endpoints: readonly string[];
  /** SIGKILL of the member that leads now; returns its endpoint. */
  killLeader(): Promise<string>;
  /** Starts what was killed, with its data. */
  restart(endpoint: string): Promise<void>;
}

const memberCount = 3;

export async function startEtcd(): Promise<EtcdCluster> {
  const program = (await ensurePrograms(["etcd"])).get("etcd") ?? "etcd";
  const folder = await mkdtemp(join(tmpdir(), "lifeboat-etcd-"));
  const ports = await freePorts(2 * memberCount);
  const members = Array.from({ length: memberCount }, (_, index) => ({
    name: `m${index}`,
    client: `http://127.0.0.1:${ports[2 * index]}`,
    peer: `http://127.0.0.1:${ports[2 * index + 1]}`,
  }));
  const processes = new Map<string, ChildProcess>();
  const start = ({ name, client, peer }: (typeof members)[number]) => {
    const flags = [
      `--name=${name}`,
      `--data-dir=${join(folder, name)}`,
      `--listen-client-urls=${client}`,
      `--advertise-client-urls=${client}`,
      `--listen-peer-urls=${peer}`,
      `--initial-advertise-peer-urls=${peer}`,
      `--initial-cluster=${members.map((member) => `${member.name}=${member.peer}`).join()}`,
      "--log-level=error",
    ];
    processes.set(client, spawn(program, flags, { stdio: "ignore" }));
  };
  for (const member of members) start(member);
  const endpoints = members.map(({ client }) => client);
  await untilHealthy(endpoints);
  return {
    endpoints,
    killLeader: async () => {
      const leader = await leaderOf(endpoints);
      await kill(processes.get(leader));
      return leader;
    },
    restart: async (endpoint) => {
      const member = members.find(({ client }) => client === endpoint);
      if (member !== undefined) start(member);
      await untilHealthy([endpoint]);
    },
    [Symbol.asyncDispose]: async () => {
      await Promise.all([...processes.values()].map(kill));
      await rm(folder, { recursive: true });
    },
  };
}

async function kill(process: ChildProcess | undefined): Promise<void> {
  if (process === undefined || process.exitCode !== null || process.signalCode !== null) return;
  process.kill("SIGKILL");
  await once(process, "exit");
}

async function untilHealthy(endpoints: readonly string[]): Promise<void> {
  for (let attempt = 0; attempt < 200; attempt++) {
    const healthy = await Promise.all(
      endpoints.map((endpoint) =>
        fetch(`${endpoint}/health`).then(
          ({ ok }) => ok,
          () => false,
        ),
      ),
    );
    if (healthy.every(Boolean)) return;
    await delay(100);
  }
  throw new Error("etcd did not become healthy");
}

async function leaderOf(endpoints: readonly string[]): Promise<string> {
  for (const endpoint of endpoints) {
    const answer = await fetch(`${endpoint}/v3/maintenance/status`, { method: "POST", body: "{}" });
    const { header, leader } = (await answer.json()) as { header: { member_id: string }; leader: string };
    if (header.member_id === leader) return endpoint;
  }
  throw new Error("etcd has no leader");
}
