import { randomBytes } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { GroupSpecInput, GroupStatus } from "../../src/config/group.ts";
import { hasCode } from "../../src/errors.ts";
import type { KubeResource } from "../../src/kube/resource.ts";
import { marks, type KubeObject } from "../../src/objects/object.ts";
import { hasCondition } from "../pair/pair.ts";
import { waitFor } from "../pair/wait.ts";
import { randomFrom } from "../random.ts";
import {
  configMap,
  contents,
  dataOf,
  deployment,
  expectSame,
  groupSpec,
  isCaughtUp,
  namespace,
  patienceMs,
  replicasOf,
  restartApiServer,
  type Scene,
  secret,
  service,
  type SiteName,
  startScene,
} from "./agent-harness.ts";

/** East replicates to west; what a user does at east is at west a moment later, whatever happens in between. */

let scene: Scene;
const group = "shop";
const sites = ["east", "west"] as const;
const groupObject: KubeObject = {
  apiVersion: "lifeboat.dev/v1alpha1",
  kind: "ProtectionGroup",
  metadata: { name: group },
};
/** Random operations take much of the group away now and then, and mean it. */
const lenient = { guard: { percent: 100, minObjects: 1000, window: "1m" } };
const isRoot = process.getuid?.() === 0;

/** The standby by its own account, and by a comparison that asks both API servers and nobody else. */
async function expectReplicated(...namespaces: readonly string[]): Promise<void> {
  await expectSame(scene, namespaces);
  await scene.untilStatus("caught up", "west", group, isCaughtUp);
  const { code, out, err } = await scene.lifeboat("west", "diff", group);
  expect({ code, out, err }).toEqual({ code: 0, out: "no differences\n", err: "" });
}

beforeAll(async () => {
  scene = await startScene({ nodes: "none" });
  await scene.apply("east", namespace("shop"), configMap("shop", "first", { a: "1" }), secret("shop", "key", "x1"));
  await scene.apply("east", service("shop", "web"), deployment("shop", "web", 3));
  await scene.pair.applyGroup("east", group, groupSpec(["shop"]), scene.signal);
});
afterAll(async () => scene?.stop());

describe("a standby", () => {
  it("holds everything of the group, workloads at zero", async () => {
    await expectReplicated("shop");
    expect(replicasOf(await scene.find("west", deployment("shop", "web", 0)))).toBe(0);
    const status = await scene.status("west", group);
    expect(status).toMatchObject({ role: "standby", active: "east", state: "Standby" });
  });

  it("follows creates, updates, deletes", async () => {
    await scene.apply("east", configMap("shop", "first", { a: "2" }), configMap("shop", "second", { b: "1" }));
    await scene.remove("east", secret("shop", "key", ""));
    await expectReplicated("shop");
    expect(await scene.find("west", secret("shop", "key", ""))).toBeUndefined();
    expect(await scene.find("west", configMap("shop", "second"))).toBeDefined();
  });

  it("follows a change of what an item of a list is known by", async () => {
    await scene.apply("east", service("shop", "web", 81));
    await expectReplicated("shop");
  });

  it("shows the spec in a mirror that names its source, and an edit takes effect at both sites", async () => {
    const mirror = await scene.until("the mirror", "west", groupObject, (found) => found !== undefined);
    expect(mirror?.metadata.annotations?.[marks.mirror]).toBe("east");
    const select: GroupSpecInput["select"] = {
      namespaces: { names: ["shop", "later"], selector: { matchLabels: { tier: "gold" } } },
      exclude: [{ kinds: ["ConfigMap"], names: ["tmp-*"] }],
    };
    await scene.apply("east", configMap("shop", "tmp-1", { a: "1" }));
    await scene.until("the copy", "west", configMap("shop", "tmp-1"), (found) => found !== undefined);
    const mutations: GroupSpecInput["mutations"] = [
      { match: { kinds: ["ConfigMap"], names: ["first"] }, site: "west", labels: { set: { place: "west" } } },
    ];
    await scene.pair.applyGroup("east", group, groupSpec(["shop"], { select, mutations }), scene.signal);
    await scene.until("the edited spec", "west", groupObject, (found) => {
      return JSON.stringify(found?.["spec"]).includes('"later"');
    });
    // What left the selection goes, and what a mutation now says of an object is done to its copy.
    await scene.until("no copy", "west", configMap("shop", "tmp-1"), (found) => found === undefined);
    await scene.until("the label", "west", configMap("shop", "first"), (found) => {
      return found?.metadata.labels?.["place"] === "west";
    });
    await scene.pair.applyGroup("east", group, groupSpec(["shop"], { select }), scene.signal);
    await scene.remove("east", configMap("shop", "tmp-1"));
    await expectReplicated("shop");
  });

  it("puts its mirror back when somebody edits or deletes it", async () => {
    await scene.remove("west", groupObject);
    await scene.until("the mirror", "west", groupObject, (found) => found !== undefined);
    await scene.pair.applyGroup("west", group, groupSpec(["elsewhere"]), scene.signal);
    await scene.until("the source's spec", "west", groupObject, (found) => {
      return !JSON.stringify(found?.["spec"]).includes("elsewhere");
    });
    await expectReplicated("shop");
  });

  it("follows namespaces that appear later, by name and by label, and out again", async () => {
    await scene.apply("east", namespace("later"), configMap("later", "one", { a: "1" }));
    await scene.apply("east", namespace("gold-1", { tier: "gold" }), deployment("gold-1", "api", 2));
    await scene.apply("east", namespace("plain"), configMap("plain", "one", { a: "1" }));
    await scene.until("the copy", "west", deployment("gold-1", "api", 0), (found) => found !== undefined);
    await expectReplicated("shop", "later", "gold-1");
    await scene.apply("east", namespace("plain", { tier: "gold" }));
    await expectReplicated("shop", "later", "gold-1", "plain");
    await scene.apply("east", namespace("plain"));
    await scene.until("no copy", "west", configMap("plain", "one"), (found) => found === undefined);
    await expectReplicated("shop", "later", "gold-1");
  });

  it("that is suspended applies nothing, says so, receives all the same, and catches up when it is not", async () => {
    const suspend = (value: boolean) => {
      const patch = JSON.stringify({ spec: { suspend: value } });
      return scene.bed.kubectl("east", ["patch", "protectiongroup", group, "--type=merge", "-p", patch]);
    };
    const [changed, added, removed] = [
      configMap("shop", "first"),
      configMap("shop", "added"),
      configMap("shop", "second"),
    ];
    const expectUntouched = async (): Promise<void> => {
      const isSuspended = ({ conditions, counts }: Partial<GroupStatus>): boolean => {
        const ready = conditions?.find(({ type }) => type === "Ready");
        return ready?.reason === "Suspended" && ready.message.includes("suspend") && (counts?.pending ?? 0) >= 3;
      };
      await scene.untilStatus("suspended, with 3 objects waiting", "west", group, isSuspended);
      expect(dataOf(await scene.find("west", changed))).not.toEqual({ a: "suspended" });
      expect(await scene.find("west", added)).toBeUndefined();
      expect(await scene.find("west", removed)).toBeDefined();
    };
    await scene.apply("east", changed, removed);
    await scene.until("the copy", "west", removed, (found) => found !== undefined);
    await suspend(true);
    try {
      await scene.until("the spec", "west", groupObject, (found) => {
        return JSON.stringify(found?.["spec"]).includes('"suspend":true');
      });
      await scene.apply("east", { ...changed, data: { a: "suspended" } }, added);
      await scene.remove("east", removed);
      await expectUntouched();
      await scene.pair.restartAgent("west");
      await expectUntouched();
    } finally {
      await suspend(false);
    }
    await expectReplicated("shop", "later", "gold-1");
  });
});

describe("after", () => {
  let round = 0;
  /**
   * Longer than whatever gives a silent peer up (a connection after 3 s, a stream after 15 s) and many times the delay
   * between attempts. A longer cut adds nothing but changes, of which the source keeps one per object however many.
   */
  const cutMs = 45_000;
  const ballastBytes = 500_000;

  /** What the group's streams have brought to west since its agent was started. */
  async function received(): Promise<{ bytes: number; resyncs: number }> {
    const metrics = await scene.pair.metrics("west");
    const count = (name: string): number => metrics.value(name, { group }) ?? 0;
    return { bytes: count("lifeboat_stream_received_bytes_total"), resyncs: count("lifeboat_stream_resyncs_total") };
  }

  /** Something of every sort: a new object, a change, a delete. */
  async function change(): Promise<void> {
    round += 1;
    await scene.apply("east", configMap("shop", `round-${round}`, { round: String(round) }));
    await scene.apply("east", configMap("shop", "first", { round: String(round) }), deployment("shop", "web", round));
    await scene.remove("east", configMap("shop", `round-${round - 1}`));
  }

  it.each([
    ["east", "SIGKILL"],
    ["west", "SIGKILL"],
    ["east", "SIGTERM"],
    ["west", "SIGTERM"],
  ] as const)("%s's agent ends by %s and comes back, the standby is what the source is", async (site, signal) => {
    const writing = change();
    await scene.pair.stopMember(site, { signal });
    await writing;
    await change();
    await scene.pair.startAgent(site);
    await change();
    await expectReplicated("shop");
  });

  it("both agents are killed at once, it is", async () => {
    await Promise.all([change(), ...sites.map((site) => scene.pair.stopMember(site, { signal: "SIGKILL" }))]);
    await change();
    await Promise.all(sites.map((site) => scene.pair.startAgent(site)));
    await expectReplicated("shop");
  });

  it.runIf(isRoot)("a cut of the link for 45 s, it is, told of meanwhile, and only what differs travels", async () => {
    // So much comes and goes meanwhile that deletes would wait for a person.
    const patch = JSON.stringify({ spec: { deletes: lenient } });
    await scene.bed.kubectl("east", ["patch", "protectiongroup", group, "--type=merge", "-p", patch]);
    // More than all else that may travel here, also when it is compressed.
    const ballast = configMap("shop", "ballast", { text: randomBytes(ballastBytes).toString("base64") });
    await scene.apply("east", ballast);
    await change();
    await expectReplicated("shop");
    const before = await received();
    const version = (await scene.find("west", ballast))?.metadata.resourceVersion;
    const lastRound = String(round);
    await scene.bed.faults.partition("east", "west", { mode: "drop" });
    try {
      const healMs = performance.now() + cutMs;
      while (performance.now() < healMs) {
        await change();
        await delay(1000);
      }
      await scene.untilStatus("degraded", "west", group, (status) => hasCondition(status, "Degraded"));
      expect(dataOf(await scene.find("west", configMap("shop", "first")))["round"]).toBe(lastRound);
    } finally {
      await scene.bed.faults.heal();
    }
    await expectReplicated("shop");
    await scene.untilStatus("healthy", "west", group, (status) => !hasCondition(status, "Degraded"));
    const after = await received();
    expect(after.resyncs).toBe(before.resyncs);
    expect(after.bytes).toBeGreaterThan(before.bytes);
    expect(after.bytes - before.bytes).toBeLessThan(ballastBytes);
    expect((await scene.find("west", ballast))?.metadata.resourceVersion).toBe(version);
    await scene.remove("east", ballast);
  });

  it.each(sites)("the API server of %s crashes, it is", async (site) => {
    await change();
    await restartApiServer(scene, site);
    await change();
    await expectReplicated("shop");
  });
});

describe("whatever users do and faults happen", () => {
  /** Long enough for a dozen faults. */
  const runMs = 45_000;
  const seed = Number(process.env["LIFEBOAT_SEED"] ?? Date.now() % 1_000_000);
  const names = ["a", "b", "c", "d", "e", "f"];
  const namespaces = ["shop", "later", "gold-1"];
  const everywhere = { namespaces: { names: ["shop", "later"], selector: { matchLabels: { tier: "gold" } } } };
  const picked = { matchLabels: { pick: "yes" } };
  const widgets: KubeResource = {
    group: "property.example.com",
    version: "v1",
    kind: "Widget",
    plural: "widgets",
    namespaced: true,
    verbs: new Set(),
    subresources: new Set(),
  };

  /** A definition whose objects may hold these fields and no others. */
  function definition(...fields: readonly string[]): KubeObject {
    const properties = Object.fromEntries(fields.map((field) => [field, { type: "string" }]));
    const spec = { type: "object", properties };
    const schema = { openAPIV3Schema: { type: "object", properties: { spec } } };
    const { group: ofGroup, kind, plural } = widgets;
    return {
      apiVersion: "apiextensions.k8s.io/v1",
      kind: "CustomResourceDefinition",
      metadata: { name: `${plural}.${ofGroup}` },
      spec: {
        group: ofGroup,
        scope: "Namespaced",
        names: { kind, plural, singular: "widget" },
        versions: [{ name: "v1", served: true, storage: true, schema }],
      },
    };
  }

  function widget(ns: string, name: string, value: string): KubeObject {
    const { group: ofGroup, kind } = widgets;
    const spec = { first: value, second: value };
    return { apiVersion: `${ofGroup}/v1`, kind, metadata: { namespace: ns, name }, spec };
  }

  /** What the Widgets of a site hold; none while they are not defined. */
  async function widgetsOf(site: SiteName): Promise<Record<string, unknown>> {
    const found: Record<string, unknown> = {};
    try {
      for await (const page of scene.client(site).list(widgets, { signal: scene.signal })) {
        for (const { metadata, ...item } of page.items) found[`${metadata.namespace}/${metadata.name}`] = item["spec"];
      }
    } catch (error) {
      if (!hasCode(error, "NotFound")) throw error;
    }
    return found;
  }

  async function expectSameWidgets(): Promise<void> {
    let seen: unknown;
    const same = async () => {
      const [east, west] = [await widgetsOf("east"), await widgetsOf("west")];
      seen = { east, west };
      return isDeepStrictEqual(east, west) || undefined;
    };
    await waitFor("the same Widgets", same, { limitMs: patienceMs, signal: scene.signal }).catch((error: unknown) => {
      throw new Error(`${String(error)}: ${JSON.stringify(seen)}`, { cause: error });
    });
  }

  /** Picked Deployments bring the ConfigMap that they read and the Service that finds their pods. */
  function closureOf(all: Readonly<Record<string, unknown>>): Record<string, unknown> {
    const isPicked = (id: string) =>
      (all[id] as { labels: Record<string, string> } | undefined)?.labels["pick"] === "yes";
    const wanted = new Set(Object.keys(all).filter(isPicked));
    for (const id of [...wanted].filter((each) => each.startsWith("Deployment "))) {
      const [, place = ""] = id.split(" ");
      const [ns = ""] = place.split("/");
      wanted.add(`Service ${place}`);
      wanted.add(`ConfigMap ${ns}/${readsFrom(all[id])}`);
    }
    return Object.fromEntries(Object.entries(all).filter(([id]) => wanted.has(id)));
  }

  function readsFrom(shape: unknown): string {
    const [, name = ""] = /"configMapRef":\{"name":"([^"]+)"/.exec(JSON.stringify(shape)) ?? [];
    return name;
  }

  it(`the standby ends as the source (LIFEBOAT_SEED=${seed})`, async () => {
    const random = randomFrom(seed);
    const pick = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)] as T;
    /** With or without the label that a selection of objects asks for: each write may move the object in or out. */
    const labelled = (object: KubeObject): KubeObject => {
      const labels = { ...object.metadata.labels, pick: random() < 0.5 ? "yes" : "no" };
      return { ...object, metadata: { ...object.metadata, labels } };
    };
    const reading = (ns: string, name: string, from: string): KubeObject => {
      const object = deployment(ns, name, Math.floor(random() * 5));
      const { template } = object["spec"] as { template: { spec: { containers: Record<string, unknown>[] } } };
      for (const container of template.spec.containers) container["envFrom"] = [{ configMapRef: { name: from } }];
      return object;
    };
    const operations: (() => Promise<void>)[] = [
      () => scene.apply("east", labelled(configMap(pick(namespaces), pick(names), { v: String(random()) }))),
      () => scene.apply("east", labelled(secret(pick(namespaces), pick(names), String(random())))),
      () => scene.apply("east", labelled(reading(pick(namespaces), pick(names), pick(names)))),
      () => scene.apply("east", labelled(service(pick(namespaces), pick(names), 1 + Math.floor(random() * 999)))),
      () => scene.remove("east", configMap(pick(namespaces), pick(names))),
      () => scene.remove("east", secret(pick(namespaces), pick(names), "")),
      () => scene.remove("east", deployment(pick(namespaces), pick(names), 0)),
      () => scene.remove("east", service(pick(namespaces), pick(names))),
      () => scene.apply("east", namespace("gold-1", random() < 0.5 ? { tier: "gold" } : {})),
      () => scene.apply("east", random() < 0.5 ? definition("first") : definition("first", "second")),
      () => (random() < 0.2 ? scene.remove("east", definition()) : Promise.resolve()),
      ...Array.from({ length: 2 }, () => async () => {
        const object = widget(pick(namespaces), pick(names), String(random()));
        await scene.client("east").apply(widgets, object, { fieldManager: "user", force: true, signal: scene.signal });
      }),
      async () => {
        const place = { namespace: pick(namespaces), name: pick(names) };
        await scene.client("east").delete(widgets, place, { signal: scene.signal });
      },
      () => {
        const exclude = [{ kinds: ["ConfigMap"], names: [pick(names)] }];
        const objects = { selector: picked, references: true };
        const select = pick([everywhere, { ...everywhere, exclude }, { ...everywhere, objects }]);
        return scene.pair.applyGroup("east", group, groupSpec([], { select, deletes: lenient }), scene.signal);
      },
    ];
    const faults: (() => Promise<void>)[] = [
      () => scene.pair.restartAgent("east", { signal: "SIGKILL" }),
      () => scene.pair.restartAgent("west", { signal: "SIGKILL" }),
      () => restartApiServer(scene, pick(sites)),
      () => pausing(`${pick(sites)}/kube-apiserver`),
      () => pausing(`${pick(sites)}/agent`),
      ...(isRoot ? [cutting] : []),
    ];
    const endMs = performance.now() + runMs;
    const withFaults = async (): Promise<void> => {
      while (performance.now() < endMs) {
        await delay(random() * 3000);
        await pick(faults)();
      }
    };
    const working = async (): Promise<void> => {
      while (performance.now() < endMs) {
        // While the source's API server is away, its users wait too.
        await pick(operations)().catch(() => delay(200));
        await delay(random() * 100);
      }
    };
    await Promise.all([withFaults(), working()]);
    await scene.apply("east", namespace("gold-1", { tier: "gold" }));
    const whole = groupSpec(["shop", "later", "gold-1"], { deletes: lenient });
    await scene.pair.applyGroup("east", group, whole, scene.signal);
    await scene.lifeboat("west", "deletes", "confirm", group);
    await expectReplicated(...namespaces);
    await expectSameWidgets();

    const select = { ...everywhere, objects: { selector: picked, references: true } };
    await scene.pair.applyGroup("east", group, groupSpec([], { select, deletes: lenient }), scene.signal);
    await expectPicked();
    // From now on a changed label alone moves an object in or out.
    for (const name of names) {
      await scene.apply("east", labelled(configMap("shop", name, { v: "moved" })));
      await scene.apply("east", labelled(reading("later", name, pick(names))), labelled(service("later", name)));
    }
    await expectPicked();
  });

  /** West has what is picked at east and what that needs, and nothing else. */
  async function expectPicked(): Promise<void> {
    let seen: unknown;
    const closed = async () => {
      const wanted = closureOf(await contents(scene, "east", namespaces));
      const found = await contents(scene, "west", namespaces);
      seen = { wanted: Object.keys(wanted).sort(), found: Object.keys(found).sort() };
      return isDeepStrictEqual(wanted, found) || undefined;
    };
    await waitFor("what is picked", closed, { limitMs: patienceMs, signal: scene.signal }).catch((error: unknown) => {
      throw new Error(`${String(error)}: ${JSON.stringify(seen)}`, { cause: error });
    });
  }

  async function pausing(target: string): Promise<void> {
    await scene.bed.faults.pause(target);
    await delay(3000);
    await scene.bed.faults.resume(target);
  }

  async function cutting(): Promise<void> {
    await scene.bed.faults.partition("east", "west", { mode: "reset" });
    await delay(4000);
    await scene.bed.faults.heal();
  }
});
