import { chmod, mkdtemp, writeFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { stringify } from "yaml";
import { systemClock, type Clock } from "../../../src/clock.ts";
import { connect, type KubeClient } from "../../../src/kube/client.ts";
import { Reflector } from "../../../src/kube/reflector.ts";
import { resources } from "../../../src/kube/resource.ts";
import { silentLog } from "../../../src/telemetry/log.ts";

/** Answers that real API servers give rarely: a real HTTP server gives them here. */

const { signal } = new AbortController();
const closing: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0)) await close();
});

type Handler = (request: IncomingMessage, response: ServerResponse) => void;

async function serve(handler: Handler): Promise<string> {
  const server: Server = createServer(handler);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  closing.push(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function clientOf(
  server: string,
  user: Record<string, unknown> = {},
  clock: Clock = systemClock,
): Promise<KubeClient> {
  const path = join(await mkdtemp(join(tmpdir(), "lifeboat-")), "kubeconfig");
  const config = {
    "current-context": "c",
    contexts: [{ name: "c", context: { cluster: "c", user: "u" } }],
    clusters: [{ name: "c", cluster: { server } }],
    users: [{ name: "u", user }],
  };
  await writeFile(path, stringify(config));
  const client = await connect({ from: "files", paths: [path] }, { clock });
  closing.push(async () => client.close());
  return client;
}

function answer(response: ServerResponse, code: number, body: unknown, headers: Record<string, string> = {}): void {
  response.writeHead(code, { "content-type": "application/json", ...headers });
  response.end(JSON.stringify(body));
}

test("a busy server is asked again, as often as is reasonable", async () => {
  let asked = 0;
  const server = await serve((_, response) => {
    asked++;
    if (asked < 3) answer(response, 429, { kind: "Status", reason: "TooManyRequests" }, { "retry-after": "0" });
    else answer(response, 200, { gitVersion: "v1.36.4" });
  });
  const client = await clientOf(server);
  expect(await client.version({ signal })).toBe("v1.36.4");
  asked = -100;
  await expect(client.version({ signal })).rejects.toMatchObject({ code: "KubeRejected", retryable: true });
  expect(asked).toBe(-95);
});

test("a token that was rotated under us is read again when the old one is refused", async () => {
  const tokenFile = join(await mkdtemp(join(tmpdir(), "lifeboat-")), "token");
  await writeFile(tokenFile, "old\n");
  let valid = "Bearer old";
  const server = await serve((request, response) => {
    if (request.headers.authorization === valid) answer(response, 200, { gitVersion: "v1" });
    else answer(response, 401, { kind: "Status", reason: "Unauthorized", message: "no" });
  });
  let nowMs = 0;
  const clock = { ...systemClock, monotonicMs: () => nowMs };
  const client = await clientOf(server, { tokenFile }, clock);
  expect(await client.version({ signal })).toBe("v1");
  valid = "Bearer new";
  await writeFile(tokenFile, "new\n");
  nowMs = 10_000;
  expect(await client.version({ signal })).toBe("v1");
  valid = "Bearer newer";
  await expect(client.version({ signal })).rejects.toMatchObject({ code: "KubeconfigInvalid" });
});

test("a credential plugin is run, and run again when its answer is refused", async () => {
  const folder = await mkdtemp(join(tmpdir(), "lifeboat-"));
  const plugin = join(folder, "plugin");
  const answerFile = join(folder, "answer");
  await writeFile(plugin, `#!/bin/sh\ncat ${answerFile}\n`);
  await chmod(plugin, 0o755);
  const credential = (token: string): string =>
    JSON.stringify({ apiVersion: "client.authentication.k8s.io/v1", kind: "ExecCredential", status: { token } });
  await writeFile(answerFile, credential("one"));
  let valid = "Bearer one";
  const server = await serve((request, response) => {
    if (request.headers.authorization === valid) answer(response, 200, { gitVersion: "v1" });
    else answer(response, 401, { kind: "Status", reason: "Unauthorized" });
  });
  // The plugin is never run for a server without TLS by kubectl either; here only the credentials matter.
  let nowMs = 0;
  const exec = { command: plugin, apiVersion: "client.authentication.k8s.io/v1" };
  const client = await clientOf(server, { exec }, { ...systemClock, monotonicMs: () => nowMs });
  expect(await client.version({ signal })).toBe("v1");
  valid = "Bearer two";
  await writeFile(answerFile, credential("two"));
  nowMs = 10_000;
  expect(await client.version({ signal })).toBe("v1");
});

test("a connection that the server closed while it was idle is not a failure", async () => {
  const server = await serve((_, response) => {
    answer(response, 200, { gitVersion: "v1" });
    setTimeout(() => response.socket?.destroy(), 5);
  });
  const client = await clientOf(server);
  for (let i = 0; i < 10; i++) {
    expect(await client.version({ signal })).toBe("v1");
    await systemClock.sleep(i * 2, { signal });
  }
});

test("an API server that cannot begin a watch with the present objects is listed in pages", async () => {
  const object = (name: string, version: string) => ({ metadata: { name, namespace: "n", resourceVersion: version } });
  const requests: string[] = [];
  const server = await serve((request, response) => {
    const url = new URL(request.url ?? "", "http://x");
    const { searchParams: query } = url;
    requests.push(query.has("watch") ? (query.has("sendInitialEvents") ? "stream" : "watch") : "page");
    if (query.has("sendInitialEvents")) {
      answer(response, 422, {
        kind: "Status",
        reason: "Invalid",
        message: "sendInitialEvents is forbidden",
        code: 422,
      });
    } else if (query.has("watch")) {
      response.writeHead(200);
      const event = { type: "ADDED", object: { apiVersion: "v1", kind: "ConfigMap", ...object("c", "12") } };
      response.write(`${JSON.stringify(event)}\n`);
    } else {
      const second = query.get("continue") === "next";
      answer(response, 200, {
        apiVersion: "v1",
        kind: "ConfigMapList",
        metadata: { resourceVersion: "10", continue: second ? "" : "next" },
        items: [second ? object("b", "9") : object("a", "8")],
      });
    }
  });
  const seen: string[] = [];
  const stopping = new AbortController();
  const reflector = new Reflector({
    client: await clientOf(server),
    resource: resources.configMaps,
    handler: {
      upsert: ({ kind, metadata }) => void seen.push(`${kind} ${metadata.name}`),
      removed: () => undefined,
      synced: () => void seen.push("synced"),
    },
    clock: systemClock,
    random: () => 0,
    log: silentLog,
  });
  const running = reflector.run({ signal: stopping.signal }).catch(() => undefined);
  while (seen.length < 4) await systemClock.sleep(10, { signal });
  expect(seen).toEqual(["ConfigMap a", "ConfigMap b", "synced", "ConfigMap c"]);
  expect(requests).toEqual(["stream", "page", "page", "watch"]);
  stopping.abort();
  await running;
});

test("a watch that the server declares expired becomes a list, with the difference as its result", async () => {
  let round = 0;
  const server = await serve((request, response) => {
    const { searchParams: query } = new URL(request.url ?? "", "http://x");
    if (!query.has("watch")) {
      answer(response, 200, {
        apiVersion: "v1",
        kind: "ConfigMapList",
        metadata: { resourceVersion: "20" },
        items: [],
      });
      return;
    }
    response.writeHead(200);
    const send = (type: string, name: string, version: string, annotations = {}): void => {
      const metadata = { name, namespace: "n", resourceVersion: version, annotations };
      response.write(`${JSON.stringify({ type, object: { apiVersion: "v1", kind: "ConfigMap", metadata } })}\n`);
    };
    if (!query.has("sendInitialEvents")) return;
    round++;
    if (round === 1) {
      send("ADDED", "stays", "1");
      send("ADDED", "goes", "2");
      send("BOOKMARK", "", "10", { "k8s.io/initial-events-end": "true" });
      const status = { kind: "Status", code: 410, reason: "Expired", message: "too old resource version" };
      setTimeout(() => response.end(`${JSON.stringify({ type: "ERROR", object: status })}\n`), 20);
    } else {
      send("ADDED", "stays", "1");
      send("ADDED", "new", "15");
      send("BOOKMARK", "", "20", { "k8s.io/initial-events-end": "true" });
    }
  });
  const seen: string[] = [];
  const stopping = new AbortController();
  const reflector = new Reflector({
    client: await clientOf(server),
    resource: resources.configMaps,
    handler: {
      upsert: ({ metadata }) => void seen.push(`+${metadata.name}`),
      removed: ({ name }) => void seen.push(`-${name}`),
      synced: () => void seen.push("synced"),
    },
    clock: systemClock,
    random: () => 0,
    log: silentLog,
  });
  const running = reflector.run({ signal: stopping.signal }).catch(() => undefined);
  while (seen.length < 6) await systemClock.sleep(10, { signal });
  expect(seen).toEqual(["+stays", "+goes", "synced", "+new", "-goes", "synced"]);
  expect(reflector.state()).toMatchObject({ phase: "watching", synced: true, objectCount: 2 });
  stopping.abort();
  await running;
});
