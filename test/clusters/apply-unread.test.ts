import { expect, test } from "vitest";
import { keyOf } from "../../src/objects/key.ts";
import { type KubeObject, marks } from "../../src/objects/object.ts";
import { definitionOf } from "../definition.ts";
import {
  type ApplyBench,
  applyBench,
  deployment,
  atEast,
  eventually,
  never,
  ns,
  type Workload,
} from "./apply-harness.ts";

/** Kinds that the standby's API server serves and cannot list: a promotion must not depend on them. */

const group = "unread.test.lifeboat";

/** Two versions of a kind, of which the newer or the older is stored. */
function definition(kind: string, stored: "v1" | "v2", isBroken: boolean): KubeObject {
  const service = { namespace: "default", name: "nowhere" };
  const webhook = { clientConfig: { service }, conversionReviewVersions: ["v1"] };
  const conversion = isBroken ? { strategy: "Webhook", webhook } : { strategy: "None" };
  const plain = definitionOf({ group, kind, plural: `${kind.toLowerCase()}s`, versions: ["v2", "v1"], stored });
  return { ...plain, spec: { ...(plain["spec"] as object), conversion } };
}

interface Kind {
  readonly kind: string;
  readonly one: (namespace: string, replicas: number) => KubeObject;
  /** From now on no object of the kind can be listed: one of them, somebody else's, cannot be converted. */
  breakIt(): Promise<void>;
  mend(): Promise<void>;
  isListable(): Promise<boolean>;
}

async function twoVersions({ west, namespace }: ApplyBench): Promise<Kind & AsyncDisposable> {
  const kind = `Unread${namespace.replaceAll("-", "")}`;
  const change = async (stored: "v1" | "v2", isBroken: boolean): Promise<void> => {
    const object = definition(kind, stored, isBroken);
    await west.client.apply(west.resource(object), object, { fieldManager: "test", force: true, signal: never });
  };
  const object = (version: string, place: string, name: string, replicas: number): KubeObject => ({
    apiVersion: `${group}/${version}`,
    kind,
    metadata: { name, namespace: place },
    spec: { replicas },
  });
  const resource = () => west.discovery.resource(`${group}/v2`, kind);
  await change("v1", false);
  await eventually(async () => {
    await west.discovery.refresh({ signal: never });
    return resource();
  });
  const isListable = async (): Promise<boolean> => {
    const listed = resource();
    if (listed === undefined) return false;
    try {
      for await (const _page of west.client.list(listed, { signal: never }));
      return true;
    } catch {
      return false;
    }
  };
  return {
    kind: `${group}/${kind}`,
    one: (place, replicas) => object("v2", place, "one", replicas),
    isListable,
    breakIt: async () => {
      const foreign = object("v1", "default", "old", 1);
      await eventually(() => west.client.create(west.resource(foreign), foreign, { fieldManager: "x", signal: never }));
      await change("v2", true);
      await eventually(async () => !(await isListable()));
    },
    mend: () => change("v2", false),
    [Symbol.asyncDispose]: async () => {
      await change("v2", false);
      await eventually(isListable);
      const made = definition(kind, "v2", false);
      await west.client.delete(west.resource(made), made.metadata, { signal: never });
    },
  };
}

test("objects of a kind that cannot be watched are written all the same when the site takes over", async () => {
  await using bench = await applyBench();
  await using kind = await twoVersions(bench);
  const { namespace, west } = bench;
  await bench.sendSpec({ profiles: [{ kind: kind.kind, set: [{ path: "/spec/replicas", value: 0 }] }] });
  await bench.send(ns(namespace), await atEast(bench, deployment(namespace, "web", { replicas: 1 })));
  await bench.settled();
  await kind.breakIt();
  await bench.send(kind.one(namespace, 3));
  await eventually(() => bench.applier.status().failing.some(({ reason }) => reason === "Needed"));

  const report = await bench.applier.promote({ epoch: "11.0", readyTimeoutMs: 5_000, signal: never });
  expect(report).toMatchObject({ failed: [], unwatched: [kind.kind] });
  expect((await west.get<Workload>(kind.one(namespace, 3)))?.spec.replicas).toBe(3);
});

test("with the journal lost, a kind that cannot be read is tried again, then reported, then tried further", async () => {
  await using bench = await applyBench();
  await using kind = await twoVersions(bench);
  const { namespace, west } = bench;
  await bench.sendSpec({ profiles: [{ kind: kind.kind, set: [{ path: "/spec/replicas", value: 0 }] }] });
  const one = kind.one(namespace, 3);
  const web = await atEast(bench, deployment(namespace, "web", { replicas: 1 }));
  await bench.send(ns(namespace), web, one);
  await bench.settled();
  expect((await west.get<Workload>(one))?.spec.replicas).toBe(0);
  await bench.stop();
  bench.loseJournal();
  await kind.breakIt();
  await bench.reopen();

  const mended = new Promise((resolve) => setTimeout(resolve, 3_000)).then(() => kind.mend());
  const report = await bench.applier.promote({ epoch: "11.0", readyTimeoutMs: 5_000, signal: never });
  await mended;
  expect(report.failed).toEqual([]);
  expect((await west.get<Workload>(one))?.spec.replicas).toBe(3);

  // Once more, and this time it stays broken for longer than a promotion waits.
  const held = JSON.stringify({ "/spec/replicas": 3 });
  const body = { metadata: { annotations: { [marks.held]: held } }, spec: { replicas: 0 } };
  const patch = { type: "merge", body } as const;
  await west.client.patch(west.resource(one), one.metadata, patch, { fieldManager: "x", signal: never });
  const broken = definition(kind.kind.slice(kind.kind.indexOf("/") + 1), "v2", true);
  await west.client.apply(west.resource(broken), broken, { fieldManager: "test", force: true, signal: never });
  await eventually(async () => !(await kind.isListable()));
  await bench.stop();
  bench.loseJournal();
  await bench.reopen();
  const second = await bench.applier.promote({ epoch: "12.0", readyTimeoutMs: 5_000, signal: never });
  expect(second.failed).toMatchObject([{ key: `${kind.kind}//` }]);
  expect(bench.applier.status().failing).toMatchObject([{ key: `${kind.kind}//` }]);
  expect((await west.get<Workload>(web))?.spec.replicas).toBe(1);
  await kind.mend();
  await eventually(async () => (await west.get<Workload>(one))?.spec.replicas === 3, 40_000);
  await eventually(() => bench.applier.status().failingCount === 0);
  expect(keyOf(one)).toContain(namespace);
});
