import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Registry } from "prom-client";
import { LifeboatError, messageOf } from "../errors.ts";
import { safeError, type Log } from "./log.ts";

export interface TelemetryServerOptions {
  /** `host:port`; port 0 takes a free one. */
  readonly listen: string;
  readonly registry: Registry;
  /** Whether the process can do its work; asked at each `/readyz`. */
  readonly isReady: () => boolean;
  readonly log: Log;
}

export interface TelemetryServer {
  readonly port: number;
  close(): Promise<void>;
}

/** Scrapes and probes at once; more are refused by the listening socket. */
const connectionsMaxCount = 32;
const requestTimeoutMs = 10_000;

/**
 * `/metrics` in Prometheus' text format, `/healthz` (the process answers) and `/readyz` (it can do its work) over plain
 * HTTP: nothing secret is in them. Rejects with ConfigInvalid when the address cannot be used.
 */
export async function startTelemetryServer(options: TelemetryServerOptions): Promise<TelemetryServer> {
  const server = createServer({ requestTimeout: requestTimeoutMs }, (request, response) => {
    answer(options, request, response).catch((error: unknown) => {
      options.log.warn({ error: safeError(error) }, "a scrape failed");
      response.writeHead(500).end();
    });
  });
  server.maxConnections = connectionsMaxCount;
  const colon = options.listen.lastIndexOf(":");
  const host = options.listen.slice(0, colon).replace(/^\[|\]$/g, "");
  await new Promise<void>((resolve, reject) => {
    server.once("error", (cause) => {
      const message = `cannot listen on ${options.listen}: ${messageOf(cause)}`;
      reject(new LifeboatError("ConfigInvalid", message, { op: "telemetry.listen", cause }));
    });
    server.listen(Number(options.listen.slice(colon + 1)), host, resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    close: async () => {
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

async function answer(
  { registry, isReady }: TelemetryServerOptions,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const text = (status: number, body: string, type = "text/plain; charset=utf-8"): void => {
    response.writeHead(status, { "content-type": type }).end(body);
  };
  if (request.method !== "GET") return text(405, "only GET\n");
  switch (request.url?.split("?")[0]) {
    case "/metrics":
      return text(200, await registry.metrics(), registry.contentType);
    case "/healthz":
      return text(200, "ok\n");
    case "/readyz":
      return isReady() ? text(200, "ok\n") : text(503, "the API server has not been read yet\n");
    default:
      return text(404, "try /metrics, /healthz or /readyz\n");
  }
}
