import type { KubeObject } from "../../objects/object.ts";
import type { SiteMapping } from "../mapping.ts";
import { isJson, jsonAt } from "../pointer.ts";
import { dropAnnotations, siteHasItsOwn, specOf, type KindRule } from "./rule.ts";

/** Namespaces, Secrets, ConfigMaps and quotas. */

export const namespace: KindRule = {
  prepare(object) {
    const { labels } = object.metadata;
    if (labels !== undefined) delete labels["kubernetes.io/metadata.name"];
    // The namespace's own finalizer; the API server sets it.
    delete object["spec"];
    dropAnnotations(object, assignedToNamespace);
    return undefined;
  },
};

/** Ranges that OpenShift gives a namespace of each cluster. */
const assignedToNamespace = [
  "openshift.io/sa.scc.mcs",
  "openshift.io/sa.scc.supplemental-groups",
  "openshift.io/sa.scc.uid-range",
];

export const secret: KindRule = {
  prepare(object) {
    if (object["type"] !== "kubernetes.io/service-account-token") return undefined;
    // Empty: the site's own control plane fills in a token that its API server accepts.
    delete object["data"];
    dropAnnotations(object, ["kubernetes.io/service-account.uid"]);
    return undefined;
  },
};

/** Every namespace of a cluster has these from its own control plane. */
const generatedConfigMaps = new Set(["kube-root-ca.crt", "openshift-service-ca.crt"]);

export const configMap: KindRule = {
  prepare(object) {
    if (generatedConfigMaps.has(object.metadata.name)) return siteHasItsOwn("every site has its own authorities");
    dropAnnotations(object, ["control-plane.alpha.kubernetes.io/leader"]);
    return undefined;
  },
};

/** Quotas per class: `CLASS.storageclass.storage.k8s.io/…`. */
const classQuota = /^(.+)(\.storageclass\.storage\.k8s\.io\/.+)$/;

export const resourceQuota: KindRule = {
  prepare(object, scope) {
    mapClassQuotas(object, scope.mapping);
    return undefined;
  },
};

function mapClassQuotas(object: KubeObject, mapping: SiteMapping): void {
  const hard = jsonAt(specOf(object), "hard");
  if (!isJson(hard)) return;
  for (const [name, value] of Object.entries(hard)) {
    const [, className, rest] = classQuota.exec(name) ?? [];
    if (className === undefined || rest === undefined) continue;
    delete hard[name];
    hard[mapping.storageClass(className) + rest] = value;
  }
}

export const priorityClass: KindRule = {
  prepare: (object) =>
    object.metadata.name.startsWith("system-") ? siteHasItsOwn("every cluster has the system classes") : undefined,
};
