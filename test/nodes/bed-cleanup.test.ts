import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { findProcesses } from "../bed/processes.ts";
import { readRecords } from "../bed/record.ts";
import type { BedRecord } from "../bed/record.ts";
import { leftovers, machineFolders } from "./bed-leftovers.ts";

const command = fileURLToPath(new URL("../bed/main.ts", import.meta.url));

/** A home of its own: nobody else's start sweeps these beds. */
let home = "";

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), "lifeboat-beds-"));
});

afterEach(async () => {
  await end(bedCommand("down"));
  await end(bedCommand("down", "--name", "other"));
});

afterAll(async () => {
  await rm(home, { recursive: true, force: true });
});

function bedCommand(...args: string[]): ChildProcess {
  return spawn(process.execPath, [command, ...args], {
    env: { ...process.env, LIFEBOAT_BED_HOME: home },
    stdio: ["ignore", "pipe", "pipe"],
  });
}

/** Exit status and both outputs of a command that is waited for. */
async function end(child: ChildProcess): Promise<{ code: number | null; stdout: string; stderr: string }> {
  let stdout = "";
  let stderr = "";
  child.stdout?.on("data", (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr?.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
  const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
  return { code, stdout, stderr };
}

/** The record of the bed that is being made, as soon as it says which network it uses. */
async function recordBeingMade(): Promise<BedRecord> {
  for (let tries = 0; tries < 1_000; tries++) {
    const record = (await readRecords(home)).find((candidate) => candidate.subnet !== null);
    if (record !== undefined) return record;
    await sleep(10);
  }
  throw new Error("no bed appeared");
}

/** Moments of a start that takes about four seconds, from making namespaces to nodes becoming ready. */
const moments = [0, 150, 700, 1_500, 2_500];

test.each(moments)("Ctrl-C %i ms into up leaves nothing", async (afterMs) => {
  const up = bedCommand("up");
  const ended = end(up);
  const record = await recordBeingMade();
  await sleep(afterMs);
  if (afterMs > 0) expect(await findProcesses(record.dir)).not.toEqual([]);
  up.kill("SIGINT");
  expect(await ended).toMatchObject({ code: 1, stderr: expect.stringContaining("interrupted") as unknown });
  expect(await leftovers(record)).toEqual([]);
});

test.each([0, 700, 1_500, 3_200])("what SIGKILL leaves %i ms into up, the next up removes", async (afterMs) => {
  const up = bedCommand("up");
  const ended = end(up);
  const record = await recordBeingMade();
  await sleep(afterMs);
  up.kill("SIGKILL");
  await ended;
  expect(await leftovers(record)).not.toEqual([]);

  const next = await end(bedCommand("up", "--name", "other", "--nodes", "none", "--no-controllers", "--sites", "only"));
  expect(next).toMatchObject({
    code: 0,
    stderr: expect.stringContaining("removed what was left of bed default") as unknown,
  });
  expect(await leftovers(record)).toEqual([]);
  expect(await end(bedCommand("down", "--name", "other"))).toMatchObject({ code: 0 });
});

test("down while Pods start on a real node leaves nothing, nor anything in the machine's own folders", async () => {
  const foldersBefore = await machineFolders();
  const up = bedCommand("up", "--nodes", "real", "--sites", "east", "--json");
  const { code } = await end(up);
  expect(code).toBe(0);
  const record = await recordBeingMade();
  await end(
    bedCommand("kubectl", "east", "create", "deployment", "web", "--image=bed.local/agnhost:1", "--replicas=5"),
  );
  await sleep(1_000);
  expect(await end(bedCommand("down"))).toMatchObject({ code: 0 });
  expect(await leftovers(record)).toEqual([]);
  expect(await machineFolders()).toEqual(foldersBefore);
});

test("up prints its sites as the last line, status and faults find them from another process, a second up refuses", async () => {
  const up = await end(bedCommand("up", "--sites", "a,b", "--nodes", "none", "--json"));
  const answer = JSON.parse(up.stdout.trim().split("\n").at(-1) ?? "") as {
    sites: { name: string; kubeconfig: string; server: string }[];
    startMs: number;
  };
  expect(answer.sites.map((site) => site.name)).toEqual(["a", "b"]);
  expect(answer.startMs).toBeGreaterThan(0);

  const status = JSON.parse((await end(bedCommand("status", "--json"))).stdout) as {
    beds: { sites: { processes: string[] }[] }[];
  };
  expect(status.beds[0]?.sites[0]?.processes).toContain("a/kube-apiserver");
  expect((await end(bedCommand("kubectl", "b", "get", "--raw", "/readyz"))).stdout).toBe("ok");
  expect(await end(bedCommand("up"))).toMatchObject({
    code: 1,
    stderr: expect.stringContaining("hint: npm run bed -- down") as unknown,
  });

  expect(await end(bedCommand("fault", "kill", "a"))).toMatchObject({ code: 0 });
  expect(await end(bedCommand("kubectl", "a", "get", "--raw", "/readyz", "--request-timeout=2s"))).not.toMatchObject({
    code: 0,
  });
  expect(await end(bedCommand("fault", "restore", "a"))).toMatchObject({ code: 0 });
  expect((await end(bedCommand("kubectl", "a", "get", "--raw", "/readyz"))).stdout).toBe("ok");
  expect(await end(bedCommand("fault", "kill", "c"))).toMatchObject({
    code: 1,
    stderr: expect.stringContaining("what runs: a/") as unknown,
  });

  expect(await end(bedCommand("down", "--json"))).toMatchObject({ code: 0, stdout: '{"removed":true}\n' });
  expect(await end(bedCommand("down"))).toMatchObject({ code: 0 });
});
