import { execFile } from "node:child_process";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterEach, expect, test } from "vitest";
import { startBed } from "../bed/bed.ts";
import { findProcesses } from "../bed/processes.ts";
import { readRecord } from "../bed/record.ts";
import type { BedRecord } from "../bed/record.ts";
import type { Bed } from "../bed/running.ts";
import type { Site } from "../bed/site.ts";
import { leftovers } from "./bed-leftovers.ts";

const run = promisify(execFile);

let bed: Bed | undefined;

afterEach(async () => {
  await bed?.stop();
  bed = undefined;
});

async function recordOf(running: Bed): Promise<BedRecord> {
  const record = await readRecord(running.dir);
  if (record === undefined) throw new Error("a running bed has a record");
  return record;
}

/** Whether a connection to a site's API server opens within a second. */
async function answers(site: Site): Promise<boolean> {
  const { hostname, port } = new URL(site.server);
  return new Promise((resolve) => {
    const socket = connect({ host: hostname, port: Number(port), timeout: 1_000 });
    const end = (opened: boolean) => () => {
      socket.destroy();
      resolve(opened);
    };
    socket.once("connect", end(true)).once("timeout", end(false)).once("error", end(false));
  });
}

test("two sites with controllers and nodes are up in parallel within 20 seconds", async () => {
  bed = await startBed({ nodes: "simulated", install: true });
  expect(bed.startMs).toBeLessThan(20_000);
  for (const site of ["east", "west"]) {
    expect(await bed.kubectl(site, ["get", "nodes", "--no-headers"])).toMatch(/Ready/);
  }
});

test("a killed site has no process left, and comes back with its objects", async () => {
  bed = await startBed({ nodes: "simulated", install: true });
  await bed.kubectl("east", ["create", "configmap", "kept", "--from-literal=a=b"]);
  const uid = await bed.kubectl("east", ["get", "configmap", "kept", "-o", "jsonpath={.metadata.uid}"]);
  const agent = bed.site("east").spawn("agent", ["sleep", "1000"]);
  await bed.faults.kill("east");

  expect((await findProcesses(bed.dir)).filter((found) => found.name.startsWith("east/"))).toEqual([]);
  await agent.exited;
  expect(await answers(bed.site("east"))).toBe(false);
  expect(await answers(bed.site("west"))).toBe(true);
  expect(await bed.kubectl("west", ["get", "--raw", "/readyz"])).toBe("ok");

  await bed.faults.restore("east");
  expect(await bed.kubectl("east", ["get", "configmap", "kept", "-o", "jsonpath={.metadata.uid}"])).toBe(uid);
  const again = bed.site("east").spawn("agent", ["sh", "-c", "exit 7"]);
  expect(await again.exited).toEqual({ code: 7, signal: null });
});

test("stopping a bed leaves no process, namespace, mount, loop device, cgroup or file", async () => {
  bed = await startBed({ nodes: "simulated", install: true });
  const record = await recordOf(bed);
  await mkdir(join(bed.dir, "volume"));
  await mkdir(join(bed.dir, "mounted"));
  await run("mount", ["-t", "tmpfs", "tmpfs", join(bed.dir, "mounted")]);
  await writeFile(join(bed.dir, "volume", "disk"), Buffer.alloc(1024 * 1024));
  await run("losetup", ["--find", join(bed.dir, "volume", "disk")]);
  await bed.faults.pause("west");
  // The list can find things: a test of emptiness that cannot fail shows nothing.
  const kinds = new Set((await leftovers(record)).map((line) => line.split(" ")[0]));
  expect(kinds).toEqual(new Set(["process", "cgroup", "mount", "loop", "claim", "link", "folder"]));

  await bed.stop();
  bed = undefined;
  expect(await leftovers(record)).toEqual([]);
});

test("a site of another minor version says so", async () => {
  bed = await startBed({
    controllers: false,
    sites: ["east", { name: "west", emulatedVersion: "1.33" }],
    install: true,
  });
  const versionOf = async (site: string): Promise<string> =>
    (JSON.parse((await bed?.site(site).api.request("GET", "/version"))?.text ?? "{}") as { emulationMinor: string })
      .emulationMinor;
  expect(await versionOf("east")).toBe("36");
  expect(await versionOf("west")).toBe("33");
});

test("kubeconfigs are refused for the reason that they were made for", async () => {
  bed = await startBed({ controllers: false, sites: ["east"], install: true });
  const east = bed.site("east");
  const whoami = async (path: string): Promise<string> => {
    const kubectl = (await recordOf(bed as Bed)).programs["kubectl"] ?? "kubectl";
    const asked = run(kubectl, [`--kubeconfig=${path}`, "auth", "whoami", "-o", "json"]);
    return asked.then(
      (result) => result.stdout,
      (error: Error) => error.message,
    );
  };
  const bob = await whoami(await east.kubeconfigFor({ user: "bob", groups: ["dev", "ops"] }));
  expect(JSON.parse(bob)).toMatchObject({
    status: { userInfo: { username: "bob", groups: expect.arrayContaining(["dev", "ops"]) as unknown } },
  });
  expect(await whoami(await east.kubeconfigFor({ user: "bob", expired: true }))).toMatch(
    /must be logged in|Unauthorized/,
  );
  expect(await whoami(await east.kubeconfigFor({ user: "bob", unknownAuthority: true }))).toMatch(
    /must be logged in|Unauthorized/,
  );
  expect(await whoami(await east.kubeconfigFor({ user: "bob", wrongCa: true }))).toMatch(
    /certificate signed by unknown authority/,
  );
});

test("what cannot be is refused before anything is made", async () => {
  await expect(startBed({ sites: ["east", "east"] })).rejects.toMatchObject({ code: "ConfigInvalid" });
  await expect(startBed({ sites: ["No Good"] })).rejects.toMatchObject({ code: "ConfigInvalid" });
  await expect(startBed({ nodes: "real", isolation: "loopback" })).rejects.toMatchObject({ code: "NeedsRoot" });
  await expect(startBed({ nodes: "simulated", controllers: false })).rejects.toMatchObject({ code: "ConfigInvalid" });
});

test("a program that does not start is shown with its last words, and the bed is gone", async () => {
  const home = join("/tmp", `lifeboat-beds-${process.pid}`);
  process.env["LIFEBOAT_BED_HOME"] = home;
  try {
    const start = startBed({ name: "broken", sites: ["east"], controllers: false, apiserverFlags: ["--no-such-flag"] });
    await expect(start).rejects.toMatchObject({
      code: "ProgramFailed",
      message: expect.stringContaining("no-such-flag") as unknown,
    });
    expect(await readRecord(join(home, "broken"))).toBeUndefined();
  } finally {
    delete process.env["LIFEBOAT_BED_HOME"];
    await rm(home, { recursive: true, force: true });
  }
});
