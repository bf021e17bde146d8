import { readFile } from "node:fs/promises";
import { rm } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { GroupSpecInput } from "../../src/config/group.ts";
import { marks, type KubeObject } from "../../src/objects/object.ts";
import { journalPath } from "../../src/agent/group-journal.ts";
import { waitFor } from "../pair/wait.ts";
import {
  configMap,
  dataOf,
  deployment,
  expectSame,
  groupSpec,
  isCaughtUp,
  namespace,
  replicasOf,
  type Scene,
  secret,
  service,
  type SiteName,
  startScene,
} from "./agent-harness.ts";

/** Groups move between two sites, by order and by the witness, with everything that may fail in between. */

let scene: Scene;
const wallClock = new URL("../pair/wall-clock.ts", import.meta.url).href;
const group = "shop";
const isRoot = process.getuid?.() === 0;
const groupObject: KubeObject = {
  apiVersion: "lifeboat.dev/v1alpha1",
  kind: "ProtectionGroup",
  metadata: { name: group },
};
const web = deployment("shop", "web", 3);
const other = (site: SiteName): SiteName => (site === "east" ? "west" : "east");

/** A takeover waits for every promise to end; a switchover for pods. Twice that, on a busy machine. */
const moveLimitMs = 90_000;

beforeAll(async () => {
  scene = await startScene({ nodes: "simulated", nodeCount: 1, nodeFlags: ["--import", wallClock] });
  await scene.apply(
    "east",
    namespace("shop"),
    configMap("shop", "first", { a: "1" }),
    secret("shop", "key", "x1-plain-secret-value"),
  );
  await scene.apply("east", service("shop", "web"), web);
  await scene.pair.applyGroup("east", group, groupSpec(["shop"]), scene.signal);
  await expectFollowing("west");
});
afterAll(async () => scene?.stop());

/** `site` is a standby that has everything, by its own word and by a comparison of both API servers. */
async function expectFollowing(site: SiteName): Promise<void> {
  await scene.untilStatus(
    "standby",
    site,
    group,
    ({ role, active }) => role === "standby" && active === other(site),
    moveLimitMs,
  );
  await scene.untilStatus("caught up", site, group, isCaughtUp);
  await expectSame(scene, ["shop"]);
  expect(replicasOf(await scene.find(site, web))).toBe(0);
}

async function expectRunning(site: SiteName, replicas: number): Promise<void> {
  await scene.untilStatus(
    "active",
    site,
    group,
    ({ role, active }) => role === "active" && active === site,
    moveLimitMs,
  );
  await scene.until("its replicas", site, web, (found) => replicasOf(found) === replicas);
  await scene.until("ready pods", site, web, (found) => {
    return (found?.["status"] as { readyReplicas?: number } | undefined)?.readyReplicas === replicas;
  });
}

/** By the command. Right after a restart it is refused, for a reason that passes; a person asks again. */
async function move(to: SiteName): Promise<void> {
  const ask = async () => {
    const answer = await scene.lifeboat(to, "failover", group, "--to", to, "--wait");
    expect(answer.code === 0 || answer.out.includes("[NotPrepared]"), JSON.stringify(answer)).toBe(true);
    return answer.code === 0 || undefined;
  };
  await waitFor(`move to ${to}`, ask, { limitMs: moveLimitMs, signal: scene.signal });
}

async function epochAt(site: SiteName): Promise<string> {
  return (await scene.status(site, group)).epoch ?? "";
}

async function annotate(site: SiteName, value: string): Promise<void> {
  await scene.bed.kubectl(site, ["annotate", "--overwrite", "protectiongroup", group, `${marks.failover}=${value}`]);
}

describe("with both sites alive", () => {
  let serial = 0;

  it.each([
    ["west", "west"],
    ["east", "west"],
    ["west", "west"],
    ["east", "east"],
  ] as const)("`failover --to %s --wait`, asked at %s, moves the group without loss", async (to, asked) => {
    serial += 1;
    const from = other(to);
    await expectRunning(from, 3);
    const last = configMap("shop", "last", { serial: String(serial) });
    await scene.apply(from, last, configMap("shop", `only-${serial}`, {}));
    await scene.remove(from, configMap("shop", `only-${serial - 1}`));
    const moved = await scene.lifeboat(asked, "failover", group, "--to", to, "--wait");
    expect(moved, JSON.stringify(await scene.status(asked, group))).toMatchObject({ code: 0, err: "" });
    await expectRunning(to, 3);
    expect(dataOf(await scene.find(to, last))["serial"]).toBe(String(serial));
    await expectFollowing(from);
    const status = await scene.status(to, group);
    expect(status.lastFailover).toMatchObject({ from, to, kind: "switchover", automatic: false });
  });

  it("a bare annotation moves it, and is taken away", async () => {
    await annotate("east", "west");
    await expectRunning("west", 3);
    await expectFollowing("east");
    const taken = (found: KubeObject | undefined) => found?.metadata.annotations?.[marks.failover] === undefined;
    await scene.until("no annotation", "east", groupObject, taken);
    await annotate("west", "east");
    await expectRunning("east", 3);
    await expectFollowing("west");
  });

  it("the same annotation applied again later does not", async () => {
    const epoch = await epochAt("east");
    await annotate("east", "west");
    await scene.untilStatus("refused", "east", group, ({ lastRequest }) => lastRequest?.outcome === "Refused");
    expect((await scene.status("east", group)).lastRequest?.message).toContain("already carried out");
    await delay(3000);
    await expectRunning("east", 3);
    expect(await epochAt("east")).toBe(epoch);
  });

  it("orders at both sites at once, each to the other one, are one move", async () => {
    const epoch = await epochAt("east");
    await Promise.all([annotate("east", `west@${epoch}`), annotate("west", `east@${epoch}`)]);
    await expectRunning("west", 3);
    await expectFollowing("east");
    const { lastRequest } = await scene.untilStatus("answered", "west", group, (status) => {
      return status.lastRequest?.id === `east@${epoch}` && status.lastRequest.outcome !== "Running";
    });
    expect(lastRequest?.message).toMatch(/already|epoch/);
    await move("east");
    await expectRunning("east", 3);
    await expectFollowing("west");
  });

  it.each([
    ["a site that the group does not have", "south", "not a site"],
    ["an epoch that is past", "west@1.1", "epoch"],
    ["something that is no request", "?!", "not a failover request"],
  ])("%s is refused, with a message", async (_what, value, message) => {
    await annotate("east", value);
    const refused = await scene.untilStatus(
      "refused",
      "east",
      group,
      ({ lastRequest }) => lastRequest?.id === value && lastRequest.outcome === "Refused",
    );
    expect(refused.lastRequest?.message).toContain(message);
    expect(await scene.status("east", group)).toMatchObject({ role: "active", active: "east" });
  });

  it("the command says of a refusal what is wrong, with exit code 4", async () => {
    const unknown = await scene.lifeboat("east", "failover", group, "--to", "south", "--wait");
    expect(unknown).toMatchObject({ code: 4, err: expect.stringContaining("its sites are east and west") as string });
    const there = await scene.lifeboat("east", "failover", group, "--to", "east", "--wait");
    expect(there).toMatchObject({ code: 0, out: expect.stringContaining("already active at east") as string });
    const dry = await scene.lifeboat("east", "failover", group, "--to", "west", "--dry-run");
    expect(dry).toMatchObject({ code: 0, out: expect.stringContaining("would annotate") as string });
    const missing = await scene.lifeboat("east", "failover", "nothing", "--to", "west");
    expect(missing).toMatchObject({ code: 1, err: expect.stringContaining("this site has: shop") as string });
  });
});

describe("without a reason to move", () => {
  it("an agent of the active site that is killed and comes back within the lease stops nothing", async () => {
    const before = await scene.find("east", web);
    const epoch = await epochAt("east");
    await scene.pair.restartAgent("east", { signal: "SIGKILL" });
    await scene.untilStatus("active", "east", group, ({ role, state }) => role === "active" && state === "Active");
    await delay(6000);
    const after = await scene.find("east", web);
    expect(after?.metadata["generation"]).toBe(before?.metadata["generation"]);
    expect(replicasOf(after)).toBe(3);
    expect(await epochAt("east")).toBe(epoch);
    await expectFollowing("west");
  });

  it("a witness that is away changes nothing, and is missed in the status", async () => {
    const epoch = await epochAt("east");
    await scene.pair.stopMember("witness", { signal: "SIGKILL" });
    await scene.untilStatus("witness missed", "east", group, ({ witness }) => witness?.reachable === false);
    await scene.apply("east", configMap("shop", "without-witness", { a: "1" }));
    await expectFollowing("west");
    await delay(10_000);
    await expectRunning("east", 3);
    await scene.pair.startWitness();
    await scene.untilStatus("witness back", "east", group, ({ witness }) => witness?.reachable === true);
    expect(await epochAt("east")).toBe(epoch);
  });

  it("a standby whose journal was deleted gets everything again", async () => {
    await scene.pair.stopMember("west", { signal: "SIGKILL" });
    const path = journalPath(scene.pair.dataDir("west"), group);
    await Promise.all(["", "-wal", "-shm"].map((part) => rm(`${path}${part}`, { force: true })));
    await scene.apply("east", configMap("shop", "without-journal", { a: "1" }));
    await scene.remove("east", configMap("shop", "without-witness"));
    await scene.pair.startAgent("west");
    await expectFollowing("west");
  });
});

describe("moves with changes and restarts in between", () => {
  it("never put an old state over a newer one", async () => {
    let at: SiteName = "east";
    const seen = configMap("shop", "journey", { step: "0" });
    for (let step = 1; step <= 3; step++) {
      const to = other(at);
      await scene.apply(at, configMap("shop", "journey", { step: `${step}` }), deployment("shop", "web", 2 + step));
      await scene.apply(at, configMap("shop", `step-${step}`, {}));
      await scene.remove(at, configMap("shop", `step-${step - 1}`));
      await Promise.all(
        (["east", "west"] as const).map((site) => scene.pair.restartAgent(site, { signal: "SIGKILL" })),
      );
      await expectRunning(at, 2 + step);
      expect(dataOf(await scene.find(at, seen))["step"]).toBe(`${step}`);
      await expectFollowing(to);
      await move(to);
      await expectRunning(to, 2 + step);
      await scene.pair.restartAgent(to, { signal: "SIGKILL" });
      await scene.apply(to, configMap("shop", "journey", { step: `${step} at ${to}` }));
      await scene.pair.restartAgent(at, { signal: "SIGKILL" });
      await expectFollowing(at);
      await expectRunning(to, 2 + step);
      expect(dataOf(await scene.find(to, seen))["step"]).toBe(`${step} at ${to}`);
      expect(await scene.find(to, configMap("shop", `step-${step - 1}`))).toBeUndefined();
      at = to;
    }
    await move("east");
    await expectRunning("east", 5);
    await expectFollowing("west");
  });
});

describe("with the active site dead", () => {
  async function kill(site: SiteName): Promise<void> {
    await scene.bed.faults.kill(site);
  }

  async function restore(site: SiteName): Promise<void> {
    await scene.bed.faults.restore(site);
    await scene.pair.startAgent(site);
  }

  async function setAutomatic(site: SiteName, automatic: boolean): Promise<void> {
    const failover: GroupSpecInput["failover"] = { automatic };
    await scene.pair.applyGroup(site, group, groupSpec(["shop"], { failover }), scene.signal);
    await scene.untilStatus("armed or not", other(site), group, ({ conditions }) => {
      return conditions?.some(({ type, status }) => type === "Armed" && (status === "True") === automatic) ?? false;
    });
  }

  it("wall clocks that jump, an hour forward at one site and back at the other, change nothing", async () => {
    const epoch = await epochAt("east");
    for (const site of ["east", "west", "west"] as const) {
      await scene.pair.process(site).kill("SIGUSR2");
      // A signal that comes while the one before is not taken in yet counts as that one.
      await delay(1_000);
    }
    await scene.apply("east", configMap("shop", "in-the-wrong-hour", { a: "1" }));
    await scene.until("the copy", "west", configMap("shop", "in-the-wrong-hour"), (found) => found !== undefined);
    // Longer than any lease.
    await delay(12_000);
    const hours = await Promise.all((["east", "west"] as const).map((site) => wallHour(site)));
    expect(hours).toEqual([1, -1]);
    await expectRunning("east", 5);
    await expectFollowing("west");
    expect(await epochAt("east")).toBe(epoch);
    const { lag } = await scene.status("east", group);
    expect(lag?.ageMs).toBeLessThan(10_000);
    // What follows goes by these clocks, until an agent is started again.
  });

  /** How far the agent's wall clock is off, by what it writes. */
  async function wallHour(site: SiteName): Promise<number> {
    const value = `nowhere-${site}`;
    await annotate(site, value);
    const { lastRequest } = await scene.untilStatus(
      "answered",
      site,
      group,
      (status) => status.lastRequest?.id === value,
    );
    return Math.round((Date.parse(lastRequest?.at ?? "") - Date.now()) / 3_600_000);
  }

  it("nothing moves by itself where that is not wanted, a person's word moves it", async () => {
    await scene.apply("east", deployment("shop", "web", 5));
    await expectRunning("east", 5);
    await scene.until(
      "the change",
      "west",
      web,
      (found) => found?.metadata.annotations?.[marks.held]?.includes("5") ?? false,
    );
    await kill("east");
    await delay(15_000);
    expect(await scene.status("west", group)).toMatchObject({ role: "standby", active: "east" });
    const moved = await scene.lifeboat("west", "failover", group, "--to", "west", "--wait", "--timeout", "80");
    expect(moved, JSON.stringify(await scene.status("west", group))).toMatchObject({ code: 0 });
    await expectRunning("west", 5);
    await restore("east");
    await expectFollowing("east");
  });

  it.runIf(isRoot)(
    "the witness moves it where that is wanted; the other site returns as standby, and what it did alone is kept and listed",
    async () => {
      await move("east");
      await expectRunning("east", 5);
      await expectFollowing("west");
      await setAutomatic("east", true);
      // What east does last never reaches west.
      await scene.bed.faults.partition("east", "west");
      await scene.apply(
        "east",
        configMap("shop", "unseen", { made: "at east" }),
        configMap("shop", "first", { a: "at east" }),
      );
      await delay(1000);
      await kill("east");
      await scene.bed.faults.heal();
      await expectRunning("west", 5);
      // Told once the last wave is ready; until then it is the move before.
      const { lastFailover } = await scene.untilStatus("told how", "west", group, (status) => {
        return status.lastFailover?.automatic === true;
      });
      expect(lastFailover).toMatchObject({ kind: "failover", from: "east", to: "west" });
      await scene.apply("west", configMap("shop", "first", { a: "at west" }));
      await restore("east");
      const status = await scene.untilStatus(
        "divergence",
        "east",
        group,
        ({ divergence }) => (divergence?.count ?? 0) > 0,
      );
      expect(status.divergence?.objects).toEqual(
        expect.arrayContaining(["/ConfigMap/shop/first", "/ConfigMap/shop/unseen"]),
      );
      expect(dataOf(await scene.find("west", configMap("shop", "first")))).toEqual({ a: "at west" });
      // Kept, until somebody has looked at it.
      const unseen = configMap("shop", "unseen");
      expect(dataOf(await scene.find("east", unseen))).toEqual({ made: "at east" });
      await scene.remove("east", unseen);
      await expectFollowing("east");
      expect(dataOf(await scene.find("east", configMap("shop", "first")))).toEqual({ a: "at west" });
      const reasons = ["get", "events", "-n", "default", "-o", "jsonpath={.items[*].reason}"];
      expect(await scene.bed.kubectl("west", reasons)).toContain("Started");
    },
  );
});

it("no value of a Secret is in any log", async () => {
  const values = ["x1-plain-secret-value", Buffer.from("x1-plain-secret-value").toString("base64")];
  for (const member of ["east", "west", "witness"]) {
    const text = await readFile(scene.pair.process(member).logPath, "utf8");
    expect(text.length).toBeGreaterThan(0);
    for (const value of values) expect(text).not.toContain(value);
  }
});
