import type { KubeObject } from "../objects/object.ts";
import { at, isRecord, list, record, text, type Json } from "./walk.ts";

/** What pods of a template need to start, by name. */
export interface PodNeeds {
  readonly serviceAccount: string;
  readonly secrets: ReadonlySet<string>;
  readonly configMaps: ReadonlySet<string>;
  readonly claims: ReadonlySet<string>;
  readonly storageClasses: ReadonlySet<string>;
  readonly resourceClaimTemplates: ReadonlySet<string>;
  readonly priorityClass: string | undefined;
  readonly runtimeClass: string | undefined;
}

export interface PodTemplate {
  readonly labels: Readonly<Record<string, string>>;
  readonly spec: Json;
}

/**
 * The pod template of anything that has one: a Pod itself, the built-in workloads, and every custom resource that
 * keeps it where those do.
 */
export function podTemplateOf(object: KubeObject): PodTemplate | undefined {
  if (object.kind === "Pod" && object.apiVersion === "v1") {
    return { labels: object.metadata.labels ?? {}, spec: object["spec"] };
  }
  const spec = object["spec"];
  for (const template of [at(spec, "template"), at(at(at(spec, "jobTemplate"), "spec"), "template")]) {
    const podSpec = at(template, "spec");
    if (isRecord(podSpec) && Array.isArray(podSpec["containers"])) {
      const labels = record(at(at(template, "metadata"), "labels"));
      return { labels: labels as Record<string, string>, spec: podSpec };
    }
  }
  return undefined;
}

export function readPodSpec(spec: Json): PodNeeds {
  const secrets = new Set<string>();
  const configMaps = new Set<string>();
  const claims = new Set<string>();
  const storageClasses = new Set<string>();
  for (const reference of list(at(spec, "imagePullSecrets"))) addName(secrets, text(reference, "name"));
  for (const field of ["containers", "initContainers"]) {
    for (const container of list(at(spec, field))) readContainer(container, secrets, configMaps);
  }
  for (const volume of list(at(spec, "volumes"))) {
    addName(secrets, text(at(volume, "secret"), "secretName"));
    addName(configMaps, text(at(volume, "configMap"), "name"));
    addName(claims, text(at(volume, "persistentVolumeClaim"), "claimName"));
    const claimTemplate = at(at(volume, "ephemeral"), "volumeClaimTemplate");
    addName(storageClasses, text(at(claimTemplate, "spec"), "storageClassName"));
    readVolumeSecrets(volume, secrets);
    for (const source of list(at(at(volume, "projected"), "sources"))) {
      addName(secrets, text(at(source, "secret"), "name"));
      addName(configMaps, text(at(source, "configMap"), "name"));
    }
  }
  const resourceClaimTemplates = new Set<string>();
  for (const claim of list(at(spec, "resourceClaims"))) {
    addName(resourceClaimTemplates, text(claim, "resourceClaimTemplateName"));
  }
  return {
    serviceAccount: text(spec, "serviceAccountName") ?? text(spec, "serviceAccount") ?? "default",
    secrets,
    configMaps,
    claims,
    storageClasses,
    resourceClaimTemplates,
    priorityClass: text(spec, "priorityClassName"),
    runtimeClass: text(spec, "runtimeClassName"),
  };
}

function readContainer(container: Json, secrets: Set<string>, configMaps: Set<string>): void {
  for (const source of list(at(container, "envFrom"))) {
    addName(secrets, text(at(source, "secretRef"), "name"));
    addName(configMaps, text(at(source, "configMapRef"), "name"));
  }
  for (const variable of list(at(container, "env"))) {
    const from = at(variable, "valueFrom");
    addName(secrets, text(at(from, "secretKeyRef"), "name"));
    addName(configMaps, text(at(from, "configMapKeyRef"), "name"));
  }
}

/** Drivers of volumes name their Secret in `secretRef`, CSI drivers in `nodePublishSecretRef`. */
function readVolumeSecrets(volume: Json, secrets: Set<string>): void {
  for (const source of Object.values(record(volume))) {
    addName(secrets, text(at(source, "secretRef"), "name"));
    addName(secrets, text(at(source, "nodePublishSecretRef"), "name"));
  }
}

function addName(names: Set<string>, name: string | undefined): void {
  if (name !== undefined) names.add(name);
}
