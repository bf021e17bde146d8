import { groupOf, type KubeObject } from "./object.ts";

/**
 * Identity of an object at a site, independent of the version it is read in: `group/Kind/namespace/name`, with an
 * empty group for core kinds and an empty namespace for cluster-scoped ones (`apps/Deployment/shop/web`,
 * `/Namespace//shop`). Kubernetes forbids `/` in each part.
 */
export type ObjectKey = string;

export interface KeyParts {
  readonly group: string;
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
}

export function keyOf(object: KubeObject): ObjectKey {
  return formatKey({
    group: groupOf(object.apiVersion),
    kind: object.kind,
    namespace: object.metadata.namespace ?? "",
    name: object.metadata.name,
  });
}

export function formatKey(parts: KeyParts): ObjectKey {
  return `${parts.group}/${parts.kind}/${parts.namespace}/${parts.name}`;
}

/** Inverse of {@link formatKey}. Throws on a text that is not a key. */
export function parseKey(key: ObjectKey): KeyParts {
  const parts = key.split("/");
  const [group, kind, namespace, name] = parts;
  if (
    parts.length !== 4 ||
    group === undefined ||
    kind === undefined ||
    namespace === undefined ||
    name === undefined
  ) {
    throw new TypeError(`not an object key: ${key}`);
  }
  return { group, kind, namespace, name };
}

/** `apps/Deployment`, or `ConfigMap` for a core kind: how specs and messages name a kind. */
export function kindName(group: string, kind: string): string {
  return group === "" ? kind : `${group}/${kind}`;
}
