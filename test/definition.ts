import type { KubeObject } from "../src/objects/object.ts";

export interface Definition {
  readonly group: string;
  readonly kind: string;
  readonly plural: string;
  /** Served, in this order; the first is stored. @default ["v1"] */
  readonly versions?: readonly string[];
  /** The stored one, where that is not the first. */
  readonly stored?: string;
}

/** A custom resource definition whose objects hold anything. */
export function definitionOf({ group, kind, plural, versions = ["v1"], stored = versions[0] }: Definition): KubeObject {
  const schema = { openAPIV3Schema: { type: "object", "x-kubernetes-preserve-unknown-fields": true } };
  return {
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    metadata: { name: `${plural}.${group}` },
    spec: {
      group,
      scope: "Namespaced",
      names: { kind, plural, singular: kind.toLowerCase(), listKind: `${kind}List` },
      versions: versions.map((name) => ({ name, served: true, storage: name === stored, schema })),
    },
  };
}
