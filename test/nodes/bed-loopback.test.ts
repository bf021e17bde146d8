import { afterAll, beforeAll, expect, test } from "vitest";
import { startBed } from "../bed/bed.ts";
import { openDelayLine } from "../bed/faults/delayline.ts";
import { findProcesses } from "../bed/processes.ts";
import { readRecord } from "../bed/record.ts";
import type { Bed } from "../bed/running.ts";
import { leftovers } from "./bed-leftovers.ts";

/** What a user without root has: control planes and simulated nodes on 127.0.0.1. */
let bed: Bed;

beforeAll(async () => {
  bed = await startBed({ isolation: "loopback", nodes: "simulated" });
});

afterAll(async () => bed.stop());

test("two sites run Deployments on simulated nodes", async () => {
  for (const site of ["east", "west"]) {
    await bed.kubectl(site, ["create", "deployment", "web", "--image=any/image:1", "--replicas=2"]);
    await bed.kubectl(site, ["rollout", "status", "deployment/web", "--timeout=60s"]);
  }
  expect(bed.site("east").server).toMatch(/^https:\/\/127\.0\.0\.1:\d+$/);
  expect(bed.site("east").server).not.toBe(bed.site("west").server);
});

test("a site is paused, killed and restored with its objects", async () => {
  await bed.kubectl("west", ["create", "configmap", "kept"]);
  const agent = bed.site("west").spawn("agent", ["sleep", "1000"]);
  await bed.faults.pause("west");
  await expect(bed.kubectl("west", ["get", "namespaces", "--request-timeout=1s"])).rejects.toMatchObject({
    code: "ProgramFailed",
  });
  await bed.faults.kill("west");
  await agent.exited;
  expect((await findProcesses(bed.dir)).filter((found) => found.name.startsWith("west"))).toEqual([]);
  await bed.faults.restore("west");
  expect(await bed.kubectl("west", ["get", "configmap", "kept", "-o", "name"])).toBe("configmap/kept\n");
});

test("faults that need root say so", async () => {
  const needsRoot = { code: "NeedsRoot", hint: expect.stringContaining("root") as unknown };
  await expect(bed.faults.partition("east", "west")).rejects.toMatchObject(needsRoot);
  await expect(bed.faults.delay("east", "west", 50)).rejects.toMatchObject(needsRoot);
  await expect(bed.faults.bandwidth("east", 10)).rejects.toMatchObject(needsRoot);
  await bed.faults.heal();
});

test("an address that is late can be had without root", async () => {
  const { hostname, port } = new URL(bed.site("east").server);
  const line = await openDelayLine({ host: hostname, port: Number(port), delayMs: 50 });
  const startedAtMs = performance.now();
  const answer = await bed.kubectl("east", ["get", "--raw", "/readyz", `--server=https://127.0.0.1:${line.port}`]);
  await line.close();
  expect(answer).toBe("ok");
  expect(performance.now() - startedAtMs).toBeGreaterThan(300);
});

test("stopping leaves nothing", async () => {
  const record = await readRecord(bed.dir);
  if (record === undefined) throw new Error("a running bed has a record");
  await bed.stop();
  expect(await leftovers(record)).toEqual([]);
});
