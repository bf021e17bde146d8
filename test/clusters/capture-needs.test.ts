import { expect, test } from "vitest";
import type { KubeObject } from "../../src/objects/object.ts";
import { definitionOf } from "../definition.ts";
import {
  configMap,
  eventually,
  keysOf,
  keysOfObjects,
  makeNamespace,
  selecting,
  useSource,
} from "./capture-harness.ts";

const east = useSource();

const secret = (namespace: string, name: string): KubeObject => ({
  apiVersion: "v1",
  kind: "Secret",
  metadata: { name, namespace },
});

function deployment(
  namespace: string,
  name: string,
  podSpec: Record<string, unknown>,
  container: Record<string, unknown> = {},
): KubeObject {
  return {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name, namespace, labels: { app: name } },
    spec: {
      replicas: 0,
      selector: { matchLabels: { app: name } },
      template: {
        metadata: { labels: { app: name } },
        spec: { ...podSpec, containers: [{ name: "c", image: "any/image:1", ...container }] },
      },
    },
  };
}

function service(namespace: string, name: string, app: string): KubeObject {
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name, namespace },
    spec: { clusterIP: "None", selector: { app }, ports: [{ port: 80 }] },
  };
}

function ingress(namespace: string, name: string, backend: string): KubeObject {
  const path = { path: "/", pathType: "Prefix", backend: { service: { name: backend, port: { number: 80 } } } };
  return {
    apiVersion: "networking.k8s.io/v1",
    kind: "Ingress",
    metadata: { name, namespace },
    spec: { tls: [{ secretName: `${name}-tls` }], rules: [{ http: { paths: [path] } }] },
  };
}

test("a selection by label is closed over what the selected objects need and what serves them", async () => {
  const ns = east.fresh();
  const space = await makeNamespace(east.writer, ns);
  const needed = [
    secret(ns, "pull"),
    secret(ns, "env"),
    secret(ns, "www-tls"),
    configMap(ns, "mounted"),
    { apiVersion: "v1", kind: "ServiceAccount", metadata: { name: "runner", namespace: ns } },
    service(ns, "web", "web"),
    ingress(ns, "www", "web"),
  ];
  const others = [
    configMap(ns, "other"),
    secret(ns, "other"),
    service(ns, "other", "other"),
    ingress(ns, "x", "other"),
  ];
  await east.writer.apply(...others, ...needed);
  const follower = east.source.capture(
    ns,
    selecting({
      namespaces: { names: [ns] },
      objects: { selector: { matchLabels: { app: "web" } }, references: true },
    }),
  );
  await follower.capture.whenSynced({ signal: east.source.signal });
  await eventually(() => expect(keysOf(follower, ns)).toEqual(keysOfObjects(space)));

  const web = deployment(
    ns,
    "web",
    {
      serviceAccountName: "runner",
      imagePullSecrets: [{ name: "pull" }],
      volumes: [
        { name: "v", configMap: { name: "mounted" } },
        { name: "later", secret: { secretName: "later" } },
      ],
    },
    { env: [{ name: "A", valueFrom: { secretKeyRef: { name: "env", key: "a" } } }] },
  );
  await east.writer.apply(web);
  await eventually(() => expect(keysOf(follower, ns)).toEqual(keysOfObjects(space, web, ...needed)));
  expect(follower.capture.report().pulledIn).toHaveLength(needed.length);

  const later = secret(ns, "later");
  await east.writer.apply(later);
  await eventually(() => expect(keysOf(follower, ns)).toEqual(keysOfObjects(space, web, later, ...needed)));
  await east.writer.delete(web);
  await eventually(() => expect(keysOf(follower, ns)).toEqual(keysOfObjects(space)));
  follower.stop();
});

test("without references only what is labelled is taken", async () => {
  const ns = east.fresh();
  const space = await makeNamespace(east.writer, ns);
  const web = deployment(ns, "web", { imagePullSecrets: [{ name: "pull" }] });
  await east.writer.apply(secret(ns, "pull"), service(ns, "web", "web"), web);
  const follower = east.source.capture(
    ns,
    selecting({
      namespaces: { names: [ns] },
      objects: { selector: { matchLabels: { app: "web" } }, references: false },
    }),
  );
  await follower.capture.whenSynced({ signal: east.source.signal });
  await eventually(() => expect(keysOf(follower, ns)).toEqual(keysOfObjects(space, web)));
  follower.stop();
});

test("cluster-scoped objects come with the group that needs them, and leave with the need", async () => {
  const ns = east.fresh();
  const space = await makeNamespace(east.writer, ns);
  const rbac = "rbac.authorization.k8s.io";
  const role = { apiVersion: `${rbac}/v1`, kind: "ClusterRole", metadata: { name: ns }, rules: [] };
  const binding = {
    apiVersion: `${rbac}/v1`,
    kind: "ClusterRoleBinding",
    metadata: { name: ns },
    roleRef: { apiGroup: rbac, kind: "ClusterRole", name: ns },
    subjects: [{ kind: "ServiceAccount", name: "runner", namespace: ns }],
  };
  const priority = {
    apiVersion: "scheduling.k8s.io/v1",
    kind: "PriorityClass",
    metadata: { name: ns },
    value: 1000,
  };
  const runtime = { apiVersion: "node.k8s.io/v1", kind: "RuntimeClass", metadata: { name: ns }, handler: "runc" };
  const storage = {
    apiVersion: "storage.k8s.io/v1",
    kind: "StorageClass",
    metadata: { name: ns },
    provisioner: "example.com/none",
  };
  const ingressClass = {
    apiVersion: "networking.k8s.io/v1",
    kind: "IngressClass",
    metadata: { name: ns },
    spec: { controller: "example.com/none" },
  };
  const hook = (name: string, namespace: string): KubeObject => ({
    apiVersion: "admissionregistration.k8s.io/v1",
    kind: "ValidatingWebhookConfiguration",
    metadata: { name },
    webhooks: [
      {
        name: "check.example.com",
        clientConfig: { service: { name: "hook", namespace } },
        admissionReviewVersions: ["v1"],
        sideEffects: "None",
        failurePolicy: "Ignore",
        rules: [{ apiGroups: ["none.example.com"], apiVersions: ["v1"], resources: ["none"], operations: ["CREATE"] }],
      },
    ],
  });
  const volume = (name: string, annotations: Record<string, string> = {}): KubeObject => ({
    apiVersion: "v1",
    kind: "PersistentVolume",
    metadata: { name, annotations },
    spec: {
      storageClassName: ns,
      capacity: { storage: "1Gi" },
      accessModes: ["ReadWriteOnce"],
      nfs: { server: "nfs.example.com", path: "/" },
    },
  });
  const provisioned = volume(`${ns}-made`, { "pv.kubernetes.io/provisioned-by": "csi.example.com" });
  const claimOf = (name: string, volumeName: string): KubeObject => ({
    apiVersion: "v1",
    kind: "PersistentVolumeClaim",
    metadata: { name, namespace: ns },
    spec: {
      volumeName,
      storageClassName: ns,
      accessModes: ["ReadWriteOnce"],
      resources: { requests: { storage: "1Gi" } },
    },
  });
  const [claim, other] = [claimOf("data", ns), claimOf("made", `${ns}-made`)];
  const web = deployment(ns, "web", { priorityClassName: ns, runtimeClassName: ns });
  const www = ingress(ns, "www", "hook");
  www["spec"] = { ...(www["spec"] as object), ingressClassName: ns };
  const cluster = [role, binding, priority, runtime, storage, ingressClass, hook(ns, ns), volume(ns)];
  const own = [service(ns, "hook", "web"), claim, other, web, www];
  const foreign = hook(`${ns}-foreign`, "elsewhere");
  await east.writer.apply(...cluster, provisioned, ...own, foreign);
  try {
    const follower = east.source.capture(ns, selecting({ namespaces: { names: [ns] } }));
    await follower.capture.whenSynced({ signal: east.source.signal });
    await eventually(() => expect(keysOf(follower, ns)).toEqual(keysOfObjects(space, ...own, ...cluster)));
    await east.writer.delete(web, claim, other);
    const left = keysOfObjects(space, service(ns, "hook", "web"), www, role, binding, ingressClass, hook(ns, ns));
    await eventually(() => expect(keysOf(follower, ns)).toEqual(left));
    follower.stop();
  } finally {
    await east.writer.delete(...cluster, provisioned, foreign);
  }
});

test("custom resources bring their definition, also one that is created while the group is followed", async () => {
  const ns = east.fresh();
  const space = await makeNamespace(east.writer, ns);
  const [group, kind] = ["capture.example.com", `Toy${process.pid}`];
  const crd = definitionOf({ group, kind, plural: `toys${process.pid}` });
  const follower = east.source.capture(ns, selecting({ namespaces: { names: [ns] } }));
  await follower.capture.whenSynced({ signal: east.source.signal });
  const { uid } = (await east.writer.apply(crd)).metadata;
  const toy: KubeObject = {
    apiVersion: `${group}/v1`,
    kind,
    metadata: { name: "bear", namespace: ns },
    spec: { size: 3 },
  };
  try {
    await east.writer.served(group, toy.kind);
    await eventually(async () => east.writer.apply(toy));
    await eventually(() => expect(keysOf(follower, ns)).toEqual(keysOfObjects(space, crd, toy)));
    await east.writer.delete(crd);
    await eventually(() => expect(keysOf(follower, ns)).toEqual(keysOfObjects(space)));
    // Defined anew before anybody may have noticed that it was gone; one that is on its way out takes changes, too.
    await eventually(async () => expect((await east.writer.apply(crd)).metadata.uid).not.toBe(uid));
    await eventually(async () => east.writer.apply(toy));
    await eventually(() => expect(keysOf(follower, ns)).toEqual(keysOfObjects(space, crd, toy)));
  } finally {
    await east.writer.delete(crd);
    follower.stop();
  }
});

test("what a controller makes anew from an object of the group stays behind, what holds data travels", async () => {
  const ns = east.fresh();
  const space = await makeNamespace(east.writer, ns);
  const web = await east.writer.apply(deployment(ns, "web", {}));
  const ownerReferences = [
    { apiVersion: "apps/v1", kind: "Deployment", name: "web", uid: web.metadata.uid ?? "", controller: true },
  ];
  const made = configMap(ns, "password");
  const account: KubeObject = { apiVersion: "v1", kind: "ServiceAccount", metadata: { name: "made", namespace: ns } };
  for (const object of [made, account]) object.metadata.ownerReferences = ownerReferences;
  await east.writer.apply(made, account);
  const follower = east.source.capture(ns, selecting({ namespaces: { names: [ns] } }));
  await follower.capture.whenSynced({ signal: east.source.signal });
  await eventually(() => expect(keysOf(follower, ns)).toEqual(keysOfObjects(space, web, made)));
  expect(follower.held.get(keysOfObjects(made)[0] ?? "")?.metadata.ownerReferences).toEqual([
    { apiVersion: "apps/v1", kind: "Deployment", name: "web", controller: true },
  ]);
  follower.stop();
});
