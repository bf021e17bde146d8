import { keyOf } from "../../objects/key.ts";
import type { KubeObject } from "../../objects/object.ts";
import { nanosOf } from "../../objects/quantity.ts";
import { isJson, jsonAt, textAt } from "../pointer.ts";
import { dropAnnotations, siteHasItsOwn, specOf, type KindRule, type Scope } from "./rule.ts";

/** Claims, volumes and classes. */

/** How a claim was bound and provisioned at the source. */
const bindingAnnotations = [
  "pv.kubernetes.io/bind-completed",
  "pv.kubernetes.io/bound-by-controller",
  "volume.kubernetes.io/selected-node",
  "volume.kubernetes.io/storage-provisioner",
  "volume.beta.kubernetes.io/storage-provisioner",
  "volume.kubernetes.io/storage-resizer",
];

export const claim: KindRule = {
  prepare(object, scope) {
    dropAnnotations(object, bindingAnnotations);
    const spec = specOf(object);
    delete spec["volumeName"];
    neverShrink(object, scope);
    if (isJson(spec["dataSource"]) || isJson(spec["dataSourceRef"])) {
      delete spec["dataSource"];
      delete spec["dataSourceRef"];
      scope.find("DataSourceDropped", "the claim was filled from a snapshot or another claim; here it starts empty");
    }
    return undefined;
  },
};

/** A claim grows with its source; what has grown further at the site cannot become smaller again. */
function neverShrink(object: KubeObject, scope: Scope): void {
  const requests = jsonAt(specOf(object), "resources", "requests");
  const present = scope.facts.claimSizes?.get(keyOf(object));
  if (requests === undefined || present === undefined) return;
  const [here, there] = [nanosOf(present), nanosOf(textAt(requests, "storage"))];
  // Sizes that cannot be compared are left to the API server to judge.
  if (here !== undefined && there !== undefined && here > there) requests["storage"] = present;
}

export const volume: KindRule = {
  prepare(object, scope) {
    const { annotations } = object.metadata;
    if (annotations?.["pv.kubernetes.io/provisioned-by"] !== undefined) {
      return siteHasItsOwn("a provisioned volume: the site provisions its own");
    }
    dropAnnotations(object, bindingAnnotations);
    const spec = specOf(object);
    // Name and namespace stay, so that no other claim takes the volume; the UID is that of the source's claim.
    const owner = jsonAt(spec, "claimRef");
    if (owner !== undefined) {
      delete owner["uid"];
      delete owner["resourceVersion"];
    }
    if (isJson(spec["nodeAffinity"]) || isJson(spec["local"]) || isJson(spec["hostPath"])) {
      scope.find("LocalVolume", "the volume lives on a node of the source; the site's nodes have no such data");
    }
    return undefined;
  },
  hold(object) {
    // The volume is the source's own data (NFS and the like): a claim deleted on a standby must not take it along.
    specOf(object)["persistentVolumeReclaimPolicy"] = "Retain";
    return undefined;
  },
};

export const storageClass: KindRule = {
  prepare: (object, scope) => mappedClass(object, scope.source, scope.mapping.storageClass),
};

export const ingressClass: KindRule = {
  prepare: (object, scope) => mappedClass(object, scope.source, scope.mapping.ingressClass),
};

/** A class that the spec maps to another name is the site's own affair. */
function mappedClass(object: KubeObject, source: KubeObject, map: (name: string) => string) {
  const name = map(source.metadata.name);
  return name === object.metadata.name ? undefined : siteHasItsOwn(`the site uses ${name} instead`);
}
