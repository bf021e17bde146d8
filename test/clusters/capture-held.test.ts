import { expect, test } from "vitest";
import { keyOf } from "../../src/objects/key.ts";
import type { KubeObject } from "../../src/objects/object.ts";
import { configMap, eventually, isNotFound, makeNamespace, selecting, useSource } from "./capture-harness.ts";

const east = useSource();

function pod(namespace: string, name: string): KubeObject {
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, namespace },
    spec: { terminationGracePeriodSeconds: 0, containers: [{ name: "c", image: "any/image:1" }] },
  };
}

test("what is deleted to take a group down still belongs to it, until it is brought back without it", async () => {
  const name = `held-${process.pid}`;
  await makeNamespace(east.writer, name);
  await east.writer.apply(pod(name, "back"), pod(name, "lost"));
  let isHeld = false;
  const follower = east.source.capture(name, selecting({ namespaces: { names: [name] } }), { isHeld: () => isHeld });
  const keys = [keyOf(pod(name, "back")), keyOf(pod(name, "lost"))];
  const present = () => keys.filter((key) => follower.held.has(key));
  await eventually(() => expect(present()).toEqual(keys));
  const marker = async (value: string) => {
    const object = configMap(name, value);
    await east.writer.apply(object);
    await eventually(() => expect(follower.held.has(keyOf(object))).toBe(true));
  };

  isHeld = true;
  for (const each of ["back", "lost"]) {
    await east.writer.delete(pod(name, each));
    await eventually(async () => expect(await east.writer.get(pod(name, each)).catch(isNotFound)).toBe(true));
  }
  await marker("held");
  expect(present()).toEqual(keys);

  await east.writer.apply(pod(name, "back"));
  await marker("recreated");
  isHeld = false;
  await marker("released");
  await eventually(() => expect(present()).toEqual([keys[0]]));
  follower.stop();
});
