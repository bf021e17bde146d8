import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { systemClock } from "../../src/clock.ts";
import { connect, type KubeClient } from "../../src/kube/client.ts";
import { Discovery, type DiscoveryChange } from "../../src/kube/discovery.ts";
import { EventWriter } from "../../src/kube/events.ts";
import { LeaseElection } from "../../src/kube/lease.ts";
import { resources, type KubeResource } from "../../src/kube/resource.ts";
import { kubeStatusOf } from "../../src/kube/status.ts";
import type { KubeObject } from "../../src/objects/object.ts";
import { silentLog } from "../../src/telemetry/log.ts";
import { definitionOf } from "../definition.ts";
import { configMap, eventually, namespace } from "./capture-harness.ts";
import { startFlakyLink } from "./flaky-link.ts";
import { kubeconfigs } from "./sites.ts";

let client: KubeClient;
const stopping = new AbortController();
const { signal } = stopping;
const ns = `kube-${process.pid}`;
const write = { fieldManager: "tester", signal };
const common = { clock: systemClock, random: Math.random, log: silentLog };

beforeAll(async () => {
  client = await connect({ from: "files", paths: [kubeconfigs().east] });
  await client.create(resources.namespaces, namespace(ns), write);
});
afterAll(async () => {
  stopping.abort();
  await client.close();
});

async function failure(promise: Promise<unknown>): Promise<{ code: string; reason: string | undefined }> {
  const error: unknown = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  return { code: (error as { code: string }).code, reason: kubeStatusOf(error)?.reason };
}

test("objects are created, read, replaced, patched, applied and deleted", async () => {
  const made = await client.create(resources.configMaps, configMap(ns, "one", { a: "1" }), write);
  expect(made.metadata.uid).toBeDefined();
  const put = await client.put(resources.configMaps, { ...made, data: { a: "2" } }, write);
  expect(await failure(client.put(resources.configMaps, made, write))).toEqual({
    code: "KubeRejected",
    reason: "Conflict",
  });
  const at = { namespace: ns, name: "one" };
  await client.patch(resources.configMaps, at, { type: "merge", body: { data: { b: "3" } } }, write);
  await client.patch(
    resources.configMaps,
    at,
    { type: "json", body: [{ op: "add", path: "/data/c", value: "4" }] },
    write,
  );
  const applied = configMap(ns, "one", { a: "5" });
  expect(await failure(client.apply(resources.configMaps, applied, { ...write, fieldManager: "other" }))).toEqual({
    code: "KubeRejected",
    reason: "Conflict",
  });
  await client.apply(resources.configMaps, applied, { ...write, fieldManager: "other", force: true, dryRun: true });
  expect((await client.get(resources.configMaps, at, { signal }))["data"]).toEqual({ a: "2", b: "3", c: "4" });
  await client.apply(resources.configMaps, applied, { ...write, fieldManager: "other", force: true });
  expect((await client.get(resources.configMaps, at, { signal }))["data"]).toEqual({ a: "5", b: "3", c: "4" });
  expect(await failure(client.delete(resources.configMaps, at, { uid: "another", signal }))).toEqual({
    code: "KubeRejected",
    reason: "Conflict",
  });
  expect(await client.delete(resources.configMaps, at, { uid: put.metadata.uid, signal })).toBe(true);
  expect(await client.delete(resources.configMaps, at, { signal })).toBe(false);
  expect(await client.find(resources.configMaps, at, { signal })).toBeUndefined();
  expect(await failure(client.get(resources.configMaps, at, { signal }))).toEqual({
    code: "NotFound",
    reason: "NotFound",
  });
});

test("a list comes in pages of one moment, with the kinds of its items", async () => {
  for (const name of ["p1", "p2", "p3"]) await client.create(resources.secrets, secret(name), write);
  const pages = [];
  for await (const page of client.list(resources.secrets, { namespace: ns, pageCount: 2, signal })) pages.push(page);
  expect(pages.map((page) => page.items.map((item) => `${item.kind} ${item.metadata.name}`))).toEqual([
    ["Secret p1", "Secret p2"],
    ["Secret p3"],
  ]);
  expect(new Set(pages.map((page) => page.resourceVersion)).size).toBe(1);
});

function secret(name: string): KubeObject {
  return { apiVersion: "v1", kind: "Secret", metadata: { name, namespace: ns } };
}

test("large objects and many keys pass, too large ones are refused with the API server's words", async () => {
  const large = configMap(ns, "large", { text: "x".repeat(1_000_000) });
  const stored = await client.apply(resources.configMaps, large, write);
  expect((stored["data"] as Record<string, string>)["text"]).toHaveLength(1_000_000);
  const keys = Object.fromEntries(Array.from({ length: 5_000 }, (_, i) => [`key-${i}`, String(i)]));
  const many = await client.apply(resources.configMaps, configMap(ns, "many", keys), write);
  expect(Object.keys(many["data"] as object)).toHaveLength(5_000);
  const huge = configMap(ns, "huge", { text: "x".repeat(1_400_000) });
  expect(await failure(client.create(resources.configMaps, huge, write))).toEqual({
    code: "KubeRejected",
    reason: "Invalid",
  });
});

test("a deadline ends a request as Timeout, an abort with its own reason", async () => {
  const never = client.request("GET", `/api/v1/namespaces/${ns}/configmaps`, {
    query: { watch: true, timeoutSeconds: 30 },
    timeoutMs: 200,
    signal,
  });
  expect((await failure(never)).code).toBe("Timeout");
  const own = new AbortController();
  const aborted = client.request("GET", "/api/v1/pods", { query: { watch: true }, signal: own.signal });
  own.abort(new Error("enough"));
  await expect(aborted).rejects.toThrow("enough");
});

test("discovery sees kinds come and go, and a broken API group leaves the others alone", async () => {
  const discovery = new Discovery({ ...common, client });
  const own = new AbortController();
  await discovery.refresh({ signal });
  const running = discovery.run({ signal: own.signal }).catch(() => undefined);
  const deployment = discovery.find("apps", "Deployment");
  expect(deployment?.versions[0]).toMatchObject({ version: "v1", plural: "deployments", namespaced: true });
  expect(deployment?.versions[0].subresources).toContain("scale");
  const changes: DiscoveryChange[] = [];
  using _listener = discovery.onChange((change) => changes.push(change));

  const group = "discovery.example.com";
  const plural = `things${process.pid}`;
  const crd = definitionOf({ group, kind: `Thing${process.pid}`, plural, versions: ["v1", "v1beta1"] });
  const crdAt = { name: crd.metadata.name };
  const broken = {
    apiVersion: "apiregistration.k8s.io/v1",
    kind: "APIService",
    metadata: { name: `v1.broken${process.pid}.example.com` },
    spec: {
      group: `broken${process.pid}.example.com`,
      version: "v1",
      groupPriorityMinimum: 1000,
      versionPriority: 15,
      insecureSkipTLSVerify: true,
      service: { name: "none", namespace: ns },
    },
  };
  await client.create(resources.apiServices, broken, write);
  try {
    await client.create(resources.crds, crd, write);
    await eventually(() => expect(discovery.find(group, `Thing${process.pid}`)).toBeDefined());
    expect(discovery.resource(`${group}/v1beta1`, `Thing${process.pid}`)?.plural).toBe(plural);
    expect(discovery.find(group, `Thing${process.pid}`)?.versions.map((version) => version.version)).toEqual([
      "v1",
      "v1beta1",
    ]);
    await eventually(() =>
      expect(discovery.broken()).toContainEqual({ groupVersion: `broken${process.pid}.example.com/v1` }),
    );
    await client.delete(resources.crds, crdAt, { signal });
    await eventually(() => expect(discovery.find(group, `Thing${process.pid}`)).toBeUndefined());
    const mine = (kinds: readonly { kind: string }[]): number =>
      kinds.filter(({ kind }) => kind === `Thing${process.pid}`).length;
    expect(changes.reduce((sum, change) => sum + mine(change.added), 0)).toBe(1);
    expect(changes.reduce((sum, change) => sum + mine(change.removed), 0)).toBe(1);
    expect(discovery.find("apps", "Deployment")).toBeDefined();
  } finally {
    await client.delete(resources.crds, crdAt, { signal });
    await client.delete(resources.apiServices, broken.metadata, { signal });
    own.abort();
    await running;
  }
});

test("one of several processes leads, and each leader has a higher incarnation than all before", async () => {
  const timings = { durationMs: 1_000, renewDeadlineMs: 700, retryMs: 100 };
  const led: { who: string; incarnation: number }[] = [];
  const lost: string[] = [];
  const elector = (who: string) => {
    const own = new AbortController();
    const election = new LeaseElection({
      ...common,
      client,
      namespace: ns,
      name: "leader",
      identity: who,
      timings,
      onElected: (incarnation) => led.push({ who, incarnation }),
      onLost: () => lost.push(who),
    });
    const running = election.run({ signal: own.signal }).catch(() => undefined);
    return {
      election,
      stop: async () => {
        own.abort();
        await running;
      },
    };
  };
  const a = elector("a");
  await eventually(() => expect(led).toHaveLength(1));
  const b = elector("b");
  await systemClock.sleep(1_500, { signal });
  expect(led.map(({ who }) => who)).toEqual(["a"]);
  expect(b.election.state()).toMatchObject({ leading: false, holder: "a", incarnation: led[0]?.incarnation });

  await a.stop();
  const silentSince = performance.now();
  await eventually(() => expect(led).toHaveLength(2));
  expect(performance.now() - silentSince).toBeGreaterThan(500);
  expect(led[1]?.who).toBe("b");
  expect(led[1]?.incarnation).toBeGreaterThan(led[0]?.incarnation ?? 0);

  await client.delete(resources.leases, { namespace: ns, name: "leader" }, { signal });
  await eventually(async () =>
    expect(await client.find(resources.leases, { namespace: ns, name: "leader" }, { signal })).toBeDefined(),
  );
  const c = elector("c");
  await b.stop();
  await b.election.release({ signal });
  const releasedAt = performance.now();
  await eventually(() => expect(led.at(-1)?.who).toBe("c"));
  expect(performance.now() - releasedAt).toBeLessThan(900);
  expect(lost).toContain("b");
  const numbers = led.map(({ incarnation }) => incarnation);
  expect(numbers).toEqual(numbers.toSorted((x, y) => x - y));
  expect(new Set(numbers).size).toBe(numbers.length);
  await c.stop();
});

test("a leader that its API server does not answer knows in time that it may have lost", async () => {
  const folder = await mkdtemp(join(tmpdir(), "lifeboat-"));
  const link = await startFlakyLink(kubeconfigs().east, join(folder, "kubeconfig"));
  const behind = await connect({ from: "files", paths: [link.kubeconfigPath] });
  const own = new AbortController();
  const lostAt: number[] = [];
  const elections: number[] = [];
  const election = new LeaseElection({
    ...common,
    client: behind,
    namespace: ns,
    name: "cut-off",
    identity: "me",
    timings: { durationMs: 2_000, renewDeadlineMs: 1_000, retryMs: 100 },
    onElected: (incarnation) => elections.push(incarnation),
    onLost: () => lostAt.push(performance.now()),
  });
  const running = election.run({ signal: own.signal }).catch(() => undefined);
  await eventually(() => expect(elections).toHaveLength(1));
  link.cut();
  const cutAt = performance.now();
  await eventually(() => expect(lostAt).toHaveLength(1));
  expect((lostAt[0] ?? Infinity) - cutAt).toBeLessThan(1_500);
  link.restore();
  await eventually(() => expect(elections).toHaveLength(2));
  expect(elections[1]).toBeGreaterThan(elections[0] ?? Infinity);
  own.abort();
  await running;
  await behind.close();
  link.stop();
});

test("events are written where kubectl looks, repeated ones counted up", async () => {
  const writer = new EventWriter({ ...common, client, component: "lifeboat-test", instance: "here" });
  const own = new AbortController();
  const running = writer.run({ signal: own.signal }).catch(() => undefined);
  const about = await client.apply(resources.configMaps, configMap(ns, "about"), write);
  const note = { about, type: "Warning", reason: "TestReason", message: "something is the matter" } as const;
  for (let i = 0; i < 3; i++) writer.note(note);
  writer.note({ ...note, message: "something else" });
  await eventually(async () =>
    expect(await eventsOf(about)).toEqual(["1 something else", "3 something is the matter"]),
  );
  for (let i = 0; i < 100; i++) writer.note({ ...note, message: `storm ${i}` });
  expect(writer.droppedCount).toBeGreaterThan(70);
  own.abort();
  await running;
});

async function eventsOf(about: KubeObject): Promise<string[]> {
  const found: string[] = [];
  const options = { namespace: ns, fieldSelector: `involvedObject.uid=${about.metadata.uid ?? ""}`, signal };
  const events: KubeResource = resources.events;
  for await (const page of client.list(events, options)) {
    for (const event of page.items) found.push(`${String(event["count"])} ${String(event["message"])}`);
  }
  return found.sort();
}
