import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { groupApi, type GroupSpecInput, type GroupStatus } from "../../src/config/group.ts";

import { keyOf } from "../../src/objects/key.ts";
import { metricTable } from "../../src/telemetry/metrics.ts";
import { marks, type KubeObject } from "../../src/objects/object.ts";
import { waitFor } from "../pair/wait.ts";
import { randomFrom } from "../random.ts";
import {
  configMap,
  contents,
  dataOf,
  deployment,
  expectSame,
  groupSpec,
  namespace,
  replicasOf,
  resourceOf,
  type Scene,
  secret,
  service,
  type SiteName,
  startScene,
} from "./agent-harness.ts";

/** A group that runs at both sites: written at both, single things at one, and one site that is lost and returns. */

let scene: Scene;
const group = "shop";
const isRoot = process.getuid?.() === 0;
const both = ["east", "west"] as const;
const web = deployment("shop", "web", 2);
const leader = single(deployment("shop", "leader", 1));
/** Bears less of a lost site's load than the group's surge says. */
const api = annotated(deployment("shop", "api", 2), { [marks.surge]: "150" });
const moveLimitMs = 90_000;

function annotated(object: KubeObject, annotations: Record<string, string>): KubeObject {
  return { ...object, metadata: { ...object.metadata, annotations } };
}

/** What mounts a claim is another volume at each site. */
function mounting(workload: KubeObject, claimName: string): KubeObject {
  const spec = workload["spec"] as { template: { spec: object } };
  const volumes = [{ name: "data", persistentVolumeClaim: { claimName } }];
  return { ...workload, spec: { ...spec, template: { ...spec.template, spec: { ...spec.template.spec, volumes } } } };
}

function single(workload: KubeObject): KubeObject {
  const mark = { [marks.singleton]: "true" };
  const spec = workload["spec"] as { template: { metadata: { labels: Record<string, string> } } };
  spec.template.metadata.labels = { ...spec.template.metadata.labels, ...mark };
  return { ...workload, metadata: { ...workload.metadata, annotations: mark } };
}

const other = (site: SiteName): SiteName => (site === "east" ? "west" : "east");

async function expectReplicas(object: KubeObject, east: number, west: number, limitMs?: number): Promise<void> {
  await scene.until(`${east} replicas`, "east", object, (found) => replicasOf(found) === east, limitMs);
  await scene.until(`${west} replicas`, "west", object, (found) => replicasOf(found) === west, limitMs);
}

async function expectOwner(site: SiteName): Promise<void> {
  for (const at of both) {
    const said = at === site ? "here" : "at the other site";
    await scene.untilStatus(
      `what is single ${said}`,
      at,
      group,
      ({ role, active, merge }) => role === "active" && active === site && merge?.["singletons"] === said,
      moveLimitMs,
    );
  }
}

async function podsOfLeader(site: SiteName): Promise<number> {
  const resource = resourceOf({ apiVersion: "v1", kind: "Pod" });
  let count = 0;
  const options = { namespace: "shop", labelSelector: "app=leader", signal: scene.signal };
  for await (const page of scene.client(site).list(resource, options)) count += page.items.length;
  return count;
}

/**
 * Looks until the signal aborts whether what is single runs at `to` while `from` still has a pod of it, one that is
 * ending included. Returns how often it did, and how often it was looked.
 */
async function watchOverlap(from: SiteName, to: SiteName, signal: AbortSignal) {
  let looks = 0;
  let overlaps = 0;
  while (!signal.aborted) {
    // In this order: a pod that is at `from` after one was at `to` has been there at the same time.
    const there = await podsOfLeader(to);
    if (there > 0 && (await podsOfLeader(from)) > 0) overlaps++;
    looks++;
    await delay(20);
  }
  return { looks, overlaps };
}

async function conflicts(): Promise<number> {
  const found = await Promise.all(both.map(async (site) => (await scene.status(site, group)).merge));
  return found.reduce((sum, merge) => sum + (merge?.conflictCount ?? 0), 0);
}

/** Versions of everything in the namespace; they change with every write. */
async function versions(): Promise<string> {
  const words: string[] = [];
  for (const site of both) {
    for (const kind of ["configmaps", "secrets", "services", "deployments"]) {
      const path = [
        "get",
        kind,
        "-n",
        "shop",
        "-o",
        "jsonpath={range .items[*]}{.metadata.name} {.metadata.generation} {.metadata.resourceVersion} {.spec}{.data}\n{end}",
      ];
      const text = await scene.bed.kubectl(site, path);
      // What controllers note in a status is no write of ours.
      words.push(kind === "deployments" ? text.replaceAll(/^(\S+ \d+) \d+/gm, "$1") : text);
    }
  }
  return words.join("\n");
}

async function applyGroup(
  { automatic }: { readonly automatic: boolean },
  mutations: NonNullable<GroupSpecInput["mutations"]> = [],
): Promise<void> {
  const failover = { automatic, surge: { percent: 200 } };
  const spec = groupSpec(["shop"], { mode: "ActiveActive", failover, mutations });
  await scene.pair.applyGroup("east", group, spec, scene.signal);
}

beforeAll(async () => {
  scene = await startScene({ nodes: "simulated", nodeCount: 1 });
  await scene.apply("east", namespace("shop"), configMap("shop", "first", { a: "1" }), secret("shop", "key", "x1"));
  await scene.apply("east", service("shop", "web"), web, api, leader);
  // An agent that is killed may take longer to come back than the shortest lease lasts.
  await applyGroup({ automatic: false });
  await expectOwner("east");
});
afterAll(async () => scene?.stop());

describe("both sites", () => {
  it("run everything but what is single, which waits at one of them", async () => {
    await expectReplicas(web, 2, 2);
    await expectReplicas(leader, 1, 0);
    await expectSame(scene, ["shop"]);
    await scene.until("ready pods", "west", web, (found) => {
      return (found?.["status"] as { readyReplicas?: number } | undefined)?.readyReplicas === 2;
    });
    expect((await scene.status("west", group)).merge?.singletonCount).toBe(1);
  });

  it("do not both run what mounts a claim, unless each is to have a volume of its own", async () => {
    const db = mounting(deployment("shop", "db", 1), "data");
    await scene.apply("east", db);
    await expectReplicas(db, 1, 0);
    await scene.untilStatus("two single", "west", group, ({ merge }) => merge?.["singletonCount"] === 2);
    await scene.apply("east", annotated(db, { [marks.singleton]: "false" }));
    await expectReplicas(db, 1, 1);
    await scene.remove("east", db);
    await scene.until("deleted", "west", db, (found) => found === undefined);
  });

  it("have what is written at either, deletions included", async () => {
    await scene.apply("west", configMap("shop", "from-west", { a: "1" }), deployment("shop", "web", 3));
    await scene.apply("east", configMap("shop", "from-east", { a: "1" }), configMap("shop", "first", { a: "2" }));
    await expectReplicas(web, 3, 3);
    await expectSame(scene, ["shop"]);
    await scene.remove("east", configMap("shop", "from-west"));
    await scene.remove("west", configMap("shop", "from-east"));
    for (const site of both) {
      for (const name of ["from-west", "from-east"]) {
        await scene.until("deleted", site, configMap("shop", name), (found) => found === undefined);
      }
    }
    expect(dataOf(await scene.find("west", configMap("shop", "first")))).toEqual({ a: "2" });
  });

  it("name what could not be made of an object at the site that it could not be made at", async () => {
    const isTold = ({ findings = [] }: Partial<GroupStatus>): boolean =>
      findings.some(({ code, object }) => code === "SurgeIgnored" && object === keyOf(odd));
    const odd = deployment("shop", "odd", 1);
    await scene.apply("east", annotated(odd, { [marks.surge]: "twice" }));
    await scene.untilStatus("the finding", "west", group, isTold, moveLimitMs);
    await scene.bed.kubectl("east", ["delete", "deployment", "odd", "-n", "shop"]);
    await scene.untilStatus("no finding", "west", group, (status) => !isTold(status), moveLimitMs);
  });

  it("end with the later of two writes at once, and say so", async () => {
    const before = await conflicts();
    for (let round = 0; round < 5; round++) {
      await Promise.all(
        both.map((site) => scene.apply(site, configMap("shop", "contested", { by: site, round: `${round}` }))),
      );
      await expectSame(scene, ["shop"]);
    }
    expect(await conflicts()).toBeGreaterThan(before);
    const logs = await Promise.all(both.map(async (site) => (await scene.status(site, group)).merge?.conflicts ?? []));
    expect(logs.flat().map(({ object }) => object)).toContain("/ConfigMap/shop/contested");
  });

  it("count in their metrics what they wrote for each other, and each conflict", async () => {
    const samples = (await Promise.all(both.map((site) => scene.pair.metrics(site)))).flatMap((each) => each.samples);
    const names = Object.keys(metricTable).filter((name) => /^lifeboat_(merge|surge)_/.test(name));
    expect(names.length).toBeGreaterThan(0);
    expect(names.filter((name) => !samples.some((sample) => sample.name === name))).toEqual([]);
    for (const name of ["lifeboat_merge_conflicts_total", "lifeboat_merge_writes_total"]) {
      expect(Math.max(...samples.filter((sample) => sample.name === name).map(({ value }) => value))).toBeGreaterThan(
        0,
      );
    }
  });

  it("keep what is single from being started where it waits", async () => {
    await scene.bed.kubectl("west", ["scale", "deployment", "leader", "-n", "shop", "--replicas=2"]);
    await expectReplicas(leader, 1, 0);
    const pod: KubeObject = {
      apiVersion: "v1",
      kind: "Pod",
      metadata: { namespace: "shop", name: "by-hand", labels: { [marks.singleton]: "true" } },
      spec: { containers: [{ name: "main", image: "any/web:1" }] },
    };
    await expect(scene.apply("west", pod)).rejects.toThrow("runs at east");
    const free = { ...pod, metadata: { namespace: "shop", name: "free" } };
    await scene.apply("west", free);
    await scene.until("the pod", "east", free, (found) => found !== undefined);
    await scene.remove("west", free);
    await scene.until("no pod", "east", free, (found) => found === undefined);
  });

  it("come to the same after their agents were killed while people wrote at both", async () => {
    for (const site of both) {
      await scene.pair.stopMember(site, { signal: "SIGKILL" });
      await scene.apply(
        site,
        configMap("shop", `while-away-${site}`, { at: site }),
        configMap("shop", "both", { site }),
      );
      await scene.apply(other(site), configMap("shop", "meanwhile", { at: other(site) }));
      if (site === "west") await scene.remove("west", configMap("shop", "while-away-east"));
      await scene.pair.startAgent(site);
      await expectSame(scene, ["shop"]);
    }
    await scene.until("deleted", "east", configMap("shop", "while-away-east"), (found) => found === undefined);
  });

  it("are as the spec says that was edited while no agent was there", async () => {
    const regional = configMap("shop", "regional", { region: "any" });
    const region = async (name: string): Promise<void> => {
      await scene.until(name, "east", regional, (found) => dataOf(found)?.["region"] === name, moveLimitMs);
    };
    await scene.apply("west", regional);
    await region("any");
    const jsonPatch = [{ op: "replace" as const, path: "/data/region", value: "east" }];
    const match = { kinds: ["ConfigMap"], names: ["regional"] };
    for (const [mutations, name] of [
      [[{ match, site: "east", when: "always" as const, jsonPatch }], "east"],
      [[], "any"],
    ] as const) {
      await scene.pair.stopMember("east", { signal: "SIGKILL" });
      await applyGroup({ automatic: false }, [...mutations]);
      await scene.pair.startAgent("east");
      await region(name);
    }
    await scene.remove("west", regional);
  });

  it.runIf(isRoot)("go on alone while the link between them is cut, and are the same again after it", async () => {
    await scene.bed.faults.partition("east", "west");
    for (const site of both) {
      await scene.apply(site, configMap("shop", `cut-${site}`, { at: site }), configMap("shop", "cut", { by: site }));
      await delay(1500);
    }
    await scene.remove("east", configMap("shop", "meanwhile"));
    await delay(4000);
    expect(await scene.find("west", configMap("shop", "meanwhile"))).toBeDefined();
    await scene.bed.faults.heal();
    await expectSame(scene, ["shop"]);
    const found = await contents(scene, "west", ["shop"]);
    expect(Object.keys(found)).toEqual(expect.arrayContaining(["ConfigMap shop/cut-east", "ConfigMap shop/cut-west"]));
    expect(found["ConfigMap shop/meanwhile"]).toBeUndefined();
    expect(dataOf(await scene.find("east", configMap("shop", "cut")))).toEqual({ by: "west" });
    await expectReplicas(leader, 1, 0);
  });

  it("end with the same, whatever people write where, with agents that come and go", { timeout: 240_000 }, async () => {
    const seed = Date.now() % 1_000_000;
    const draw = randomFrom(seed);
    const pick = <T>(list: readonly T[]): T => list[Math.floor(draw() * list.length)] as T;
    const names = ["a", "b", "c", "d", "e", "f"].map((name) => `drawn-${name}`);
    const work = async (site: SiteName): Promise<void> => {
      for (let step = 0; step < 60; step++) {
        const object = configMap("shop", pick(names), { by: site, step: `${step}` });
        if (draw() < 0.25) await scene.remove(site, object);
        else await scene.apply(site, object);
        if (draw() < 0.5) await delay(draw() * 120);
      }
    };
    const restarts = async (): Promise<void> => {
      await delay(1000);
      await scene.pair.restartAgent("west", { signal: "SIGKILL" });
      await delay(500);
      await scene.pair.restartAgent("east", { signal: "SIGKILL" });
    };
    await Promise.all([work("east"), work("west"), restarts()]);
    await expectSame(scene, ["shop"]).catch((error: unknown) => {
      throw new Error(`seed ${seed}: ${String(error)}`, { cause: error });
    });
    await delay(3000);
    await expectSame(scene, ["shop"]);
  });

  it("fall silent when nobody writes", async () => {
    await expectSame(scene, ["shop"]);
    await delay(2000);
    const before = await versions();
    await delay(6000);
    expect(await versions()).toBe(before);
  });
});

describe("what is single", () => {
  it.each(["west", "east"] as const)("moves to %s by a switchover, and nothing else does", async (to) => {
    const watching = new AbortController();
    const watched = watchOverlap(other(to), to, watching.signal);
    // Right after a restart it is refused, for a reason that passes; a person asks again.
    const ask = async () => {
      const answer = await scene.lifeboat(other(to), "switchover", group, "--to", to, "--wait");
      expect(answer.code, JSON.stringify(answer)).toBe(0);
      return true;
    };
    await waitFor(`switchover to ${to}`, ask, { limitMs: moveLimitMs, everyMs: 1000, signal: scene.signal });
    await expectOwner(to);
    await expectReplicas(leader, to === "east" ? 1 : 0, to === "west" ? 1 : 0);
    await scene.until("its pod", to, leader, (found) => {
      return (found?.["status"] as { readyReplicas?: number } | undefined)?.readyReplicas === 1;
    });
    watching.abort();
    const { looks, overlaps } = await watched;
    expect(looks).toBeGreaterThan(10);
    expect(overlaps).toBe(0);
    await expectReplicas(web, 3, 3);
    await scene.apply(other(to), configMap("shop", "after-move", { to }));
    await expectSame(scene, ["shop"]);
  });

  it("is taken over from a site that is lost, with the load of both, and both are as before when it is back", async () => {
    await applyGroup({ automatic: true });
    await scene.untilStatus("armed", "west", group, ({ conditions }) => {
      return conditions?.some(({ type, status }) => type === "Armed" && status === "True") ?? false;
    });
    await scene.bed.faults.kill("east");
    await scene.until("its replicas", "west", leader, (found) => replicasOf(found) === 1, moveLimitMs);
    await scene.until("the load of both", "west", web, (found) => replicasOf(found) === 6, moveLimitMs);
    await scene.until("its own share of it", "west", api, (found) => replicasOf(found) === 3, moveLimitMs);
    await scene.untilStatus("surge", "west", group, ({ merge, active }) => {
      return merge?.surgePercent === 200 && active === "west";
    });
    await scene.apply("west", configMap("shop", "alone", { at: "west" }));
    await scene.bed.faults.restore("east");
    await scene.pair.startAgent("east");
    await scene.until("its own load", "west", web, (found) => replicasOf(found) === 3, moveLimitMs);
    await scene.until("its own load", "west", api, (found) => replicasOf(found) === 2, moveLimitMs);
    await expectOwner("west");
    await expectReplicas(leader, 0, 1);
    await expectReplicas(web, 3, 3);
    await expectSame(scene, ["shop"]);
    await waitFor(
      "nothing kept as divergent",
      async () => ((await scene.status("east", group)).divergence === undefined ? true : undefined),
      { limitMs: 30_000, signal: scene.signal },
    );
  });

  it("runs nowhere else when the group ends, and what runs goes on", async () => {
    await scene.bed.kubectl("west", ["delete", "protectiongroup", group, "--timeout=60s"]);
    await scene.untilStatus("orphaned", "east", group, ({ state }) => state === "Orphaned");
    await scene.apply("west", configMap("shop", "after-the-end", {}));
    await delay(3000);
    expect(await scene.find("east", configMap("shop", "after-the-end"))).toBeUndefined();
    // Not begun anew by what the other site had of it.
    expect(await scene.find("west", { ...groupApi, metadata: { name: group } })).toBeUndefined();
    await expectReplicas(web, 3, 3);
    await expectReplicas(leader, 0, 1);
  });
});
