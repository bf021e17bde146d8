import { mkdtemp, readFile, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parse, stringify } from "yaml";
import type { GroupStatus } from "../../src/config/group.ts";
import type { KubeObject } from "../../src/objects/object.ts";
import { hasCondition } from "../pair/pair.ts";
import { waitFor } from "../pair/wait.ts";
import {
  configMap,
  contents,
  deployment,
  expectSame,
  groupSpec,
  isCaughtUp,
  namespace,
  patienceMs,
  type Scene,
  secret,
  startScene,
} from "./agent-harness.ts";
import { runLifeboat } from "../pair/run-lifeboat.ts";

/** The command line, against agents that do what it asks for. */

let scene: Scene;
const group = "shop";
const groupObject: KubeObject = {
  apiVersion: "lifeboat.dev/v1alpha1",
  kind: "ProtectionGroup",
  metadata: { name: group },
};
const many = Array.from({ length: 20 }, (_, at) => configMap("shop", `item-${at}`, { at: String(at) }));
const guard = { guard: { percent: 30, minObjects: 5, window: "1m" } };

beforeAll(async () => {
  scene = await startScene({ nodes: "none" });
  await scene.apply("east", namespace("shop"), secret("shop", "key", "v"), deployment("shop", "web", 2), ...many);
  await scene.pair.applyGroup("east", group, groupSpec(["shop"], { deletes: guard }), scene.signal);
  await expectSame(scene, ["shop"]);
  await scene.untilStatus("caught up", "west", group, isCaughtUp);
  await scene.untilStatus("active", "west", group, ({ active }) => active === "east");
});
afterAll(async () => scene?.stop());

describe("status", () => {
  it("is a table of all groups, wider when asked", async () => {
    const { code, out, err } = await scene.lifeboat("west", "status");
    expect({ code, err }).toEqual({ code: 0, err: "" });
    expect(out).toMatch(
      /^NAME +ROLE +ACTIVE +MODE +STATE +LAG +READY +AGE\nshop +standby +east +ActiveStandby +Standby/,
    );
    const wide = await scene.lifeboat("east", "status", "-o", "wide");
    expect(wide.out).toMatch(/EPOCH +OBJECTS[^\n]*\nshop +active +east/);
  });

  it("tells one group in detail, for people and for programs", async () => {
    const { out } = await scene.lifeboat("west", "status", group);
    expect(out).toContain("Role here:   standby (active: east");
    expect(out).toMatch(/Synced +True/);
    const json = JSON.parse((await scene.lifeboat("west", "status", group, "-o", "json")).out) as { status: object };
    expect(json).toMatchObject({ name: group, status: { role: "standby", active: "east" } });
    expect(parse((await scene.lifeboat("west", "status", "-o", "yaml")).out)).toMatchObject([{ name: group }]);
  });

  it("says which groups there are where one is not found", async () => {
    const { code, err } = await scene.lifeboat("west", "status", "nothing");
    expect({ code, err }).toMatchObject({ code: 1, err: expect.stringContaining("this site has: shop") as string });
  });
});

describe("diff", () => {
  it("names what differs, with exit code 3", async () => {
    // What somebody does to a copy is repaired at once; what the site refuses stays different.
    await scene.bed.kubectl("west", ["-n", "shop", "delete", "configmap", "item-0"]);
    await scene.until("the repaired copy", "west", configMap("shop", "item-0"), (found) => found !== undefined);
    const { code, out } = await scene.lifeboat("west", "diff", group);
    expect({ code, out }).toEqual({ code: 0, out: "no differences\n" });
    const tight: KubeObject = {
      apiVersion: "v1",
      kind: "ResourceQuota",
      metadata: { namespace: "shop", name: "tight" },
      spec: { hard: { configmaps: "1" } },
    };
    await scene.apply("west", tight);
    await scene.until("a counted quota", "west", tight, (found) => JSON.stringify(found?.["status"]).includes("used"));
    await scene.apply("east", configMap("shop", "too-many", { a: "1" }));
    await scene.untilStatus("degraded", "west", group, (status) => hasCondition(status, "Degraded"));
    const found = await scene.lifeboat("west", "diff", group, "-o", "json");
    expect(found.code).toBe(3);
    expect(JSON.parse(found.out)).toContainEqual(
      expect.objectContaining({ what: "missing", key: "/ConfigMap/shop/too-many" }),
    );
    await scene.remove("west", tight);
    await scene.until("the copy", "west", configMap("shop", "too-many"), (copy) => copy !== undefined);
    await scene.untilStatus("healthy", "west", group, (status) => !hasCondition(status, "Degraded"));
  });
});

describe("render", () => {
  it("shows what a site would get, without a cluster", async () => {
    const dir = await mkdtemp(join(tmpdir(), "lifeboat-"));
    const [file, manifest] = [join(dir, "web.yaml"), join(dir, "shop.yaml")];
    await writeFile(file, stringify(deployment("shop", "web", 3)));
    const mutations = [{ match: { kinds: ["apps/Deployment"] }, site: "west", labels: { set: { place: "west" } } }];
    await writeFile(manifest, stringify({ ...groupObject, spec: groupSpec(["shop"], { mutations }) }));
    const args = ["render", "-f", file, "--group", manifest, "--site", "west", "--role"];
    const standby = parse((await runLifeboat([...args, "standby"])).out) as KubeObject;
    expect(standby).toMatchObject({ spec: { replicas: 0 }, metadata: { labels: { place: "west" } } });
    expect(parse((await runLifeboat([...args, "active"])).out)).toMatchObject({ spec: { replicas: 3 } });
    const unknown = await runLifeboat(["render", "-f", file, "--group", manifest, "--site", "south"]);
    expect(unknown).toMatchObject({ code: 1, err: expect.stringContaining("south") as string });
  });
});

describe("deletes confirm", () => {
  it("carries out what the guard holds back", async () => {
    await scene.remove("east", ...many.slice(0, 15));
    const paused = await scene.untilStatus("paused", "west", group, (status) => hasCondition(status, "DeletesPaused"));
    expect(paused.conditions?.find(({ type }) => type === "DeletesPaused")?.message).toContain("deletes confirm shop");
    expect(Object.keys(await contents(scene, "west", ["shop"])).length).toBeGreaterThan(10);
    const { code, out } = await scene.lifeboat("west", "deletes", "confirm", group);
    expect({ code, out }).toMatchObject({
      code: 0,
      out: expect.stringMatching(/^\d+ deletes are carried out\n$/) as string,
    });
    await expectSame(scene, ["shop"]);
    await scene.untilStatus("going on", "west", group, (status) => !hasCondition(status, "DeletesPaused"));
  });
});

describe("every verb", () => {
  const verbs = ["status", "failover", "diff", "render", "deletes confirm", "purge", "check", "agent", "witness"];
  it.each(verbs)("%s --help teaches with an example", async (verb) => {
    const { code, out } = await runLifeboat([...verb.split(" "), "--help"]);
    expect({ code, out }).toMatchObject({ code: 0, out: expect.stringContaining("Example:") as string });
  });

  it("is also kubectl's: a plugin by its name", async () => {
    const dir = await mkdtemp(join(tmpdir(), "lifeboat-"));
    const plugin = join(dir, "kubectl-lifeboat");
    await symlink(fileURLToPath(new URL("../../src/lifeboat.mjs", import.meta.url)), plugin);
    const { code, out } = await runLifeboat(["status", "--help"], { path: plugin });
    expect({ code, out }).toMatchObject({ code: 0, out: expect.stringContaining("kubectl lifeboat status") as string });
  });

  it("refuses wrong usage with exit code 2, and a site that does not answer with 1", async () => {
    expect((await runLifeboat(["status", "--wrong"])).code).toBe(2);
    expect((await runLifeboat(["failover", "shop"])).code).toBe(2);
    const lost = await runLifeboat(["status", "--kubeconfig", "/nonexistent"]);
    expect(lost).toMatchObject({ code: 1, err: expect.stringContaining("[KubeconfigInvalid]") as string });
  });
});

describe("check", () => {
  it("finds nothing wrong with a site that is set up", async () => {
    const { code, out } = await runLifeboat(["check", "--config", scene.pair.configPath("west")]);
    expect(out).toMatch(/ok {2}API server: .*v1\./);
    expect(out).toMatch(/ok {2}permissions/);
    expect(out).toMatch(/ok {2}peer east/);
    expect(out).toMatch(/ok {2}witness/);
    expect({ code, out }).toMatchObject({ code: 0 });
  });

  it("names all that is wrong at once, with exit code 3", async () => {
    const dir = await mkdtemp(join(tmpdir(), "lifeboat-"));
    const config = parse(await readFile(scene.pair.configPath("west"), "utf8")) as Record<string, unknown>;
    const weak = await scene.bed.site("west").kubeconfigFor({ user: "weak" });
    const wrong = join(dir, "agent.yaml");
    await writeFile(
      wrong,
      stringify({ ...config, site: "north", kubeconfig: weak, witness: { address: "127.0.0.1:1" } }),
    );
    const { code, out } = await runLifeboat(["check", "--config", wrong]);
    expect(code).toBe(3);
    expect(out).toMatch(/warning {2}permissions: missing: /);
    expect(out).toMatch(/failed {2}certificate: is not for site north/);
    expect(out).toMatch(/failed {2}witness/);
  });
});

describe("a group's object that is lost", () => {
  const isActive = ({ role, state }: Partial<GroupStatus>) => role === "active" && state === "Active";

  it("with the custom resource definition does not end the group, and comes back with it", async () => {
    const { epoch } = await scene.untilStatus("active", "east", group, isActive);
    const before = await contents(scene, "west", ["shop"]);
    const crds = fileURLToPath(new URL("../../charts/lifeboat/crds", import.meta.url));
    await scene.bed.kubectl("east", ["delete", "crd", "protectiongroups.lifeboat.dev"]);
    const told = async () =>
      (await scene.log("east")).includes("went with its custom resource definition") || undefined;
    await waitFor("the agent's word", told, { limitMs: patienceMs, signal: scene.signal });
    await scene.apply("east", configMap("shop", "without-definition", { a: "1" }));
    await scene.until("the copy", "west", configMap("shop", "without-definition"), (found) => found !== undefined);
    await scene.bed.kubectl("east", ["apply", "-f", crds]);
    await scene.until("the group", "east", groupObject, (found) => found !== undefined);
    await scene.untilStatus("active", "east", group, (status) => isActive(status) && status.epoch === epoch);
    await scene.remove("east", configMap("shop", "without-definition"));
    await scene.until("no copy", "west", configMap("shop", "without-definition"), (found) => found === undefined);
    expect(await contents(scene, "west", ["shop"])).toEqual(before);
    await expectSame(scene, ["shop"]);
  });

  it("while no agent ran at the active site is shown again, without what was asked of it once", async () => {
    await scene.bed.kubectl("east", ["annotate", "protectiongroup", group, "note=kept"]);
    await scene.until("the note", "west", groupObject, (found) => found?.metadata.annotations?.["note"] === "kept");
    await scene.pair.stopMember("east", { signal: "SIGKILL" });
    await scene.remove("east", groupObject);
    await scene.pair.startAgent("east");
    const found = await scene.until("the group", "east", groupObject, (object) => object !== undefined);
    expect(found?.metadata.annotations).toMatchObject({ note: "kept" });
    expect(Object.keys(found?.metadata.annotations ?? {}).filter((name) => name.startsWith("lifeboat.dev/"))).toEqual(
      [],
    );
    await scene.untilStatus("active", "east", group, isActive);
    expect(await scene.log("east")).toContain("gone without having been deleted");
    await scene.untilStatus("following", "west", group, ({ role, active }) => role === "standby" && active === "east");
    await expectSame(scene, ["shop"]);
  });
});

describe("a group that is deleted", () => {
  const ends = async () => (await scene.log("east")).split("the group was deleted").length - 1;

  it("is refused a purge where it runs", async () => {
    const { code, err } = await scene.lifeboat("east", "purge", group, "--site", "east");
    expect({ code, err }).toMatchObject({
      code: 4,
      err: expect.stringContaining("its objects are not copies") as string,
    });
  });

  it("leaves its copies behind, also when the source's objects go next", async () => {
    const before = await contents(scene, "west", ["shop"]);
    await scene.remove("east", groupObject);
    // Watches of two kinds have no common order: what is deleted in the same moment may still be the group's.
    await delay(1000);
    await scene.remove("east", ...many.slice(15));
    const status = await scene.untilStatus("orphaned", "west", group, ({ state }) => state === "Orphaned");
    expect(status.reason).toContain("lifeboat purge shop --site west");
    await scene.pair.restartAgent("west", { signal: "SIGKILL" });
    await scene.untilStatus("orphaned still", "west", group, ({ state }) => state === "Orphaned");
    expect(await contents(scene, "west", ["shop"])).toEqual(before);
    expect(await scene.find("east", groupObject)).toBeUndefined();
  });

  it("can be created again, and goes on", async () => {
    await scene.pair.applyGroup("east", group, groupSpec(["shop"], { deletes: guard }), scene.signal);
    await scene.untilStatus("standby", "west", group, ({ role, state }) => role === "standby" && state === "Standby");
    await scene.apply("east", configMap("shop", "again", { a: "1" }));
    await scene.until("the copy", "west", configMap("shop", "again"), (found) => found !== undefined);
    await expectSame(scene, ["shop"]);
  });

  it("is known to be deleted also by a standby that was away", async () => {
    await scene.pair.stopMember("west");
    const before = await ends();
    await scene.remove("east", groupObject);
    // What an agent has not seen it does not know; from here on it does, and so does its next process.
    const seen = async () => (await ends()) > before || undefined;
    await waitFor("the end", seen, { limitMs: patienceMs, signal: scene.signal });
    await scene.pair.restartAgent("east", { signal: "SIGKILL" });
    await scene.pair.startAgent("west");
    await scene.untilStatus("orphaned", "west", group, ({ state }) => state === "Orphaned");
  });

  it("is purged in the end: listed first, then removed with its mirror", async () => {
    const copy = configMap("shop", "again");
    await scene.apply("west", configMap("shop", "mine", { a: "1" }));
    const dry = await scene.lifeboat("west", "purge", group, "--site", "west", "--dry-run");
    expect(dry).toMatchObject({
      code: 0,
      out: expect.stringContaining("would remove /ConfigMap/shop/again") as string,
    });
    expect(await scene.find("west", copy)).toBeDefined();
    const { code, out } = await scene.lifeboat("west", "purge", group, "--site", "west");
    expect({ code, out }).toMatchObject({ code: 0, out: expect.stringMatching(/\d+ objects removed/) as string });
    await scene.until("nothing", "west", copy, (found) => found === undefined);
    await scene.until("no mirror", "west", groupObject, (found) => found === undefined);
    const left = await scene.lifeboat("west", "status");
    expect(left.out).toContain("no protection groups at this site");
  });
});
