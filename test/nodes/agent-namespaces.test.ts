import { afterAll, beforeAll, expect, it } from "vitest";
import { groupApi, type GroupSpecInput } from "../../src/config/group.ts";
import { marks } from "../../src/objects/object.ts";
import {
  configMap,
  deployment,
  groupSpec,
  isCaughtUp,
  namespace,
  replicasOf,
  type Scene,
  startScene,
  type SiteName,
} from "./agent-harness.ts";

/** Groups that want one namespace: it belongs to one of them, and nothing of it is anybody else's to touch. */

let scene: Scene;
const gold = { tier: "gold" };
const byLabel = (): GroupSpecInput => ({
  ...groupSpec([]),
  select: { namespaces: { selector: { matchLabels: gold } } },
});

beforeAll(async () => {
  scene = await startScene({ nodes: "none" });
});
afterAll(async () => scene?.stop());

async function acceptedOf(site: SiteName, group: string) {
  const { conditions } = await scene.status(site, group);
  return conditions?.find(({ type }) => type === "Accepted");
}

async function untilAccepted(site: SiteName, group: string, status: "True" | "False", message: string): Promise<void> {
  const isThere = ({ type, ...is }: { type: string; status: string; message: string }): boolean =>
    type === "Accepted" && is.status === status && is.message.includes(message);
  await scene.untilStatus(`accepted: ${status}`, site, group, ({ conditions }) => conditions?.some(isThere) ?? false);
}

it("what another group names is left out of one that selects by labels, and taken when it is free", async () => {
  await scene.apply("east", namespace("named", gold), namespace("chosen", gold));
  await scene.apply("east", configMap("named", "one"), configMap("chosen", "one"));
  await scene.pair.applyGroup("east", "names", groupSpec(["named"]), scene.signal);
  await scene.untilStatus("caught up", "west", "names", isCaughtUp);
  await scene.pair.applyGroup("east", "labels", byLabel(), scene.signal);
  await scene.untilStatus("caught up", "west", "labels", isCaughtUp);
  const groupOf = (name: string) => async () =>
    (await scene.find("west", configMap(name, "one")))?.metadata.labels?.[marks.group];
  expect(await groupOf("chosen")()).toBe("labels");
  expect(await groupOf("named")()).toBe("names");
  await untilAccepted("east", "labels", "True", "namespace named is left out: it belongs to the group names");

  // One more of the label's namespaces goes to nobody twice either, in the other order.
  await scene.pair.applyGroup("east", "names", groupSpec(["named", "chosen"]), scene.signal);
  await untilAccepted("east", "names", "False", "namespace chosen at east already belongs to the group labels");
  await scene.apply("east", configMap("named", "two"));
  await scene.until("the copy", "west", configMap("named", "two"), (found) => found !== undefined);

  await scene.remove("east", { ...groupApi, metadata: { name: "labels" } });
  await scene.untilStatus("orphaned", "west", "labels", ({ state }) => state === "Orphaned");
  expect(await scene.lifeboat("west", "purge", "labels", "--site", "west")).toMatchObject({ code: 0 });
  await untilAccepted("east", "names", "True", "");
  await scene.untilStatus("caught up", "west", "names", isCaughtUp);
  expect(await groupOf("chosen")()).toBe("names");
});

it("an agent that starts again finds each namespace with the group that had it", async () => {
  await scene.apply("east", namespace("later", gold), configMap("later", "one"));
  await scene.pair.applyGroup("east", "all", byLabel(), scene.signal);
  await scene.untilStatus("caught up", "west", "all", isCaughtUp);
  await untilAccepted("east", "all", "True", "left out");
  const before = await acceptedOf("east", "all");
  for (const site of ["east", "west"] as const) await scene.pair.restartAgent(site, { signal: "SIGKILL" });
  await scene.untilStatus("caught up", "west", "all", isCaughtUp);
  await scene.untilStatus("caught up", "west", "names", isCaughtUp);
  expect((await acceptedOf("east", "all"))?.message).toBe(before?.message);
});

it("of two groups that would copy one namespace in opposite directions neither touches it at the other site", async () => {
  const there = (replicas: number) => [namespace("both"), deployment("both", "web", replicas)];
  await scene.apply("east", ...there(2));
  await scene.apply("west", ...there(3));
  const spec = groupSpec(["both"], { adopt: true });
  const untilActive = async (site: SiteName, group: string): Promise<unknown> =>
    scene.untilStatus("active", site, group, ({ role }) => role === "active");
  // Each is made while the other site does not hear of it.
  await scene.pair.stopMember("west");
  await scene.pair.applyGroup("east", "eastward", spec, scene.signal);
  await untilActive("east", "eastward");
  await scene.pair.stopMember("east");
  await scene.pair.startAgent("west");
  await scene.pair.applyGroup("west", "westward", spec, scene.signal);
  await untilActive("west", "westward");
  await scene.pair.startAgent("east");
  const stays = async (): Promise<void> => {
    await untilAccepted("west", "eastward", "True", "both is left out: it belongs to the group westward");
    await untilAccepted("east", "westward", "True", "both is left out: it belongs to the group eastward");
    expect(replicasOf(await scene.find("east", deployment("both", "web", 2)))).toBe(2);
    expect(replicasOf(await scene.find("west", deployment("both", "web", 3)))).toBe(3);
  };
  await stays();
  // Whichever group an agent opens first.
  for (const site of ["east", "west"] as const) await scene.pair.restartAgent(site, { signal: "SIGKILL" });
  await untilActive("east", "eastward");
  await untilActive("west", "westward");
  await stays();
  // Not even a person's word brings it up over what runs there.
  const moved = await scene.lifeboat("west", "switchover", "eastward", "--to", "west", "--dry-run");
  expect(moved).toMatchObject({ code: 3, out: expect.stringContaining("west is Syncing") as string });

  // A person decides: the other one is to look after something else.
  await scene.pair.applyGroup("west", "westward", groupSpec(["elsewhere"]), scene.signal);
  await untilAccepted("east", "westward", "True", "");
  await scene.until("taken over", "west", deployment("both", "web", 2), (found) => replicasOf(found) === 0);
  await scene.untilStatus("caught up", "west", "eastward", isCaughtUp);
});
