import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { GroupSpecInput } from "../../src/config/group.ts";
import type { KubeObject } from "../../src/objects/object.ts";
import { fromHeld } from "../../src/render/marks.ts";
import type { Facts, Role } from "../../src/render/types.ts";
import { object as objectIn } from "../unit/render/helpers.ts";
import { heldIn, renderLive, Site, specFor } from "./render-site.ts";

/**
 * Each kind with a real object: created at east as a person would, read back as its API server has it, rendered for
 * west, applied there, and looked at.
 */

let east: Site;
let west: Site;
const namespace = `kinds-${process.pid}`;
const cleanup: { site: Site; object: KubeObject }[] = [];

beforeAll(async () => {
  [east, west] = await Promise.all([Site.open("east"), Site.open("west")]);
  for (const site of [east, west]) {
    const object = { apiVersion: "v1", kind: "Namespace", metadata: { name: namespace } };
    await site.create(object);
    cleanup.push({ site, object });
  }
});

afterAll(async () => {
  for (const { site, object } of cleanup.reverse()) await site.remove(object);
  await Promise.all([east.client.close(), west.client.close()]);
});

function object(apiVersion: string, kind: string, name: string, rest: Parameters<typeof objectIn>[3] = {}): KubeObject {
  const made = objectIn(apiVersion, kind, name, rest);
  made.metadata.namespace = namespace;
  return made;
}

function clusterObject(...args: Parameters<typeof object>): KubeObject {
  const made = object(...args);
  delete made.metadata.namespace;
  return made;
}

interface Options {
  readonly role?: Role;
  readonly spec?: Partial<GroupSpecInput>;
  readonly facts?: Facts;
}

/** Creates at east (once), renders and applies at west; the live object there. */
async function travel(object: KubeObject, { role = "standby", spec = {}, facts = {} }: Options = {}) {
  const live = (await east.find(object)) ?? (await east.create(object));
  for (const site of [east, west]) {
    if (object.metadata.namespace === undefined) cleanup.push({ site, object });
  }
  const result = renderLive(live, specFor(namespace, spec), role, facts);
  const [rendered] = result.objects;
  return { live, result, copy: rendered === undefined ? undefined : await west.apply(rendered) };
}

/** Promotes a copy by its own annotation, as with journal and source both lost. */
async function promoteFromHeld(copy: KubeObject): Promise<KubeObject> {
  return west.apply(fromHeld(await west.get(copy)));
}

const labels = { app: "w" };
const podSpec = { containers: [{ name: "a", image: "any/image:1" }] };
const template = { metadata: { labels }, spec: podSpec };
const specIn = (live: KubeObject | undefined) => live?.["spec"] as Record<string, unknown>;

describe("workloads", () => {
  it.each([
    ["apps/v1", "Deployment", { replicas: 2, selector: { matchLabels: labels }, template }],
    ["apps/v1", "ReplicaSet", { replicas: 2, selector: { matchLabels: labels }, template }],
    ["v1", "ReplicationController", { replicas: 2, selector: labels, template }],
    [
      "apps/v1",
      "StatefulSet",
      {
        replicas: 2,
        serviceName: "w",
        selector: { matchLabels: labels },
        template,
        persistentVolumeClaimRetentionPolicy: { whenScaled: "Delete", whenDeleted: "Retain" },
        volumeClaimTemplates: [
          {
            metadata: { name: "data" },
            spec: { accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "1Gi" } } },
          },
        ],
      },
    ],
  ])("%s %s: no replicas on the standby, the source's own when active", async (apiVersion, kind, spec) => {
    const source = object(apiVersion, kind, "w", { spec });
    const { live, copy } = await travel(source);
    expect(specIn(copy)["replicas"]).toBe(0);
    const fromCopy = await promoteFromHeld(copy ?? source);
    const fromJournal = (await travel(source, { role: "active" })).copy;
    expect(specIn(fromCopy)).toEqual(specIn(fromJournal));
    expect(specIn(fromJournal)).toEqual(specIn(live));
    for (const site of [east, west]) await site.remove(source);
  });

  it("a Deployment's revision is its site's own", async () => {
    const source = object("apps/v1", "Deployment", "rev", {
      spec: { replicas: 1, selector: { matchLabels: labels }, template },
    });
    const revision = (live: KubeObject) => live.metadata.annotations?.["deployment.kubernetes.io/revision"];
    await east.create(source);
    await east.eventually(source, (live) => revision(live) !== undefined);
    const { copy } = await travel(source);
    expect(copy && Object.keys(copy.metadata.annotations ?? {}).some((name) => name.includes("revision"))).toBe(false);
  });

  it("a DaemonSet runs nowhere, then where it ran", async () => {
    const source = object("apps/v1", "DaemonSet", "d", {
      spec: {
        selector: { matchLabels: { app: "d" } },
        template: { metadata: { labels: { app: "d" } }, spec: { ...podSpec, nodeSelector: { disk: "ssd" } } },
      },
    });
    const { live, copy } = await travel(source);
    expect(copy).toMatchObject({ spec: { template: { spec: { nodeSelector: { "lifeboat.dev/nowhere": "true" } } } } });
    await west.eventually(
      source,
      (at) => (at["status"] as { desiredNumberScheduled?: number }).desiredNumberScheduled === 0,
    );
    expect(specIn(await promoteFromHeld(copy ?? source))).toEqual(specIn(live));
  });

  it("a CronJob is suspended, then as it was", async () => {
    const jobTemplate = { spec: { template: { spec: { ...podSpec, restartPolicy: "Never" } } } };
    const source = object("batch/v1", "CronJob", "c", { spec: { schedule: "0 0 1 1 *", jobTemplate } });
    const { live, copy } = await travel(source);
    expect(specIn(copy)["suspend"]).toBe(true);
    expect(specIn(await promoteFromHeld(copy ?? source))).toEqual(specIn(live));
  });

  it("an unfinished Job is suspended with labels of its own, follows changes, and runs when active", async () => {
    const source = object("batch/v1", "Job", "j", {
      spec: { backoffLimit: 3, template: { spec: { ...podSpec, restartPolicy: "Never" } } },
    });
    const { live, copy } = await travel(source);
    expect(specIn(copy)["suspend"]).toBe(true);
    const uidLabel = (at: KubeObject | undefined) =>
      (specIn(at)["selector"] as { matchLabels: Record<string, string> }).matchLabels[
        "batch.kubernetes.io/controller-uid"
      ];
    expect(uidLabel(copy)).toBe(copy?.metadata.uid);
    expect(uidLabel(copy)).not.toBe(uidLabel(live));
    expect(specIn((await travel(source)).copy)["suspend"]).toBe(true);
    expect(specIn((await travel(source, { role: "active" })).copy)["suspend"]).toBe(false);
  });

  it("a bare Pod waits for the promotion", async () => {
    const source = object("v1", "Pod", "p", { spec: podSpec });
    await east.create(source);
    const scheduled = await east.eventually(source, (live) => specIn(live)["nodeName"] !== undefined);
    expect(JSON.stringify(scheduled)).toContain("kube-api-access-");
    expect((await travel(source)).result.withheld?.reason).toBe("StandbyRole");
    const { copy } = await travel(source, { role: "active" });
    expect(specIn(copy)["nodeName"]).toBeUndefined();
    await west.eventually(source, (live) => specIn(live)["nodeName"] !== undefined);
    // An update of what runs is accepted too.
    expect((await travel(source, { role: "active" })).copy?.metadata.uid).toBe(copy?.metadata.uid);
  });

  it("autoscalers and budgets are copied; an autoscaler does not wake what is at zero", async () => {
    const target = { apiVersion: "apps/v1", kind: "Deployment", name: "w" };
    const scaler = object("autoscaling/v2", "HorizontalPodAutoscaler", "h", {
      spec: { scaleTargetRef: target, minReplicas: 2, maxReplicas: 5 },
    });
    const budget = object("policy/v1", "PodDisruptionBudget", "b", {
      spec: { minAvailable: 1, selector: { matchLabels: labels } },
    });
    for (const source of [scaler, budget]) {
      const { live, copy } = await travel(source);
      expect(specIn(copy)).toEqual(specIn(live));
    }
  });
});

describe("Services", () => {
  const ports = [{ port: 80, name: "http" }];

  it("get addresses of the site, also when applied again", async () => {
    const source = object("v1", "Service", "plain", { spec: { selector: labels, ports } });
    const { live, copy } = await travel(source);
    expect(specIn(live)["clusterIP"]).toMatch(/^10\./);
    const address = specIn(copy)["clusterIP"];
    expect(address).toMatch(/^10\./);
    expect(specIn((await travel(source, { role: "active" })).copy)["clusterIP"]).toBe(address);
  });

  it("without an address stay without", async () => {
    const source = object("v1", "Service", "headless", { spec: { clusterIP: "None", selector: labels, ports } });
    expect(specIn((await travel(source)).copy)["clusterIP"]).toBe("None");
  });

  it("keep the node port that was asked for and leave an assigned one", async () => {
    const asked = object("v1", "Service", "asked", {
      spec: { type: "NodePort", ports: [{ port: 80, nodePort: 30000 + (process.pid % 2000) }] },
    });
    const assigned = object("v1", "Service", "assigned", { spec: { type: "NodePort", ports: [{ port: 80 }] } });
    const portOf = (live: KubeObject | undefined) => (specIn(live)["ports"] as { nodePort?: number }[])[0]?.nodePort;
    const first = await travel(asked);
    expect(portOf(first.copy)).toBe(portOf(first.live));
    const second = await travel(assigned);
    expect(portOf(second.live)).toBeGreaterThan(0);
    expect(portOf(second.result.objects[0])).toBeUndefined();
    expect(portOf(second.copy)).toBeGreaterThan(0);
  });

  it("give way where the node port is taken, and are created all the same", async () => {
    const nodePort = 32000 + (process.pid % 700);
    const taken = object("v1", "Service", "holder", { spec: { type: "NodePort", ports: [{ port: 80, nodePort }] } });
    await west.create(taken);
    const source = object("v1", "Service", "loser", { spec: { type: "NodePort", ports: [{ port: 80, nodePort }] } });
    const facts = { nodePorts: new Map([[`TCP/${nodePort}`, `/Service/${namespace}/holder`]]) };
    const { result, copy } = await travel(source, { facts });
    expect(result.findings.map((finding) => finding.code)).toEqual(["NodePortTaken"]);
    expect((specIn(copy)["ports"] as { nodePort?: number }[])[0]?.nodePort).not.toBe(nodePort);
  });

  it("of a load balancer leave its health check port and take the address that is mapped", async () => {
    const source = object("v1", "Service", "lb", {
      spec: {
        type: "LoadBalancer",
        externalTrafficPolicy: "Local",
        loadBalancerIP: "192.0.2.1",
        externalIPs: ["192.0.2.1"],
        ports,
      },
    });
    const mappings = { loadBalancerIPs: [{ east: "192.0.2.1", west: "198.51.100.1" }] };
    const { live, result, copy } = await travel(source, { spec: { mappings } });
    expect(specIn(live)["healthCheckNodePort"]).toBeGreaterThan(0);
    expect(specIn(result.objects[0])["healthCheckNodePort"]).toBeUndefined();
    expect(specIn(copy)).toMatchObject({ loadBalancerIP: "198.51.100.1", externalIPs: ["198.51.100.1"] });
  });

  it("with hand-written endpoints bring them along", async () => {
    const slice = object("discovery.k8s.io/v1", "EndpointSlice", "hand", {
      labels: { "kubernetes.io/service-name": "outside" },
      addressType: "IPv4",
      endpoints: [{ addresses: ["192.0.2.7"] }],
      ports: [{ name: "", port: 80 }],
    });
    expect((await travel(slice)).copy).toMatchObject({ endpoints: [{ addresses: ["192.0.2.7"] }] });
  });
});

describe("access and configuration", () => {
  it("a token Secret is filled by the site itself", async () => {
    const account = object("v1", "ServiceAccount", "tok", { imagePullSecrets: [{ name: "registry" }] });
    expect((await travel(account)).copy).toMatchObject({ imagePullSecrets: [{ name: "registry" }] });
    const source = object("v1", "Secret", "tok", {
      type: "kubernetes.io/service-account-token",
      annotations: { "kubernetes.io/service-account.name": "tok" },
    });
    await east.create(source);
    const tokenOf = (live: KubeObject) => (live["data"] as { token?: string } | undefined)?.token;
    const live = await east.eventually(source, (at) => tokenOf(at) !== undefined);
    await travel(source);
    const copy = await west.eventually(source, (at) => tokenOf(at) !== undefined);
    expect(tokenOf(copy)).not.toBe(tokenOf(live));
    // Applying it again leaves the token alone.
    expect(tokenOf((await travel(source, { role: "active" })).copy ?? source)).toBe(tokenOf(copy));
  });

  it("other Secrets and ConfigMaps arrive byte for byte", async () => {
    const secret = object("v1", "Secret", "s", { type: "Opaque", data: { a: "AAEC" } });
    expect((await travel(secret)).copy).toMatchObject({ data: { a: "AAEC" } });
    const config = object("v1", "ConfigMap", "c", { data: { a: " x\n" }, binaryData: { b: "AAEC" }, immutable: true });
    expect((await travel(config)).copy).toMatchObject({
      data: { a: " x\n" },
      binaryData: { b: "AAEC" },
      immutable: true,
    });
  });

  it("a ConfigMap of 5,000 keys and a name with dots", async () => {
    const data = Object.fromEntries(Array.from({ length: 5000 }, (_, index) => [`key-${index}`, String(index)]));
    const { copy } = await travel(object("v1", "ConfigMap", "a.b.c", { data }));
    expect(Object.keys(copy?.["data"] as object)).toHaveLength(5000);
  });

  it("what every cluster has for itself is left out", async () => {
    const root = await east.eventually(object("v1", "ConfigMap", "kube-root-ca.crt"), () => true);
    expect(renderLive(root, specFor(namespace), "active").withheld?.reason).toBe("SiteHasItsOwn");
    const account = await east.eventually(object("v1", "ServiceAccount", "default"), () => true);
    expect(renderLive(account, specFor(namespace), "active").withheld?.reason).toBe("SiteHasItsOwn");
    for (const [apiVersion, kind, name] of [
      ["rbac.authorization.k8s.io/v1", "ClusterRole", "admin"],
      ["rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "cluster-admin"],
      ["scheduling.k8s.io/v1", "PriorityClass", "system-node-critical"],
      ["apiregistration.k8s.io/v1", "APIService", "v1.apps"],
    ] as const) {
      const live = await east.get(clusterObject(apiVersion, kind, name));
      expect(renderLive(live, specFor(namespace), "active").withheld?.reason, name).toBe("SiteHasItsOwn");
    }
  });

  it("roles and bindings, with the subjects that are the group's", async () => {
    const rbac = "rbac.authorization.k8s.io/v1";
    const rules = [{ apiGroups: [""], resources: ["pods"], verbs: ["get"] }];
    const account = (name: string) => ({ kind: "ServiceAccount", name: "web", namespace: name });
    const role = object(rbac, "Role", "r", { rules });
    expect((await travel(role)).copy?.["rules"]).toEqual(rules);
    const name = `render-${process.pid}`;
    await travel(clusterObject(rbac, "ClusterRole", name, { rules }));
    const roleRef = { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name };
    const binding = clusterObject(rbac, "ClusterRoleBinding", name, {
      roleRef,
      subjects: [account(namespace), account("elsewhere")],
    });
    expect((await travel(binding)).copy?.["subjects"]).toEqual([account(namespace)]);
    const local = object(rbac, "RoleBinding", "rb", { roleRef, subjects: [account(namespace), account("elsewhere")] });
    expect((await travel(local)).copy?.["subjects"]).toEqual([account(namespace), account("elsewhere")]);
  });

  it("an aggregated role is put together by the site", async () => {
    const name = `aggregate-${process.pid}`;
    const part = clusterObject("rbac.authorization.k8s.io/v1", "ClusterRole", `${name}-part`, {
      labels: { [name]: "true" },
      rules: [{ apiGroups: [""], resources: ["pods"], verbs: ["list"] }],
    });
    const whole = clusterObject("rbac.authorization.k8s.io/v1", "ClusterRole", name, {
      aggregationRule: { clusterRoleSelectors: [{ matchLabels: { [name]: "true" } }] },
      rules: [],
    });
    await travel(part);
    await travel(whole);
    const filled = (live: KubeObject) => (live["rules"] as unknown[] | null | undefined)?.length === 1;
    await west.eventually(whole, filled);
    expect(filled((await travel(whole)).copy ?? whole)).toBe(true);
  });

  it("quotas, limits and policies", async () => {
    const quota = object("v1", "ResourceQuota", "q", { spec: { hard: { "count/jobs.batch": "50" } } });
    const limits = object("v1", "LimitRange", "l", {
      spec: { limits: [{ type: "Container", default: { cpu: "1" } }] },
    });
    const policy = object("networking.k8s.io/v1", "NetworkPolicy", "n", {
      spec: { podSelector: {}, policyTypes: ["Egress"], egress: [{ to: [{ ipBlock: { cidr: "10.1.0.0/16" } }] }] },
    });
    for (const source of [quota, limits]) {
      const { live, copy } = await travel(source);
      expect(specIn(copy)).toEqual(specIn(live));
    }
    const mappings = { cidrs: [{ east: "10.1.0.0/16", west: "10.2.0.0/16" }] };
    expect((await travel(policy, { spec: { mappings } })).copy).toMatchObject({
      spec: { egress: [{ to: [{ ipBlock: { cidr: "10.2.0.0/16" } }] }] },
    });
  });
});

describe("volumes", () => {
  it("a claim is bound by the site, in the site's class, and can be applied again", async () => {
    const [here, there] = [`fast-e-${process.pid}`, `fast-w-${process.pid}`];
    const classOf = (name: string) =>
      clusterObject("storage.k8s.io/v1", "StorageClass", name, { provisioner: "example.com/none" });
    await east.create(classOf(here));
    await west.create(classOf(there));
    cleanup.push({ site: east, object: classOf(here) }, { site: west, object: classOf(there) });
    const spec = { mappings: { storageClasses: [{ east: here, west: there }] } };
    const source = object("v1", "PersistentVolumeClaim", "data", {
      spec: { accessModes: ["ReadWriteOnce"], storageClassName: here, resources: { requests: { storage: "1Gi" } } },
    });
    expect(specIn((await travel(source, { spec })).copy)["storageClassName"]).toBe(there);
    expect((await travel(source, { spec, role: "active" })).copy?.metadata.name).toBe("data");
    const live = await east.get(classOf(here));
    expect(renderLive(live, specFor(namespace, spec), "standby").withheld?.reason).toBe("SiteHasItsOwn");
  });

  it("a static volume and its claim find each other at both sites", async () => {
    const name = `nfs-${process.pid}`;
    const request = { accessModes: ["ReadWriteMany"], storageClassName: "" };
    const volume = clusterObject("v1", "PersistentVolume", name, {
      spec: {
        ...request,
        capacity: { storage: "1Gi" },
        persistentVolumeReclaimPolicy: "Recycle",
        nfs: { server: "192.0.2.9", path: "/x" },
      },
    });
    const claim = object("v1", "PersistentVolumeClaim", "nfs", {
      spec: { ...request, volumeName: name, resources: { requests: { storage: "1Gi" } } },
    });
    await east.create(volume);
    await east.create(claim);
    const bound = (live: KubeObject) => (live["status"] as { phase?: string }).phase === "Bound";
    await east.eventually(claim, bound);
    await east.eventually(volume, bound);
    const { copy } = await travel(volume);
    expect(specIn(copy)["persistentVolumeReclaimPolicy"]).toBe("Retain");
    await travel(claim);
    await west.eventually(claim, bound);
    // What the site's own binder wrote survives a promotion.
    await travel(volume, { role: "active" });
    await travel(claim, { role: "active" });
    expect(bound(await west.get(claim))).toBe(true);
    expect(specIn(await west.get(volume))["persistentVolumeReclaimPolicy"]).toBe("Recycle");
    await west.remove(claim);
    await east.remove(claim);
  });
});

describe("ways in", () => {
  it("an Ingress gets the site's hosts and class, and is published by the active site only", async () => {
    const source = object("networking.k8s.io/v1", "Ingress", "i", {
      annotations: { "external-dns.alpha.kubernetes.io/ttl": "60" },
      spec: {
        ingressClassName: "nginx",
        tls: [{ hosts: ["shop.east.example"], secretName: "tls" }],
        rules: [
          {
            host: "shop.east.example",
            http: {
              paths: [{ path: "/", pathType: "Prefix", backend: { service: { name: "web", port: { number: 80 } } } }],
            },
          },
        ],
      },
    });
    const mappings = {
      hosts: [{ east: "shop.east.example", west: "shop.west.example" }],
      ingressClasses: [{ east: "nginx", west: "haproxy" }],
    };
    const { copy } = await travel(source, { spec: { mappings } });
    expect(copy).toMatchObject({
      spec: {
        ingressClassName: "haproxy",
        tls: [{ hosts: ["shop.west.example"] }],
        rules: [{ host: "shop.west.example" }],
      },
    });
    expect(copy?.metadata.annotations).toMatchObject({
      "external-dns.alpha.kubernetes.io/controller": "lifeboat-standby",
    });
    const active = (await travel(source, { spec: { mappings }, role: "active" })).copy;
    const published = Object.entries(active?.metadata.annotations ?? {}).filter(([name]) =>
      name.startsWith("external"),
    );
    expect(published).toEqual([["external-dns.alpha.kubernetes.io/ttl", "60"]]);
    expect(heldIn(copy ?? source)).toMatchObject({
      "/metadata/annotations/external-dns.alpha.kubernetes.io~1ttl": "60",
    });
  });
});

describe("what extends the API server", () => {
  const group = `render${process.pid}.example.com`;
  const kind = { kind: "Thing", plural: "things", singular: "thing" };
  const versionOf = (name: string, storage: boolean) => ({
    name,
    served: true,
    storage,
    schema: { openAPIV3Schema: { type: "object", "x-kubernetes-preserve-unknown-fields": true } },
  });
  const definition = (versions: object[]) =>
    clusterObject("apiextensions.k8s.io/v1", "CustomResourceDefinition", `things.${group}`, {
      spec: { group, scope: "Namespaced", names: kind, versions },
    });
  const established = (live: KubeObject) => JSON.stringify(live["status"] ?? {}).includes('"Established"');

  it("a definition is created and updated, then its resources arrive with large numbers intact", async () => {
    const source = definition([versionOf("v1", true)]);
    await travel(source);
    for (const site of [east, west]) await site.eventually(source, established);
    // Beyond what a JavaScript number holds, within what an API server stores.
    const big = (JSON as unknown as { rawJSON(text: string): unknown }).rawJSON("9007199254740993");
    await east.served(`${group}/v1`, "Thing");
    await west.served(`${group}/v1`, "Thing");
    const { copy } = await travel(object(`${group}/v1`, "Thing", "t", { spec: { big } }));
    expect(JSON.stringify(specIn(copy))).toBe('{"big":9007199254740993}');
  });

  it("a definition that would drop a stored version is refused", async () => {
    const live = await west.get(definition([]));
    const stored = (live["status"] as { storedVersions: string[] }).storedVersions;
    const facts = {
      storedVersions: new Map([[`apiextensions.k8s.io/CustomResourceDefinition//things.${group}`, stored]]),
    };
    const next = renderLive(definition([versionOf("v2", true)]), specFor(namespace), "standby", facts);
    expect(next.withheld?.reason).toBe("Refused");
    // And the API server would really have refused it too.
    await expect(west.apply(definition([versionOf("v2", true)]))).rejects.toThrow("storedVersions");
  });

  it("a webhook waits for its Service, an injected authority is the site's", async () => {
    const name = `render-${process.pid}`;
    const source = clusterObject("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", name, {
      annotations: { "cert-manager.io/inject-ca-from": `${namespace}/ca` },
      webhooks: [
        {
          name: "a.example.com",
          sideEffects: "None",
          admissionReviewVersions: ["v1"],
          clientConfig: { caBundle: "", service: { name: "hook", namespace } },
          rules: [
            { apiGroups: ["none.example.com"], apiVersions: ["v1"], resources: ["nothing"], operations: ["CREATE"] },
          ],
        },
      ],
    });
    expect((await travel(source)).result.withheld?.reason).toBe("ServiceNotReady");
    const facts = { readyServices: new Set([`/Service/${namespace}/hook`]) };
    const { copy } = await travel(source, { facts, role: "active" });
    expect(copy).toMatchObject({ webhooks: [{ clientConfig: { service: { name: "hook", namespace } } }] });
  });

  it("an admission policy is copied with its binding", async () => {
    const api = "admissionregistration.k8s.io/v1";
    const name = `render-${process.pid}`;
    const policy = clusterObject(api, "ValidatingAdmissionPolicy", name, {
      spec: {
        paramKind: { apiVersion: "v1", kind: "ConfigMap" },
        matchConstraints: {
          resourceRules: [
            { apiGroups: ["none.example.com"], apiVersions: ["v1"], operations: ["CREATE"], resources: ["x"] },
          ],
        },
        validations: [{ expression: "true" }],
      },
    });
    const binding = clusterObject(api, "ValidatingAdmissionPolicyBinding", name, {
      spec: {
        policyName: name,
        validationActions: ["Deny"],
        paramRef: { name: "params", namespace, parameterNotFoundAction: "Deny" },
      },
    });
    for (const source of [policy, binding]) {
      const { live, copy } = await travel(source);
      expect(specIn(copy)).toEqual(specIn(live));
    }
  });
});

describe("owners", () => {
  it("are the site's own objects", async () => {
    const owner = object("v1", "ConfigMap", "owner", { data: {} });
    const { live, copy } = await travel(owner);
    const owned = object("v1", "Secret", "owned", { data: {} });
    owned.metadata.ownerReferences = [
      { apiVersion: "v1", kind: "ConfigMap", name: "owner", uid: live.metadata.uid ?? "" },
    ];
    const facts = { uids: new Map([[`/ConfigMap/${namespace}/owner`, copy?.metadata.uid ?? ""]]) };
    const arrived = (await travel(owned, { facts })).copy;
    expect(arrived?.metadata.ownerReferences).toMatchObject([{ name: "owner", uid: copy?.metadata.uid }]);
    await west.remove(owner);
    // The site's garbage collector now takes the owned object along, as it would at the source.
    const endMs = Date.now() + 30_000;
    while ((await west.find(owned)) !== undefined && Date.now() < endMs) {
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    expect(await west.find(owned)).toBeUndefined();
  });
});
