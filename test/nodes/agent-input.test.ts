import { writeFile } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { journalPath } from "../../src/agent/group-runtime.ts";
import type { GroupSpecInput } from "../../src/config/group.ts";
import {
  configMap,
  dataOf,
  expectSame,
  groupSpec,
  isCaughtUp,
  namespace,
  type Scene,
  startScene,
} from "./agent-harness.ts";

/** What may be wrong around an agent: it says so, harms nothing, and the other groups go on. West is a minor older. */

let scene: Scene;

async function protect(name: string, change: Partial<GroupSpecInput> = {}): Promise<void> {
  await scene.apply("east", namespace(name), configMap(name, "first", { a: "1" }));
  await scene.pair.applyGroup("east", name, groupSpec([name], change), scene.signal);
}

beforeAll(async () => {
  scene = await startScene({ sites: ["east", { name: "west", emulatedVersion: "1.33" }], controllers: false });
  await protect("shop");
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
      return conditions?.some(({ type, status }) => type === "Ready" && status === "False") ?? false;
    });
    expect(refused.role).not.toBe("standby");
    await scene.apply("east", configMap("shop", "first", { a: "3" }));
    await expectSame(scene, ["shop"]);
  });
});

describe("a journal", () => {
  it("that is damaged or of another program stops its group alone, by name, and nothing is overwritten", async () => {
    await protect("second");
    await scene.untilStatus("caught up", "west", "second", isCaughtUp);
    await scene.pair.stopMember("west");
    const path = journalPath(scene.pair.dataDir("west"), "second");
    await writeFile(path, "this is no journal");
    await scene.pair.startAgent("west");
    await scene.apply("east", configMap("shop", "first", { a: "4" }), configMap("second", "first", { a: "2" }));
    await scene.until("the copy", "west", configMap("shop", "first"), (found) => dataOf(found)["a"] === "4");
    expect(await scene.log("west")).toMatch(/"group":"second".*"code":"JournalCorrupt".*cannot open the journal/);
    expect(dataOf(await scene.find("west", configMap("second", "first")))).toEqual({ a: "1" });
  });
});

describe("an agent", () => {
  it("starts without a witness, says so, and replicates", async () => {
    await scene.pair.stopMember("witness");
    await scene.pair.restartAgent("east");
    await scene.apply("east", configMap("shop", "first", { a: "5" }));
    await scene.until("the copy", "west", configMap("shop", "first"), (found) => dataOf(found)["a"] === "5");
    await scene.untilStatus("witness missed", "east", "shop", ({ witness }) => witness?.reachable === false);
    await scene.pair.startWitness();
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
