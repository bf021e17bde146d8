import { spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parse } from "yaml";
import type { KubeObject } from "../../src/objects/object.ts";
import { hasCondition } from "../pair/pair.ts";
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
  type SiteName,
  startScene,
} from "./agent-harness.ts";

/** Planned moves, and what steers the protocol, by the commands that people use. */

let scene: Scene;
const group = "shop";
const web = deployment("shop", "web", 2);
const moveLimitMs = 90_000;
const program = fileURLToPath(new URL("../../src/main.ts", import.meta.url));

beforeAll(async () => {
  scene = await startScene({ nodes: "simulated", nodeCount: 1 });
  await scene.apply("east", namespace("shop"), configMap("shop", "note", { by: "east" }), secret("shop", "key", "v"));
  await scene.apply("east", web);
  await scene.pair.applyGroup("east", group, groupSpec(["shop"], { failover: { automatic: true } }), scene.signal);
  await expectActive("east");
});
afterAll(async () => scene?.stop());

async function expectActive(site: SiteName): Promise<void> {
  const standby = site === "east" ? "west" : "east";
  await scene.untilStatus(
    "active",
    site,
    group,
    ({ role, active }) => role === "active" && active === site,
    moveLimitMs,
  );
  await scene.untilStatus(
    "following",
    standby,
    group,
    (status) => status.role === "standby" && isCaughtUp(status),
    moveLimitMs,
  );
  await scene.until("its replicas", site, web, (found) => replicasOf(found) === 2);
}

/** Nothing stands in the way, by its own word: leases and readiness come back some seconds after a move. */
async function untilFit(site: SiteName, to: SiteName, name = group): Promise<void> {
  let said = "";
  const fit = async () => {
    const { code, out, err } = await scene.lifeboat(site, "switchover", name, "--to", to, "--dry-run");
    said = `${out}${err}`;
    return code === 0 || undefined;
  };
  await waitFor(`a clean preflight at ${site}`, fit, { limitMs: moveLimitMs, signal: scene.signal }).catch(
    (error: unknown) => {
      throw new Error(`${String(error)}: ${said}`, { cause: error });
    },
  );
}

it("a switchover is looked at, done with its phases shown, and taken back by a failback", async () => {
  await untilFit("east", "west");
  const dry = await scene.lifeboat("east", "switchover", group, "--to", "west", "--dry-run");
  expect(dry.out).toContain("nothing is lost");
  expect((await scene.status("east", group)).active).toBe("east");

  const moved = await scene.lifeboat("east", "switchover", group, "--to", "west", "--wait");
  expect(moved).toMatchObject({ code: 0, err: "" });
  expect(moved.out).toMatch(/\+.*Quiescing[^]*done/);
  await expectActive("west");
  expect((await scene.status("west", group)).lastFailover).toMatchObject({
    kind: "switchover",
    from: "east",
    to: "west",
  });

  await untilFit("west", "east");
  const back = await scene.lifeboat("west", "failback", group, "--wait");
  expect(back).toMatchObject({ code: 0, err: "" });
  await expectActive("east");
});

/** A pod of east that does not end before it is let go. */
async function slowPod(): Promise<{ readonly name: string; letGo(): Promise<void> }> {
  const kubectl = async (...args: readonly string[]) => scene.bed.kubectl("east", ["-n", "shop", ...args]);
  const [name = ""] = (await kubectl("get", "pods", "-o", "name")).split("\n");
  const patch = async (finalizers: readonly string[]) =>
    kubectl("patch", name, "--type=merge", "-p", JSON.stringify({ metadata: { finalizers } }));
  await patch(["example.com/slow"]);
  return { name, letGo: async () => void (await patch([])) };
}

const hasReadyPods = (found: KubeObject | undefined): boolean =>
  (found?.["status"] as { readyReplicas?: number } | undefined)?.readyReplicas === 2;

/** Nothing of the group runs at the standby. */
async function expectHeldAtWest(): Promise<void> {
  expect(replicasOf(await scene.find("west", web))).toBe(0);
  expect((await scene.bed.kubectl("west", ["-n", "shop", "get", "pods", "-o", "name"])).trim()).toBe("");
}

it("a switchover that waits for a pod says so, and is called off: the group runs where it ran", async () => {
  await untilFit("east", "west");
  const { epoch } = await scene.status("east", group);
  const pod = await slowPod();
  try {
    const moving = scene.lifeboat("east", "switchover", group, "--to", "west", "--wait");
    await scene.until("a held application", "east", web, (found) => replicasOf(found) === 0);
    await scene.untilStatus("waiting", "east", group, ({ reason }) => reason?.includes("everything") ?? false);
    const shown = await scene.lifeboat("east", "status", group);
    expect(shown.out).toMatch(
      /State: +Quiescing: switchover to west: it goes on when everything of the group has stopped here; `lifeboat abort shop`, asked here, calls it off/,
    );
    expect(await scene.status("west", group)).toMatchObject({ role: "standby", state: "Standby", active: "east" });
    await expectHeldAtWest();

    const answer = await scene.lifeboat("east", "abort", group);
    const message = "the switchover is called off; the group goes on where it was\n";
    expect(answer).toMatchObject({ code: 0, err: "", out: message });
    const moved = await moving;
    expect(moved).toMatchObject({ code: 4, err: "" });
    expect(moved.out).toMatch(/Quiescing[^]*refused: the switchover is called off/);
    await scene.until("two ready pods", "east", web, hasReadyPods);
  } finally {
    await pod.letGo();
  }
  await expectActive("east");
  expect((await scene.status("east", group)).epoch).toBe(epoch);
  await expectHeldAtWest();
});

it("a switchover whose agent is lost before its seal is answered by the next process: it is not going on", async () => {
  await untilFit("east", "west");
  const pod = await slowPod();
  try {
    const moving = scene.lifeboat("east", "switchover", group, "--to", "west", "--wait");
    await scene.untilStatus("waiting", "east", group, ({ reason }) => reason?.includes("everything") ?? false);
    await scene.pair.restartAgent("east", { signal: "SIGKILL" });
    const moved = await moving;
    expect(moved).toMatchObject({ code: 4, err: "" });
    expect(moved.out).toMatch(/refused: .*`lifeboat status shop` shows.*\[Interrupted\]/);
    await scene.until("two ready pods", "east", web, hasReadyPods);
  } finally {
    await pod.letGo();
  }
  await expectActive("east");
  await expectHeldAtWest();
});

it("a sealed switchover that the other site does not take up is called off by the witness", async () => {
  await untilFit("east", "west");
  const { epoch } = await scene.status("east", group);
  const pod = await slowPod();
  try {
    expect((await scene.lifeboat("east", "switchover", group, "--to", "west")).code).toBe(0);
    await scene.untilStatus("waiting", "east", group, ({ reason }) => reason?.includes("everything") ?? false);
    await scene.bed.faults.pause("west/agent");
  } finally {
    await pod.letGo();
  }
  try {
    await scene.untilStatus("sealed", "east", group, ({ state }) => state === "Sealed");
    const shown = await scene.lifeboat("east", "status", group);
    expect(shown.out).toMatch(
      /State: +Sealed: switchover to west: stopped here, west catches up; `lifeboat abort shop`/,
    );
    expect(await scene.lifeboat("east", "abort", group)).toMatchObject({
      code: 0,
      out: "the group is sealed; the witness is asked to call the switchover off\n",
    });
    await scene.until("two ready pods", "east", web, hasReadyPods);
  } finally {
    await scene.bed.faults.resume("west/agent");
  }
  await expectActive("east");
  expect((await scene.status("east", group)).epoch).not.toBe(epoch);
  await expectHeldAtWest();
});

it("pause and resume show in status, and pausing keeps the witness from moving the group", async () => {
  await scene.untilStatus("armed", "east", group, (status) => hasCondition(status, "Armed"), moveLimitMs);
  const paused = await scene.lifeboat("east", "pause", group);
  expect(paused).toMatchObject({ code: 0, out: "automatic failover is paused, until east is asked to resume it\n" });
  const { conditions } = await scene.untilStatus(
    "not armed",
    "east",
    group,
    (status) => !hasCondition(status, "Armed"),
  );
  expect(conditions?.find(({ type }) => type === "Armed")?.message).toContain("lifeboat resume");
  const detail = await scene.lifeboat("east", "status", group);
  expect(detail.out).toMatch(/Leases: +witness held; peer held/);
  expect(detail.out).toMatch(/IF IT DIED NOW[^]*nobody takes over by itself/);
  expect((await scene.lifeboat("east", "resume", group)).code).toBe(0);
  await scene.untilStatus("armed", "east", group, (status) => hasCondition(status, "Armed"), moveLimitMs);
  expect((await scene.lifeboat("east", "status", group)).out).toMatch(
    /IF IT DIED NOW[^]*west takes over by itself within/,
  );
});

it("abort says that there is nothing to call off, with exit code 4", async () => {
  const answer = await scene.lifeboat("east", "abort", group);
  expect(answer).toMatchObject({ code: 4, err: expect.stringContaining("no switchover to call off") as string });
});

it("a switchover to a site that is not ready is refused with every reason, and nothing is touched", async () => {
  await scene.bed.faults.pause("west/agent");
  try {
    await delay(6_000);
    const dry = await scene.lifeboat("east", "switchover", group, "--to", "west", "--dry-run");
    expect(dry).toMatchObject({ code: 3, out: expect.stringContaining("in the way: west is not reached") as string });
    const refused = await scene.lifeboat("east", "switchover", group, "--to", "west", "--wait");
    expect(refused).toMatchObject({ code: 4, out: expect.stringContaining("west is not reached") as string });
    expect(replicasOf(await scene.find("east", web))).toBe(2);
  } finally {
    await scene.bed.faults.resume("west/agent");
  }
  await expectActive("east");
});

it("what the other site would refuse of the group keeps a switchover from being begun, and is named", async () => {
  const meta = { apiVersion: "admissionregistration.k8s.io/v1", metadata: { name: "nothing-runs" } };
  const refusal = [
    {
      ...meta,
      kind: "ValidatingAdmissionPolicy",
      spec: {
        matchConstraints: {
          resourceRules: [
            { apiGroups: ["apps"], apiVersions: ["*"], operations: ["CREATE", "UPDATE"], resources: ["deployments"] },
          ],
        },
        validations: [{ expression: "object.spec.replicas == 0", message: "nothing runs here" }],
      },
    },
    {
      ...meta,
      kind: "ValidatingAdmissionPolicyBinding",
      spec: { policyName: "nothing-runs", validationActions: ["Deny"] },
    },
  ];
  const input = JSON.stringify({ apiVersion: "v1", kind: "List", items: refusal });
  await scene.bed.kubectl("west", ["apply", "-f", "-"], { input });
  try {
    const limits = { limitMs: moveLimitMs, signal: scene.signal };
    await scene.pair.waitRefused("west", deployment("default", "asked", 1), "nothing runs here", limits);
    await scene.apply("east", deployment("shop", "web", 2, "any/web:2"));
    const isNamed = async () => {
      const dry = await scene.lifeboat("east", "switchover", group, "--to", "west", "--dry-run");
      return dry.out.includes("nothing runs here") ? dry : undefined;
    };
    const { code, out } = await waitFor("the finding", isNamed, { limitMs: moveLimitMs, signal: scene.signal });
    expect(code).toBe(3);
    expect(out).toMatch(/in the way: at west: 1 objects would be refused .*apps\/Deployment\/shop\/web/);
    for (const asked of ["east", "west"] as const) {
      const refused = await scene.lifeboat(asked, "switchover", group, "--to", "west", "--wait");
      expect(refused).toMatchObject({ code: 4, out: expect.stringContaining("nothing runs here") as string });
    }
    // With something else in the way, both are named.
    await scene.bed.faults.pause("west/agent");
    try {
      await delay(6_000);
      const dry = await scene.lifeboat("east", "switchover", group, "--to", "west", "--dry-run");
      expect(dry.out).toContain("in the way: west is not reached\n");
      expect(dry.out).toMatch(/in the way: at west: 1 objects would be refused/);
    } finally {
      await scene.bed.faults.resume("west/agent");
    }
    expect(replicasOf(await scene.find("east", web))).toBe(2);
  } finally {
    await scene.bed.kubectl("west", ["delete", ...refusal.map(({ kind }) => `${kind}/nothing-runs`)]);
  }
  await untilFit("east", "west");
});

it("Ctrl-C ends the showing, not the move", async () => {
  await untilFit("east", "west");
  const kubeconfig = scene.bed.site("east").kubeconfigPath;
  const args = ["switchover", group, "--to", "west", "--wait", "--kubeconfig", kubeconfig];
  const child = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", program, ...args]);
  let text = "";
  child.stdout.on("data", (chunk: Buffer) => (text += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (text += chunk.toString()));
  await waitFor("its first phase", async () => /\+.*(Quiescing|Sealed)/.test(text) || undefined, {
    limitMs: moveLimitMs,
    everyMs: 20,
    signal: scene.signal,
  });
  child.kill("SIGINT");
  const [code] = (await once(child, "close")) as [number | null];
  expect(code).toBe(5);
  expect(text).toContain("The request stands");
  await expectActive("west");
});

it("a failover keeps what the old site wrote by itself, for `divergence` to show without values of Secrets", async () => {
  // East writes what never reaches west: the streams between them are cut before, and east is lost with it.
  await untilFit("west", "east");
  expect((await scene.lifeboat("west", "failback", group, "--wait")).code).toBe(0);
  await expectActive("east");
  // Reset: what a killed process has given to the kernel would still arrive once the link is there again.
  await scene.bed.faults.partition("east", "west", { mode: "reset" });
  await scene.apply("east", configMap("shop", "note", { by: "nobody" }), secret("shop", "key", "other"));
  await scene.bed.faults.kill("east/agent");
  await scene.bed.faults.heal();
  const moved = await scene.lifeboat("west", "failover", group, "--to", "west", "--wait");
  expect(moved.code, JSON.stringify(moved)).toBe(0);
  await scene.pair.startAgent("east");
  await expectActive("west");
  // It is compared when everything of west has come.
  const { kept, note } = await waitFor(
    "the divergence of east",
    async () => {
      const { out } = await scene.lifeboat("east", "divergence", group, "-o", "yaml");
      const all = (parse(out) ?? []) as { key: string; what: string; object: KubeObject }[];
      const found = all.find(({ key }) => key === "/ConfigMap/shop/note");
      return found === undefined ? undefined : { kept: all, note: found };
    },
    { limitMs: moveLimitMs, signal: scene.signal },
  );
  expect(note).toMatchObject({ what: "changed", object: { data: { by: "nobody" } } });
  expect(kept.find(({ key }) => key === "/Secret/shop/key")?.object["data"]).toEqual({ value: "(not shown)" });
  expect((await scene.lifeboat("east", "divergence", group)).out).toMatch(
    /WHAT +OBJECT[^]*changed +\/ConfigMap\/shop\/note/,
  );
  expect(dataOf(await scene.find("east", configMap("shop", "note")))).toEqual({ by: "east" });
});

it("the standby's API server refuses a hand-made scale and says what to do; so does the old site after a move", async () => {
  const scale = ["-n", "shop", "scale", "deployment", "web", "--replicas=1"];
  await expect(scene.bed.kubectl("east", scale)).rejects.toThrow(
    /group shop runs at west .*lifeboat switchover shop --to east/,
  );
  await scene.bed.kubectl("west", ["-n", "shop", "scale", "deployment", "web", "--replicas=3"]);
  await scene.until("the scale", "west", web, (found) => replicasOf(found) === 3);
  expect((await scene.status("east", group)).leases).toMatchObject({ gate: "in force" });
});

describe("a pilot light", () => {
  const noted = (ns: string, by: string) => configMap(ns, "note", { by });
  const objectsOf = (ns: string): readonly KubeObject[] => [
    namespace(ns),
    noted(ns, "east"),
    secret(ns, "key", "v"),
    deployment(ns, "web", 2),
  ];

  /** Everything is in the journal of west, and nothing of it in its API server. */
  async function expectJournalAlone(name: string, atLeast = 0): Promise<void> {
    const received = async () => {
      const [source, standby] = [await scene.status("east", name), await scene.status("west", name)];
      const { counts } = standby;
      const isSame = isCaughtUp(standby) && counts?.objects === source.counts?.objects;
      return isSame && (counts?.objects ?? 0) >= atLeast ? counts : undefined;
    };
    const limits = { limitMs: moveLimitMs, signal: scene.signal };
    const { withheld = 0, objects } = await waitFor(`all of ${name} in the journal`, received, limits);
    // The group itself is one of them: its spec is in force here.
    expect(withheld + 1).toBe(objects);
    expect(withheld).toBeGreaterThanOrEqual(objectsOf(name).length);
    for (const object of objectsOf(name)) expect(await scene.find("west", object)).toBeUndefined();
  }

  it.each(["pilot", "spare"])("has a group in its journal and applies nothing of it (%s)", async (name) => {
    await scene.apply("east", ...objectsOf(name));
    await scene.pair.applyGroup("east", name, groupSpec([name], { standby: "PilotLight" }), scene.signal);
    await scene.untilStatus("active", "east", name, ({ role }) => role === "active", moveLimitMs);
    await expectJournalAlone(name);
  });

  it("is brought up whole by a failover", async () => {
    const { objects = 0 } = (await scene.status("west", "pilot")).counts ?? {};
    // The later one is counted, and comes after the earlier one.
    await scene.apply("east", noted("pilot", "east, later"));
    await scene.apply("east", configMap("pilot", "late", { a: "1" }));
    await expectJournalAlone("pilot", objects + 1);
    await untilFit("west", "west", "pilot");
    const moved = await scene.lifeboat("west", "failover", "pilot", "--to", "west", "--wait");
    expect(moved).toMatchObject({ code: 0, err: "" });
    await scene.untilStatus("active", "west", "pilot", ({ role }) => role === "active", moveLimitMs);
    expect(dataOf(await scene.find("west", noted("pilot", "")))).toEqual({ by: "east, later" });
    expect(await scene.find("west", secret("pilot", "key", ""))).toMatchObject({
      data: secret("pilot", "key", "v")["data"],
    });
    expect(dataOf(await scene.find("west", configMap("pilot", "late")))).toEqual({ a: "1" });
    const [east, west] = [deployment("pilot", "web", 0), deployment("pilot", "web", 2)];
    await scene.until("two ready pods", "west", west, (found) => {
      return (found?.["status"] as { readyReplicas?: number } | undefined)?.readyReplicas === 2;
    });
    expect(replicasOf(await scene.find("east", east))).toBe(0);
  });

  it("becomes a warm standby by an edit of the spec", async () => {
    await expectJournalAlone("spare");
    await scene.pair.applyGroup("east", "spare", groupSpec(["spare"]), scene.signal);
    await expectSame(scene, ["spare"]);
    const { counts } = await scene.untilStatus("warm", "west", "spare", (status) => {
      return isCaughtUp(status) && status.counts?.withheld === 0;
    });
    expect(counts?.applied).toBe(counts?.objects);
    expect(replicasOf(await scene.find("west", deployment("spare", "web", 0)))).toBe(0);
    expect(replicasOf(await scene.find("east", deployment("spare", "web", 2)))).toBe(2);
  });
});
