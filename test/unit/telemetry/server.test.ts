import { describe, expect, it } from "vitest";
import { silentLog } from "../../../src/telemetry/log.ts";
import { Metrics } from "../../../src/telemetry/registry.ts";
import { startTelemetryServer } from "../../../src/telemetry/server.ts";

describe("the telemetry server", () => {
  it("answers metrics, health and readiness, and nothing else", async () => {
    let ready = false;
    const { registry } = new Metrics({ site: "east" });
    const options = { registry, isReady: () => ready, log: silentLog };
    const server = await startTelemetryServer({ listen: "127.0.0.1:0", ...options });
    const get = async (path: string, method = "GET") => {
      const response = await fetch(`http://127.0.0.1:${server.port}${path}`, { method });
      return { status: response.status, body: await response.text() };
    };
    expect((await get("/metrics")).body).toContain("# TYPE lifeboat_never_synced gauge");
    expect(await get("/healthz")).toEqual({ status: 200, body: "ok\n" });
    expect((await get("/readyz")).status).toBe(503);
    ready = true;
    expect((await get("/readyz?verbose")).status).toBe(200);
    expect((await get("/debug/pprof")).status).toBe(404);
    expect((await get("/metrics", "POST")).status).toBe(405);
    const taken = startTelemetryServer({ listen: `127.0.0.1:${server.port}`, ...options });
    await expect(taken).rejects.toMatchObject({ code: "ConfigInvalid" });
    await server.close();
    await expect(get("/healthz")).rejects.toThrow();
  });
});
