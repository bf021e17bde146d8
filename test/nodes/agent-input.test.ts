import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { cp, mkdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Registry } from "prom-client";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parse, stringify } from "yaml";
import { journalPath } from "../../src/agent/group-journal.ts";
import type { GroupSpecInput, GroupStatus } from "../../src/config/group.ts";
import { metricTable } from "../../src/telemetry/metrics.ts";
import { createWitnessMetrics } from "../../src/witness/metrics.ts";
import { findProcesses, isWrapper } from "../bed/processes.ts";
import { writeCertificates } from "../pair/files.ts";
import { hasCondition } from "../pair/pair.ts";
import { waitFor } from "../pair/wait.ts";
import {
  configMap,
  dataOf,
  expectSame,
  groupSpec,
  isCaughtUp,
  namespace,
  patienceMs,
  type Scene,
  startScene,
} from "./agent-harness.ts";
import { describeApiServers } from "./agent-input-servers.ts";
import { events, held, protect, secretValue, untilDegraded, withConfig } from "./agent-input-tools.ts";

/** What may be wrong around an agent: it says so, harms nothing, and the other groups go on. West is a minor older. */

let scene: Scene;
const isRoot = process.getuid?.() === 0;
const run = promisify(execFile);
const root = fileURLToPath(new URL("../..", import.meta.url));

beforeAll(async () => {
  scene = await startScene({
    sites: ["east", { name: "west", emulatedVersion: "1.33" }],
    controllers: false,
    logLevel: "trace",
  });
  await protect(scene, "shop");
  await scene.untilStatus("caught up", "west", "shop", isCaughtUp);
});
afterAll(async () => scene?.stop());

describe("a spec", () => {
  it("that claims another group's namespace is refused with the other's name, and the other goes on", async () => {
    await scene.pair.applyGroup("east", "rival", groupSpec(["shop"]), scene.signal);
    const refused = await scene.untilStatus("refused", "east", "rival", ({ conditions }) => {
      return conditions?.some(({ type, status }) => type === "Accepted" && status === "False") ?? false;
    });
    expect(refused.reason).toContain("shop");
    await scene.apply("east", configMap("shop", "first", { a: "2" }));
    await expectSame(scene, ["shop"]);
  });

  it("whose mutation matches nothing works, with a warning", async () => {
    const mutations: GroupSpecInput["mutations"] = [
      { match: { kinds: ["ConfigMap"], names: ["nothing"] }, labels: { set: { a: "b" } } },
    ];
    await scene.pair.applyGroup("east", "shop", groupSpec(["shop"], { mutations }), scene.signal);
    const warned = await scene.untilStatus("warned", "east", "shop", ({ conditions }) => {
      return conditions?.find(({ type }) => type === "Accepted")?.message.includes("matches") ?? false;
    });
    expect(warned.role).toBe("active");
    await scene.pair.applyGroup("east", "shop", groupSpec(["shop"]), scene.signal);
  });

  it("that names a site which does not exist is refused, and the other groups go on", async () => {
    const sites = [{ name: "east" }, { name: "nowhere" }];
    await scene.pair.applyGroup("east", "other", groupSpec(["other"], { sites }), scene.signal);
    const refused = await scene.untilStatus("refused", "east", "other", ({ conditions }) => {
      return conditions?.some(({ type, status }) => type === "Accepted" && status === "False") ?? false;
    });
    expect(refused.conditions?.find(({ type }) => type === "Accepted")).toMatchObject({
      reason: "UnknownPeer",
      message: expect.stringContaining("no peer nowhere: its agent is configured with west") as string,
    });
    await scene.apply("east", configMap("shop", "first", { a: "3" }));
    await expectSame(scene, ["shop"]);
  });
});

describe("a journal", () => {
  it("that is damaged or of another program stops its group alone, says so there, and nothing is overwritten", async () => {
    await protect(scene, "second");
    await scene.untilStatus("caught up", "west", "second", isCaughtUp);
    await scene.pair.stopMember("west");
    const path = journalPath(scene.pair.dataDir("west"), "second");
    await writeFile(path, "this is no journal");
    await scene.pair.startAgent("west");
    await scene.apply("east", configMap("shop", "first", { a: "4" }), configMap("second", "first", { a: "2" }));
    await scene.until("the copy", "west", configMap("shop", "first"), (found) => dataOf(found)["a"] === "4");
    expect(await scene.log("west")).toMatch(/"group":"second".*"code":"JournalCorrupt".*cannot open the journal/);
    expect(dataOf(await scene.find("west", configMap("second", "first")))).toEqual({ a: "1" });
    const status = await untilDegraded(scene, "west", "second", /^JournalCorrupt: .*; .*[Mm]ove/);
    expect(status).toMatchObject({ role: "unknown", state: "Unopened" });
    expect(status.conditions?.find(({ type }) => type === "Ready")?.status).toBe("False");
    await waitFor(
      "the event",
      async () => (await events(scene, "west", "second")).find((e) => e.startsWith("JournalCorrupt")),
      {
        limitMs: patienceMs,
        signal: scene.signal,
      },
    );
    await rm(path);
    await scene.pair.restartAgent("west");
    await scene.untilStatus("caught up", "west", "second", isCaughtUp);
    await expectSame(scene, ["second"]);
  });

  it.runIf(isRoot)("whose disk is full takes nothing more, says so, and goes on when there is room", async () => {
    const dataDir = join(scene.bed.site("west").dir, "small-disk");
    await mkdir(dataDir, { recursive: true });
    const [found] = (await findProcesses(scene.bed.dir)).filter(
      (each) => each.name === "west/etcd" && !isWrapper(each),
    );
    const inSite = (...argv: string[]) => run("nsenter", ["-t", String(found?.pid), "-m", ...argv]);
    await inSite("mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", dataDir);
    await withConfig(scene, "west", { dataDir }, async () => {
      await scene.untilStatus("caught up", "west", "shop", isCaughtUp);
      const filler = join(dataDir, "filler");
      await inSite("sh", "-c", `dd if=/dev/zero of=${filler} bs=64k count=64 2>/dev/null || true`);
      const large = configMap("shop", "large", { text: "x".repeat(900_000) });
      await scene.apply("east", large);
      await untilDegraded(scene, "west", "shop", /^JournalFull: .*no space left/);
      expect(await scene.find("west", large)).toBeUndefined();
      await inSite("rm", filler);
      await scene.until("the copy", "west", large, (copy) => copy !== undefined);
      await scene.untilStatus("healthy", "west", "shop", (status) => held(status, "Degraded") === "");
      await scene.remove("east", large);
      await scene.until("no copy", "west", large, (copy) => copy === undefined);
    });
    await expectSame(scene, ["shop"]);
  });
});

describe("a peer", () => {
  it("of another protocol version is named with what to do, and nothing travels", async () => {
    const copy = join(scene.bed.dir, "other-version");
    await cp(join(root, "src"), join(copy, "src"), { recursive: true });
    await cp(join(root, "proto"), join(copy, "proto"), { recursive: true });
    await cp(join(root, "package.json"), join(copy, "package.json"));
    await symlink(join(root, "node_modules"), join(copy, "node_modules"));
    const limits = join(copy, "src/rpc/limits.ts");
    const text = await readFile(limits, "utf8");
    await writeFile(limits, text.replace("protocolVersion = 1;", "protocolVersion = 99;"));
    await scene.pair.stopMember("west");
    const argv = [process.execPath, join(copy, "src/main.ts"), "agent", "--config", scene.pair.configPath("west")];
    const other = scene.bed.site("west").spawn("agent", argv);
    try {
      await scene.apply("east", configMap("shop", "first", { a: "other version" }));
      await untilDegraded(scene, "west", "shop", /^PeerVersion: .*[Uu]pgrade/);
      expect(await other.log()).toContain("PeerVersion");
      expect(dataOf(await scene.find("west", configMap("shop", "first")))["a"]).not.toBe("other version");
    } finally {
      await other.stop();
      await scene.pair.startAgent("west");
    }
    await expectSame(scene, ["shop"]);
  });

  it("with a certificate of another authority is not talked to, and the reason is told", async () => {
    const tls = (await writeCertificates(join(scene.bed.dir, "other-authority"), ["west"])).get("west");
    await withConfig(scene, "west", { tls }, async () => {
      await scene.apply("east", configMap("shop", "first", { a: "other authority" }));
      await untilDegraded(scene, "west", "shop", /^PeerCertificate: .*(certificate|authority)/);
      expect(dataOf(await scene.find("west", configMap("shop", "first")))["a"]).not.toBe("other authority");
      await scene.untilStatus("peer missed", "east", "shop", ({ peer }) => peer?.reachable === false);
    });
    await expectSame(scene, ["shop"]);
  });
});

describeApiServers(() => scene);

describe("an agent", () => {
  it("starts without a witness, says so, also to somebody who watches, and replicates", async () => {
    const kubeconfig = scene.bed.site("east").kubeconfigPath;
    const argv = [join(root, "src/main.ts"), "status", "shop", "-w", "--kubeconfig", kubeconfig];
    // What makes libraries paint where nobody looks.
    const env = { ...process.env, CI: "1", FORCE_COLOR: "1" };
    const watching = spawn(process.execPath, argv, { env, stdio: ["ignore", "pipe", "ignore"] });
    const ended = once(watching, "close");
    let shown = "";
    watching.stdout.on("data", (chunk: Buffer) => (shown += chunk.toString()));
    const limits = { limitMs: patienceMs, signal: scene.signal };
    const untilShown = (pattern: RegExp) =>
      waitFor(String(pattern), async () => pattern.test(shown) || undefined, limits);
    try {
      await untilShown(/^Witness: +reachable$/m);
      await scene.pair.stopMember("witness");
      await scene.pair.restartAgent("east");
      const a = `without a witness since ${Date.now()}`;
      await scene.apply("east", configMap("shop", "first", { a }));
      await scene.until("the copy", "west", configMap("shop", "first"), (found) => dataOf(found)["a"] === a);
      await scene.untilStatus("witness missed", "east", "shop", ({ witness }) => witness?.reachable === false);
      await untilShown(/^Witness: +not reachable, last seen /m);
      expect(shown).not.toContain("\u001b");
      watching.kill("SIGINT");
      expect(await ended).toEqual([0, null]);
    } finally {
      // Whatever came of it, the next try and the tests after this one find what they expect.
      watching.kill("SIGKILL");
      if (scene.pair.process("witness").hasExited) await scene.pair.startWitness();
      if (scene.pair.process("east").hasExited) await scene.pair.startAgent("east");
    }
  });

  it("ends with what is wrong where its kubeconfig is missing or expired, and waits where it is not trusted", async () => {
    const path = join(scene.bed.dir, "bad-agent.yaml");
    const config = parse(await readFile(scene.pair.configPath("west"), "utf8")) as object;
    const host = scene.bed.site("west").agentAddress;
    const own = { listen: `${host}:17443`, metrics: `${host}:19440`, dataDir: join(scene.bed.dir, "bad-agent") };
    const startWith = async (kubeconfig: string) => {
      await writeFile(path, stringify({ ...config, ...own, kubeconfig }));
      return scene.bed
        .site("west")
        .spawn("bad-agent", [process.execPath, join(root, "src/main.ts"), "agent", "--config", path]);
    };
    const site = scene.bed.site("west");
    const missing = await startWith("/nowhere/kubeconfig");
    expect((await missing.exited).code).toBe(1);
    let before = (await missing.log()).length;
    expect(await missing.log()).toMatch(/\/nowhere\/kubeconfig[^]*KubeconfigInvalid/);
    // Somebody may renew these while it waits.
    for (const [flaw, said] of [
      [{ expired: true }, /KubeconfigInvalid[^]*expired on/],
      [{ wrongCa: true }, /KubeconfigInvalid/],
    ] as const) {
      const waiting = await startWith(await site.kubeconfigFor({ user: "old", ...flaw }));
      const says = async () => said.test((await waiting.log()).slice(before)) || undefined;
      await waitFor("its complaint", says, { limitMs: patienceMs, signal: scene.signal });
      expect(waiting.hasExited).toBe(false);
      await waiting.stop();
      before = (await waiting.log()).length;
    }
  });

  it("that is ended in the middle of a first sync goes on with it", async () => {
    await scene.apply("east", namespace("large"));
    const many = Array.from({ length: 400 }, (_, at) => configMap("large", `item-${at}`, { text: "x".repeat(2000) }));
    await Promise.all(many.map((object) => scene.apply("east", object)));
    await scene.pair.applyGroup("east", "large", groupSpec(["large"]), scene.signal);
    await scene.until("a part", "west", many[0] ?? namespace(""), (found) => found !== undefined);
    await scene.pair.stopMember("west");
    await delay(500);
    await scene.pair.startAgent("west");
    await expectSame(scene, ["large"]);
  });
});

describe("after all that", () => {
  /** Series that there are only after what this scene does not do; each with the reason. */
  const mergeMetrics = Object.keys(metricTable).filter((name) => /^lifeboat_(merge|surge)_/.test(name));
  const without: Readonly<Record<string, string>> = {
    lifeboat_rpo_ratio: "the groups here have no objective",
    ...Object.fromEntries(
      mergeMetrics.map((name) => [name, "no group here runs at both sites; nodes/agent-both-sites"]),
    ),
  };
  /** What must have been counted, and not merely be there. */
  const counted = [
    "lifeboat_stream_sent_bytes_total",
    "lifeboat_stream_received_bytes_total",
    "lifeboat_stream_resyncs_total",
    "lifeboat_reconnects_total",
    "lifeboat_failovers_total",
    "lifeboat_journal_lag_seconds_count",
    "lifeboat_apply_lag_seconds_count",
    "lifeboat_failover_phase_seconds_count",
    "lifeboat_objects",
    "lifeboat_epoch_counter",
    "lifeboat_peer_connected",
    "lifeboat_lease_remaining_seconds",
  ];

  it("every metric that is declared has a sample, and those that count have counted", async () => {
    await scene.pair.restartAgent("east");
    const isReady = (status: Partial<GroupStatus>) => hasCondition(status, "Ready") && status.peer?.reachable === true;
    await scene.untilStatus("ready", "west", "shop", isReady);
    const moved = await scene.lifeboat("east", "failover", "shop", "--to", "west", "--wait");
    expect(moved).toMatchObject({ code: 0 });
    await scene.untilStatus("following", "east", "shop", ({ role }) => role === "standby");
    const missing = async (): Promise<true | undefined> => {
      const both = [await scene.pair.metrics("east"), await scene.pair.metrics("west")];
      const samples = both.flatMap((each) => each.samples);
      const names = new Set(samples.map(({ name }) => name.replace(/_(bucket|sum|count)$/, "")));
      const absent = Object.keys(metricTable).filter((name) => !names.has(name) && without[name] === undefined);
      const zero = counted.filter((name) => !samples.some((sample) => sample.name === name && sample.value > 0));
      if (absent.length + zero.length > 0) throw new Error(`absent: ${absent.join()}; zero: ${zero.join()}`);
      return true;
    };
    await waitFor("all metrics", missing, { limitMs: patienceMs, signal: scene.signal });
  });

  it("every metric of the witness has one, but those that count what did not happen", async () => {
    const declared = new Registry();
    createWitnessMetrics(declared);
    const { samples } = await scene.pair.metrics("witness");
    const names = new Set(samples.map(({ name }) => name.replace(/_(bucket|sum|count)$/, "")));
    const absent = declared.getMetricsAsArray().flatMap(({ name }) => (names.has(name) ? [] : [name]));
    // Their labels are the rule that refused and the reason for which a message was not looked at.
    const quiet = ["lifeboat_witness_refusals_total", "lifeboat_witness_dropped_total"];
    expect(absent.filter((name) => !quiet.includes(name))).toEqual([]);
  });

  it("each condition that came to hold or ceased to was told as an event", async () => {
    const told = await events(scene, "west", "shop");
    expect(told).toContainEqual(expect.stringMatching(/^Degraded(?!Healthy)\w+: /));
    expect(told).toContainEqual(expect.stringMatching(/^DegradedHealthy: /));
    expect(told).toContainEqual(expect.stringMatching(/^ReadyNotReady: /));
    expect(told).toContainEqual(expect.stringMatching(/^ReadyReady: /));
  });

  it("no value of a Secret is in any log, at the level trace", async () => {
    const values = [secretValue, Buffer.from(secretValue).toString("base64")];
    for (const member of ["east", "west", "witness"]) {
      const log = await scene.log(member);
      expect(log, member).toContain('"level":"');
      for (const value of values) expect(log.includes(value), member).toBe(false);
    }
  });
});
