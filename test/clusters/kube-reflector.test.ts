import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { systemClock } from "../../src/clock.ts";
import { connect, type KubeClient } from "../../src/kube/client.ts";
import { Reflector, type ReflectorState } from "../../src/kube/reflector.ts";
import { resources, type ObjectPlace } from "../../src/kube/resource.ts";
import { silentLog } from "../../src/telemetry/log.ts";
import { configMap, eventually, namespace } from "./capture-harness.ts";
import { startFlakyLink, type FlakyLink } from "./flaky-link.ts";
import { kubeconfigs } from "./sites.ts";

let direct: KubeClient;
let client: KubeClient;
let link: FlakyLink;
const stopping = new AbortController();
const { signal } = stopping;
const ns = `reflect-${process.pid}`;
const write = { fieldManager: "tester", signal };

beforeAll(async () => {
  const folder = await mkdtemp(join(tmpdir(), "lifeboat-"));
  link = await startFlakyLink(kubeconfigs().east, join(folder, "kubeconfig"));
  direct = await connect({ from: "files", paths: [kubeconfigs().east] });
  client = await connect({ from: "files", paths: [link.kubeconfigPath] });
  await direct.create(resources.namespaces, namespace(ns), write);
});
afterAll(async () => {
  stopping.abort();
  await Promise.all([direct.close(), client.close()]);
  link.stop();
});

interface Watched {
  readonly reflector: Reflector;
  readonly values: Map<string, string>;
  readonly lists: { count: number };
  readonly upserts: string[];
  state(): ReflectorState;
  stop(): Promise<void>;
}

function watchNamespace(name = ns): Watched {
  const own = new AbortController();
  const values = new Map<string, string>();
  const upserts: string[] = [];
  const lists = { count: 0 };
  const reflector = new Reflector({
    client,
    resource: resources.configMaps,
    namespace: name,
    handler: {
      upsert: ({ metadata, ...object }) => {
        if (metadata.name === "poison") throw new Error("a defect in the handler");
        upserts.push(metadata.name);
        values.set(metadata.name, (object["data"] as Record<string, string> | undefined)?.["v"] ?? "");
      },
      removed: (place: ObjectPlace) => void values.delete(place.name),
      synced: () => void lists.count++,
    },
    clock: systemClock,
    random: Math.random,
    log: silentLog,
  });
  const running = reflector.run({ signal: own.signal }).catch(() => undefined);
  return {
    reflector,
    values,
    lists,
    upserts,
    state: () => reflector.state(),
    stop: async () => {
      own.abort();
      await running;
    },
  };
}

async function put(name: string, v: string): Promise<void> {
  await direct.apply(resources.configMaps, configMap(ns, name, { v }), write);
}

test("a watch whose connections are cut goes on where it was, without a list", async () => {
  await put("kept", "1");
  await put("gone", "1");
  const watched = watchNamespace();
  await eventually(() => expect(watched.values.get("gone")).toBe("1"));
  link.cut();
  await put("kept", "2");
  await put("new", "1");
  await direct.delete(resources.configMaps, { namespace: ns, name: "gone" }, { signal });
  link.restore();
  await eventually(() => expect(watched.values.get("new")).toBe("1"));
  expect(watched.values.get("kept")).toBe("2");
  expect(watched.values.has("gone")).toBe(false);
  expect(watched.lists.count).toBe(1);
  await watched.stop();
  expect(watched.state().phase).toBe("stopped");
});

test("a list on demand reports only what differs", async () => {
  await put("same", "1");
  const watched = watchNamespace();
  await eventually(() => expect(watched.state().phase).toBe("watching"));
  const { length } = watched.upserts;
  watched.reflector.relist();
  await eventually(() => expect(watched.lists.count).toBe(2));
  expect(watched.upserts.slice(length)).toEqual([]);
  await put("same", "2");
  await eventually(() => expect(watched.values.get("same")).toBe("2"));
  await watched.stop();
});

test("a handler that throws is contained, and the object comes again with the next list", async () => {
  const watched = watchNamespace();
  await eventually(() => expect(watched.state().synced).toBe(true));
  await put("poison", "1");
  await put("after", "1");
  await eventually(() => expect(watched.values.get("after")).toBe("1"));
  expect(watched.state()).toMatchObject({ phase: "watching", handlerFailureCount: 1 });
  watched.reflector.relist();
  await eventually(() => expect(watched.state().handlerFailureCount).toBe(2));
  await watched.stop();
  await direct.delete(resources.configMaps, { namespace: ns, name: "poison" }, { signal });
});

test("what was delivered can be delivered again to somebody else, and the barrier waits for the latest writes", async () => {
  await put("again", "1");
  const watched = watchNamespace();
  await eventually(() => expect(watched.values.get("again")).toBe("1"));
  await Promise.all(Array.from({ length: 20 }, async (_, i) => put("again", `new ${i}`)));
  await put("again", "2");
  await watched.reflector.whenCurrent({ signal });
  expect(watched.values.get("again")).toBe("2");
  await direct.delete(resources.configMaps, { namespace: ns, name: "again" }, { signal });
  await watched.reflector.whenCurrent({ signal });
  expect(watched.values.has("again")).toBe(false);
  const names: string[] = [];
  await watched.reflector.redeliver({ deliver: (object) => names.push(object.metadata.name), signal });
  expect(names.sort()).toEqual([...watched.values.keys()].sort());
  await watched.stop();
});
