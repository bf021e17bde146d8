import { describe, expect, it } from "vitest";
import type { GroupSpecInput } from "../../../src/config/group.ts";
import { marks, type KubeObject } from "../../../src/objects/object.ts";
import { indexLabels } from "../../../src/render/mutations/label-index.ts";
import { clusterObject, deployment, heldIn, object, plain, renderAt, rendered, specWith } from "./helpers.ts";

type MutationInput = NonNullable<GroupSpecInput["mutations"]>[number];

const specOf = (...mutations: MutationInput[]) => specWith({ mutations });
const all = { kinds: ["*"] };

describe("a mutation", () => {
  it("is made at its site, in its role, on what it matches", () => {
    const spec = specOf(
      { match: { kinds: ["apps/Deployment"], names: ["w*"] }, site: "west", when: "active", replicas: 2 },
      { match: { kinds: ["Deployment"] }, replicas: 9 },
      { match: { kinds: ["apps/*"], selector: { matchLabels: { app: "other" } } }, replicas: 9 },
      { match: { kinds: ["apps/*"], namespaces: ["other"] }, replicas: 9 },
      { match: { kinds: ["apps/*"] }, site: "east", replicas: 9 },
    );
    expect(plain(deployment(), { spec, role: "active" })).toMatchObject({ spec: { replicas: 2 } });
    expect(heldIn(rendered(deployment(), { spec }))).toEqual({ "/spec/replicas": 2 });
    expect(plain(deployment("api"), { spec, role: "active" })).toMatchObject({ spec: { replicas: 3 } });
  });

  it("follows the ones before it", () => {
    const spec = specOf(
      { match: all, annotations: { set: { a: "1", b: "1" } } },
      { match: all, annotations: { set: { a: "2" }, remove: ["b"] } },
    );
    expect(plain(deployment(), { spec }).metadata.annotations).toEqual({ a: "2" });
  });

  it("of labels sets, removes and renames, and the standby alone sees it", () => {
    const spec = specOf({
      match: all,
      when: "standby",
      labels: { set: { tier: "cold" }, remove: ["zone"], rename: { old: "new" } },
    });
    const source = object("v1", "ConfigMap", "c", { labels: { zone: "a", old: "1", tier: "gold" } });
    expect(plain(source, { spec }).metadata.labels).toEqual({ new: "1", tier: "cold" });
    expect(plain(source, { spec, role: "active" }).metadata.labels).toEqual(source.metadata.labels);
  });

  it("matches namespaces by their name on the first site, whichever site is rendered for", () => {
    const spec = specWith({
      mappings: { namespaces: [{ east: "shop", west: "shop-dr" }] },
      mutations: [{ match: { namespaces: ["shop"] }, annotations: { set: { a: "1" } } }],
    });
    const atWest = deployment();
    atWest.metadata.namespace = "shop-dr";
    const copy = plain(atWest, { spec, site: "east" });
    expect(copy.metadata).toMatchObject({ namespace: "shop", annotations: { a: "1" } });
  });

  it("by JSON patch is made on the object as it is at the site, wholly or not at all", () => {
    const config = object("v1", "ConfigMap", "c", { data: { region: "east", "a/b": "1" } });
    const patched = (...jsonPatch: NonNullable<MutationInput["jsonPatch"]>) =>
      renderAt(config, { spec: specOf({ match: all, jsonPatch }) });
    const done = patched(
      { op: "replace", path: "/data/region", value: "west" },
      { op: "remove", path: "/data/a~1b" },
      { op: "add", path: "/data/list", value: "x" },
    );
    expect(done.objects[0]?.["data"]).toEqual({ region: "west", list: "x" });
    const failed = patched(
      { op: "replace", path: "/data/region", value: "west" },
      { op: "test", path: "/data/a~1b", value: "2" },
    );
    expect(failed.objects[0]?.["data"]).toEqual(config["data"]);
    expect(failed.findings.map((finding) => finding.message)).toEqual([
      "spec.mutations[0] is not made: operation 2 of the patch, test /data/a~1b, does not fit the object",
    ]);
    expect(patched({ op: "replace", path: "/kind", value: "Secret" }).findings[0]?.message).toContain(
      "cannot be patched",
    );
  });

  it("of replicas on something that has none is reported", () => {
    const result = renderAt(object("v1", "ConfigMap", "c", { data: {} }), {
      spec: specOf({ match: all, replicas: 1 }),
    });
    expect(result.findings[0]?.message).toContain("ConfigMap has no spec.replicas");
  });

  it("in the active role notes what it changed, and the way back undoes it", () => {
    const spec = specOf(
      { match: { kinds: ["apps/Deployment"] }, site: "west", when: "active", replicas: 2 },
      {
        match: { kinds: ["apps/Deployment"] },
        site: "west",
        labels: { rename: { app: "name" }, set: { region: "w" } },
      },
    );
    const source = deployment("web", { app: "web", region: "e" });
    const atWest = rendered(source, { spec, role: "active" });
    expect(atWest).toMatchObject({ metadata: { labels: { name: "web", region: "w" } }, spec: { replicas: 2 } });
    expect(plain(atWest, { spec, site: "east", role: "active" })).toEqual(source);
  });

  it("is not undone where the value was changed since", () => {
    const spec = specOf({ match: all, site: "west", when: "active", replicas: 2 });
    const atWest = rendered(deployment(), { spec, role: "active" });
    (atWest["spec"] as { replicas: number }).replicas = 4;
    const back = renderAt(atWest, { spec, site: "east", role: "active" });
    expect(back.objects[0]).toMatchObject({ spec: { replicas: 4 } });
    expect(back.findings.map((finding) => finding.code)).toEqual(["UndoSkipped"]);
  });
});

describe("a label that pods are selected by", () => {
  const service = object("v1", "Service", "web", { spec: { selector: { app: "web" } } });
  const budget = object("policy/v1", "PodDisruptionBudget", "web", {
    spec: { selector: { matchLabels: { app: "web" } } },
  });
  const rename = (match: MutationInput["match"], when: "always" | "standby" = "always") =>
    specOf({ match, when, labels: { rename: { app: "name" }, templates: true } });
  const facts = (...objects: KubeObject[]) => ({ labels: indexLabels(objects) });
  const spread = () => {
    const web = deployment();
    const { template } = web["spec"] as { template: { spec: Record<string, unknown> } };
    template.spec["topologySpreadConstraints"] = [{ labelSelector: { matchLabels: { app: "web" } } }];
    return web;
  };

  it("stays where only the object itself is relabelled", () => {
    const spec = specOf({ match: all, labels: { rename: { app: "name" } } });
    const copy = plain(deployment(), { spec, facts: facts(deployment(), service) });
    expect(copy.metadata.labels).toEqual({ name: "web" });
    expect(copy).toMatchObject({
      spec: { selector: { matchLabels: { app: "web" } }, template: { metadata: { labels: { app: "web" } } } },
    });
    expect(plain(service, { spec, facts: facts(deployment(), service) })["spec"]).toEqual(service["spec"]);
  });

  it("is renamed in pods and in every selector alike", () => {
    const situation = { spec: rename(all), facts: facts(spread(), service, budget) };
    expect(plain(spread(), situation)).toMatchObject({
      metadata: { labels: { name: "web" } },
      spec: {
        selector: { matchLabels: { name: "web" } },
        template: {
          metadata: { labels: { name: "web" } },
          spec: { topologySpreadConstraints: [{ labelSelector: { matchLabels: { name: "web" } } }] },
        },
      },
    });
    expect(plain(service, situation)["spec"]).toEqual({ selector: { name: "web" } });
    expect(plain(budget, situation)["spec"]).toEqual({ selector: { matchLabels: { name: "web" } } });
  });

  it("is refused everywhere when one selector would not follow", () => {
    const situation = { spec: rename({ kinds: ["apps/*", "policy/*"] }), facts: facts(deployment(), service, budget) };
    for (const source of [deployment(), budget]) {
      const result = renderAt(source, situation);
      expect(result.findings.map((finding) => finding.message)).toEqual([
        "spec.mutations[0] is not made: the selector of /Service/shop/web would no longer select the same pods of " +
          "apps/Deployment/shop/web",
      ]);
      expect(plain(source, { ...situation, role: "active" })).toEqual(source);
    }
  });

  it("cannot be set or removed", () => {
    for (const labels of [{ set: { app: "x" } }, { remove: ["app"] }]) {
      const spec = specOf({ match: all, labels: { ...labels, templates: true } });
      const result = renderAt(deployment(), { spec });
      expect(result.findings[0]?.message).toContain("its own selector would no longer select its pods");
      const bare = object("v1", "Pod", "p", { labels: { app: "web" }, spec: { containers: [] } });
      const refused = renderAt(bare, {
        spec: specOf({ match: all, labels }),
        role: "active",
        facts: facts(bare, service),
      });
      expect(refused.findings[0]?.message).toContain("the selector of /Service/shop/web");
    }
  });

  it("cannot be renamed in one role only, since a workload's selector is for ever", () => {
    const result = renderAt(deployment(), { spec: rename(all, "standby") });
    expect(result.findings[0]?.message).toContain("use `when: always`");
  });

  it("cannot be renamed onto another label", () => {
    const result = renderAt(deployment("web", { app: "web", name: "x" }), { spec: rename(all) });
    expect(result.findings[0]?.message).toContain("already has the label name");
  });

  it("of a Namespace cannot be changed when a policy selects by it", () => {
    const namespace = clusterObject("v1", "Namespace", "shop", { labels: { team: "a" } });
    const policy = object("networking.k8s.io/v1", "NetworkPolicy", "p", {
      spec: { ingress: [{ from: [{ namespaceSelector: { matchLabels: { team: "a" } } }] }] },
    });
    const spec = specOf({ match: { kinds: ["Namespace"] }, labels: { remove: ["team"] } });
    expect(renderAt(namespace, { spec, facts: facts(namespace, policy) }).findings[0]?.message).toContain(
      "a namespaceSelector of networking.k8s.io/NetworkPolicy p selects by it",
    );
    expect(renderAt(namespace, { spec, facts: facts(namespace) }).findings).toEqual([]);
  });
});

describe("marks", () => {
  it("of an earlier copy do not travel", () => {
    const copy = rendered(deployment());
    const back = rendered(copy, { site: "east" });
    expect(back.metadata.annotations?.[marks.source]).toBe("west");
    expect(heldIn(back)).toBeUndefined();
  });
});
