import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { stringify } from "yaml";
import { clockOutcome, folderOutcome, versionOutcome } from "../../../src/cli/check-verdicts.ts";
import { lifeboat } from "./terminal.ts";

const folders: string[] = [];
afterAll(async () => {
  for (const path of folders) await rm(path, { recursive: true, force: true });
});

async function folder(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), "lifeboat-check-"));
  folders.push(path);
  return path;
}

describe("the data folder", () => {
  it("that is there is looked at", async () => {
    const path = await folder();
    expect(await folderOutcome(path)).toEqual({ verdict: "ok", message: `${path} can be written` });
  });

  it("that is not there is not made: its nearest parent tells", async () => {
    const parent = await folder();
    const path = join(parent, "lib", "lifeboat");
    const message = `${path} is not there yet and can be made in ${parent}`;
    expect(await folderOutcome(path)).toEqual({ verdict: "ok", message });
    expect(existsSync(join(parent, "lib"))).toBe(false);
  });

  it("that is a file, or would be in one, fails", async () => {
    const path = join(await folder(), "file");
    await writeFile(path, "");
    expect(await folderOutcome(path)).toMatchObject({ verdict: "failed", message: `${path} is no folder` });
    expect(await folderOutcome(join(path, "below"))).toMatchObject({ verdict: "failed" });
  });

  it.skipIf(process.getuid?.() === 0)("that may not be written fails", async () => {
    const path = join(await folder(), "locked");
    await mkdir(path, { mode: 0o500 });
    expect(await folderOutcome(join(path, "below"))).toMatchObject({ verdict: "failed" });
  });
});

describe("the API server's version", () => {
  it.each([
    ["v1.33.0", "ok"],
    ["v1.34.2+k3s1", "ok"],
    ["v1.40.0-alpha.1", "ok"],
    ["v1.32.9", "warning"],
    ["v1.9.0", "warning"],
    ["something else", "warning"],
  ])("%s: %s", (version, verdict) => {
    const outcome = versionOutcome("https://east", version);
    expect(outcome).toMatchObject({ verdict, message: expect.stringContaining(version) as string });
    if (verdict === "warning") expect(outcome.message).toContain("tested from v1.33 on");
  });
});

describe("the clock", () => {
  const startMs = Date.parse("2026-01-01T00:00:10.400Z");
  const asked = { startMs, endMs: startMs + 200 };

  it.each(["2026-01-01T00:00:10Z", "2026-01-01T00:00:09Z", "2026-01-01T00:00:11Z"])("agrees at %s", (stamp) => {
    expect(clockOutcome(stamp, asked)).toMatchObject({ verdict: "ok" });
  });

  it.each([
    ["2026-01-01T00:00:13Z", "3.0 s"],
    ["2026-01-01T00:00:07Z", "-3.0 s"],
    ["2026-01-01T01:00:10Z", "3600.0 s"],
  ])("differs at %s by %s", (stamp, by) => {
    const outcome = clockOutcome(stamp, asked);
    expect(outcome).toMatchObject({ verdict: "warning", hint: expect.stringContaining("NTP") as string });
    expect(outcome.message).toBe(`differs from the API server's by ${by}`);
  });

  it("is not blamed for an answer that took long", () => {
    expect(clockOutcome("2026-01-01T00:00:12Z", { startMs, endMs: startMs + 4000 })).toMatchObject({ verdict: "ok" });
  });
});

describe("lifeboat check", () => {
  it("warns of an old API server with another time, goes on to the rest, and changes nothing", async () => {
    const writes: string[] = [];
    const server = createServer((request, response) => {
      const { method = "", url = "" } = request;
      const answer = (status: number, body: object): void => {
        response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
      };
      request.resume();
      if (url.startsWith("/version")) return answer(200, { gitVersion: "v1.30.4" });
      if (url.includes("selfsubjectaccessreviews")) return answer(201, { status: { allowed: true } });
      if (method !== "GET" && !url.includes("dryRun=All")) writes.push(`${method} ${url}`);
      const metadata = { name: "x", namespace: "lifeboat-system", creationTimestamp: "2020-01-01T00:00:00Z" };
      if (url.includes("/configmaps")) return answer(201, { apiVersion: "v1", kind: "ConfigMap", metadata });
      return answer(404, { apiVersion: "v1", kind: "Status", status: "Failure", code: 404, reason: "NotFound" });
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    try {
      const path = await folder();
      const kubeconfig = join(path, "kubeconfig");
      const address = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
      await writeFile(
        kubeconfig,
        stringify({
          "current-context": "c",
          contexts: [{ name: "c", context: { cluster: "c", user: "u" } }],
          clusters: [{ name: "c", cluster: { server: address } }],
          users: [{ name: "u", user: {} }],
        }),
      );
      const config = join(path, "agent.yaml");
      const tls = { cert: join(path, "no.crt"), key: join(path, "no.key"), ca: join(path, "no-ca.crt") };
      const dataDir = join(path, "data", "lifeboat");
      const peers = [{ site: "west", address: "127.0.0.1:1" }];
      await writeFile(config, stringify({ site: "east", pair: "p", kubeconfig, peers, tls, dataDir }));
      const { code, out } = await lifeboat("check", "--config", config);
      expect(out).toMatch(/warning {2}API server: .* is v1\.30\.4; tested from v1\.33 on/);
      expect(out).toMatch(/warning {2}clock: differs from the API server's by -\d+\.\d s\n {4}Hint: run NTP/);
      expect(out).toMatch(/failed {2}ProtectionGroup resource: not installed/);
      expect(out).toContain(`ok  data folder: ${dataDir} is not there yet and can be made in ${path}`);
      expect(out).toMatch(/failed {2}certificate: /);
      expect(out).toMatch(/warning {2}witness: no address is configured/);
      expect(code).toBe(3);
      expect(existsSync(join(path, "data"))).toBe(false);
      expect(writes).toEqual([]);
    } finally {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
  });
});
