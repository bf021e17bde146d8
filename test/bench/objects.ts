/**
 * Objects as a cluster has them: many small ones of a dozen kinds, about 1 KB each as JSON. The same number makes the
 * same objects, so that every writer gets the same work.
 */
import type { KubeObject } from "../../src/objects/object.ts";
import { pathOf } from "../../src/kube/resource.ts";
import type { KubeResource } from "../../src/kube/resource.ts";

export interface Made {
  readonly resource: KubeResource;
  readonly object: KubeObject;
}

const sizeBytes = 1_000;

function kind(group: string, version: string, name: string, plural: string): KubeResource {
  return { group, version, kind: name, plural, namespaced: true, verbs: new Set(), subresources: new Set() };
}

type Fields = Record<string, unknown>;

function podTemplate(name: string): Fields {
  return {
    metadata: { labels: { app: name } },
    spec: {
      containers: [
        {
          name: "main",
          image: "registry.example/team/program:1.2.3",
          env: [{ name: "LEVEL", value: "info" }],
          ports: [{ containerPort: 8080, name: "http" }],
          resources: { requests: { cpu: "10m", memory: "16Mi" } },
        },
      ],
    },
  };
}

const selector = (name: string): Fields => ({ matchLabels: { app: name } });

interface Recipe {
  readonly resource: KubeResource;
  /** Of a hundred objects, so many are of this kind. */
  readonly percent: number;
  readonly body: (name: string) => Fields;
}

const recipes: readonly Recipe[] = [
  { resource: kind("", "v1", "ConfigMap", "configmaps"), percent: 30, body: () => ({ data: {} }) },
  {
    resource: kind("", "v1", "Secret", "secrets"),
    percent: 20,
    body: () => ({ type: "Opaque", data: { token: "c2VjcmV0" } }),
  },
  {
    resource: kind("apps", "v1", "Deployment", "deployments"),
    percent: 14,
    body: (name) => ({ spec: { replicas: 2, selector: selector(name), template: podTemplate(name) } }),
  },
  {
    resource: kind("", "v1", "Service", "services"),
    percent: 10,
    body: (name) => ({ spec: { selector: { app: name }, ports: [{ name: "http", port: 80, targetPort: 8080 }] } }),
  },
  { resource: kind("", "v1", "ServiceAccount", "serviceaccounts"), percent: 6, body: () => ({}) },
  {
    resource: kind("rbac.authorization.k8s.io", "v1", "Role", "roles"),
    percent: 4,
    body: () => ({ rules: [{ apiGroups: [""], resources: ["configmaps"], verbs: ["get", "list"] }] }),
  },
  {
    resource: kind("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings"),
    percent: 4,
    body: (name) => ({
      roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "Role", name },
      subjects: [{ kind: "ServiceAccount", name }],
    }),
  },
  {
    resource: kind("networking.k8s.io", "v1", "Ingress", "ingresses"),
    percent: 3,
    body: (name) => ({ spec: { defaultBackend: { service: { name, port: { number: 80 } } } } }),
  },
  {
    resource: kind("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies"),
    percent: 3,
    body: (name) => ({ spec: { podSelector: selector(name), policyTypes: ["Ingress"] } }),
  },
  {
    resource: kind("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets"),
    percent: 2,
    body: (name) => ({ spec: { minAvailable: 1, selector: selector(name) } }),
  },
  {
    resource: kind("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers"),
    percent: 2,
    body: (name) => ({
      spec: { scaleTargetRef: { apiVersion: "apps/v1", kind: "Deployment", name }, minReplicas: 2, maxReplicas: 5 },
    }),
  },
  {
    resource: kind("batch", "v1", "CronJob", "cronjobs"),
    percent: 2,
    body: (name) => ({
      spec: {
        schedule: "0 3 * * *",
        jobTemplate: {
          spec: { template: { spec: { ...(podTemplate(name)["spec"] as Fields), restartPolicy: "OnFailure" } } },
        },
      },
    }),
  },
];

/** Kinds that {@link mixedObjects} makes. */
export const mixedKinds: readonly KubeResource[] = recipes.map((recipe) => recipe.resource);

/** The recipes in the order of a hundred objects, spread evenly. */
const hundred: readonly Recipe[] = recipes
  .flatMap((recipe, at) =>
    Array.from({ length: recipe.percent }, (_, n) => ({ recipe, at: (n + (at + 1) / 13) / recipe.percent })),
  )
  .toSorted((a, b) => a.at - b.at)
  .map(({ recipe }) => recipe);

export interface MixedOptions {
  readonly count: number;
  readonly namespaces: readonly string[];
}

/** Objects of about 1 KB, spread over the namespaces. */
export function mixedObjects({ count, namespaces }: MixedOptions): Made[] {
  return Array.from({ length: count }, (_, at) => {
    const recipe = hundred[at % hundred.length];
    if (recipe === undefined) throw new RangeError("no recipe");
    const { resource } = recipe;
    const name = `object-${at}`;
    const apiVersion = resource.group === "" ? resource.version : `${resource.group}/${resource.version}`;
    const object: KubeObject = {
      apiVersion,
      kind: resource.kind,
      metadata: {
        name,
        namespace: namespaces[at % namespaces.length] ?? "default",
        labels: { app: name, team: `team-${at % 7}` },
        annotations: {},
      },
      ...recipe.body(name),
    };
    const missing = sizeBytes - JSON.stringify(object).length;
    const padding = `${at} `.repeat(Math.ceil(Math.max(missing, 40) / `${at} `.length)).slice(0, Math.max(missing, 40));
    if (resource.kind === "ConfigMap") object["data"] = { text: padding };
    else object.metadata.annotations = { "example.com/description": padding };
    return { resource, object };
  });
}

export function namespaceNames(prefix: string, count: number): string[] {
  return Array.from({ length: count }, (_, at) => `${prefix}-${at}`);
}

/** Path of the object itself. */
export function objectPath({ resource, object }: Made): string {
  return pathOf(resource, { namespace: object.metadata.namespace, name: object.metadata.name });
}
