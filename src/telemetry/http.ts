import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Registry } from "prom-client";
import { LifeboatError, messageOf } from "../errors.ts";
import { safeError, type Log } from "./log.ts";

/** Requests that may be open at once: a scraper, two probes and a person. */
const connectionsMax = 32;

/** A request that is not complete by then, or an answer that nobody reads, is cut. */
const requestTimeoutMs = 5000;

export interface Check {
  readonly name: string;
  /** Why not, or `undefined` when all is well. Must answer at once. */
  readonly problem: () => string | undefined;
}

export interface TelemetryServerOptions {
  /** `host:port`; port 0 takes a free one. */
  readonly listen: string;
  readonly metrics: { readonly registry: Registry };
  /** The process cannot recover by itself: it should be restarted. */
  readonly health: readonly Check[];
  /** The process should not be relied on now. */
  readonly readiness: readonly Check[];
  readonly log: Log;
}

export interface TelemetryServer {
  readonly port: number;
  close(): Promise<void>;
}

interface Answer {
  readonly status: number;
  readonly type: string;
  readonly body: string;
}

/**
 * Serves `/metrics`, `/healthz` and `/readyz` over plain HTTP: nothing secret is in them. Rejects with ConfigInvalid
 * when the address cannot be used.
 */
export async function startTelemetryServer(options: TelemetryServerOptions): Promise<TelemetryServer> {
  const server = createServer((request, response) => {
    void respond(request, response, options);
  });
  server.maxConnections = connectionsMax;
  server.requestTimeout = requestTimeoutMs;
  server.setTimeout(requestTimeoutMs);
  const port = await listen(server, options.listen);
  return {
    port,
    close: async () => {
      const closed = Promise.withResolvers<void>();
      server.close(() => closed.resolve());
      server.closeAllConnections();
      await closed.promise;
    },
  };
}

async function listen(server: Server, address: string): Promise<number> {
  const colon = address.lastIndexOf(":");
  const host = address.slice(0, colon).replace(/^\[|\]$/g, "");
  const listening = Promise.withResolvers<void>();
  server.once("error", listening.reject);
  server.listen(Number(address.slice(colon + 1)), host, () => listening.resolve());
  try {
    await listening.promise;
  } catch (cause) {
    throw new LifeboatError("ConfigInvalid", `cannot listen on ${address}: ${messageOf(cause)}`, {
      op: "telemetry.listen",
      cause,
    });
  }
  const bound = server.address();
  return bound !== null && typeof bound === "object" ? bound.port : 0;
}

async function respond(
  request: IncomingMessage,
  response: ServerResponse,
  options: TelemetryServerOptions,
): Promise<void> {
  let answer: Answer;
  try {
    answer = await answerTo(request, options);
  } catch (error) {
    options.log.error({ error: safeError(error) }, "telemetry request failed");
    answer = text(500, "internal error\n");
  }
  response.writeHead(answer.status, { "content-type": answer.type });
  response.end(request.method === "HEAD" ? undefined : answer.body);
}

async function answerTo(request: IncomingMessage, options: TelemetryServerOptions): Promise<Answer> {
  if (request.method !== "GET" && request.method !== "HEAD") return text(405, "only GET\n");
  const { registry } = options.metrics;
  switch (request.url?.split("?")[0]) {
    case "/metrics":
      return { status: 200, type: registry.contentType, body: await registry.metrics() };
    case "/healthz":
      return checked(options.health);
    case "/readyz":
      return checked(options.readiness);
    default:
      return text(404, "there is /metrics, /healthz and /readyz\n");
  }
}

/** 200 when all checks are well, else 503; either way one line per check. */
function checked(checks: readonly Check[]): Answer {
  const problems = checks.map(({ name, problem }) => ({ name, why: problem() }));
  const lines = problems.map(({ name, why }) => (why === undefined ? `ok ${name}` : `not ok ${name}: ${why}`));
  const bad = problems.some(({ why }) => why !== undefined);
  return text(bad ? 503 : 200, `${[...lines, bad ? "not ok" : "ok"].join("\n")}\n`);
}

function text(status: number, body: string): Answer {
  return { status, type: "text/plain; charset=utf-8", body };
}
