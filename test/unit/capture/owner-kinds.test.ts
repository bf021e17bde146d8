import { expect, test } from "vitest";
import { OwnerKinds } from "../../../src/capture/owner-kinds.ts";
import type { KubeObject } from "../../../src/objects/object.ts";

function owned(kind: readonly [string, string], by: readonly [string, string]): KubeObject {
  const owner = { apiVersion: by[0], kind: by[1], name: "owner", uid: "1", controller: true };
  return { apiVersion: kind[0], kind: kind[1], metadata: { name: "x", ownerReferences: [owner] } };
}

const pod = ["v1", "Pod"] as const;
const set = ["apps/v1", "StatefulSet"] as const;
const inner = ["core.example.com/v1", "PodSet"] as const;
const outer = ["example.com/v1", "Broker"] as const;

test("a custom resource runs pods also through what it owns, in whatever order that is seen", () => {
  const kinds = new OwnerKinds();
  kinds.note(owned(inner, outer));
  kinds.note(owned(set, ["example.com/v1", "Database"]));
  expect(kinds.podOwners()).toEqual([]);
  kinds.note(owned(pod, inner));
  expect(kinds.podOwners()).toEqual(["core.example.com/PodSet", "example.com/Broker"]);
  kinds.note(owned(pod, set));
  expect(kinds.podOwners()).toEqual(["core.example.com/PodSet", "example.com/Broker", "example.com/Database"]);
});

test("what a custom resource owns besides runs nothing, and neither do Kubernetes' own kinds count", () => {
  const kinds = new OwnerKinds();
  kinds.note(owned(["v1", "Secret"], ["example.com/v1", "Certificate"]));
  kinds.note(owned(pod, ["apps/v1", "ReplicaSet"]));
  kinds.note(owned(["apps/v1", "ReplicaSet"], ["apps/v1", "Deployment"]));
  kinds.note({ ...owned(pod, outer), metadata: { name: "bare" } });
  expect(kinds.podOwners()).toEqual([]);
});
