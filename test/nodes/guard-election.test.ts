/** Two agents at each site with real pods and a guard on each node: who leads changes, and no pod notices. */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { resources } from "../../src/kube/resource.ts";
import { startBed } from "../bed/bed.ts";
import type { Bed } from "../bed/running.ts";
import { readBeats, uptimeMs } from "../demo/beats.ts";
import { agentNamespace } from "../pair/install.ts";
import { hasCondition, startPair, type Pair } from "../pair/pair.ts";
import { waitFor } from "../pair/wait.ts";
import { groupSpec } from "./agent-harness.ts";
import { beating, namespace } from "./guard-harness.ts";

const group = "shop";
const patienceMs = 90_000;

let bed: Bed;
let pair: Pair;
let beatsDir: string;
const stopping = new AbortController();
const { signal } = stopping;
const options = { limitMs: patienceMs, signal };

beforeAll(async () => {
  bed = await startBed({ nodes: "real", install: true }, { signal });
  pair = await startPair(bed, { signal, guards: true, agents: 2 });
  beatsDir = join(bed.dir, "beats");
  await mkdir(beatsDir, { recursive: true });
  const input = JSON.stringify({
    apiVersion: "v1",
    kind: "List",
    items: [{ apiVersion: "v1", kind: "Namespace", metadata: { name: namespace } }, beating("web", beatsDir)],
  });
  await bed.kubectl("east", ["apply", "-f", "-"], { input });
  await beats();
  const failover = { automatic: true, profile: "fast", fencing: { policy: "Guard" } } as const;
  await pair.applyGroup("east", group, groupSpec([namespace], { failover }), signal);
  await settled();
});

afterAll(async () => {
  stopping.abort(new Error("the tests are over"));
  await pair?.stop();
  await bed?.stop();
});

/** What runs at east: a guard that kills leaves other containers behind, or more restarts. */
async function containers(): Promise<string> {
  const fields = "{range .items[*]}{.metadata.uid} {range .status.containerStatuses[*]}{.containerID} {.restartCount}";
  const path = `jsonpath=${fields}{"\\n"}{end}{end}`;
  return bed.kubectl("east", ["get", "pods", "-n", namespace, "-o", path]);
}

/** Waits until pods of east write. */
async function beats(): Promise<void> {
  const probe = async () => {
    const found = (await readBeats(beatsDir, ["east", "west"])).get("east") ?? [];
    return (await uptimeMs()) - Math.max(0, ...found.map(({ toMs }) => toMs)) < 500 || undefined;
  };
  await waitFor("beats at east", probe, options);
}

async function settled(): Promise<void> {
  await pair.waitActive("east", group, options);
  await pair.waitSynced("west", group, options);
  await pair.waitForStatus("east", group, "armed", (status) => hasCondition(status, "Armed"), options);
  await beats();
}

async function leader(): Promise<string> {
  const at = { namespace: agentNamespace, name: "lifeboat-agent" };
  const lease = await pair.client("east").get(resources.leases, at, { signal });
  return ((lease["spec"] as { holderIdentity?: string }).holderIdentity ?? "").split("_")[0] ?? "";
}

async function untilLeads(agent: string): Promise<void> {
  const probe = async () => {
    const response = await fetch(`${pair.metricsUrl(agent)}/readyz`, { signal: AbortSignal.timeout(2000) });
    await response.text();
    return response.ok || undefined;
  };
  await waitFor(`${agent} leads`, probe, options);
}

const otherOf = (agent: string): string => (agent === "east" ? "east-2" : "east");

test("the agent that leads is killed: the guards go to the other one, and the pods run on under their epoch", async () => {
  const { epoch } = await pair.status("east", group, signal);
  const before = await containers();
  const first = await leader();
  await pair.stopMember(first, { signal: "SIGKILL" });
  await untilLeads(otherOf(first));
  await pair.startAgent(first);
  await settled();
  expect((await pair.status("east", group, signal)).epoch).toBe(epoch);
  expect(before).toContain("containerd://");
  expect(await containers()).toBe(before);
});

test("the agent that leads stands still until another one leads, and wakes: the pods run on under their epoch", async () => {
  const { epoch } = await pair.status("east", group, signal);
  const before = await containers();
  const first = await leader();
  await bed.faults.pause(pair.process(first).name);
  await untilLeads(otherOf(first));
  await bed.faults.resume(pair.process(first).name);
  await settled();
  expect(await leader()).toBe(otherOf(first));
  expect((await pair.status("east", group, signal)).epoch).toBe(epoch);
  expect(before).toContain("containerd://");
  expect(await containers()).toBe(before);
});
