import { expect, test } from "vitest";
import { differences } from "../../../src/apply/compare.ts";
import { parseJson } from "../../../src/objects/json.ts";

test("what the server adds is no difference", () => {
  const desired = { spec: { containers: [{ name: "a", image: "i" }], empty: {}, none: [] } };
  const live = { spec: { containers: [{ name: "a", image: "i", imagePullPolicy: "Always" }], other: 1 }, status: {} };
  expect(differences(desired, live)).toEqual([]);
});

test("what is missing or other is named by its path, without its value", () => {
  const desired = { spec: { replicas: 2, future: { a: 1 }, containers: [{ name: "a", image: "new" }] } };
  const live = { spec: { replicas: 3, containers: [{ name: "a", image: "old" }] } };
  expect(differences(desired, live)).toEqual([
    { path: "spec.replicas", what: "value" },
    { path: "spec.future", what: "missing" },
    { path: "spec.containers[0].image", what: "value" },
  ]);
});

test("items of a list are found at other places, by their names", () => {
  const desired = {
    env: [
      { name: "A", value: "1" },
      { name: "B", value: "2" },
    ],
  };
  const live = {
    env: [
      { name: "INJECTED", value: "x" },
      { name: "B", value: "2" },
      { name: "A", value: "other" },
    ],
  };
  expect(differences(desired, live)).toEqual([{ path: "env[0].value", what: "value" }]);
  expect(differences({ finalizers: ["b"] }, { finalizers: ["a", "b"] })).toEqual([]);
});

test("quantities that say the same are the same", () => {
  expect(differences({ cpu: "1000m", memory: "1Gi" }, { cpu: "1", memory: "1024Mi" })).toEqual([]);
  expect(differences({ cpu: "1100m" }, { cpu: "1" })).toHaveLength(1);
});

test("an integer that lost digits is told from one that was changed", () => {
  const desired = parseJson(`{"big":18446744073709551616,"small":1}`);
  expect(differences(desired, parseJson(`{"big":1.8446744073709552e19,"small":2}`))).toEqual([
    { path: "big", what: "rounded" },
    { path: "small", what: "value" },
  ]);
  expect(differences(desired, parseJson(`{"big":18446744073709551616,"small":1}`))).toEqual([]);
});

test("the list of differences is bounded", () => {
  const desired = Object.fromEntries(Array.from({ length: 100 }, (_, i) => [`k${i}`, i + 1]));
  expect(differences(desired, {})).toHaveLength(20);
});

test("a quantity may be spelled otherwise, text may not", () => {
  const limits = (memory: string) => ({ spec: { containers: [{ resources: { limits: { memory } } }] } });
  expect(differences(limits("1024Mi"), limits("1Gi"))).toEqual([]);
  const env = (value: string) => ({ spec: { containers: [{ env: [{ name: "A", value }] }] } });
  expect(differences(env("1000m"), env("1"))).toHaveLength(1);
  expect(differences({ data: { size: "1024Mi" } }, { data: { size: "1Gi" } })).toHaveLength(1);
});
