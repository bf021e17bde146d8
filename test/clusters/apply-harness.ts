import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Applier, type Mode } from "../../src/apply/applier.ts";
import { normalise } from "../../src/capture/normalise.ts";
import { type Clock, systemClock } from "../../src/clock.ts";
import type { GroupSpecInput } from "../../src/config/group.ts";
import { Journal } from "../../src/journal/journal.ts";
import { connect, type KubeClient } from "../../src/kube/client.ts";
import { Discovery } from "../../src/kube/discovery.ts";
import type { KubeResource } from "../../src/kube/resource.ts";
import { keyOf, type ObjectKey } from "../../src/objects/key.ts";
import type { KubeObject } from "../../src/objects/object.ts";
import type { ChangeRecord } from "../../src/objects/record.ts";
import { createLog, silentLog } from "../../src/telemetry/log.ts";
import { definitionOf } from "../definition.ts";
import { kubeconfigs, type Kubeconfigs } from "./sites.ts";

/**
 * An applier of its own for one test: a journal that the test writes into as a stream would, and the real API server
 * of west. Objects of the source are made at east by a dry run, so that they are what a source would send.
 */
export interface ApplyBench {
  readonly east: Cluster;
  readonly west: Cluster;
  readonly group: string;
  /** What the next batches carry. */
  epoch: string;
  ring: string;
  /** A namespace for this test alone; it exists at east. */
  readonly namespace: string;
  journal: Journal;
  applier: Applier;
  /** Sends states of objects, in order. */
  send(...objects: readonly KubeObject[]): Promise<void>;
  sendDeletes(...keys: readonly ObjectKey[]): Promise<void>;
  /** Sends another spec. */
  sendSpec(spec: Partial<GroupSpecInput>): Promise<void>;
  /** Ends the applier and its journal, and starts new ones on the same file. */
  restart(mode?: Mode): Promise<void>;
  /** Ends the applier and its journal. */
  stop(): Promise<void>;
  /** Opens the journal again and starts an applier. */
  reopen(mode?: Mode): Promise<void>;
  /** Everything that was sent is applied. */
  settled(): Promise<void>;
  /** Removes the journal's files; only while stopped. */
  loseJournal(): void;
}

export interface Cluster {
  readonly client: KubeClient;
  readonly discovery: Discovery;
  readonly resource: (object: { apiVersion: string; kind: string }) => KubeResource;
  get<T = KubeObject>(object: KubeObject): Promise<(KubeObject & T) | undefined>;
}

export const never = new AbortController().signal;

async function cluster(kubeconfig: string): Promise<Cluster> {
  const client = await connect({ from: "files", paths: [kubeconfig] });
  const log = process.env["APPLY_LOG"] === undefined ? silentLog : createLog({ level: "debug" });
  const discovery = new Discovery({ client, clock: systemClock, random: Math.random, log });
  await discovery.refresh({ signal: never });
  const resource = (object: { apiVersion: string; kind: string }): KubeResource => {
    const found = discovery.resource(object.apiVersion, object.kind);
    if (found === undefined) throw new Error(`${object.apiVersion} ${object.kind} is not served`);
    return found;
  };
  return {
    client,
    discovery,
    resource,
    get: async <T>(object: KubeObject) =>
      (await client.find(resource(object), object.metadata, { signal: never })) as (KubeObject & T) | undefined,
  };
}

let counter = 0;

export async function applyBench(
  spec: Partial<GroupSpecInput> = {},
  sites: Kubeconfigs = kubeconfigs(),
  clock: Clock = systemClock,
): Promise<ApplyBench & AsyncDisposable> {
  const [east, west] = await Promise.all([cluster(sites.east), cluster(sites.west)]);
  const group = `g${process.pid}-${Date.now().toString(36)}-${counter++}`;
  const namespace = `ns-${group}`;
  const folder = mkdtempSync(join(tmpdir(), "lifeboat-apply-"));
  const path = join(folder, "journal.db");
  const life = new AbortController();
  let running: Promise<void> | undefined;
  let scope = new AbortController();
  let seq = 0;
  const discovering = west.discovery.run({ signal: life.signal }).catch(() => undefined);

  const commit = async (records: ChangeRecord[]): Promise<void> =>
    bench.journal.commit(
      { epoch: bench.epoch, position: { ring: bench.ring, seq }, records, complete: true },
      { signal: never },
    );
  const open = (mode: Mode): void => {
    bench.journal = Journal.open({ path, group });
    bench.applier = new Applier({
      journal: bench.journal,
      client: west.client,
      discovery: west.discovery,
      site: "west",
      clock,
      random: Math.random,
      log: process.env["APPLY_LOG"] === undefined ? silentLog : createLog({ level: "debug" }),
      mode,
    });
    scope = new AbortController();
    running = bench.applier.run({ signal: scope.signal });
  };
  const bench: ApplyBench & AsyncDisposable = {
    east,
    west,
    group,
    epoch: "10.1",
    ring: "r1",
    namespace,
    journal: undefined as unknown as Journal,
    applier: undefined as unknown as Applier,
    send: (...objects) => commit(objects.map((object) => recordOf(object, ++seq))),
    sendDeletes: (...keys) =>
      commit(keys.map((key) => ({ seq: ++seq, key, hash: "", object: undefined, managers: "[]" }))),
    sendSpec: (more) => bench.send(groupObject(group, namespace, { ...spec, ...more })),
    stop: async () => {
      scope.abort(new Error("the test stops it"));
      await running;
      bench.journal.close();
    },
    restart: async (mode = "standby") => {
      await bench.stop();
      await bench.reopen(mode);
    },
    loseJournal: () => {
      for (const suffix of ["", "-wal"]) rmSync(`${path}${suffix}`, { force: true });
    },
    reopen: async (mode = "standby") => open(mode),
    settled: async () => {
      await eventually(() => {
        const status = bench.applier.status();
        if (status.synced && status.pending === 0) return true;
        throw new Error(JSON.stringify(status));
      });
    },
    [Symbol.asyncDispose]: async () => {
      await bench.stop();
      life.abort(new Error("the test is over"));
      await discovering;
      for (const side of [east, west]) {
        await side.client.delete(side.resource(ns(namespace)), { name: namespace }, { signal: never });
        await side.client.close();
      }
      rmSync(folder, { recursive: true, force: true });
    },
  };
  open("standby");
  await east.client.create(east.resource(ns(namespace)), ns(namespace), { fieldManager: "test", signal: never });
  await bench.send(groupObject(group, namespace, spec));
  return bench;
}

function recordOf(object: KubeObject, seq: number): ChangeRecord {
  return { seq, key: keyOf(object), ...normalise(object) };
}

function groupObject(group: string, namespace: string, spec: Partial<GroupSpecInput>): KubeObject {
  return {
    apiVersion: "lifeboat.dev/v1alpha1",
    kind: "ProtectionGroup",
    metadata: { name: group },
    spec: {
      sites: [{ name: "east" }, { name: "west" }],
      select: { namespaces: { names: [namespace] } },
      ...spec,
    },
  };
}

/** The object as east's API server would store it, made by `manager`; nothing is stored. */
export async function atEast(bench: ApplyBench, object: KubeObject, manager = "kubectl"): Promise<KubeObject> {
  const { client, resource } = bench.east;
  const options = { fieldManager: manager, dryRun: true, signal: never };
  return client.create(resource(object), object, options);
}

/** The same for an object that its owner makes by server-side apply. */
export async function appliedAtEast(bench: ApplyBench, object: KubeObject, manager: string): Promise<KubeObject> {
  const { client, resource } = bench.east;
  return client.apply(resource(object), object, { fieldManager: manager, dryRun: true, signal: never });
}

export function ns(name: string, labels: Record<string, string> = {}): KubeObject {
  return { apiVersion: "v1", kind: "Namespace", metadata: { name, labels } };
}

export function configMap(namespace: string, name: string, data: Record<string, string>): KubeObject {
  return { apiVersion: "v1", kind: "ConfigMap", metadata: { name, namespace }, data };
}

export interface Workload {
  spec: {
    replicas: number;
    template: { spec: { containers: { image: string; env?: { name: string; value: string }[] }[] } };
  };
  status?: { readyReplicas?: number };
}

export function deployment(
  namespace: string,
  name: string,
  more: { replicas?: number; image?: string; env?: { name: string; value: string }[]; app?: string } = {},
): KubeObject {
  const labels = { app: more.app ?? name };
  return {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name, namespace },
    spec: {
      replicas: more.replicas ?? 2,
      selector: { matchLabels: labels },
      template: {
        metadata: { labels },
        spec: { containers: [{ name: "main", image: more.image ?? "any/image:1", env: more.env ?? [] }] },
      },
    },
  };
}

/** Waits until `check` holds; fails with its last error or value after `timeoutMs`. */
export async function eventually<T>(check: () => T | Promise<T>, timeoutMs = 20_000): Promise<T> {
  const until = Date.now() + timeoutMs;
  for (;;) {
    let last: unknown;
    try {
      const value = await check();
      if (value !== false && value !== undefined) return value;
      last = value;
    } catch (error) {
      last = error;
    }
    if (Date.now() > until)
      throw last instanceof Error ? last : new Error(`not within ${timeoutMs} ms: ${String(last)}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Makes `west` refuse every pod of the bench's namespace, until what it returns is called. */
export async function refusePods({
  west,
  namespace,
}: Pick<ApplyBench, "west" | "namespace">): Promise<() => Promise<boolean>> {
  const quota = { apiVersion: "v1", kind: "ResourceQuota", metadata: { name: "none", namespace } };
  const object = { ...quota, spec: { hard: { pods: "0" } } };
  await west.client.create(west.resource(quota), object, { fieldManager: "kubectl", signal: never });
  // The quota counts from the moment at which its controller has written its status; that one stands still for up to
  // half a minute whenever kinds come or go, which they do in the tests beside this one.
  const isCounted = async () => (await west.get<{ status?: { used?: unknown } }>(quota))?.status?.used !== undefined;
  await eventually(isCounted, 60_000);
  return () => west.client.delete(west.resource(quota), quota.metadata, { signal: never });
}

/** A definition of a kind that holds anything, unlike any other, and objects of that kind. */
export function anyKind(name: string): {
  definition: KubeObject;
  one: (namespace: string, spec: unknown) => KubeObject;
} {
  const group = "apply.test.lifeboat";
  const kind = `${name[0]?.toUpperCase()}${name.slice(1)}${process.pid}${Date.now().toString(36)}`;
  return {
    definition: definitionOf({ group, kind, plural: `${kind.toLowerCase()}s` }),
    one: (namespace, spec) => ({ apiVersion: `${group}/v1`, kind, metadata: { name: "one", namespace }, spec }),
  };
}

/** What of these objects is at the standby, as its capture would give it. */
export async function local({ west }: ApplyBench, ...objects: readonly KubeObject[]) {
  const found = await Promise.all(objects.map((object) => west.get(object)));
  return found.filter((live) => live !== undefined).map((live) => ({ key: keyOf(live), ...normalise(live) }));
}
