import { afterAll, beforeAll, expect, it } from "vitest";
import { marks } from "../../src/objects/object.ts";
import {
  configMap,
  dataOf,
  deployment,
  expectSame,
  groupSpec,
  namespace,
  replicasOf,
  type Scene,
  startScene,
} from "./agent-harness.ts";

/** A group that runs at both sites, with two agents at each: whoever leads next knows what people have written. */

let scene: Scene;
const group = "shop";
const web = deployment("shop", "web", 2);
const leader = {
  ...deployment("shop", "leader", 1),
  metadata: { namespace: "shop", name: "leader", annotations: { [marks.singleton]: "true" } },
};
const takeoverLimitMs = 120_000;

beforeAll(async () => {
  scene = await startScene({ nodes: "simulated", nodeCount: 1, agents: 2 });
  await scene.apply("east", namespace("shop"), configMap("shop", "first", { a: "1" }), web, leader);
  const spec = groupSpec(["shop"], { mode: "ActiveActive", failover: { profile: "fast" } });
  await scene.pair.applyGroup("east", group, spec, scene.signal);
  for (const site of ["east", "west"] as const) {
    await scene.untilStatus("both", site, group, ({ role, active }) => role === "active" && active === "east");
  }
  await expectSame(scene, ["shop"]);
});
afterAll(async () => scene?.stop());

it("goes on under the agents that follow those that were killed, with what was written meanwhile", async () => {
  await scene.apply("west", configMap("shop", "from-west", { a: "1" }));
  await expectSame(scene, ["shop"]);
  // One of the two leads at each site, and the other one is killed and comes back after it.
  for (const number of ["", "-2"]) {
    await Promise.all(["east", "west"].map((site) => scene.pair.stopMember(`${site}${number}`, { signal: "SIGKILL" })));
    await scene.apply("west", configMap("shop", "first", { a: `west${number}` }));
    await scene.apply("east", configMap("shop", "from-west", { a: `east${number}` }));
    await expectSame(scene, ["shop"], { limitMs: takeoverLimitMs });
    expect(dataOf(await scene.find("east", configMap("shop", "first")))).toEqual({ a: `west${number}` });
    expect(dataOf(await scene.find("west", configMap("shop", "from-west")))).toEqual({ a: `east${number}` });
    await Promise.all(["east", "west"].map((site) => scene.pair.startAgent(`${site}${number}`)));
    await scene.until("is single", "east", leader, (found) => replicasOf(found) === 1);
    await scene.until("is single", "west", leader, (found) => replicasOf(found) === 0);
  }
  await scene.remove("west", configMap("shop", "from-west"));
  await scene.until("deleted", "east", configMap("shop", "from-west"), (found) => found === undefined);
  for (const site of ["east", "west"] as const) {
    expect((await scene.status(site, group)).merge?.conflictCount).toBe(0);
    expect(replicasOf(await scene.find(site, web))).toBe(2);
  }
});
