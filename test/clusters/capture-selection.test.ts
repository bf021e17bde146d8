import { expect, test } from "vitest";
import type { KubeObject } from "../../src/objects/object.ts";
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

/** Namespaced keys only: of the cluster's own objects others decide. */
function held(follower: Follower, name: string): string[] {
  return keysOf(follower, name);
}

test("a selected namespace comes with all its objects, later ones and deletes follow", async () => {
  const ns = east.fresh();
  const space = await makeNamespace(east.writer, ns, { team: "a" });
  const first = configMap(ns, "first", { a: "1" });
  await east.writer.apply(first);
  const follower = east.source.capture(ns, selecting({ namespaces: { names: [ns] } }));
  await follower.capture.whenSynced({ signal: east.source.signal });
  await eventually(() => expect(held(follower, ns)).toEqual(keysOfObjects(space, first)));
  const second = configMap(ns, "second", { b: "2" });
  await east.writer.apply(second);
  await eventually(() => expect(held(follower, ns)).toEqual(keysOfObjects(space, first, second)));
  await east.writer.delete(first);
  await eventually(() => expect(held(follower, ns)).toEqual(keysOfObjects(space, second)));
  follower.stop();
});

test("namespaces follow their labels in and out", async () => {
  const ns = east.fresh();
  const tier = `gold-${ns}`;
  const follower = east.source.capture(ns, selecting({ namespaces: { selector: { matchLabels: { tier } } } }));
  await follower.capture.whenSynced({ signal: east.source.signal });
  const space = await makeNamespace(east.writer, ns);
  const object = configMap(ns, "a");
  await east.writer.apply(object);
  expect(held(follower, ns)).toEqual([]);
  await east.writer.label(space, { tier });
  await eventually(() => expect(held(follower, ns)).toEqual(keysOfObjects(space, object)));
  await east.writer.label(space, { tier: null });
  await eventually(() => expect(held(follower, ns)).toEqual([]));
  follower.stop();
});

test("an edit of the selection is a record before what it changes", async () => {
  const [one, two] = [east.fresh(), east.fresh()];
  const spaces = [await makeNamespace(east.writer, one), await makeNamespace(east.writer, two)] as const;
  const objects = [configMap(one, "a"), configMap(two, "b")] as const;
  await east.writer.apply(...objects);
  const follower = east.source.capture(one, selecting({ namespaces: { names: [one] } }));
  await follower.capture.whenSynced({ signal: east.source.signal });
  await eventually(() => expect(held(follower, one)).toEqual(keysOfObjects(spaces[0], objects[0])));
  const before = follower.records.length;
  const spec = selecting({ namespaces: { names: [two] } });
  follower.capture.update(
    { apiVersion: "lifeboat.dev/v1alpha1", kind: "ProtectionGroup", metadata: { name: one }, spec },
    spec,
  );
  await eventually(() => expect(held(follower, one)).toEqual(keysOfObjects(spaces[1], objects[1])));
  const after = follower.records.slice(before).map((record) => record.key);
  expect(after[0]).toBe(`lifeboat.dev/ProtectionGroup//${one}`);
  expect(after.filter((key) => !key.includes("canary")).length).toBe(5);
  follower.stop();
});

test("what is excluded stays out, by kind, name and label", async () => {
  const ns = east.fresh();
  const space = await makeNamespace(east.writer, ns);
  const stays = configMap(ns, "stays");
  const tmp = configMap(ns, "tmp-1");
  const labelled: KubeObject = configMap(ns, "labelled");
  labelled.metadata.labels = { scratch: "yes" };
  const secret: KubeObject = { apiVersion: "v1", kind: "Secret", metadata: { name: "tmp-2", namespace: ns } };
  await east.writer.apply(stays, tmp, labelled, secret);
  const follower = east.source.capture(
    ns,
    selecting({
      namespaces: { names: [ns] },
      exclude: [{ kinds: ["ConfigMap"], names: ["tmp-*"] }, { selector: { matchLabels: { scratch: "yes" } } }],
    }),
  );
  await follower.capture.whenSynced({ signal: east.source.signal });
  await eventually(() => expect(held(follower, ns)).toEqual(keysOfObjects(space, stays, secret)));
  await east.writer.label(labelled, { scratch: null });
  await eventually(() => expect(held(follower, ns)).toEqual(keysOfObjects(space, stays, secret, labelled)));
  follower.stop();
});
