import { describe, expect, it } from "vitest";
import type { KubeObject, ManagedFieldsEntry } from "../../../src/objects/object.ts";
import { union, within } from "../../../src/render/ownership/field-set.ts";
import { absorbedOwners, ownersToRestore, ownsField } from "../../../src/render/ownership/owners.ts";
import { restoreRequest } from "../../../src/render/ownership/requests.ts";
import { deployment, object } from "./helpers.ts";

const us = "lifeboat-shop";
const entry = (manager: string, fieldsV1: Record<string, unknown>, more: Partial<ManagedFieldsEntry> = {}) => ({
  manager,
  operation: "Update" as const,
  apiVersion: "apps/v1",
  fieldsType: "FieldsV1",
  fieldsV1,
  ...more,
});
const replicas = { "f:spec": { "f:replicas": {} } };
const withManagers = (managedFields: ManagedFieldsEntry[]): KubeObject => {
  const live = deployment();
  live.metadata.managedFields = managedFields;
  return live;
};

describe("field sets", () => {
  it("keep what an object has", () => {
    const service = object("v1", "Service", "s", {
      spec: { ports: [{ port: 80 }, { port: 53, protocol: "UDP" }], finalizers: ["a"] },
    });
    const set = {
      "f:spec": {
        "f:ports": {
          ".": {},
          'k:{"port":80,"protocol":"TCP"}': { ".": {}, "f:port": {}, "f:nodePort": {} },
          'k:{"port":53,"protocol":"TCP"}': { ".": {} },
        },
        "f:finalizers": { 'v:"a"': {}, 'v:"b"': {} },
        "f:type": {},
      },
      "f:status": { "f:x": {} },
    };
    expect(within(set, service)).toEqual({
      "f:spec": {
        "f:ports": { ".": {}, 'k:{"port":80,"protocol":"TCP"}': { ".": {}, "f:port": {} } },
        "f:finalizers": { 'v:"a"': {} },
      },
    });
    expect(within({ "f:spec": { "f:nothing": {} } }, service)).toBeUndefined();
  });

  it("unite", () => {
    expect(union({ "f:a": { "f:b": {} } }, { "f:a": { "f:c": {} }, "f:d": {} })).toEqual({
      "f:a": { "f:b": {}, "f:c": {} },
      "f:d": {},
    });
  });

  it("answer who owns a field", () => {
    const managers = [entry("hpa", replicas)];
    expect(ownsField(managers, ["spec", "replicas"])).toBe(true);
    expect(ownsField(managers, ["spec"])).toBe(true);
    expect(ownsField(managers, ["spec", "paused"])).toBe(false);
  });
});

describe("before a promotion", () => {
  it("nothing is absorbed where only we and the site have written", () => {
    const own = entry(us, replicas, { operation: "Apply" });
    const bound = entry("kube-controller-manager", { "f:metadata": {} });
    const status = entry("someone", {}, { subresource: "status" });
    expect(absorbedOwners(withManagers([own, bound, status]), us)).toBeUndefined();
  });

  it("all that others own becomes ours, and the site keeps what is its own", () => {
    const bound = entry("kube-controller-manager", { "f:metadata": {} });
    const scaled = entry("kube-controller-manager", replicas, { subresource: "scale" });
    const foreign = entry("kubectl-edit", { "f:spec": { "f:paused": {} } });
    expect(absorbedOwners(withManagers([bound, scaled, foreign]), us)).toEqual([
      entry(us, { "f:spec": { "f:replicas": {}, "f:paused": {} } }, { operation: "Apply" }),
      bound,
    ]);
  });

  it("what we wrote by other verbs becomes one entry", () => {
    const created = entry(us, replicas);
    expect(absorbedOwners(withManagers([created]), us)).toEqual([entry(us, replicas, { operation: "Apply" })]);
  });
});

describe("after a promotion", () => {
  const restored = (source: ManagedFieldsEntry[], live: ManagedFieldsEntry[] = []) =>
    ownersToRestore({ source, rendered: deployment(), live, manager: us });

  it("the owners are those of the source, for the fields that are there", () => {
    const gitops = entry("gitops", { "f:spec": { "f:replicas": {}, "f:paused": {} } }, { operation: "Apply" });
    const hpa = entry("kube-controller-manager", replicas, { subresource: "scale" });
    expect(restored([gitops, hpa, entry("x", { "f:spec": { "f:paused": {} } })])).toEqual([
      { ...gitops, fieldsV1: replicas },
      hpa,
    ]);
  });

  it("we own nothing, and the site keeps status and what its control plane wrote", () => {
    const own = entry(us, replicas, { operation: "Apply" });
    const status = entry("kube-controller-manager", { "f:status": {} }, { subresource: "status" });
    const bound = entry("kube-controller-manager", { "f:spec": { "f:volumeName": {} } });
    expect(restored([entry(us, replicas), entry("x", {}, { subresource: "status" })], [own, status, bound])).toEqual([
      status,
      bound,
    ]);
  });

  it("an entry that both sites have is one entry", () => {
    const bound = entry("kube-controller-manager", { "f:spec": { "f:paused": {} } });
    expect(restored([entry("kube-controller-manager", replicas)], [bound])).toEqual([
      entry("kube-controller-manager", { "f:spec": { "f:paused": {}, "f:replicas": {} } }),
    ]);
  });

  it("owner references have no owner, since their UIDs are the source's", () => {
    const source = entry("operator", {
      "f:metadata": { "f:ownerReferences": { 'k:{"uid":"a"}': {} }, "f:labels": {} },
    });
    expect(restored([source])).toEqual([entry("operator", { "f:metadata": { "f:labels": {} } })]);
  });

  it("without any owner at the source, the request says so in the way that the API server understands", () => {
    const request = restoreRequest(withManagers([]), [], deployment(), us);
    expect(request.body).toEqual({ metadata: { managedFields: [{}] } });
  });
});
