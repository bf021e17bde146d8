import { expect, test } from "vitest";
import type { KubeObject } from "../../src/objects/object.ts";
import { definitionOf } from "../definition.ts";
import {
  configMap,
  eventually,
  keysOf,
  keysOfObjects,
  makeNamespace,
  selecting,
  useSource,
  type Follower,
} from "./capture-harness.ts";

const east = useSource();

async function capture(ns: string): Promise<Follower> {
  const follower = east.source.capture(ns, selecting({ namespaces: { names: [ns] } }));
  await follower.capture.whenSynced({ signal: east.source.signal });
  return follower;
}

test("unknown fields and large integers of custom resources travel byte for byte", async () => {
  const ns = east.fresh();
  await makeNamespace(east.writer, ns);
  const [group, plural, kind] = ["verbatim.example.com", `odds${process.pid}`, `Odd${process.pid}`];
  const crd = definitionOf({ group, kind, plural });
  await east.writer.apply(crd);
  try {
    await east.writer.served(group, kind);
    const spec = `{"big":9007199254740993,"fraction":0.1,"max":9223372036854775807,"nothing":null,"word":"\\u2028 ü"}`;
    const body = `{"apiVersion":"${group}/v1","kind":"${kind}","metadata":{"name":"odd.name.with.dots"},"spec":${spec}}`;
    const path = `/apis/${group}/v1/namespaces/${ns}/${plural}`;
    await eventually(async () => east.source.client.request("POST", path, { body, signal: east.source.signal }));
    const follower = await capture(ns);
    const text = await eventually(() => {
      const record = follower.capture.current(`${group}/${kind}/${ns}/odd.name.with.dots`);
      if (record.object === undefined) throw new Error("not captured yet");
      return record.object;
    });
    expect(text).toContain(`"spec":{"big":9007199254740993,"fraction":0.1,"max":9223372036854775807,"nothing":null,`);
    expect(text).toContain(`"word":"\u2028 ü"`);
    follower.stop();
  } finally {
    await east.writer.delete(crd);
  }
});

test("status, versions and times of the API server make no record", async () => {
  const ns = east.fresh();
  await makeNamespace(east.writer, ns);
  const labels = { app: "web" };
  const web = await east.writer.apply({
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name: "web", namespace: ns },
    spec: {
      replicas: 0,
      selector: { matchLabels: labels },
      template: { metadata: { labels }, spec: { containers: [{ name: "c", image: "any/image:1" }] } },
    },
  });
  const follower = await capture(ns);
  const key = `apps/Deployment/${ns}/web`;
  // A cluster with controllers writes its own status and annotations once.
  await eventually(async () => {
    const { hash } = follower.capture.current(key);
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(hash).not.toBe("");
    expect(follower.capture.current(key).hash).toBe(hash);
  });
  const before = follower.capture.current(key);
  await east.writer.patchStatus(web, { observedGeneration: 1, conditions: [{ type: "Odd", status: "True" }] });
  await east.writer.apply(configMap(ns, "marker"));
  await eventually(() => expect(keysOf(follower, ns)).toContain(`/ConfigMap/${ns}/marker`));
  await follower.capture.settle({ signal: east.source.signal });
  expect(follower.capture.current(key).seq).toBe(before.seq);
  expect(before.object).not.toMatch(/"(status|uid|resourceVersion|creationTimestamp|generation|managedFields)":/);
  expect(before.managers).toContain(`"manager":"kubectl"`);
  expect(before.managers).not.toMatch(/"time":|"subresource":"status"/);
  follower.stop();
});

test("an object that is terminating exists until it is deleted", async () => {
  const ns = east.fresh();
  const space = await makeNamespace(east.writer, ns);
  const held: KubeObject = configMap(ns, "held");
  held.metadata.finalizers = ["example.com/wait"];
  await east.writer.apply(held);
  const follower = await capture(ns);
  await eventually(() => expect(keysOf(follower, ns)).toEqual(keysOfObjects(space, held)));
  await east.writer.delete(held);
  await follower.capture.settle({ signal: east.source.signal });
  expect((await east.writer.get(held)).metadata.deletionTimestamp).toBeDefined();
  expect(keysOf(follower, ns)).toEqual(keysOfObjects(space, held));
  await east.writer.apply({ ...configMap(ns, "held"), metadata: { name: "held", namespace: ns, finalizers: [] } });
  await eventually(() => expect(keysOf(follower, ns)).toEqual(keysOfObjects(space)));
  follower.stop();
});

test("a large object and one with many keys come through whole", async () => {
  const ns = east.fresh();
  await makeNamespace(east.writer, ns);
  const large = configMap(ns, "large", { text: "é".repeat(450_000) });
  const keys = Object.fromEntries(Array.from({ length: 5_000 }, (_, i) => [`key-${i}`, String(i)]));
  const many = configMap(ns, "many", keys);
  const follower = await capture(ns);
  await east.writer.apply(large, many);
  for (const object of [large, many]) {
    await eventually(() => expect(follower.held.get(keysOfObjects(object)[0] ?? "")?.["data"]).toEqual(object["data"]));
  }
  follower.stop();
});

test("the settled ring holds what was written just before", async () => {
  const ns = east.fresh();
  const space = await makeNamespace(east.writer, ns);
  const follower = await capture(ns);
  for (let round = 0; round < 5; round++) {
    const objects = Array.from({ length: 10 }, (_, i) => configMap(ns, `o-${i}`, { round: String(round) }));
    await east.writer.apply(...objects);
    await east.writer.delete(...objects.slice(5));
    await follower.capture.settle({ signal: east.source.signal });
    const live = objects.slice(0, 5).map((object) => follower.capture.current(keysOfObjects(object)[0] ?? ""));
    expect(live.map((record) => record.object?.includes(`"round":"${round}"`))).toEqual(live.map(() => true));
    const gone = objects.slice(5).map((object) => follower.capture.current(keysOfObjects(object)[0] ?? "").object);
    expect(gone).toEqual(gone.map(() => undefined));
  }
  expect(follower.capture.report().namespaces).toEqual([space.metadata.name]);
  follower.stop();
});
