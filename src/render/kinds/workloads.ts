import { dropAnnotations, specOf, type KindRule } from "./rule.ts";
import { jsonAt } from "../pointer.ts";

/** Kinds that make pods by a replica count or on every node. */

/** Written by the Deployment controller of each site for itself. */
const revisionAnnotations = ["deployment.kubernetes.io/revision", "deprecated.deployment.rollback.to"];

/** Deployment, bare ReplicaSet and ReplicationController. */
export const replicated: KindRule = {
  prepare(object) {
    dropAnnotations(object, revisionAnnotations);
    return undefined;
  },
  hold(object) {
    specOf(object)["replicas"] = 0;
    return undefined;
  },
};

export const statefulSet: KindRule = {
  hold(object) {
    const spec = specOf(object);
    spec["replicas"] = 0;
    // With Delete, scaling to zero (and recreating the set) would delete its volumes.
    const retention = jsonAt(spec, "persistentVolumeClaimRetentionPolicy");
    if (retention !== undefined) {
      retention["whenScaled"] = "Retain";
      retention["whenDeleted"] = "Retain";
    }
    return undefined;
  },
};

/** A label that no node has: a DaemonSet with this selector runs nowhere. */
export const nowhere = { "lifeboat.dev/nowhere": "true" } as const;

export const daemonSet: KindRule = {
  prepare(object) {
    dropAnnotations(object, ["deprecated.daemonset.template.generation"]);
    return undefined;
  },
  hold(object) {
    const podSpec = jsonAt(specOf(object), "template", "spec");
    if (podSpec !== undefined) podSpec["nodeSelector"] = { ...nowhere };
    return undefined;
  },
};
