import { Readable } from "node:stream";
import { expect, test } from "vitest";
import { GroupCapture } from "../../../src/capture/group.ts";
import { WatchPool } from "../../../src/capture/pool.ts";
import { LifeboatError, type ErrorCode } from "../../../src/errors.ts";
import type { KubeClient } from "../../../src/kube/client.ts";
import type { Discovery, DiscoveryChange } from "../../../src/kube/discovery.ts";
import { Readiness } from "../../../src/kube/readiness.ts";
import { pathOf, type KubeKind, type KubeResource } from "../../../src/kube/resource.ts";
import { silentLog } from "../../../src/telemetry/log.ts";
import { ManualClock } from "../failover-runner/manual-clock.ts";

/** An API server of which some kinds cannot be read: what the others may conclude from that. */

function resource(group: string, kind: string, plural: string, namespaced = true): KubeResource {
  const verbs = new Set(["get", "list", "watch", "patch"]);
  return { group, version: "v1", kind, plural, namespaced, verbs, subresources: new Set() };
}
const namespaces = resource("", "Namespace", "namespaces", false);
const configMaps = resource("", "ConfigMap", "configmaps");
const widgets = resource("example.com", "Widget", "widgets");
const definitions = resource("apiextensions.k8s.io", "CustomResourceDefinition", "customresourcedefinitions", false);

function kindOf(only: KubeResource): KubeKind {
  return { group: only.group, kind: only.kind, versions: [only] };
}

/** What exists. */
const definition = { path: pathOf(definitions, {}), apiVersion: "v1", kind: "X", name: "widgets.example.com" };
const widget = { path: pathOf(widgets, {}), apiVersion: "example.com/v1", kind: "Widget", name: "w" };
const present = [definition, widget];

function push(body: Readable, type: string, { apiVersion, kind, name }: (typeof present)[number]): void {
  const metadata = { name, resourceVersion: "1", ...(kind === "Widget" ? { namespace: "shop" } : {}) };
  body.push(`${JSON.stringify({ type, object: { apiVersion, kind, metadata } })}\n`);
}

/** Watches of `refused` kinds fail with this code; all others are empty and stay open. `unserved` are defined alone. */
function start(refused: Map<KubeResource, ErrorCode>, unserved: readonly KubeResource[] = []) {
  const clock = new ManualClock();
  const stopping = new AbortController();
  const { signal } = stopping;
  const served = [namespaces, configMaps, widgets, definitions].filter((each) => !unserved.includes(each));
  let kinds = served.map((only) => kindOf(only));
  let tell: (change: DiscoveryChange) => void = () => undefined;
  const bodies = new Map<string, Readable>();
  const listed = {
    type: "BOOKMARK",
    object: { metadata: { resourceVersion: "1", annotations: { "k8s.io/initial-events-end": "true" } } },
  };
  const client = {
    stream: async (path: string) => {
      for (const [kind, code] of refused) if (path === pathOf(kind, {})) throw new LifeboatError(code, "no");
      const body = new Readable({ read: () => undefined });
      for (const object of present.filter((each) => each.path === path)) push(body, "ADDED", object);
      body.push(`${JSON.stringify(listed)}\n`);
      bodies.set(path, body);
      return body;
    },
    readiness: new Readiness(),
  } as unknown as KubeClient;
  const discovery = {
    kinds: () => kinds,
    broken: () => [],
    lookSoon: () => undefined,
    find: (group: string, kind: string) => kinds.find((each) => each.group === group && each.kind === kind),
    onChange: (listener: typeof tell) => {
      tell = listener;
      return { [Symbol.dispose]: () => undefined };
    },
  } as unknown as Discovery;
  const common = { client, clock, random: () => 0.5, log: silentLog };
  const pool = new WatchPool({ ...common, discovery });
  const running = pool.run({ signal }).catch(() => undefined);
  let synced = false;
  void pool.whenSynced({ signal }).then(
    () => (synced = true),
    () => undefined,
  );
  return {
    pool,
    clock,
    common,
    isSynced: () => synced,
    /** The API server serves the kind no more, or again. */
    serve(kind: KubeResource, isServed: boolean) {
      kinds = kinds.filter((each) => each.kind !== kind.kind);
      if (isServed) kinds = [...kinds, kindOf(kind)];
      tell({ added: isServed ? [kindOf(kind)] : [], removed: isServed ? [] : [kindOf(kind)], changed: [] });
    },
    delete(object: (typeof present)[number]) {
      const body = bodies.get(object.path);
      if (body !== undefined) push(body, "DELETED", object);
    },
    async [Symbol.asyncDispose]() {
      stopping.abort();
      await clock.advance(0);
      void running;
    },
  };
}

test("a kind that is refused for long does not keep the others from being known, and stays unknown", async () => {
  await using server = start(new Map([[widgets, "KubeRejected"]]));
  const trouble = () => server.pool.states().find(({ kind }) => kind === "Widget")?.trouble;
  await server.clock.advance(20_000);
  expect(server.isSynced()).toBe(false);
  expect(trouble()).toBeUndefined();
  await server.clock.advance(60_000);
  expect(server.isSynced()).toBe(true);
  expect(trouble()).toBe("unreadable");
  expect(server.pool.isKnown("", "ConfigMap", "shop")).toBe(true);
  expect(server.pool.isKnown("example.com", "Widget", "shop")).toBe(false);
});

test("a kind that is defined and not served yet when an agent starts is not known to have no objects", async () => {
  await using server = start(new Map(), [widgets]);
  await server.clock.advance(1000);
  expect(server.isSynced()).toBe(true);
  expect(server.pool.isKnown("example.com", "Widget", "shop")).toBe(false);
  expect(server.pool.isKnown("example.org", "Widget", "shop"), "of a group without any definition").toBe(true);
  server.serve(widgets, true);
  await server.clock.advance(1000);
  expect(server.pool.isKnown("example.com", "Widget", "shop")).toBe(true);
});

test("an API server that is away is waited for", async () => {
  await using server = start(new Map([[widgets, "KubeUnreachable"]]));
  await server.clock.advance(300_000);
  expect(server.isSynced()).toBe(false);
});

test("without a look at the namespaces nothing of one that is selected by its labels counts as gone", async () => {
  await using server = start(new Map([[namespaces, "KubeForbidden"]]));
  await server.clock.advance(1000);
  expect(server.isSynced()).toBe(true);
  const spec = {
    sites: [{ name: "east" }, { name: "west" }],
    select: { namespaces: { names: ["named"], selector: { matchLabels: { a: "1" } } } },
  };
  const capture = new GroupCapture({
    ...server.common,
    pool: server.pool,
    group: { apiVersion: "lifeboat.dev/v1alpha1", kind: "ProtectionGroup", metadata: { name: "g" }, spec },
    spec,
    site: "east",
    agentNamespace: "lifeboat",
    epoch: () => "1.1",
  });
  expect(capture.isKnown("/ConfigMap/named/a")).toBe(true);
  expect(capture.isKnown("/ConfigMap/labelled/a")).toBe(false);
});

test("a kind that is not served for a moment has lost nothing; without its definition it has lost everything", async () => {
  await using server = start(new Map());
  const removed: string[] = [];
  using _subscription = server.pool.subscribe({
    upsert: () => undefined,
    removed: (_resource, { name }) => void removed.push(name),
    namespaces: () => [],
  });
  await server.clock.advance(1000);
  expect(server.isSynced()).toBe(true);
  server.serve(widgets, false);
  await server.clock.advance(1000);
  expect(removed).toEqual([]);
  server.serve(widgets, true);
  server.serve(widgets, false);
  await server.clock.advance(1000);
  expect(removed).toEqual([]);
  server.delete(definition);
  await server.clock.advance(1000);
  expect(removed).toEqual(["w", "widgets.example.com"]);
});
