import { expect, it } from "vitest";
import { guardedGroup, type ListKnowledge, proofOf, whyNotGuarded } from "../../../src/agent/guard-scope.ts";
import type { Cert } from "../../../src/failover/epoch.ts";
import { groupSpecSchema, type GroupSpec, type GroupSpecInput } from "../../../src/config/group.ts";

function specOf(select: Partial<GroupSpecInput["select"]> = {}): GroupSpec {
  return groupSpecSchema.parse({
    sites: [{ name: "east" }, { name: "west" }],
    select: { namespaces: { names: ["shop"] }, ...select },
    failover: { profile: "fast" },
  });
}

it("guards are told a group's namespaces and durations", () => {
  const group = guardedGroup("shop", { spec: specOf(), namespaces: ["shop", "bank"] }, "lifeboat-system");
  expect(group).toMatchObject({ name: "shop", namespaces: ["bank", "shop"], timing: { leaseMs: 15_000, tickMs: 500 } });
});

it("never a namespace of the cluster itself, nor the agent's own", () => {
  const namespaces = ["kube-system", "kube-public", "kube-node-lease", "lifeboat-system", "shop"];
  expect(guardedGroup("shop", { spec: specOf(), namespaces }, "lifeboat-system").namespaces).toEqual(["shop"]);
});

it.each([
  ["a selection by labels", { objects: { selector: { matchLabels: { app: "db" } } } }],
  ["an exclusion of every kind", { exclude: [{ names: ["debug-*"] }] }],
  ["an exclusion of workloads", { exclude: [{ kinds: ["Secret", "apps/Deployment"] }] }],
  ["an exclusion by pattern", { exclude: [{ kinds: ["*"] }] }],
])("nothing to stop with %s: guards know a pod's namespace alone", (_what, select) => {
  const spec = specOf(select);
  expect(whyNotGuarded(spec)).toMatch(/whole namespaces/);
  expect(guardedGroup("shop", { spec, namespaces: ["shop"] }, "x").namespaces).toEqual([]);
});

it("nothing to stop where both sites run the group: what is single is told by labels", () => {
  const spec = groupSpecSchema.parse({ ...specOf(), mode: "ActiveActive" });
  expect(whyNotGuarded(spec)).toMatch(/only what is single/);
  expect(guardedGroup("shop", { spec, namespaces: ["shop"] }, "x").namespaces).toEqual([]);
});

it.each([
  ["all objects", {}],
  ["an empty selection by labels", { objects: { selector: {} } }],
  ["an exclusion of what starts no pods", { exclude: [{ kinds: ["Secret", "networking.k8s.io/Ingress"] }] }],
])("everything with %s", (_what, select) => {
  expect(whyNotGuarded(specOf(select))).toBeUndefined();
});

const cert: Cert = { epoch: { generation: 7, nonce: "n", counter: 2, forcedBy: "" }, holder: "west", sig: "" };
const following: ListKnowledge = { origin: "copy", current: true, epoch: "7.2", cert, incarnation: 5 };

it("a standby that has everything of the present holder knows all namespaces, and says by what word", () => {
  expect(proofOf(following)).toEqual({ cert, incarnation: 5 });
});

it.each([
  ["that has not heard its source yet", { current: false }],
  ["that followed a source of another epoch", { epoch: "7.1" }],
  ["that never received anything", { epoch: undefined }],
  ["that does not know who holds the group", { cert: null }],
  ["that ran the group and was taken down", { origin: "held" }],
  ["that runs it", { origin: "own" }],
] as const)("a site %s does not", (_which, change) => {
  expect(proofOf({ ...following, ...change })).toBeUndefined();
});
