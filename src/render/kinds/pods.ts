import type { KubeObject } from "../../objects/object.ts";
import { isJson, type Json, listAt, textAt } from "../pointer.ts";
import { siteHasItsOwn, specOf, type KindRule } from "./rule.ts";

/** Pods that no controller made. */
export const pod: KindRule = {
  prepare(object) {
    if (object.metadata.annotations?.["kubernetes.io/config.mirror"] !== undefined) {
      return siteHasItsOwn("a static pod belongs to its node");
    }
    dropAdmitted(object);
    return undefined;
  },
  hold: () => ({ reason: "StandbyRole", message: "a bare pod is created at promotion" }),
};

/** Name of the volume with which admission gives a pod its ServiceAccount's token. */
const tokenVolume = /^kube-api-access-[a-z0-9]{5}$/;

/** Filled in by admission, scheduler and kubelet of the source, and refused or wrong anywhere else. */
function dropAdmitted(object: KubeObject): void {
  const spec = specOf(object);
  for (const field of ["nodeName", "priority", "preemptionPolicy", "serviceAccount", "ephemeralContainers"]) {
    delete spec[field];
  }
  filterList(spec, "volumes", (volume) => !tokenVolume.test(textAt(volume, "name")));
  for (const list of ["containers", "initContainers"]) {
    for (const container of listAt(spec, list)) {
      filterList(container, "volumeMounts", (mount) => !tokenVolume.test(textAt(mount, "name")));
    }
  }
}

function filterList(node: Json, field: string, keep: (item: Json) => boolean): void {
  const list = node[field];
  if (!Array.isArray(list)) return;
  const kept = list.filter((item: unknown) => !isJson(item) || keep(item));
  if (kept.length === 0) delete node[field];
  else node[field] = kept;
}
