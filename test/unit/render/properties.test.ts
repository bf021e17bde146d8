import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { canonicalJson, cloneJson } from "../../../src/objects/json.ts";
import { keyOf } from "../../../src/objects/key.ts";
import { type KubeObject } from "../../../src/objects/object.ts";
import { fromHeld } from "../../../src/render/marks.ts";
import { applyUndo } from "../../../src/render/marks.ts";
import { differences, getAt, removeAt, setAt } from "../../../src/render/pointer.ts";
import { plain, renderAt, specWith, withoutMarks } from "./helpers.ts";

/** Values differ between the sites in every way that a spec knows; the values of one site never look like the other's. */
const spec = specWith({
  mappings: {
    namespaces: [{ east: "shop", west: "shop-dr" }],
    storageClasses: [{ east: "class-e", west: "class-w" }],
    registries: [{ east: "r.east/", west: "r.west/" }],
    ingressClasses: [{ east: "class-e", west: "class-w" }],
    hosts: [
      { east: "shop.east", west: "store.west" },
      { east: ".e.example", west: ".w.example" },
    ],
    cidrs: [{ east: "10.1.0.0/16", west: "10.2.0.0/16" }],
    loadBalancerIPs: [{ east: "192.0.2.1", west: "198.51.100.1" }],
  },
  mutations: [
    { match: { kinds: ["apps/*"] }, site: "west", when: "active", replicas: 2 },
    { match: {}, site: "west", when: "standby", labels: { set: { tier: "cold" }, remove: ["zone"] } },
    { match: {}, site: "west", labels: { set: { region: "west" }, rename: { old: "new" } } },
    { match: {}, site: "west", annotations: { set: { note: "west" }, remove: ["gone"] } },
    {
      match: { kinds: ["ConfigMap"] },
      site: "west",
      when: "active",
      jsonPatch: [
        { op: "add", path: "/data/added", value: "x" },
        { op: "add", path: "/data/~1odd~0", value: "west" },
      ],
    },
  ],
});

const word = fc.constantFrom("a", "b", "c", "web", "1");
const labels = fc.dictionary(fc.constantFrom("app", "zone", "old", "tier", "region", "x"), word);
const annotations = fc.dictionary(fc.constantFrom("note", "gone", "external-dns.alpha.kubernetes.io/ttl", "y"), word);
const container = fc.record({
  name: word,
  image: fc.constantFrom("r.east/a:1", "docker.io/b:2"),
  env: fc.array(fc.record({ name: word, value: word }), { maxLength: 2 }),
});
const template = fc.record({
  metadata: fc.record({ labels }),
  spec: fc.record(
    { containers: fc.array(container, { maxLength: 3 }), nodeSelector: fc.dictionary(word, word, { minKeys: 1 }) },
    { requiredKeys: ["containers"] },
  ),
});
const workload = (kind: string) =>
  fc.record({
    apiVersion: fc.constant("apps/v1"),
    kind: fc.constant(kind),
    spec: fc.record({
      replicas: fc.integer({ min: 0, max: 9 }),
      template,
      volumeClaimTemplates: fc.array(fc.record({ spec: fc.constant({ storageClassName: "class-e" }) }), {
        maxLength: 1,
      }),
    }),
  });
const body = fc.oneof(
  workload("Deployment"),
  workload("StatefulSet"),
  workload("DaemonSet"),
  fc.record({
    apiVersion: fc.constant("batch/v1"),
    kind: fc.constant("CronJob"),
    spec: fc.record({ suspend: fc.boolean(), jobTemplate: fc.record({ spec: fc.record({ template }) }) }),
  }),
  fc.record({
    apiVersion: fc.constant("v1"),
    kind: fc.constant("ConfigMap"),
    data: fc.dictionary(fc.constantFrom("a", "added", "/odd~", "b"), fc.string()),
  }),
  fc.record({
    apiVersion: fc.constant("networking.k8s.io/v1"),
    kind: fc.constant("Ingress"),
    spec: fc.record({
      ingressClassName: fc.constantFrom("class-e", "other"),
      rules: fc.array(fc.record({ host: fc.constantFrom("shop.east", "x.e.example", "other") }), { maxLength: 2 }),
    }),
  }),
  fc.record({
    apiVersion: fc.constant("networking.k8s.io/v1"),
    kind: fc.constant("NetworkPolicy"),
    spec: fc.record({
      podSelector: fc.record({ matchLabels: labels }),
      egress: fc.array(
        fc.record({
          to: fc.tuple(fc.record({ ipBlock: fc.record({ cidr: fc.constantFrom("10.1.0.0/16", "10.3.0.0/16") }) })),
        }),
        { maxLength: 2 },
      ),
    }),
  }),
  fc.record({
    apiVersion: fc.constant("v1"),
    kind: fc.constant("Service"),
    spec: fc.record({
      selector: labels,
      externalIPs: fc.array(fc.constantFrom("192.0.2.1", "203.0.113.9"), { maxLength: 2 }),
    }),
  }),
  fc.record({
    apiVersion: fc.constant("keda.sh/v1alpha1"),
    kind: fc.constant("ScaledObject"),
    spec: fc.record({ scaleTargetRef: fc.record({ name: word }) }),
  }),
);
const anyObject: fc.Arbitrary<KubeObject> = fc
  .tuple(body, word, labels, annotations)
  .map(([made, name, own, notes]) => ({
    ...made,
    metadata: {
      name,
      namespace: "shop",
      ...(Object.keys(own).length > 0 && { labels: own }),
      ...(Object.keys(notes).length > 0 && { annotations: notes }),
    },
  }));

/** Mutation 3 renames `old` to `new`; with both there it is refused, which is tested elsewhere. */
const role = fc.constantFrom("standby" as const, "active" as const);

describe("render", () => {
  it("gives equal output for equal input and leaves its input alone", () => {
    fc.assert(
      fc.property(anyObject, role, (object, role) => {
        const before = canonicalJson(object);
        const first = renderAt(object, { spec, role });
        expect(canonicalJson(object)).toBe(before);
        expect(canonicalJson(renderAt(cloneJson(object), { spec, role }))).toBe(canonicalJson(first));
      }),
    );
  });

  it("gives back the source's values when the standby becomes active, from the standby's own copy", () => {
    fc.assert(
      fc.property(anyObject, (object) => {
        const active = renderAt(object, { spec, role: "active" }).objects[0];
        const copy = renderAt(object, { spec }).objects[0];
        if (active === undefined || copy === undefined) throw new Error("withheld");
        expect(withoutMarks(fromHeld(copy), { keepUndo: true })).toEqual(withoutMarks(active, { keepUndo: true }));
      }),
    );
  });

  it("gives the original when it is rendered to the other site and back", () => {
    fc.assert(
      fc.property(anyObject, (object) => {
        const atWest = renderAt(object, { spec, role: "active" }).objects[0];
        if (atWest === undefined) throw new Error("withheld");
        const atEast = renderAt(atWest, { spec, site: "east", role: "active" });
        expect(atEast.findings).toEqual([]);
        expect(withoutMarks(atEast.objects[0] ?? atWest)).toEqual(object);
        // And once more, so that nothing piles up.
        expect(plain(atEast.objects[0] ?? atWest, { spec, role: "active" })).toEqual(withoutMarks(atWest));
      }),
    );
  });

  it("changes nothing but marks where the sites do not differ and nothing is held", () => {
    fc.assert(
      fc.property(anyObject, (object) => {
        expect(plain(object, { role: "active" })).toEqual(object);
      }),
    );
  });

  it("gives every site a key of its own", () => {
    fc.assert(
      fc.property(anyObject, role, (object, role) => {
        const copy = renderAt(object, { spec, role }).objects[0];
        expect(copy && keyOf(copy)).toBe(keyOf({ ...object, metadata: { ...object.metadata, namespace: "shop-dr" } }));
      }),
    );
  });
});

describe("differences", () => {
  const json = fc.letrec((tie) => ({
    value: fc.oneof(
      { maxDepth: 4 },
      fc.constantFrom("a", 1, true),
      fc.dictionary(fc.constantFrom("a", "b/c", "d~e"), tie("value")),
      fc.array(tie("value"), { maxLength: 3 }),
    ),
  })).value;
  const root = fc.record({ x: json, y: json });

  it("turn the one value into the other", () => {
    fc.assert(
      fc.property(root, root, (from, to) => {
        const changed = cloneJson(from) as Record<string, unknown>;
        for (const { pointer, to: value } of differences(from, to)) {
          if (value === undefined) removeAt(changed, pointer);
          else expect(setAt(changed, pointer, value)).toBe(true);
        }
        expect(changed).toEqual(to);
      }),
    );
  });

  it("name places where the values really differ", () => {
    fc.assert(
      fc.property(root, root, (from, to) => {
        for (const { pointer, from: left, to: right } of differences(from, to)) {
          expect(getAt(from, pointer)).toEqual(left);
          expect(getAt(to, pointer)).toEqual(right);
          expect(canonicalJson([left])).not.toBe(canonicalJson([right]));
        }
      }),
    );
  });
});

it("a note that somebody broke is as good as none", () => {
  const object: KubeObject = { apiVersion: "v1", kind: "ConfigMap", metadata: { name: "c" } };
  for (const text of ["{", "[]", '"x"', "null"]) {
    const annotations = { "lifeboat.dev/held": text, "lifeboat.dev/undo": text };
    expect(fromHeld({ ...object, metadata: { name: "c", annotations } }).metadata.annotations).toEqual({
      "lifeboat.dev/undo": text,
    });
    expect(applyUndo({ ...object, metadata: { name: "c", annotations: { ...annotations } } })).toEqual([]);
  }
});
