import { describe, expect, it } from "vitest";
import { startTelemetryServer, type TelemetryServerOptions } from "../../../src/telemetry/http.ts";
import { silentLog } from "../../../src/telemetry/log.ts";
import { Metrics } from "../../../src/telemetry/metrics.ts";

const metrics = new Metrics();
metrics.set("info", { site: "east" }, 1);

function start(options: Partial<TelemetryServerOptions>): ReturnType<typeof startTelemetryServer> {
  return startTelemetryServer({
    listen: "127.0.0.1:0",
    metrics,
    health: [],
    readiness: [],
    log: silentLog,
    ...options,
  });
}

async function get(port: number, path: string, method = "GET"): Promise<{ status: number; body: string }> {
  const response = await fetch(`http://127.0.0.1:${port}${path}`, { method });
  return { status: response.status, body: await response.text() };
}

describe("the telemetry server", () => {
  it("answers metrics, health and readiness, and nothing else", async () => {
    let problem: string | undefined = "no journal yet";
    const { port, close } = await start({
      health: [{ name: "event loop", problem: () => undefined }],
      readiness: [
        { name: "journal", problem: () => problem },
        { name: "peer", problem: () => undefined },
      ],
    });
    expect((await get(port, "/metrics")).body).toContain('lifeboat_info{site="east"} 1');
    expect(await get(port, "/healthz")).toEqual({ status: 200, body: "ok event loop\nok\n" });
    const notReady = { status: 503, body: "not ok journal: no journal yet\nok peer\nnot ok\n" };
    expect(await get(port, "/readyz")).toEqual(notReady);
    problem = undefined;
    expect((await get(port, "/readyz?verbose")).status).toBe(200);
    expect((await get(port, "/debug/pprof")).status).toBe(404);
    expect((await get(port, "/metrics", "POST")).status).toBe(405);
    await expect(start({ listen: `127.0.0.1:${port}` })).rejects.toMatchObject({ code: "ConfigInvalid" });
    await close();
    await expect(get(port, "/healthz")).rejects.toThrow();
  });

  it("says 500, without the reason, and stays up when a check throws", async () => {
    const problem = (): never => {
      throw new Error("password=hunter2");
    };
    const { port, close } = await start({ health: [{ name: "broken", problem }] });
    expect(await get(port, "/healthz")).toEqual({ status: 500, body: "internal error\n" });
    expect((await get(port, "/readyz")).status).toBe(200);
    await close();
  });
});
