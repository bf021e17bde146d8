import { describe, expect, it } from "vitest";
import { marks } from "../../../src/objects/object.ts";
import { clusterObject, deployment, heldIn, object, plain, renderAt, rendered, specWith } from "./helpers.ts";

const mapped = specWith({ mappings: { namespaces: [{ east: "shop", west: "shop-dr" }] } });
const template = { spec: { containers: [{ name: "a", image: "a:1" }] } };

describe("a standby copy", () => {
  it("says whose copy it is and what is held back", () => {
    const copy = rendered(deployment());
    expect(copy.metadata.labels).toEqual({ app: "web", [marks.group]: "shop" });
    expect(copy.metadata.annotations).toMatchObject({ [marks.source]: "east", [marks.epoch]: "1.1" });
    expect(heldIn(copy)).toEqual({ "/spec/replicas": 3 });
  });

  it("carries the same hash under another epoch, so that a promotion rewrites only what runs", () => {
    const config = object("v1", "ConfigMap", "c", { data: { a: "1" } });
    expect(rendered(config).metadata.annotations?.[marks.hash]).toBe(
      rendered(config, { role: "active" }).metadata.annotations?.[marks.hash],
    );
    expect(rendered(deployment()).metadata.annotations?.[marks.hash]).not.toBe(
      rendered(deployment(), { role: "active" }).metadata.annotations?.[marks.hash],
    );
  });

  it("of a pilot light does not exist", () => {
    const spec = specWith({ standby: "PilotLight" });
    expect(renderAt(deployment(), { spec }).withheld?.reason).toBe("PilotLight");
    expect(renderAt(deployment(), { spec, role: "active" }).objects).toHaveLength(1);
  });

  it("of a shared object names all groups that need it", () => {
    const facts = { sharedWith: new Map([["scheduling.k8s.io/PriorityClass//high", ["zoo", "bank"]]]) };
    const shared = rendered(clusterObject("scheduling.k8s.io/v1", "PriorityClass", "high"), { facts });
    expect(shared.metadata.labels).toBeUndefined();
    expect(shared.metadata.annotations?.[marks.groups]).toBe("bank,shop,zoo");
  });
});

describe("every object", () => {
  it("loses what an API server wrote into it", () => {
    const live = deployment();
    Object.assign(live.metadata, {
      uid: "u",
      resourceVersion: "1",
      generation: 2,
      creationTimestamp: "x",
      managedFields: [],
    });
    live["status"] = { replicas: 3 };
    expect(plain(live, { role: "active" })).toEqual(plain(deployment(), { role: "active" }));
  });

  it("leaves finalizers at their site", () => {
    const held = object("v1", "ConfigMap", "c");
    held.metadata.finalizers = ["a.example/x", "b.example/y"];
    expect(rendered(held).metadata.finalizers).toBeUndefined();
    expect(rendered(held, { role: "active" }).metadata.finalizers).toBeUndefined();
  });

  it("refers to its owner by the UID that it has at the site, or not at all", () => {
    const owned = object("v1", "Secret", "s");
    const owner = { apiVersion: "db.example/v1", kind: "Database", name: "main", controller: true };
    owned.metadata.ownerReferences = [owner];
    const uids = new Map([["db.example/Database/shop/main", "uid-west"]]);
    expect(rendered(owned, { facts: { uids } }).metadata.ownerReferences).toEqual([{ ...owner, uid: "uid-west" }]);
    const orphan = renderAt(owned);
    expect(orphan.objects[0]?.metadata.ownerReferences).toBeUndefined();
    expect(orphan.findings.map((finding) => finding.code)).toEqual(["OwnerMissing"]);
    expect(orphan.waitsFor).toEqual(["db.example/Database/shop/main"]);
  });

  it("of a version that the site does not serve is not applied", () => {
    const facts = { versions: new Map([["apps/Deployment", ["v2"]]]) };
    const result = renderAt(deployment(), { facts });
    expect(result.withheld?.reason).toBe("Refused");
    expect(result.findings[0]?.message).toContain("serves v2, not v1");
    const config = object("v1", "ConfigMap", "c");
    expect(renderAt(config, { facts: { versions: new Map([["ConfigMap", ["v1"]]]) } }).objects).toHaveLength(1);
  });
});

describe("workloads on a standby", () => {
  it.each([
    ["apps/v1", "Deployment"],
    ["apps/v1", "ReplicaSet"],
    ["apps/v1", "StatefulSet"],
    ["v1", "ReplicationController"],
  ])("%s %s has no replicas", (apiVersion, kind) => {
    const workload = object(apiVersion, kind, "w", { spec: { replicas: 4, template } });
    expect(plain(workload)).toMatchObject({ spec: { replicas: 0 } });
    expect(plain(workload, { role: "active" })).toMatchObject({ spec: { replicas: 4 } });
  });

  it("StatefulSets keep their volumes when scaled to zero", () => {
    const retention = { whenScaled: "Delete", whenDeleted: "Delete" };
    const set = object("apps/v1", "StatefulSet", "db", {
      spec: { replicas: 1, persistentVolumeClaimRetentionPolicy: retention, template },
    });
    expect(plain(set)).toMatchObject({
      spec: { persistentVolumeClaimRetentionPolicy: { whenScaled: "Retain", whenDeleted: "Retain" } },
    });
    expect(plain(set, { role: "active" })).toMatchObject({ spec: { persistentVolumeClaimRetentionPolicy: retention } });
  });

  it("DaemonSets select nodes that do not exist", () => {
    const daemon = object("apps/v1", "DaemonSet", "d", {
      spec: { template: { spec: { nodeSelector: { disk: "ssd" }, containers: [] } } },
    });
    const copy = rendered(daemon);
    expect(copy).toMatchObject({ spec: { template: { spec: { nodeSelector: { "lifeboat.dev/nowhere": "true" } } } } });
    expect(heldIn(copy)).toEqual({
      "/spec/template/spec/nodeSelector/disk": "ssd",
      "/spec/template/spec/nodeSelector/lifeboat.dev~1nowhere": null,
    });
  });

  it("CronJobs are suspended, and those that were suspended at the source stay so when active", () => {
    const cron = (suspend: boolean) => object("batch/v1", "CronJob", "c", { spec: { suspend } });
    expect(plain(cron(false))).toMatchObject({ spec: { suspend: true } });
    expect(plain(cron(false), { role: "active" })).toMatchObject({ spec: { suspend: false } });
    expect(plain(cron(true), { role: "active" })).toMatchObject({ spec: { suspend: true } });
  });

  it("Jobs are suspended and lose the labels that their controller gave them", () => {
    const labels = { "batch.kubernetes.io/controller-uid": "u", "controller-uid": "u", "job-name": "j", own: "1" };
    const job = object("batch/v1", "Job", "j", {
      labels,
      spec: {
        selector: { matchLabels: { "batch.kubernetes.io/controller-uid": "u" } },
        template: { metadata: { labels }, ...template },
      },
    });
    expect(plain(job)["spec"]).toEqual({
      suspend: true,
      template: { metadata: { labels: { own: "1" } }, ...template },
    });
    expect(plain(job).metadata.labels).toEqual({ own: "1" });
  });

  it("Jobs with a selector of their own keep it", () => {
    const job = object("batch/v1", "Job", "j", {
      spec: { manualSelector: true, selector: { matchLabels: { "job-name": "x" } }, template },
    });
    expect(plain(job, { role: "active" })["spec"]).toEqual(job["spec"]);
  });

  it("bare Pods wait for the promotion, then come without what their node and admission gave them", () => {
    const mount = { name: "kube-api-access-abcde", mountPath: "/var/run" };
    const pod = object("v1", "Pod", "p", {
      spec: {
        nodeName: "n1",
        priority: 0,
        serviceAccount: "default",
        serviceAccountName: "default",
        containers: [{ name: "a", volumeMounts: [mount] }],
        volumes: [{ name: "kube-api-access-abcde" }, { name: "data", emptyDir: {} }],
      },
    });
    expect(renderAt(pod).withheld?.reason).toBe("StandbyRole");
    expect(plain(pod, { role: "active" })["spec"]).toEqual({
      serviceAccountName: "default",
      containers: [{ name: "a" }],
      volumes: [{ name: "data", emptyDir: {} }],
    });
  });
});

describe("Services", () => {
  const service = (spec: Record<string, unknown>) => object("v1", "Service", "s", { spec });
  const port = { port: 80, protocol: "TCP", nodePort: 30080 };
  const owner = {
    manager: "kubectl",
    operation: "Apply" as const,
    apiVersion: "v1",
    fieldsV1: { "f:spec": { "f:ports": { 'k:{"port":80,"protocol":"TCP"}': { "f:nodePort": {} } } } },
  };

  it("get addresses of the site", () => {
    const copy = plain(service({ clusterIP: "10.0.0.1", clusterIPs: ["10.0.0.1"], ipFamilies: ["IPv4"], ports: [] }));
    expect(copy["spec"]).toEqual({ ports: [] });
    const headless = { clusterIP: "None", clusterIPs: ["None"], ports: [] };
    expect(plain(service(headless))["spec"]).toEqual(headless);
  });

  it("keep a node port that a manifest asks for, and no other", () => {
    expect(plain(service({ ports: [port] }))["spec"]).toEqual({ ports: [{ port: 80, protocol: "TCP" }] });
    expect(plain(service({ ports: [port] }), { managers: [owner] })["spec"]).toEqual({ ports: [port] });
  });

  it("give up a node port that is taken at the site, and say so", () => {
    const facts = (holder: string) => ({ nodePorts: new Map([["TCP/30080", holder]]) });
    const lost = renderAt(service({ ports: [port] }), { managers: [owner], facts: facts("/Service/other/x") });
    expect(lost.findings.map((finding) => finding.code)).toEqual(["NodePortTaken"]);
    expect(lost.objects[0]?.["spec"]).toEqual({ ports: [{ port: 80, protocol: "TCP" }] });
    const own = renderAt(service({ ports: [port] }), { managers: [owner], facts: facts("/Service/shop/s") });
    expect(own.findings).toEqual([]);
  });

  it("with hand-written endpoints lose the pods behind them", () => {
    const slice = object("discovery.k8s.io/v1", "EndpointSlice", "e", {
      endpoints: [{ addresses: ["192.0.2.1"], nodeName: "n", targetRef: { kind: "Pod", uid: "u" } }],
    });
    expect(plain(slice)["endpoints"]).toEqual([{ addresses: ["192.0.2.1"] }]);
  });
});

describe("volumes", () => {
  it("claims lose their binding", () => {
    const claim = object("v1", "PersistentVolumeClaim", "data", {
      annotations: { "pv.kubernetes.io/bind-completed": "yes", "volume.kubernetes.io/selected-node": "n", own: "1" },
      spec: { volumeName: "pv-1", storageClassName: "fast", dataSource: { kind: "VolumeSnapshot", name: "x" } },
    });
    const spec = specWith({ mappings: { storageClasses: [{ east: "fast", west: "quick" }] } });
    const result = renderAt(claim, { spec });
    expect(result.objects[0]?.["spec"]).toEqual({ storageClassName: "quick" });
    expect(plain(claim).metadata.annotations).toEqual({ own: "1" });
    expect(result.findings.map((finding) => finding.code)).toEqual(["DataSourceDropped"]);
  });

  it("claims grow with the source and never shrink", () => {
    const sized = (storage: string) =>
      object("v1", "PersistentVolumeClaim", "data", { spec: { resources: { requests: { storage } } } });
    const facts = { claimSizes: new Map([["/PersistentVolumeClaim/shop/data", "2Gi"]]) };
    expect(plain(sized("1Gi"), { facts })).toEqual(sized("2Gi"));
    expect(plain(sized("1500M"), { facts })).toEqual(sized("2Gi"));
    expect(plain(sized("3G"), { facts })).toEqual(sized("3G"));
    expect(plain(sized("1Gi"))).toEqual(sized("1Gi"));
  });

  it("provisioned volumes stay at home, others come with their claim and are never deleted on a standby", () => {
    const volume = clusterObject("v1", "PersistentVolume", "nfs", {
      spec: {
        persistentVolumeReclaimPolicy: "Delete",
        claimRef: { kind: "PersistentVolumeClaim", namespace: "shop", name: "data", uid: "u", resourceVersion: "1" },
        nfs: { server: "n", path: "/" },
      },
    });
    expect(plain(volume, { spec: mapped })["spec"]).toMatchObject({
      persistentVolumeReclaimPolicy: "Retain",
      claimRef: { kind: "PersistentVolumeClaim", namespace: "shop-dr", name: "data" },
    });
    expect(plain(volume, { role: "active" })["spec"]).toMatchObject({ persistentVolumeReclaimPolicy: "Delete" });
    volume.metadata.annotations = { "pv.kubernetes.io/provisioned-by": "csi.example" };
    expect(renderAt(volume).withheld?.reason).toBe("SiteHasItsOwn");
  });

  it("a volume that lives on a node is pointed out", () => {
    const volume = clusterObject("v1", "PersistentVolume", "l", { spec: { local: { path: "/x" } } });
    expect(renderAt(volume).findings.map((finding) => finding.code)).toEqual(["LocalVolume"]);
  });

  it("classes that are mapped are the site's own", () => {
    const spec = specWith({ mappings: { storageClasses: [{ east: "fast", west: "quick" }] } });
    const storageClass = (name: string) => clusterObject("storage.k8s.io/v1", "StorageClass", name);
    expect(renderAt(storageClass("fast"), { spec }).withheld?.reason).toBe("SiteHasItsOwn");
    expect(renderAt(storageClass("slow"), { spec }).objects).toHaveLength(1);
  });
});

describe("configuration and access", () => {
  it("authorities of the cluster and an untouched default account are left to the site", () => {
    expect(renderAt(object("v1", "ConfigMap", "kube-root-ca.crt")).withheld?.reason).toBe("SiteHasItsOwn");
    expect(renderAt(object("v1", "ServiceAccount", "default")).withheld?.reason).toBe("SiteHasItsOwn");
    const custom = object("v1", "ServiceAccount", "default", { imagePullSecrets: [{ name: "registry" }] });
    expect(renderAt(custom).objects).toHaveLength(1);
  });

  it("accounts lose references to generated tokens", () => {
    const account = object("v1", "ServiceAccount", "web", {
      secrets: [{ name: "web-token-abcde" }, { name: "mine" }],
      imagePullSecrets: [{ name: "web-dockercfg-abcde" }, { name: "registry" }],
    });
    expect(plain(account)).toMatchObject({ secrets: [{ name: "mine" }], imagePullSecrets: [{ name: "registry" }] });
  });

  it("token Secrets come empty, others as they are", () => {
    const token = object("v1", "Secret", "t", {
      type: "kubernetes.io/service-account-token",
      annotations: { "kubernetes.io/service-account.name": "web", "kubernetes.io/service-account.uid": "u" },
      data: { token: "eA==" },
    });
    expect(plain(token)).toEqual(
      object("v1", "Secret", "t", {
        type: "kubernetes.io/service-account-token",
        annotations: { "kubernetes.io/service-account.name": "web" },
      }),
    );
    const helm = object("v1", "Secret", "sh.helm.release.v1.x.v1", {
      type: "helm.sh/release.v1",
      data: { release: "eA==" },
    });
    expect(plain(helm)).toEqual(helm);
  });

  it("Namespaces come without what every cluster gives its own", () => {
    const namespace = clusterObject("v1", "Namespace", "shop", {
      labels: { "kubernetes.io/metadata.name": "shop", "pod-security.kubernetes.io/enforce": "restricted" },
      spec: { finalizers: ["kubernetes"] },
    });
    expect(plain(namespace, { spec: mapped })).toEqual(
      clusterObject("v1", "Namespace", "shop-dr", { labels: { "pod-security.kubernetes.io/enforce": "restricted" } }),
    );
  });

  const account = (namespace: string) => ({ kind: "ServiceAccount", name: "web", namespace });
  const binding = (subjects: unknown[]) =>
    clusterObject("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "b", { subjects });

  it("ClusterRoleBindings keep the group's subjects, and those of others that they have at the site", () => {
    const source = binding([account("shop"), account("other"), { kind: "Group", name: "system:serviceaccounts:shop" }]);
    const key = "rbac.authorization.k8s.io/ClusterRoleBinding//b";
    const facts = { subjects: new Map([[key, [account("theirs"), account("shop-dr")]]]) };
    expect(plain(source, { spec: mapped, facts })["subjects"]).toEqual([
      account("theirs"),
      account("shop-dr"),
      { kind: "Group", name: "system:serviceaccounts:shop-dr" },
    ]);
    expect(renderAt(binding([account("other")])).withheld?.reason).toBe("SiteHasItsOwn");
  });

  it("RoleBindings follow a mapped namespace in every subject", () => {
    const source = object("rbac.authorization.k8s.io/v1", "RoleBinding", "b", {
      subjects: [account("shop"), account("kube-system"), { kind: "User", name: "system:serviceaccount:shop:web" }],
    });
    expect(plain(source, { spec: mapped })["subjects"]).toEqual([
      account("shop-dr"),
      account("kube-system"),
      { kind: "User", name: "system:serviceaccount:shop-dr:web" },
    ]);
  });

  it("ClusterRoles: aggregated rules are the site's, bootstrap roles stay at home", () => {
    const role = (more: Parameters<typeof clusterObject>[3]) =>
      clusterObject("rbac.authorization.k8s.io/v1", "ClusterRole", "r", more);
    expect(plain(role({ aggregationRule: { clusterRoleSelectors: [] }, rules: [{}] }))["rules"]).toBeUndefined();
    const bootstrap = role({ labels: { "kubernetes.io/bootstrapping": "rbac-defaults" } });
    expect(renderAt(bootstrap).withheld?.reason).toBe("SiteHasItsOwn");
    const named = role({ rules: [{ resources: ["namespaces"], resourceNames: ["shop"] }] });
    expect(plain(named, { spec: mapped })["rules"]).toEqual([
      { resources: ["namespaces"], resourceNames: ["shop-dr"] },
    ]);
  });
});

describe("what extends the API server", () => {
  const webhook = (name: string, annotations = {}) =>
    clusterObject("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", "w", {
      annotations,
      webhooks: [{ clientConfig: { caBundle: "Q0E=", service: { name, namespace: "shop" } } }],
    });
  const ready = { readyServices: new Set(["/Service/shop-dr/hook"]) };

  it("webhooks wait in either role until their Service has endpoints", () => {
    for (const role of ["standby", "active"] as const) {
      const waiting = renderAt(webhook("hook"), { spec: mapped, role });
      expect(waiting.withheld?.reason).toBe("ServiceNotReady");
      expect(waiting.waitsFor).toEqual(["/Service/shop-dr/hook"]);
      expect(renderAt(webhook("hook"), { spec: mapped, role, facts: ready }).objects).toHaveLength(1);
    }
  });

  it("a caBundle is the injector's where one is asked for", () => {
    const bundleOf = (annotations: Record<string, string>) => {
      const copy = plain(webhook("hook", annotations), { spec: mapped, facts: ready });
      return (copy as { webhooks?: { clientConfig: { caBundle?: string } }[] }).webhooks?.[0]?.clientConfig.caBundle;
    };
    expect(bundleOf({})).toBe("Q0E=");
    expect(bundleOf({ "cert-manager.io/inject-ca-from": "shop/ca" })).toBeUndefined();
  });

  it("APIServices wait likewise, and the API server's own are left out", () => {
    const api = (service: unknown) =>
      clusterObject("apiregistration.k8s.io/v1", "APIService", "v1.x.example", { spec: { service } });
    expect(renderAt(api({ name: "hook", namespace: "shop" })).withheld?.reason).toBe("ServiceNotReady");
    expect(renderAt(api(undefined)).withheld?.reason).toBe("SiteHasItsOwn");
  });

  it("a definition that lacks a version in which the site has objects is refused", () => {
    const crd = clusterObject("apiextensions.k8s.io/v1", "CustomResourceDefinition", "things.example.com", {
      spec: { versions: [{ name: "v2" }] },
      status: { storedVersions: ["v2"] },
    });
    const key = "apiextensions.k8s.io/CustomResourceDefinition//things.example.com";
    const lost = renderAt(crd, { facts: { storedVersions: new Map([[key, ["v1", "v2"]]]) } });
    expect(lost.withheld?.reason).toBe("Refused");
    expect(lost.findings.map((finding) => finding.code)).toEqual(["StoredVersionLost"]);
    expect(renderAt(crd, { facts: { storedVersions: new Map([[key, ["v2"]]]) } }).objects).toHaveLength(1);
  });

  it("a definition whose conversion webhook is not ready is applied and pointed out", () => {
    const crd = clusterObject("apiextensions.k8s.io/v1", "CustomResourceDefinition", "things.example.com", {
      spec: { versions: [], conversion: { webhook: { clientConfig: { service: { name: "c", namespace: "shop" } } } } },
    });
    const result = renderAt(crd);
    expect(result.objects).toHaveLength(1);
    expect(result.findings.map((finding) => finding.code)).toEqual(["ConversionNeedsService"]);
  });
});

describe("ways in", () => {
  it("are published in DNS by the active site only", () => {
    const ingress = object("networking.k8s.io/v1", "Ingress", "i", {
      annotations: { "external-dns.alpha.kubernetes.io/hostname": "shop.example", other: "1" },
      spec: { rules: [{ host: "shop.example" }] },
    });
    expect(plain(ingress).metadata.annotations).toEqual({
      other: "1",
      "external-dns.alpha.kubernetes.io/controller": "lifeboat-standby",
    });
    expect(plain(ingress, { role: "active" })).toEqual(ingress);
    const service = object("v1", "Service", "s", {
      annotations: { "external-dns.alpha.kubernetes.io/hostname": "shop.example" },
      spec: { ports: [] },
    });
    expect(plain(service).metadata.annotations).toBeUndefined();
    expect(plain(service, { role: "active" }).metadata.annotations).toEqual(service.metadata.annotations);
  });

  it("admission policies and their parameters are copied as they are", () => {
    const policy = clusterObject("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy", "p", {
      spec: { paramKind: { apiVersion: "v1", kind: "ConfigMap" }, validations: [{ expression: "true" }] },
    });
    expect(plain(policy)).toEqual(policy);
  });
});
