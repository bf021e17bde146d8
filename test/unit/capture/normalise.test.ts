import { expect, test } from "vitest";
import { normalise } from "../../../src/capture/normalise.ts";
import { canaryName } from "../../../src/objects/canary.ts";
import { leftOut, isCaptured, recreatedBy } from "../../../src/capture/rules.ts";
import { parseJson } from "../../../src/objects/json.ts";
import type { KubeObject, ObjectMeta } from "../../../src/objects/object.ts";

function object(apiVersion: string, kind: string, metadata: Partial<ObjectMeta> = {}, rest: object = {}): KubeObject {
  return { apiVersion, kind, metadata: { name: "x", namespace: "n", ...metadata }, ...rest };
}

test("what belongs to one API server is dropped, what users wrote stays, and the input is not changed", () => {
  const input = object(
    "example.com/v1",
    "Thing",
    {
      uid: "u",
      resourceVersion: "7",
      generation: 3,
      creationTimestamp: "2026-01-01T00:00:00Z",
      deletionTimestamp: "2026-01-02T00:00:00Z",
      deletionGracePeriodSeconds: 30,
      selfLink: "/x",
      labels: { app: "web", "lifeboat.dev/group": "shop" },
      annotations: {
        note: "kept",
        "deployment.kubernetes.io/revision": "3",
        "lifeboat.dev/held": "{}",
        "lifeboat.dev/epoch": "1.1",
        "lifeboat.dev/wave": "2",
      },
      finalizers: ["example.com/f"],
      ownerReferences: [{ apiVersion: "v1", kind: "Pod", name: "p", uid: "gone" }],
    },
    { spec: { z: 1, a: [2, { d: 1, c: null }] }, status: { phase: "Ready" }, odd: true },
  );
  const before = structuredClone(input);
  const { object: text } = normalise(input);
  expect(JSON.parse(text)).toEqual({
    apiVersion: "example.com/v1",
    kind: "Thing",
    metadata: {
      name: "x",
      namespace: "n",
      labels: { app: "web" },
      annotations: { note: "kept", "lifeboat.dev/wave": "2" },
      finalizers: ["example.com/f"],
      ownerReferences: [{ apiVersion: "v1", kind: "Pod", name: "p" }],
    },
    odd: true,
    spec: { a: [2, { c: null, d: 1 }], z: 1 },
  });
  expect(text.indexOf('"a":')).toBeLessThan(text.indexOf('"z":'));
  expect(input).toEqual(before);
});

test("equal intent has an equal hash, whatever the API server noted meanwhile", () => {
  const first = object("v1", "ConfigMap", { resourceVersion: "1", labels: { a: "1", b: "2" } }, { data: { k: "v" } });
  const later = object(
    "v1",
    "ConfigMap",
    { labels: { b: "2", a: "1" }, resourceVersion: "9", uid: "u" },
    { data: { k: "v" } },
  );
  expect(normalise(later)).toEqual(normalise(first));
  expect(normalise({ ...later, data: { k: "w" } }).hash).not.toBe(normalise(first).hash);
});

test("owners of fields count, their times and their status do not", () => {
  const entry = {
    manager: "kubectl",
    operation: "Apply",
    apiVersion: "v1",
    fieldsType: "FieldsV1",
    fieldsV1: { "f:data": {} },
  } as const;
  const status = { ...entry, manager: "kcm", operation: "Update", subresource: "status" } as const;
  const one = normalise(
    object("v1", "ConfigMap", { managedFields: [{ ...entry, time: "2026-01-01T00:00:00Z" }, status] }),
  );
  const two = normalise(object("v1", "ConfigMap", { managedFields: [{ ...entry, time: "2027-01-01T00:00:00Z" }] }));
  expect(one).toEqual(two);
  expect(JSON.parse(one.managers)).toEqual([entry]);
  const other = normalise(object("v1", "ConfigMap", { managedFields: [{ ...entry, manager: "helm" }] }));
  expect(other.hash).not.toBe(one.hash);
});

test("numbers that JavaScript cannot hold keep their text", () => {
  const text = `{"apiVersion":"x/v1","kind":"X","metadata":{"name":"x"},"spec":{"big":12345678901234567890,"one":1.0}}`;
  expect(normalise(parseJson(text) as KubeObject).object).toContain(`"spec":{"big":12345678901234567890,"one":1.0}`);
});

test("the token of a ServiceAccount stays where it is valid; other Secrets travel with their data", () => {
  const data = { data: { token: "c2VjcmV0" } };
  const token = normalise(object("v1", "Secret", {}, { type: "kubernetes.io/service-account-token", ...data }));
  expect(token.object).not.toContain("c2VjcmV0");
  expect(normalise(object("v1", "Secret", {}, { type: "Opaque", ...data })).object).toContain("c2VjcmV0");
});

const controller = { apiVersion: "apps/v1", kind: "Deployment", name: "d", controller: true };
const by = (manager: string) => [{ manager, operation: "Update", apiVersion: "v1" } as const];

test.each<[string, KubeObject, string | undefined]>([
  ["a pod of a controller", object("v1", "Pod", { ownerReferences: [controller] }), "Controlled"],
  ["a bare pod", object("v1", "Pod"), undefined],
  [
    "a pod owned without a controller",
    object("v1", "Pod", { ownerReferences: [{ ...controller, controller: false }] }),
    undefined,
  ],
  [
    "a static pod's mirror",
    object("v1", "Pod", { annotations: { "kubernetes.io/config.mirror": "x" } }),
    "SiteHasItsOwn",
  ],
  ["a pod that is done", object("v1", "Pod", {}, { status: { phase: "Succeeded" } }), "Finished"],
  ["a Deployment's ReplicaSet", object("apps/v1", "ReplicaSet", { ownerReferences: [controller] }), "Controlled"],
  ["a bare ReplicaSet", object("apps/v1", "ReplicaSet"), undefined],
  [
    "a finished Job",
    object("batch/v1", "Job", {}, { status: { conditions: [{ type: "Complete", status: "True" }] } }),
    "Finished",
  ],
  [
    "a failed Job",
    object("batch/v1", "Job", {}, { status: { conditions: [{ type: "Failed", status: "True" }] } }),
    "Finished",
  ],
  [
    "a Job under way",
    object("batch/v1", "Job", {}, { status: { conditions: [{ type: "Failed", status: "False" }] } }),
    undefined,
  ],
  [
    "a CronJob's Job",
    object("batch/v1", "Job", { ownerReferences: [{ ...controller, kind: "CronJob" }] }),
    "Controlled",
  ],
  [
    "a generated token",
    object(
      "v1",
      "Secret",
      { managedFields: by("kube-controller-manager") },
      { type: "kubernetes.io/service-account-token" },
    ),
    "Controlled",
  ],
  [
    "a token asked for by hand",
    object("v1", "Secret", { managedFields: by("kubectl") }, { type: "kubernetes.io/service-account-token" }),
    undefined,
  ],
  ["a bootstrap token", object("v1", "Secret", {}, { type: "bootstrap.kubernetes.io/token" }), "SiteHasItsOwn"],
  ["a Helm release", object("v1", "Secret", {}, { type: "helm.sh/release.v1" }), undefined],
  ["the cluster's authority", object("v1", "ConfigMap", { name: "kube-root-ca.crt" }), "SiteHasItsOwn"],
  ["OpenShift's authority", object("v1", "ConfigMap", { name: "openshift-service-ca.crt" }), "SiteHasItsOwn"],
  ["a canary", object("v1", "ConfigMap", { name: canaryName("shop") }), "Bookkeeping"],
  ["a ConfigMap", object("v1", "ConfigMap"), undefined],
  ["the default ServiceAccount", object("v1", "ServiceAccount", { name: "default" }), "SiteHasItsOwn"],
  [
    "a customised default ServiceAccount",
    object("v1", "ServiceAccount", { name: "default" }, { imagePullSecrets: [{ name: "p" }] }),
    undefined,
  ],
  [
    "an annotated default ServiceAccount",
    object("v1", "ServiceAccount", { name: "default", annotations: { "iam.example.com/role": "r" } }),
    undefined,
  ],
  ["another ServiceAccount", object("v1", "ServiceAccount", { name: "runner" }), undefined],
  ["the API server's Service", object("v1", "Service", { name: "kubernetes", namespace: "default" }), "SiteHasItsOwn"],
  ["a Service of that name elsewhere", object("v1", "Service", { name: "kubernetes" }), undefined],
  [
    "Endpoints of a controller",
    object("v1", "Endpoints", { managedFields: by("kube-controller-manager") }),
    "Controlled",
  ],
  ["Endpoints by hand", object("v1", "Endpoints", { managedFields: by("kubectl") }), undefined],
  [
    "a controller's EndpointSlice",
    object("discovery.k8s.io/v1", "EndpointSlice", {
      labels: { "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io" },
    }),
    "Controlled",
  ],
  [
    "an EndpointSlice by hand",
    object("discovery.k8s.io/v1", "EndpointSlice", { labels: { "endpointslice.kubernetes.io/managed-by": "staff" } }),
    undefined,
  ],
  [
    "a provisioned volume",
    object("v1", "PersistentVolume", { annotations: { "pv.kubernetes.io/provisioned-by": "csi" } }),
    "Provisioned",
  ],
  ["a static volume", object("v1", "PersistentVolume"), undefined],
  [
    "a role of the system",
    object("rbac.authorization.k8s.io/v1", "ClusterRole", { name: "system:node" }),
    "SiteHasItsOwn",
  ],
  [
    "a bootstrapped role",
    object("rbac.authorization.k8s.io/v1", "ClusterRole", {
      name: "edit",
      labels: { "kubernetes.io/bootstrapping": "rbac-defaults" },
    }),
    "SiteHasItsOwn",
  ],
  ["a role of a user", object("rbac.authorization.k8s.io/v1", "ClusterRole", { name: "mine" }), undefined],
  [
    "a system priority",
    object("scheduling.k8s.io/v1", "PriorityClass", { name: "system-node-critical" }),
    "SiteHasItsOwn",
  ],
])("%s: left out as %3$s", (_, input, expected) => {
  expect(leftOut(input)).toBe(expected);
});

test("kinds of one cluster or of the moment are not read at all", () => {
  const verbs = new Set(["get", "list", "watch"]);
  const captured = (group: string, kind: string, namespaced: boolean): boolean =>
    isCaptured({ group, kind, namespaced, verbs });
  expect(captured("", "ConfigMap", true)).toBe(true);
  expect(captured("example.com", "Thing", true)).toBe(true);
  expect(captured("", "Namespace", false)).toBe(true);
  for (const [group, kind, namespaced] of [
    ["", "Event", true],
    ["events.k8s.io", "Event", true],
    ["coordination.k8s.io", "Lease", true],
    ["apps", "ControllerRevision", true],
    ["", "Node", false],
    ["storage.k8s.io", "VolumeAttachment", false],
    ["example.com", "ClusterThing", false],
    ["lifeboat.dev", "RecoveryPoint", true],
  ] as const) {
    expect(captured(group, kind, namespaced), kind).toBe(false);
  }
  expect(
    isCaptured({ group: "metrics.k8s.io", kind: "PodMetrics", namespaced: true, verbs: new Set(["get", "list"]) }),
  ).toBe(false);
});

test("a controller makes its objects anew, but for those that hold what cannot be made anew", () => {
  const owned = { ownerReferences: [controller] };
  expect(recreatedBy(object("v1", "Service", owned))).toMatchObject({ group: "apps", kind: "Deployment", name: "d" });
  expect(recreatedBy(object("v1", "Service"))).toBeUndefined();
  for (const kind of ["Secret", "ConfigMap", "PersistentVolumeClaim"]) {
    expect(recreatedBy(object("v1", kind, owned))).toBeUndefined();
  }
});
