import { expect, test } from "vitest";
import { Assignments } from "../../../src/apply/assignments.ts";
import { CopyStore } from "../../../src/apply/copies.ts";
import type { KubeObject, ManagedFieldsEntry } from "../../../src/objects/object.ts";

const key = "/ConfigMap/shop/a";
const manager = "lifeboat-g";

function seen(
  version: number,
  owners: Record<string, readonly string[]>,
  more: { uid?: string; deleting?: boolean } = {},
): KubeObject {
  const managedFields = Object.entries(owners).map(([name, fields]): ManagedFieldsEntry => ({
    manager: name,
    operation: "Update",
    apiVersion: "v1",
    fieldsV1: { "f:data": Object.fromEntries(fields.map((field) => [`f:${field}`, {}])) },
  }));
  return {
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: {
      name: "a",
      namespace: "shop",
      uid: more.uid ?? "u1",
      resourceVersion: String(version),
      managedFields,
      ...(more.deleting === true ? { deletionTimestamp: "2026-01-01T00:00:00Z" } : {}),
    },
  };
}

test("the echo of a write, older events and changes by Kubernetes are no drift", () => {
  const store = new CopyStore(manager);
  expect(store.expect(seen(5, { [manager]: ["x"] }), "h1")).toBe(false);
  expect(store.observe(seen(5, { [manager]: ["x"] }))).toBe("same");
  expect(store.observe(seen(4, { other: ["x"] }))).toBe("same");
  expect(store.observe(seen(6, { [manager]: ["x"], "kube-controller-manager": ["y"] }))).toBe("same");
  expect(store.isCurrent(key, "h1")).toBe(true);
  expect(store.isCurrent(key, "h2")).toBe(false);
});

test("a field that is taken or added by others, a delete under way and another object of the name are drift", () => {
  for (const change of [
    seen(6, { other: ["x"] }),
    seen(6, { [manager]: ["x"], other: ["y"] }),
    seen(6, { "kube-controller-manager": ["x"] }),
    seen(6, { [manager]: ["x"] }, { deleting: true }),
    seen(6, { [manager]: ["x"] }, { uid: "u2" }),
  ]) {
    const store = new CopyStore(manager);
    store.expect(seen(5, { [manager]: ["x"] }), "h1");
    expect(store.observe(change)).toBe("drifted");
    expect(store.isCurrent(key, "h1")).toBe(false);
  }
});

test("a change that was seen before the answer to our write is noticed with the answer", () => {
  const store = new CopyStore(manager);
  store.observe(seen(7, { [manager]: ["x"], other: ["y"] }));
  expect(store.expect(seen(5, { [manager]: ["x"] }), "h1")).toBe(true);
  expect(store.isCurrent(key, "h1")).toBe(false);
  expect(store.expect(seen(8, { [manager]: ["x"] }), "h1")).toBe(false);
  expect(store.isCurrent(key, "h1")).toBe(true);
});

test("a late word of an older life does not remove the new one", () => {
  const store = new CopyStore(manager);
  store.expect(seen(9, { [manager]: ["x"] }, { uid: "u2" }), "h1");
  expect(store.gone(key, "u1")).toBe(false);
  expect([...store.uids]).toEqual([[key, "u2"]]);
  expect(store.gone(key)).toBe(true);
  expect(store.count).toBe(0);
});

test("assignments know both ways, what a key no longer asks for, and who waits for what", () => {
  const table = new Assignments();
  table.assign("s1", ["t1"]);
  table.assign("s2", ["t2"]);
  expect(table.assign("s1", ["t3"])).toEqual(["t1"]);
  expect([table.sourceOf("t1"), table.sourceOf("t3"), table.sourceOf("t2")]).toEqual([undefined, "s1", "s2"]);
  // What another key has taken over is not left behind.
  table.assign("s2", ["t3"]);
  expect(table.assign("s1", [])).toEqual([]);
  table.waitFor("s1", ["owner"]);
  table.waitFor("s2", ["owner"]);
  table.waitFor("s1", []);
  expect([...table.waitersOf("owner")]).toEqual(["s2"]);
  expect([...table.awaited()]).toEqual(["owner"]);
});
