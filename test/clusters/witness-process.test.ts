import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { systemClock } from "../../src/clock.ts";
import { connect } from "../../src/kube/client.ts";
import { silentLog } from "../../src/telemetry/log.ts";
import { EtcdRegister } from "../../src/witness/etcd-register.ts";
import { LeaseRegister } from "../../src/witness/lease-register.ts";
import { type Register, RegisterStore } from "../../src/witness/register.ts";
import { SqliteWitnessStore } from "../../src/witness/sqlite-store.ts";
import type { WitnessStore } from "../../src/witness/store.ts";
import { pairName, type TlsFiles, type WitnessFile, writeCertificates, writeConfig } from "../pair/files.ts";
import { Metrics } from "../pair/metrics.ts";
import { waitFor } from "../pair/wait.ts";
import { freePorts } from "../bed/ports.ts";
import { kubeconfigs } from "./sites.ts";
import { startEtcd, type EtcdCluster } from "./witness-etcd.ts";

/** `lifeboat witness` with each store that its configuration may name. */

const program = fileURLToPath(new URL("../../src/main.ts", import.meta.url));
const { signal } = new AbortController();
const limitMs = 30_000;
let etcd: EtcdCluster;
let folder: string;
let tls: TlsFiles;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "lifeboat-witness-"));
  tls = (await writeCertificates(folder, [])).get("witness") ?? { cert: "", key: "", ca: "" };
  etcd = await startEtcd();
});
afterAll(async () => {
  await etcd[Symbol.asyncDispose]();
  await rm(folder, { recursive: true });
});

interface Started extends AsyncDisposable {
  /** Its exit code and what it said. */
  readonly ended: Promise<{ readonly code: number | null; readonly said: string }>;
  readonly url: string;
}

async function start(change: Partial<WitnessFile>): Promise<Started> {
  const [rpc, metrics] = await freePorts(2);
  const config = { pair: pairName, listen: `127.0.0.1:${rpc}`, metrics: `127.0.0.1:${metrics}`, tls, ...change };
  const path = await writeConfig(join(folder, `${randomUUID()}.yaml`), config);
  const argv = ["--disable-warning=ExperimentalWarning", program, "witness", "--config", path];
  const child = spawn(process.execPath, argv, { stdio: ["ignore", "pipe", "pipe"] });
  let said = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk: Buffer) => (said += chunk.toString()));
  const ended = once(child, "close").then(([code]) => ({ code: code as number | null, said }));
  return {
    ended,
    url: `http://127.0.0.1:${metrics}`,
    [Symbol.asyncDispose]: async () => {
      child.kill("SIGTERM");
      await ended;
    },
  };
}

/** Its generation, once it is ready. */
async function generation(witness: Started): Promise<number> {
  return waitFor(
    "the witness",
    async () => {
      if ((await fetch(`${witness.url}/readyz`)).status !== 200) return undefined;
      const text = await (await fetch(`${witness.url}/metrics`)).text();
      return Metrics.parse(text).value("lifeboat_witness_generation");
    },
    { limitMs, signal },
  );
}

/** A store as configured, and the term that it holds. */
interface StoreCase {
  readonly config: () => Partial<WitnessFile>;
  readonly open: () => Promise<WitnessStore>;
}

const storeIn = (register: Register) =>
  new RegisterStore({ register, clock: systemClock, random: Math.random, log: silentLog });

const onDisk: StoreCase = {
  config: () => ({ dataDir: join(folder, "data") }),
  open: async () => SqliteWitnessStore.open({ path: join(folder, "data", "witness.db") }),
};

const inEtcd: StoreCase = {
  config: () => ({ store: { etcd: { endpoints: [...etcd.endpoints] } } }),
  open: async () => storeIn(new EtcdRegister({ endpoints: etcd.endpoints, key: `lifeboat/witness/${pairName}` })),
};

const inLease: StoreCase = {
  config: () => ({ store: { lease: { kubeconfig: kubeconfigs().west, namespace: "default" } } }),
  open: async () => {
    const client = await connect({ from: "files", paths: [kubeconfigs().west] });
    const name = `lifeboat-witness-${pairName}`;
    return storeIn(new LeaseRegister({ client, namespace: "default", name, onClose: () => client.close() }));
  },
};

describe("a witness", () => {
  it.each([
    ["on disk", onDisk],
    ["in etcd", inEtcd],
    ["in a Lease", inLease],
  ])("keeps its generation %s, and starts above it", async (_where, { config, open }) => {
    let before = 0;
    for (const _start of [1, 2]) {
      const witness = await start(config());
      const now = await generation(witness);
      expect(now).toBeGreaterThan(before);
      before = now;
      await witness[Symbol.asyncDispose]();
      expect(await witness.ended).toMatchObject({ code: 0 });
      const store = await open();
      expect((await store.readTerm({ signal }))?.generation).toBe(now);
      await store.close();
    }
  });

  it("whose etcd is away waits for it, and is not ready", async () => {
    await using witness = await start({ store: { etcd: { endpoints: ["http://127.0.0.1:1"] } } });
    const ready = async () => (await fetch(`${witness.url}/readyz`)).status;
    expect(await waitFor("its answer", ready, { limitMs, signal })).toBe(503);
    expect((await fetch(`${witness.url}/healthz`)).status).toBe(200);
  });
});
