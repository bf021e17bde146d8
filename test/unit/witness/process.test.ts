import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Registry } from "prom-client";
import { describe, expect, it } from "vitest";
import { systemClock } from "../../../src/clock.ts";
import { silentLog } from "../../../src/telemetry/log.ts";
import { SqliteWitnessStore } from "../../../src/witness/sqlite-store.ts";
import type { WitnessStore } from "../../../src/witness/store.ts";
import { runWitness, type WitnessEnvironment } from "../../../src/witness/witness.ts";
import { startWitnessProcess } from "../failover-runner/witness-process.ts";
import { Trio } from "../failover-runner/trio.ts";
import { eventually, pairName } from "../rpc/pair.ts";
import { groupRecord } from "./store-contract.ts";

const environment = (fields: Partial<WitnessEnvironment> = {}): WitnessEnvironment => ({
  signal: new AbortController().signal,
  clock: systemClock,
  log: silentLog,
  metrics: new Registry(),
  ...fields,
});

describe("a witness process", () => {
  it("ends when another one starts on its store, as in a rolling update; the sites go on with the new one", async () => {
    await using trio = await Trio.prepare();
    trio.sites.east.running = true;
    const former = await trio.startWitness();
    await Promise.all([trio.startAgent("east"), trio.startAgent("west")]);
    await trio.untilArmed("east");
    await trio.startWitness();
    expect(await former.ended).toMatchObject({ code: "WitnessReplaced" });
    await trio.untilPromisedAnew("east");
    expect(trio.sites.east.asked).toEqual(["start adopt"]);
  }, 30_000);

  it("that cannot store a grant gives none, and says why it ends", async () => {
    await using trio = await Trio.prepare();
    trio.sites.east.running = true;
    const inner = SqliteWitnessStore.open({ path: join(trio.folder, "full.db"), maxBytes: 32 * 1024 });
    const store: WitnessStore = {
      place: inner.place,
      readTerm: () => inner.readTerm(),
      claim: (expected, next) => inner.claim(expected, next),
      readGroups: () => inner.readGroups(),
      close: () => inner.close(),
      commit: (term, records) => inner.commit(term, records.length > 0 ? [...records, ...tooMany()] : records),
    };
    const started = await trio.startWitness({ environment: { store } });
    await Promise.all([trio.startAgent("east"), trio.startAgent("west")]);
    expect(await started.ended).toMatchObject({
      code: "WitnessStoreFull",
      hint: expect.stringContaining("free space"),
    });
    expect(trio.agent("east").runner.snapshot().epoch).toBeUndefined();
    expect(trio.sites.east.asked).toEqual([]);
    expect(trio.sites.east.running).toBe(true);
  }, 30_000);

  it("refuses to start with files that are no certificate, and names what to check", async () => {
    const folder = await mkdtemp(join(tmpdir(), "lifeboat-witness-"));
    const file = join(folder, "tls.crt");
    await writeFile(file, "nonsense");
    const config = { pair: pairName, listen: "127.0.0.1:0", tls: { cert: file, key: file, ca: file }, dataDir: folder };
    await expect(runWitness(config, environment())).rejects.toMatchObject({
      code: "PeerCertificate",
      hint: expect.stringContaining("check the paths"),
    });
    await rm(folder, { recursive: true });
  });

  it("refuses to start on an address that is taken", async () => {
    await using trio = await Trio.prepare();
    await trio.startWitness();
    const { port } = trio.paths.eastToWitness;
    const config = { ...(await trio.witnessConfig()), listen: `127.0.0.1:${port}` };
    await expect(runWitness(config, environment())).rejects.toMatchObject({ code: "ConfigInvalid" });
  });

  it("ends in good order at SIGTERM, and its store opens again", async () => {
    await using trio = await Trio.prepare();
    const config = await trio.witnessConfig();
    const child = await startWitnessProcess(config);
    await child.stop();
    const store = SqliteWitnessStore.open({ path: join(config.dataDir, "witness.db") });
    expect(await store.readTerm()).toMatchObject({ generation: expect.any(Number) });
    await store.close();
  });

  it("shows its metrics without the name of any group", async () => {
    await using trio = await Trio.prepare();
    const metrics = new Registry();
    const life = new AbortController();
    const ready = Promise.withResolvers<number>();
    const done = runWitness(
      await trio.witnessConfig(),
      environment({ signal: life.signal, metrics, onReady: ({ port }) => ready.resolve(port) }),
    );
    trio.paths.eastToWitness.target = await ready.promise;
    await trio.startAgent("east");
    await eventually(() => trio.agent("east").runner.snapshot().witness.heardAgoMs !== null);
    const text = await metrics.metrics();
    expect(text).toMatch(/lifeboat_witness_messages_total\{type="Renew"\} \d+/);
    expect(text).toContain("lifeboat_witness_groups 1");
    expect(text).not.toContain("shop");
    life.abort(new Error("end"));
    await done;
  });
});

/** More than the disk holds. */
const tooMany = () => Array.from({ length: 200 }, (_, index) => groupRecord(`other-${index}`, 1));
