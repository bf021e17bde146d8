import fc from "fast-check";
import { expect, test } from "vitest";
import { factsOf, wholeFacts, type ObjectFacts } from "../../../src/capture/facts.ts";
import {
  Membership,
  type Candidate,
  type MembershipChange,
  type MembershipPolicy,
} from "../../../src/capture/membership.ts";
import { compileSelection } from "../../../src/capture/selection.ts";
import type { KubeObject } from "../../../src/objects/object.ts";

const noFacts: ObjectFacts = {
  needs: [],
  clusterNeeds: [],
  serves: [],
  servesNamespaces: [],
  podSelector: undefined,
  podLabels: undefined,
};

const keys = ["n/a", "n/b", "n/c", "m/d", "m/e", "/x", "/y", "/z"];
const namespaceOf = (key: string): string => key.slice(0, key.indexOf("/"));
const inNamespace = (namespace: string): string[] => keys.filter((key) => namespaceOf(key) === namespace);

function candidateOf(key: string): fc.Arbitrary<Candidate> {
  const namespace = namespaceOf(key);
  const local = fc.subarray(inNamespace(namespace));
  const app = fc.option(fc.constantFrom("one", "two"), { nil: undefined });
  return fc
    .record({
      root: namespace === "" ? fc.constant(false) : fc.boolean(),
      owner:
        namespace === ""
          ? fc.constant(undefined)
          : fc.option(fc.constantFrom(...inNamespace(namespace)), { nil: undefined, freq: 5 }),
      needs: namespace === "" ? fc.constant([]) : local,
      clusterNeeds: fc.subarray(inNamespace("")),
      serves: namespace === "" ? fc.subarray(keys) : local,
      servesNamespaces: namespace === "" ? fc.subarray(["n", "m"]) : fc.constant([]),
      selects: namespace === "" ? fc.constant(undefined) : app,
      labelled: namespace === "" ? fc.constant(undefined) : app,
    })
    .map(({ root, owner, selects, labelled, ...facts }) => ({
      key,
      namespace,
      root,
      owner: owner === key ? undefined : owner,
      facts: {
        ...facts,
        podSelector: selects === undefined ? undefined : { matchLabels: { app: selects } },
        podLabels: labelled === undefined ? undefined : { app: labelled },
      },
    }));
}

const step = fc.oneof(
  {
    weight: 6,
    arbitrary: fc
      .constantFrom(...keys)
      .chain((key) => candidateOf(key).map((candidate) => ({ op: "set" as const, candidate }))),
  },
  { weight: 3, arbitrary: fc.constantFrom(...keys).map((key) => ({ op: "delete" as const, key })) },
  {
    weight: 1,
    arbitrary: fc.record({
      op: fc.constantFrom("take" as const, "leave" as const),
      namespace: fc.constantFrom("n", "m"),
    }),
  },
  { weight: 1, arbitrary: fc.constant({ op: "settle" as const }) },
);

/** The rules of membership, repeated until nothing changes. */
function expected(all: ReadonlyMap<string, Candidate>, taken: ReadonlySet<string>, policy: MembershipPolicy): string[] {
  const members = new Set<string>();
  const wanted = new Set<string>();
  const local = policy.references && !policy.whole;
  for (let size = -1; size !== members.size + wanted.size;) {
    size = members.size + wanted.size;
    for (const candidate of all.values()) {
      const { facts, key, namespace } = candidate;
      const serves = facts.serves.some((served) => members.has(served) || wanted.has(served));
      const selects = [...all.values()].some(
        (other) =>
          members.has(other.key) &&
          other.namespace === namespace &&
          facts.podSelector !== undefined &&
          facts.podSelector.matchLabels?.["app"] === other.facts.podLabels?.["app"],
      );
      const whole = policy.whole && namespace === "" && facts.servesNamespaces.some((name) => taken.has(name));
      if (
        !(candidate.root || wanted.has(key) || whole || (serves && (namespace === "" || local)) || (selects && local))
      )
        continue;
      members.add(key);
      for (const need of facts.clusterNeeds) wanted.add(need);
      if (local) for (const need of facts.needs) wanted.add(need);
    }
  }
  return [...members].filter((key) => {
    const owner = all.get(key)?.owner;
    return owner === undefined || (!policy.whole && !members.has(owner));
  });
}

test.each<[string, MembershipPolicy]>([
  ["whole namespaces", { whole: true, references: true }],
  ["labels with references", { whole: false, references: true }],
  ["labels alone", { whole: false, references: false }],
])("after any history the members are those that the rules name: %s", (_, policy) => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60, size: "max" }), (steps) => {
      const membership = new Membership(policy);
      const all = new Map<string, Candidate>();
      const taken = new Set<string>();
      const told = new Set<string>();
      const note = ({ joined, left }: MembershipChange): void => {
        for (const key of left) told.delete(key);
        for (const key of joined) told.add(key);
      };
      for (const one of steps) {
        if (one.op === "set") {
          all.set(one.candidate.key, one.candidate);
          note(membership.set(one.candidate));
        } else if (one.op === "delete") {
          all.delete(one.key);
          note(membership.delete(one.key));
        } else if (one.op === "take") {
          taken.add(one.namespace);
          note(membership.takeNamespace(one.namespace));
        } else if (one.op === "leave") {
          taken.delete(one.namespace);
          for (const key of inNamespace(one.namespace)) all.delete(key);
          note(membership.leaveNamespace(one.namespace));
        } else note(membership.settle());
        const now = expected(all, taken, policy);
        // Growth shows at once; what is superfluous may stay until it is settled.
        if (!membership.unsettled) expect([...told].sort()).toEqual(now.sort());
      }
      note(membership.settle());
      expect([...told].sort()).toEqual(expected(all, taken, policy).sort());
      for (const key of keys) expect(membership.has(key)).toBe(told.has(key));
    }),
    { numRuns: 300 },
  );
});

test("facts that decide nothing in whole namespaces are not kept", () => {
  expect(wholeFacts({ ...noFacts, needs: ["n/a"], podLabels: { app: "x" } })).toEqual(noFacts);
  expect(wholeFacts({ ...noFacts, needs: ["n/a"], clusterNeeds: ["/x"] })).toEqual({
    ...noFacts,
    clusterNeeds: ["/x"],
  });
});

test("a pod template needs everything that it names", () => {
  const secretRef = { name: "dockerhub" };
  const container = {
    name: "c",
    envFrom: [{ secretRef: { name: "env-from" } }, { configMapRef: { name: "cm-from" } }],
    env: [
      { name: "A", valueFrom: { secretKeyRef: { name: "key", key: "k" } } },
      { name: "B", valueFrom: { configMapKeyRef: { name: "cm-key", key: "k" } } },
      { name: "C", value: "plain" },
    ],
  };
  const volumes = [
    { name: "1", secret: { secretName: "mounted" } },
    { name: "2", configMap: { name: "cm-mounted" } },
    { name: "3", persistentVolumeClaim: { claimName: "data" } },
    {
      name: "4",
      projected: {
        sources: [
          { secret: { name: "projected" } },
          { configMap: { name: "cm-projected" } },
          { serviceAccountToken: {} },
        ],
      },
    },
    { name: "5", csi: { driver: "d", nodePublishSecretRef: { name: "csi" } } },
    { name: "6", ephemeral: { volumeClaimTemplate: { spec: { storageClassName: "fast" } } } },
    { name: "7", emptyDir: {} },
  ];
  const spec = {
    serviceAccountName: "runner",
    imagePullSecrets: [secretRef],
    initContainers: [{ name: "i", env: [{ name: "X", valueFrom: { secretKeyRef: { name: "init", key: "k" } } }] }],
    containers: [container],
    volumes,
    priorityClassName: "high",
    runtimeClassName: "gvisor",
  };
  const job: KubeObject = {
    apiVersion: "batch/v1",
    kind: "CronJob",
    metadata: { name: "x", namespace: "n" },
    spec: { jobTemplate: { spec: { template: { metadata: { labels: { app: "x" } }, spec } } } },
  };
  const facts = factsOf(job, undefined);
  const secrets = ["csi", "dockerhub", "env-from", "init", "key", "mounted", "projected"];
  expect([...facts.needs].sort()).toEqual(
    [
      ...["cm-from", "cm-key", "cm-mounted", "cm-projected"].map((name) => `/ConfigMap/n/${name}`),
      "/PersistentVolumeClaim/n/data",
      ...secrets.map((name) => `/Secret/n/${name}`),
      "/ServiceAccount/n/runner",
    ].sort(),
  );
  expect([...facts.clusterNeeds].sort()).toEqual([
    "node.k8s.io/RuntimeClass//gvisor",
    "scheduling.k8s.io/PriorityClass//high",
    "storage.k8s.io/StorageClass//fast",
  ]);
  expect(facts.podLabels).toEqual({ app: "x" });
});

test("a StatefulSet needs the claims that it made, by its number of pods", () => {
  const set: KubeObject = {
    apiVersion: "apps/v1",
    kind: "StatefulSet",
    metadata: { name: "db", namespace: "n" },
    spec: {
      serviceName: "db",
      replicas: 2,
      ordinals: { start: 3 },
      volumeClaimTemplates: [{ metadata: { name: "data" }, spec: { storageClassName: "fast" } }],
    },
  };
  const facts = factsOf(set, undefined);
  expect(facts.needs).toEqual([
    "/Service/n/db",
    "/PersistentVolumeClaim/n/data-db-3",
    "/PersistentVolumeClaim/n/data-db-4",
  ]);
  expect(facts.clusterNeeds).toEqual(["storage.k8s.io/StorageClass//fast"]);
});

test("bindings serve the accounts that they name, however they name them", () => {
  const binding = (subjects: object[]): KubeObject => ({
    apiVersion: "rbac.authorization.k8s.io/v1",
    kind: "ClusterRoleBinding",
    metadata: { name: "b" },
    roleRef: { kind: "ClusterRole", name: "r" },
    subjects,
  });
  const account = "/ServiceAccount/n/runner";
  expect(factsOf(binding([{ kind: "ServiceAccount", name: "runner", namespace: "n" }]), undefined)).toMatchObject({
    clusterNeeds: ["rbac.authorization.k8s.io/ClusterRole//r"],
    serves: [account],
    servesNamespaces: ["n"],
  });
  expect(factsOf(binding([{ kind: "User", name: "system:serviceaccount:n:runner" }]), undefined).serves).toEqual([
    account,
  ]);
  expect(factsOf(binding([{ kind: "Group", name: "system:serviceaccounts:n" }]), undefined)).toMatchObject({
    serves: [],
    servesNamespaces: ["n"],
  });
  expect(factsOf(binding([{ kind: "User", name: "alice" }]), undefined).serves).toEqual([]);
});

test("a spec's names are those of the first site, and selection at the other one follows the mapping", () => {
  const spec = {
    sites: [{ name: "east" }, { name: "west" }],
    select: {
      namespaces: { names: ["shop"], selector: { matchLabels: { tier: "gold" } } },
      exclude: [{ namespaces: ["shop"], names: ["tmp-*"] }],
    },
    mappings: { namespaces: [{ east: "shop", west: "shop-dr" }] },
  };
  const object = (namespace: string): KubeObject => ({
    apiVersion: "v1",
    kind: "Secret",
    metadata: { name: "tmp-1", namespace },
  });
  const east = compileSelection(spec, "east");
  const west = compileSelection(spec, "west");
  expect([east.namespace("shop", {}), east.namespace("shop-dr", {})]).toEqual([true, false]);
  expect([west.namespace("shop", {}), west.namespace("shop-dr", {})]).toEqual([false, true]);
  expect(west.namespace("other", { tier: "gold" })).toBe(true);
  expect(west.namespace("shop-dr", undefined)).toBe(true);
  expect([east.excludes(object("shop")), west.excludes(object("shop-dr"))]).toEqual([true, true]);
  expect(east.excludes(object("shop-dr"))).toBe(false);
});
