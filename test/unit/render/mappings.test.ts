import { describe, expect, it } from "vitest";
import { clusterObject, deployment, object, plain, renderAt, specWith } from "./helpers.ts";

const spec = specWith({
  mappings: {
    namespaces: [{ east: "shop", west: "shop-dr" }],
    storageClasses: [{ east: "fast", west: "quick" }],
    registries: [
      { east: "r.east/", west: "r.west/" },
      { east: "r.east/special/", west: "special.west/" },
    ],
    ingressClasses: [{ east: "nginx", west: "haproxy" }],
    hosts: [
      { east: "shop.east.example", west: "store.west.example" },
      { east: ".east.example", west: ".west.example" },
    ],
    cidrs: [{ east: "10.1.0.0/16", west: "10.2.0.0/16" }],
    loadBalancerIPs: [{ east: "192.0.2.1", west: "198.51.100.1" }],
  },
});
const at = { spec };

describe("mappings", () => {
  it("follow a namespace wherever Kubernetes reads its name", () => {
    const policy = object("networking.k8s.io/v1", "NetworkPolicy", "p", {
      spec: {
        ingress: [
          {
            from: [
              { namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": "shop" } } },
              {
                namespaceSelector: {
                  matchExpressions: [{ key: "kubernetes.io/metadata.name", operator: "In", values: ["shop", "x"] }],
                },
              },
            ],
          },
        ],
      },
    });
    const copy = plain(policy, at);
    expect(copy.metadata.namespace).toBe("shop-dr");
    expect(copy["spec"]).toEqual({
      ingress: [
        {
          from: [
            { namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": "shop-dr" } } },
            {
              namespaceSelector: {
                matchExpressions: [{ key: "kubernetes.io/metadata.name", operator: "In", values: ["shop-dr", "x"] }],
              },
            },
          ],
        },
      ],
    });
  });

  it("follow a namespace in references of routes and custom resources", () => {
    const route = object("gateway.networking.k8s.io/v1", "HTTPRoute", "r", {
      spec: {
        parentRefs: [{ name: "gw", namespace: "shop" }],
        rules: [{ backendRefs: [{ name: "web", namespace: "shop" }] }],
      },
    });
    expect(plain(route, { ...at, role: "active" })["spec"]).toEqual({
      parentRefs: [{ name: "gw", namespace: "shop-dr" }],
      rules: [{ backendRefs: [{ name: "web", namespace: "shop-dr" }] }],
    });
    const monitor = object("monitoring.coreos.com/v1", "ServiceMonitor", "m", {
      spec: { namespaceSelector: { matchNames: ["shop", "other"] } },
    });
    expect(plain(monitor, at)["spec"]).toEqual({ namespaceSelector: { matchNames: ["shop-dr", "other"] } });
  });

  it("find the namespace in text that only the application reads, and leave it", () => {
    const config = object("v1", "ConfigMap", "c", { data: { url: "http://db.shop.svc:5432", other: "workshop" } });
    const result = renderAt(config, at);
    expect(result.objects[0]?.["data"]).toEqual(config["data"]);
    expect(result.findings).toEqual([
      {
        code: "NamespaceNamed",
        key: "/ConfigMap/shop/c",
        message: "names the namespace shop, which is shop-dr here, in /data/url",
      },
    ]);
    const web = deployment();
    (web["spec"] as { template: { spec: { containers: object[] } } }).template.spec.containers = [
      { name: "web", image: "a.shop.svc/x", env: [{ name: "DB", value: "db.shop" }], args: ["--x=db.shop-dr.svc"] },
    ];
    expect(renderAt(web, at).findings[0]?.message).toContain("in /spec/template/spec/containers/0/env/0/value");
    expect(renderAt(object("v1", "ConfigMap", "c", { data: { url: "db.shop-dr.svc" } }), at).findings).toEqual([]);
  });

  it("take images from the site's registry, by the longest entry", () => {
    const pod = object("v1", "Pod", "p", {
      spec: {
        initContainers: [{ name: "i", image: "r.east/special/a:1" }],
        containers: [
          { name: "a", image: "r.east/a:1" },
          { name: "b", image: "docker.io/b:1" },
        ],
        volumes: [{ name: "v", image: { reference: "r.east/v:1" } }],
      },
    });
    expect(plain(pod, { ...at, role: "active" })["spec"]).toEqual({
      initContainers: [{ name: "i", image: "special.west/a:1" }],
      containers: [
        { name: "a", image: "r.west/a:1" },
        { name: "b", image: "docker.io/b:1" },
      ],
      volumes: [{ name: "v", image: { reference: "r.west/v:1" } }],
    });
  });

  it("name the site's classes", () => {
    const set = object("apps/v1", "StatefulSet", "db", {
      spec: { replicas: 0, volumeClaimTemplates: [{ spec: { storageClassName: "fast" } }] },
    });
    expect(plain(set, at)["spec"]).toMatchObject({ volumeClaimTemplates: [{ spec: { storageClassName: "quick" } }] });
    const quota = object("v1", "ResourceQuota", "q", {
      spec: { hard: { pods: "1", "fast.storageclass.storage.k8s.io/requests.storage": "1Gi" } },
    });
    expect(plain(quota, at)["spec"]).toEqual({
      hard: { pods: "1", "quick.storageclass.storage.k8s.io/requests.storage": "1Gi" },
    });
  });

  it("give ways in the site's hosts and class", () => {
    const ingress = object("networking.k8s.io/v1", "Ingress", "i", {
      annotations: {
        "kubernetes.io/ingress.class": "nginx",
        "external-dns.alpha.kubernetes.io/hostname": "shop.east.example,a.east.example",
      },
      spec: {
        ingressClassName: "nginx",
        tls: [{ hosts: ["shop.east.example", "*.east.example"] }],
        rules: [{ host: "shop.east.example" }, { host: "other.example" }],
      },
    });
    const copy = plain(ingress, { ...at, role: "active" });
    expect(copy.metadata.annotations).toEqual({
      "kubernetes.io/ingress.class": "haproxy",
      "external-dns.alpha.kubernetes.io/hostname": "store.west.example,a.west.example",
    });
    expect(copy["spec"]).toEqual({
      ingressClassName: "haproxy",
      tls: [{ hosts: ["store.west.example", "*.west.example"] }],
      rules: [{ host: "store.west.example" }, { host: "other.example" }],
    });
  });

  it("do not take the hosts of probes for hosts of the service", () => {
    const web = deployment();
    const container = { name: "web", image: "a", livenessProbe: { httpGet: { host: "shop.east.example" } } };
    (web["spec"] as { template: { spec: { containers: object[] } } }).template.spec.containers = [container];
    expect(plain(web, at)).toMatchObject({ spec: { template: { spec: { containers: [container] } } } });
  });

  it("change addresses of Services and ranges of policies", () => {
    const service = object("v1", "Service", "s", {
      annotations: { "metallb.universe.tf/loadBalancerIPs": "192.0.2.1,2001:db8::1" },
      spec: {
        loadBalancerIP: "192.0.2.1",
        externalIPs: ["192.0.2.1", "203.0.113.1"],
        loadBalancerSourceRanges: ["10.1.0.0/16"],
      },
    });
    expect(plain(service, at)).toMatchObject({
      metadata: { annotations: { "metallb.universe.tf/loadBalancerIPs": "198.51.100.1,2001:db8::1" } },
      spec: {
        loadBalancerIP: "198.51.100.1",
        externalIPs: ["198.51.100.1", "203.0.113.1"],
        loadBalancerSourceRanges: ["10.2.0.0/16"],
      },
    });
    const policy = object("networking.k8s.io/v1", "NetworkPolicy", "p", {
      spec: { egress: [{ to: [{ ipBlock: { cidr: "10.1.0.0/16", except: ["10.9.0.0/16"] } }] }] },
    });
    expect(plain(policy, at)["spec"]).toEqual({
      egress: [{ to: [{ ipBlock: { cidr: "10.2.0.0/16", except: ["10.9.0.0/16"] } }] }],
    });
  });

  it("never touch data of the application or schemas of definitions", () => {
    const config = object("v1", "ConfigMap", "c", { data: { image: "r.east/a:1", storageClassName: "fast" } });
    expect(plain(config, at)["data"]).toEqual(config["data"]);
    const crd = clusterObject("apiextensions.k8s.io/v1", "CustomResourceDefinition", "x.example.com", {
      spec: { versions: [{ name: "v1", schema: { default: { name: "a", namespace: "shop", image: "r.east/a" } } }] },
    });
    expect(plain(crd, at)).toEqual(crd);
  });

  it("keep the manifest that kubectl last applied, under the name that the object has here", () => {
    const web = deployment();
    const annotation = "kubectl.kubernetes.io/last-applied-configuration";
    const manifest = { kind: "Deployment", metadata: { name: "web", namespace: "shop" }, spec: { replicas: 3 } };
    web.metadata.annotations = { [annotation]: `${JSON.stringify(manifest)}\n` };
    const copy = plain(web, { ...at, role: "active" });
    expect(JSON.parse(copy.metadata.annotations?.[annotation] ?? "")).toEqual({
      ...manifest,
      metadata: { name: "web", namespace: "shop-dr" },
    });
  });

  it("keep numbers that JavaScript cannot hold", () => {
    const big = (JSON as unknown as { rawJSON(text: string): unknown }).rawJSON("12345678901234567890");
    const thing = object("example.com/v1", "Thing", "t", { spec: { big, ref: { name: "a", namespace: "shop" } } });
    expect(JSON.stringify(plain(thing, at)["spec"])).toBe(
      '{"big":12345678901234567890,"ref":{"name":"a","namespace":"shop-dr"}}',
    );
  });
});
