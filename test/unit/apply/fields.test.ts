import { expect, test } from "vitest";
import { resolveFields, settleOwners, unionFields } from "../../../src/apply/fields.ts";
import { foreignClaims } from "../../../src/apply/foreign.ts";
import type { KubeObject, ManagedFieldsEntry } from "../../../src/objects/object.ts";

function entry(
  manager: string,
  fieldsV1: Record<string, unknown>,
  more: Partial<ManagedFieldsEntry> = {},
): ManagedFieldsEntry {
  return { manager, operation: "Update", apiVersion: "apps/v1", fieldsType: "FieldsV1", fieldsV1, ...more };
}

function deployment(managedFields: ManagedFieldsEntry[]): KubeObject {
  return {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name: "web", namespace: "shop", managedFields },
    spec: {
      replicas: 0,
      template: { spec: { containers: [{ name: "c", image: "i", ports: [{ containerPort: 80 }] }] } },
    },
  };
}

test("paths of managed fields are resolved through lists by their keys", () => {
  const tree = {
    "f:spec": {
      "f:replicas": {},
      "f:template": {
        "f:spec": {
          "f:containers": {
            'k:{"name":"c"}': {
              ".": {},
              "f:image": {},
              "f:ports": { 'k:{"containerPort":80,"protocol":"TCP"}': { ".": {}, "f:containerPort": {} } },
            },
            'k:{"name":"sidecar"}': { ".": {}, "f:image": {} },
          },
        },
      },
    },
    "f:metadata": { "f:finalizers": { 'v:"x"': {} } },
  };
  expect(resolveFields(tree, deployment([]))).toEqual({
    present: [
      "spec.replicas",
      "spec.template.spec.containers[name=c].image",
      "spec.template.spec.containers[name=c].ports[containerPort=80,protocol=TCP].containerPort",
    ],
    extra: ["spec.template.spec.containers[name=sidecar].image", "metadata.finalizers[=x]"],
  });
});

test("a foreign manager claims what it took and what it added; Kubernetes, status and shared ownership are no claims", () => {
  const ours = { "f:spec": { "f:template": {} } };
  const live = deployment([
    entry("lifeboat-g", ours, { operation: "Apply" }),
    entry("kubectl-edit", { "f:spec": { "f:replicas": {} }, "f:metadata": { "f:labels": { "f:x": {} } } }),
    entry("kubectl-apply", { "f:spec": { "f:template": {} } }),
    entry("operator", { "f:status": { "f:a": {} }, "f:metadata": { "f:finalizers": { 'v:"x"': {} } } }),
    entry("kube-controller-manager", { "f:spec": { "f:replicas": {} } }),
    entry("kubelet", { "f:status": {} }, { subresource: "status" }),
  ]);
  expect(foreignClaims(live, live, "lifeboat-g")).toEqual([
    { manager: "kubectl-edit", lost: ["spec.replicas"], extra: ["metadata.labels.x"] },
  ]);
});

test("settling makes one Apply entry of all that we wrote and absorb, and leaves the others", () => {
  const foreign = entry("kubectl-edit", { "f:spec": { "f:paused": {} } });
  const status = entry("kube-controller-manager", { "f:status": {} }, { subresource: "status" });
  const live = deployment([entry("lifeboat-g", { "f:spec": { "f:replicas": {} } }), foreign, status]);
  expect(settleOwners(live, "lifeboat-g", [foreign])).toEqual([
    entry("lifeboat-g", { "f:spec": { "f:replicas": {}, "f:paused": {} } }, { operation: "Apply" }),
    status,
  ]);
  const settled = deployment([entry("lifeboat-g", {}, { operation: "Apply" }), foreign]);
  expect(settleOwners(settled, "lifeboat-g", [])).toBeUndefined();
});

test("a union of two trees has the fields of both", () => {
  expect(unionFields({ "f:a": { "f:b": {} } }, { "f:a": { "f:c": {} }, "f:d": {} })).toEqual({
    "f:a": { "f:b": {}, "f:c": {} },
    "f:d": {},
  });
});
