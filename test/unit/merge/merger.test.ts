import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { GroupSpecInput } from "../../../src/config/group.ts";
import { keyOf } from "../../../src/objects/key.ts";
import { type KubeObject, marks } from "../../../src/objects/object.ts";
import { randomFrom } from "../../random.ts";
import { object, specWith } from "../render/helpers.ts";
import { MergingSite, settle } from "./two-sites.ts";

/** Two sites of a group that runs at both, from API server to API server; the stream between them is the test's. */

let east: MergingSite;
let west: MergingSite;
let spec = specWith({ mode: "ActiveActive" });

const shop: KubeObject = { apiVersion: "v1", kind: "Namespace", metadata: { name: "shop" } };
const settings = (value: string): KubeObject => object("v1", "ConfigMap", "settings", { data: { value } });
const settingsKey = keyOf(settings(""));
const web = (replicas: number, more: Parameters<typeof object>[3] = {}): KubeObject =>
  object("apps/v1", "Deployment", "web", { spec: { replicas, template: { spec: { containers: [] } } }, ...more });
const webKey = keyOf(web(1));
const single = web(1, { labels: { [marks.singleton]: "true" } });

function setSpec(more: Partial<GroupSpecInput> = {}): void {
  spec = specWith({ mode: "ActiveActive", ...more });
}

const valueAt = (site: MergingSite): unknown => (site.api.get(settingsKey)?.["data"] as { value?: string })?.value;
const replicasAt = (site: MergingSite): unknown => (site.api.get(webKey)?.["spec"] as { replicas?: number })?.replicas;

/** What people have asked for, of everything. */
function said(site: MergingSite): unknown {
  return Object.fromEntries(
    site.api
      .all()
      .map(([key, { metadata, ...rest }]) => {
        const annotations = { ...metadata.annotations };
        delete annotations[marks.version];
        const { clusterIP: _address, ...own } = (rest["spec"] ?? {}) as Record<string, unknown>;
        return [key, { ...rest, spec: own, labels: metadata.labels ?? {}, annotations }] as const;
      })
      .sort(([a], [b]) => (a < b ? -1 : 1)),
  );
}

beforeEach(() => {
  setSpec();
  east = new MergingSite("east", () => spec);
  west = new MergingSite("west", () => spec);
  east.singlesHere = true;
});
afterEach(async () => {
  await east.stop();
  await west.stop();
});

describe("what is written at either site", () => {
  test("is at both, with what each API server has chosen for itself", async () => {
    east.api.user(shop);
    east.api.user(settings("a"));
    east.api.user(object("v1", "Service", "web", { spec: { ports: [{ port: 80 }] } }));
    west.api.user(shop);
    west.api.user(object("v1", "ConfigMap", "other", { data: { from: "west" } }));
    await settle(east, west);
    expect(said(west)).toEqual(said(east));
    expect(east.api.all()).toHaveLength(4);
    const addresses = [east, west].map((site) => site.api.get("/Service/shop/web")?.["spec"]);
    expect(addresses[0]).not.toEqual(addresses[1]);
    expect(east.merger.status().conflicts).toEqual([]);
  });

  test("is written once at the other site, and comes back from there as nothing new", async () => {
    east.api.user(shop);
    for (let at = 0; at < 5; at++) {
      east.api.user(settings(`v${at}`));
      await settle(east, west);
    }
    const byAgent = (site: MergingSite) => site.api.writes.filter(({ by }) => by === "agent").length;
    expect(byAgent(east)).toBe(0);
    expect(byAgent(west)).toBe(6);
    west.api.edit(settingsKey, (live) => {
      live["data"] = { value: "w" };
    });
    await settle(east, west);
    expect(valueAt(east)).toBe("w");
    expect([byAgent(east), byAgent(west)]).toEqual([1, 6]);
  });

  test("at both at once: the later write counts, and both sites say so once", async () => {
    east.api.user(shop);
    east.api.user(settings("a"));
    await settle(east, west);
    east.api.user(settings("e"));
    east.watch();
    west.offsetMs = 5000;
    west.api.user(settings("w"));
    west.watch();
    await settle(east, west);
    expect([valueAt(east), valueAt(west)]).toEqual(["w", "w"]);
    for (const { merger } of [east, west]) {
      expect(merger.status().conflicts).toMatchObject([{ key: settingsKey, winner: "west", loser: "east" }]);
    }
  });

  test("between a look and a write is not overwritten unseen", async () => {
    east.api.user(shop);
    east.api.user(settings("a"));
    await settle(east, west);
    let isDue = true;
    west.offsetMs = 10;
    west.api.beforeWrite = (key) => {
      if (key === settingsKey && isDue) {
        isDue = false;
        west.api.edit(key, (live) => {
          live["data"] = { value: "in between" };
        });
      }
    };
    east.api.user(settings("e"));
    await settle(east, west);
    expect(isDue).toBe(false);
    expect(valueAt(east)).toBe(valueAt(west));
    // Whoever looks first finds it, and what it then offers knows of both.
    expect(east.merger.status().conflictCount + west.merger.status().conflictCount).toBeGreaterThan(0);
  });

  test("is deleted at both, and a deletion is not undone by an older write that comes late", async () => {
    east.api.user(shop);
    east.api.user(settings("a"));
    await settle(east, west);
    east.offsetMs = 1000;
    west.api.user(settings("older"));
    west.watch();
    await new Promise((resolve) => {
      setTimeout(resolve, 5);
    });
    east.api.userDeletes(settingsKey);
    await settle(east, west);
    expect([valueAt(east), valueAt(west)]).toEqual([undefined, undefined]);
    await east.restart();
    await west.restart();
    await settle(east, west);
    expect([valueAt(east), valueAt(west)]).toEqual([undefined, undefined]);
    west.offsetMs = 2000;
    west.api.user(settings("again"));
    await settle(east, west);
    expect(valueAt(east)).toBe("again");
  });

  test("is deleted at both where that takes its time, as with pods and finalizers", async () => {
    east.api.user(shop);
    east.api.user(settings("a"));
    await settle(east, west);
    for (const { api } of [east, west]) api.isGraceful = true;
    east.api.userDeletes(settingsKey);
    await settle(east, west);
    expect(valueAt(west)).toBe("a");
    east.api.finish();
    await settle(east, west);
    expect(west.api.get(settingsKey)?.metadata.deletionTimestamp).toBeDefined();
    west.api.finish();
    await settle(east, west);
    expect([valueAt(east), valueAt(west)]).toEqual([undefined, undefined]);
    expect(west.merger.status().tombstones).toBe(1);
  });

  test("while an agent was away, deletions included, is found when it is back", async () => {
    east.api.user(shop);
    east.api.user(settings("a"));
    east.api.user(web(3));
    await settle(east, west);
    west.api.userDeletes(settingsKey);
    west.api.edit(webKey, (live) => {
      (live["spec"] as Record<string, unknown>)["replicas"] = 5;
    });
    await west.restart();
    await settle(east, west);
    expect(valueAt(east)).toBeUndefined();
    expect(replicasAt(east)).toBe(5);
  });

  test("by a site whose clock is far ahead is not followed, and the other site says how far", async () => {
    east.api.user(shop);
    await settle(east, west);
    west.offsetMs = 3_600_000;
    west.api.user(settings("from the future"));
    west.watch();
    for (let round = 0; round < 10; round++) await east.pull(west);
    await expect.poll(() => east.merger.status().aheadMs).toBeGreaterThan(3_500_000);
    expect(valueAt(east)).toBeUndefined();
    expect(east.merger.status().failing.get(settingsKey)?.message).toContain("ahead");
  });

  test.each([
    ["while the agent is there", false, false],
    ["and the agent is restarted after it", true, false],
    ["while the agent is away", false, true],
  ])("as a Job that has finished %s is not taken away from the other site", async (_when, isAfter, isMeanwhile) => {
    const job = object("batch/v1", "Job", "once", { spec: { template: {} } });
    east.api.user(shop);
    east.api.user(job);
    await settle(east, west);
    // Capture leaves it out, and a controller removes it later.
    if (!isMeanwhile) east.merger.gone(keyOf(job));
    await settle(east, west);
    if (isAfter || isMeanwhile) await east.restart(new Set([keyOf(job)]));
    await settle(east, west);
    east.api.userDeletes(keyOf(job));
    await settle(east, west);
    expect(west.api.get(keyOf(job))).toBeDefined();
    expect(east.api.get(keyOf(job))).toBeUndefined();
  });
});

describe("deletes", () => {
  test("of too much at once wait at the other site for a person", async () => {
    setSpec({ deletes: { guard: { percent: 30, minObjects: 3 } } });
    const many = Array.from({ length: 10 }, (_, at) => object("v1", "ConfigMap", `c${at}`, { data: {} }));
    east.api.user(shop);
    for (const one of many) east.api.user(one);
    await settle(east, west);
    for (const one of many) east.api.userDeletes(keyOf(one));
    await settle(east, west);
    const left = west.api.all().length - 1;
    expect(left).toBeGreaterThanOrEqual(6);
    expect(west.merger.status().deletesPaused).toMatchObject({ pending: left });
    expect(await west.merger.confirmDeletes()).toBe(left);
    await settle(east, west);
    expect(west.api.all()).toHaveLength(1);
    expect(west.merger.status().deletesPaused).toBeUndefined();
  });

  test("of a namespace leave the other site's, which may hold more than the group", async () => {
    east.api.user(shop);
    east.api.user(settings("a"));
    await settle(east, west);
    east.api.userDeletes(settingsKey);
    east.api.userDeletes("/Namespace//shop");
    await settle(east, west);
    expect(west.api.all().map(([key]) => key)).toEqual(["/Namespace//shop"]);
  });
});

describe("what is single", () => {
  test("runs where the group's epoch is held, and waits at the other site", async () => {
    east.api.user(shop);
    east.api.user(single);
    await settle(east, west);
    expect([replicasAt(east), replicasAt(west)]).toEqual([1, 0]);
    expect(west.api.get(webKey)?.metadata.annotations?.[marks.held]).toContain("replicas");
    expect(west.merger.status().singles).toEqual([webKey]);
  });

  test("may be written at the site where it waits", async () => {
    east.api.user(shop);
    east.api.user(single);
    await settle(east, west);
    west.api.edit(webKey, (live) => {
      (live["spec"] as Record<string, unknown>)["paused"] = true;
    });
    await settle(east, west);
    expect(east.api.get(webKey)?.["spec"]).toMatchObject({ paused: true, replicas: 1 });
    expect(replicasAt(west)).toBe(0);
  });

  test("is held again where somebody starts it", async () => {
    east.api.user(shop);
    east.api.user(single);
    await settle(east, west);
    west.api.edit(webKey, (live) => {
      (live["spec"] as Record<string, unknown>)["replicas"] = 7;
    });
    await settle(east, west);
    expect([replicasAt(east), replicasAt(west)]).toEqual([1, 0]);
  });

  test("moves with the epoch, and is nobody's write", async () => {
    east.api.user(shop);
    east.api.user(single);
    await settle(east, west);
    const before = west.merger.singlesText();
    expect(before).toBe(east.merger.singlesText());
    east.singlesHere = false;
    await east.merger.settle({ signal: new AbortController().signal });
    west.singlesHere = true;
    await west.merger.settle({ signal: new AbortController().signal });
    await settle(east, west);
    expect([replicasAt(east), replicasAt(west)]).toEqual([0, 1]);
    expect(west.merger.singlesText()).toBe(before);
    expect(west.api.get(webKey)?.metadata.annotations?.[marks.held]).toBeUndefined();
  });

  test("is neither started nor stopped while nobody has said who runs it", async () => {
    const batch = object("apps/v1", "Deployment", "other", {
      spec: { replicas: 2 },
      labels: single.metadata.labels ?? {},
    });
    east.api.user(shop);
    east.api.user(single);
    west.api.user(batch);
    await settle(east, west);
    expect(west.api.get(keyOf(batch))?.["spec"]).toMatchObject({ replicas: 0 });
    east.isToldOfSingles = false;
    west.isToldOfSingles = false;
    await east.merger.settle({ signal: new AbortController().signal });
    await west.merger.settle({ signal: new AbortController().signal });
    await settle(east, west);
    expect([replicasAt(east), replicasAt(west)]).toEqual([1, 0]);
    west.api.edit(webKey, (live) => {
      (live["spec"] as Record<string, unknown>)["paused"] = true;
    });
    await settle(east, west);
    expect(east.api.get(webKey)?.["spec"]).toMatchObject({ paused: true, replicas: 1 });
  });

  test("is there again where it waits, when its copy was deleted there", async () => {
    east.api.user(shop);
    east.api.user(single);
    await settle(east, west);
    west.api.userDeletes(webKey);
    await settle(east, west);
    expect([replicasAt(east), replicasAt(west)]).toEqual([1, 0]);
    east.api.userDeletes(webKey);
    await settle(east, west);
    expect([replicasAt(east), replicasAt(west)]).toEqual([undefined, undefined]);
  });

  test("is everything in a namespace that is marked", async () => {
    east.api.user({ ...shop, metadata: { name: "shop", labels: { [marks.singleton]: "true" } } });
    east.api.user(web(4));
    await settle(east, west);
    expect([replicasAt(east), replicasAt(west)]).toEqual([4, 0]);
  });

  test("as a bare pod is created where it is to run, and its absence elsewhere is no deletion", async () => {
    const pod = object("v1", "Pod", "one", { spec: {}, labels: { [marks.singleton]: "true" } });
    east.api.user(shop);
    east.api.user(pod);
    await settle(east, west);
    expect(west.api.get(keyOf(pod))).toBeUndefined();
    expect(east.api.get(keyOf(pod))).toBeDefined();
    east.singlesHere = false;
    west.singlesHere = true;
    await east.merger.settle({ signal: new AbortController().signal });
    await west.merger.settle({ signal: new AbortController().signal });
    await settle(east, west);
    expect(east.api.get(keyOf(pod))).toBeUndefined();
    expect(west.api.get(keyOf(pod))).toBeDefined();
  });
});

describe("a surge", () => {
  test("multiplies what runs here alone, is taken back, and is nobody's write", async () => {
    setSpec({ mutations: [{ match: { names: ["other"] }, site: "west", replicas: 9 }] });
    const scaler = object("autoscaling/v2", "HorizontalPodAutoscaler", "web", {
      spec: { minReplicas: 2, maxReplicas: 5 },
    });
    east.api.user(shop);
    east.api.user(web(3));
    east.api.user(scaler);
    await settle(east, west);
    west.surgePercent = 200;
    await west.merger.settle({ signal: new AbortController().signal });
    await settle(east, west);
    expect([replicasAt(east), replicasAt(west)]).toEqual([3, 6]);
    expect(west.api.get(keyOf(scaler))?.["spec"]).toEqual({ minReplicas: 4, maxReplicas: 10 });
    east.api.edit(webKey, (live) => {
      (live["spec"] as Record<string, unknown>)["replicas"] = 4;
    });
    await settle(east, west);
    expect([replicasAt(east), replicasAt(west)]).toEqual([4, 8]);
    west.surgePercent = undefined;
    await west.merger.settle({ signal: new AbortController().signal });
    await settle(east, west);
    expect([replicasAt(east), replicasAt(west)]).toEqual([4, 4]);
    expect(west.api.get(keyOf(scaler))?.["spec"]).toEqual({ minReplicas: 2, maxReplicas: 5 });
    expect(west.merger.status().conflicts).toEqual([]);
  });

  test("leaves what is single as it is", async () => {
    east.api.user(shop);
    east.api.user(single);
    await settle(east, west);
    east.surgePercent = 300;
    await east.merger.settle({ signal: new AbortController().signal });
    await settle(east, west);
    expect(replicasAt(east)).toBe(1);
  });
});

describe("what differs between the sites by the spec", () => {
  test("is made at each, in both directions, and stays", async () => {
    setSpec({ mutations: [{ match: { kinds: ["apps/Deployment"] }, site: "west", replicas: 1 }] });
    east.api.user(shop);
    east.api.user(web(5));
    await settle(east, west);
    expect([replicasAt(east), replicasAt(west)]).toEqual([5, 1]);
    west.api.edit(webKey, (live) => {
      (live["spec"] as Record<string, unknown>)["paused"] = true;
    });
    await settle(east, west);
    expect(east.api.get(webKey)?.["spec"]).toMatchObject({ paused: true, replicas: 5 });
    expect(replicasAt(west)).toBe(1);
  });

  test("takes effect when the spec is edited, in what came from the other site", async () => {
    east.api.user(shop);
    east.api.user(web(5));
    await settle(east, west);
    setSpec({ mutations: [{ match: { kinds: ["apps/Deployment"] }, site: "west", replicas: 2 }] });
    east.merger.reconsider();
    west.merger.reconsider();
    await settle(east, west);
    expect([replicasAt(east), replicasAt(west)]).toEqual([5, 2]);
  });

  test("takes effect when the spec is edited, though somebody else writes the object at that moment", async () => {
    east.api.user(shop);
    east.api.user(web(5));
    await settle(east, west);
    setSpec({ mutations: [{ match: { kinds: ["apps/Deployment"] }, site: "west", replicas: 2 }] });
    west.api.beforeWrite = (key) => {
      west.api.beforeWrite = undefined;
      // As a controller that notes what it has done.
      west.api.edit(key, (live) => {
        live["status"] = { replicas: 5 };
      });
    };
    west.merger.reconsider();
    await settle(east, west);
    await expect.poll(() => replicasAt(west)).toBe(2);
    expect(replicasAt(east)).toBe(5);
  });

  test("leaves what people have written alike at both as they have, whenever the spec is edited", async () => {
    setSpec({ mutations: [{ match: { kinds: ["apps/Deployment"] }, site: "west", replicas: 1 }] });
    // East is noted as the later one.
    east.offsetMs = 1_000;
    for (const site of [west, east]) {
      site.api.user(shop);
      site.api.user(web(5));
    }
    await settle(east, west);
    const before = [replicasAt(east), replicasAt(west)];
    west.merger.reconsider();
    await settle(east, west);
    expect([replicasAt(east), replicasAt(west)]).toEqual(before);
  });

  test("lets what it makes single, or not, run on where it is when the spec is edited", async () => {
    const volumes = (volume: object): object => ({ containers: [], volumes: [{ name: "data", ...volume }] });
    const claim = { persistentVolumeClaim: { claimName: "data" } };
    const jsonPatch = [
      { op: "replace" as const, path: "/spec/template/spec/volumes", value: [{ name: "data", ...claim }] },
    ];
    setSpec({ mutations: [{ match: { kinds: ["apps/Deployment"] }, site: "west", jsonPatch }] });
    east.api.user(shop);
    east.api.user(web(3, { spec: { replicas: 3, template: { spec: volumes({ emptyDir: {} }) } } }));
    await settle(east, west);
    const seen: unknown[] = [replicasAt(west)];
    west.api.beforeWrite = () => seen.push(replicasAt(west));
    west.merger.reconsider();
    await settle(east, west);
    expect(new Set(seen)).toEqual(new Set([replicasAt(west)]));
  });

  test("is told where it cannot be made, until it can", async () => {
    const say = (percent: string): void => {
      east.api.edit(webKey, ({ metadata }) => {
        metadata.annotations = { ...metadata.annotations, [marks.surge]: percent };
      });
    };
    const told = (): unknown[] =>
      [...west.merger.status().findings].map(([key, found]) => [key, found.map(({ code }) => code)]);
    east.api.user(shop);
    east.api.user(web(5));
    await settle(east, west);
    expect(told()).toEqual([]);
    say("twice");
    await settle(east, west);
    expect(told()).toEqual([[webKey, ["SurgeIgnored"]]]);
    say("150");
    await settle(east, west);
    expect(told()).toEqual([]);
    say("half");
    await settle(east, west);
    west.api.edit(webKey, ({ metadata }) => {
      metadata.annotations = { ...metadata.annotations, [marks.surge]: "150" };
    });
    await settle(east, west);
    expect(told()).toEqual([]);
    say("1.5");
    await settle(east, west);
    expect(told()).toHaveLength(1);
    east.api.userDeletes(webKey);
    await settle(east, west);
    expect(told()).toEqual([]);
  });

  test("is no reason to write for ever: namespaces and hosts of other names", async () => {
    setSpec({
      mappings: {
        namespaces: [{ east: "shop", west: "shop-west" }],
        hosts: [{ east: "shop.east.example", west: "shop.west.example" }],
      },
    });
    const route = object("networking.k8s.io/v1", "Ingress", "web", {
      spec: { rules: [{ host: "shop.east.example" }] },
    });
    east.api.user(shop);
    east.api.user(route);
    await settle(east, west);
    const there = "networking.k8s.io/Ingress/shop-west/web";
    expect(west.api.get(there)?.["spec"]).toEqual({ rules: [{ host: "shop.west.example" }] });
    west.api.edit(there, (live) => {
      (live["spec"] as Record<string, unknown>)["ingressClassName"] = "fast";
    });
    await settle(east, west);
    const expected = { rules: [{ host: "shop.east.example" }], ingressClassName: "fast" };
    expect(east.api.get(keyOf(route))?.["spec"]).toEqual(expected);
    await east.restart();
    await west.restart();
    const writes = east.api.writes.length + west.api.writes.length;
    await settle(east, west);
    expect(east.api.writes.length + west.api.writes.length).toBe(writes);
    expect(east.merger.status().conflicts).toEqual([]);
  });

  test("replicas that an autoscaler sets at each site are the site's own", async () => {
    east.api.user(shop);
    east.api.user(web(3));
    await settle(east, west);
    const scale = (site: MergingSite, replicas: number) =>
      site.api.edit(webKey, (live) => {
        (live["spec"] as Record<string, unknown>)["replicas"] = replicas;
        live.metadata.managedFields = [
          {
            manager: "kube-controller-manager",
            operation: "Update",
            apiVersion: "apps/v1",
            subresource: "scale",
            fieldsV1: { "f:spec": { "f:replicas": {} } },
          },
        ];
      });
    scale(east, 10);
    scale(west, 4);
    await settle(east, west);
    expect([replicasAt(east), replicasAt(west)]).toEqual([10, 4]);
    west.api.edit(webKey, (live) => {
      (live["spec"] as Record<string, unknown>)["paused"] = true;
    });
    await settle(east, west);
    expect(east.api.get(webKey)?.["spec"]).toMatchObject({ paused: true, replicas: 10 });
  });
});

test("an agent that knows only the journal goes on with what another one had written, and finds no conflict in it", async () => {
  east.api.user(shop);
  west.api.user(settings("by west"));
  east.api.user(object("v1", "ConfigMap", "by-east", { data: {} }));
  await settle(east, west);
  east.api.edit(settingsKey, (live) => {
    live["data"] = { value: "east on top" };
  });
  west.api.edit("/ConfigMap/shop/by-east", (live) => {
    live["data"] = { value: "west on top" };
  });
  await east.loseNotes();
  await west.loseNotes();
  await settle(east, west);
  expect([valueAt(east), valueAt(west)]).toEqual(["east on top", "east on top"]);
  expect(said(west)).toEqual(said(east));
  for (const { merger } of [east, west]) expect(merger.status().conflicts).toEqual([]);
});

test("an API server that is restored from a backup takes what it has missed from the other site", async () => {
  east.api.user(shop);
  east.api.user(settings("old"));
  east.api.user(object("v1", "ConfigMap", "deleted-since", { data: {} }));
  await settle(east, west);
  const backup = west.api.backup();
  west.api.user(settings("new"));
  east.api.user(object("v1", "ConfigMap", "made-since", { data: { a: "1" } }));
  east.api.userDeletes("/ConfigMap/shop/deleted-since");
  await settle(east, west);
  const before = said(east);
  west.merger.restored();
  west.api.restore(backup);
  west.watch();
  west.merger.gone("/ConfigMap/shop/made-since");
  west.merger.bringBack();
  await settle(east, west);
  expect(said(east)).toEqual(before);
  expect(said(west)).toEqual(before);
  west.api.user(settings("later"));
  await settle(east, west);
  expect(valueAt(east)).toBe("later");
});

test("objects of one name that both sites had before the group: the same is no conflict, of others the later stays", async () => {
  for (const site of [east, west]) {
    site.api.user(shop);
    site.api.user(web(2));
  }
  west.offsetMs = 30_000;
  east.api.user(settings("e"));
  west.api.user(settings("w"));
  await settle(east, west);
  expect([valueAt(east), valueAt(west)]).toEqual(["w", "w"]);
  expect(east.merger.status().conflicts.map(({ key }) => key)).toEqual([settingsKey]);
  expect(east.api.writes.filter(({ by, key }) => by === "agent" && key === webKey)).toEqual([]);
});

test.each([1, 2, 3])(
  "whatever is written where, with restarts and late watches, both end with the same (%i)",
  async (seed) => {
    const draw = randomFrom(seed);
    const pick = (count: number): number => Math.floor(draw() * count);
    const names = ["a", "b", "c", "d"];
    east.api.user(shop);
    await settle(east, west);
    for (let step = 0; step < 250; step++) {
      const site = draw() < 0.5 ? east : west;
      const other = site === east ? west : east;
      const what = draw();
      const one = object("v1", "ConfigMap", names[pick(4)] ?? "a", { data: { value: String(step) } });
      if (what < 0.4) site.api.user(one);
      else if (what < 0.5) site.api.userDeletes(keyOf(one));
      else if (what < 0.7) site.watch(pick(3) + 1);
      else if (what < 0.9) await site.pull(other);
      else if (what < 0.92) await site.restart();
      else if (what < 0.94) site.offsetMs = pick(20_000) - 10_000;
      else await new Promise((resolve) => setTimeout(resolve, pick(4)));
    }
    await settle(east, west);
    expect(said(west)).toEqual(said(east));
    const writes = east.api.writes.length + west.api.writes.length;
    await settle(east, west);
    expect(east.api.writes.length + west.api.writes.length).toBe(writes);
  },
);
