import { LifeboatError } from "../errors.ts";
import type { KubeKind, KubeResource } from "./resource.ts";

/** A version of an API group whose server did not answer the API server. */
export interface BrokenVersion {
  /** `metrics.k8s.io/v1beta1` */
  readonly groupVersion: string;
}

export interface DiscoveryDocument {
  readonly kinds: readonly KubeKind[];
  readonly broken: readonly BrokenVersion[];
}

interface RawSubresource {
  readonly subresource: string;
}
interface RawResource {
  readonly resource: string;
  readonly scope: string;
  readonly verbs?: readonly string[];
  readonly responseKind?: { readonly kind?: string };
  readonly subresources?: readonly RawSubresource[];
}
interface RawVersion {
  readonly version: string;
  readonly freshness?: string;
  readonly resources?: readonly RawResource[];
}
interface RawGroup {
  readonly metadata?: { readonly name?: string };
  readonly versions?: readonly RawVersion[];
}

/** Reads an `APIGroupDiscoveryList`: what `/api` and `/apis` answer. Its versions stand in order of preference. */
export function readGroupList(text: string): DiscoveryDocument {
  const list = JSON.parse(text) as { kind?: string; items?: readonly RawGroup[] };
  if (list.kind !== "APIGroupDiscoveryList") {
    throw new LifeboatError("KubeRejected", "the API server has no aggregated discovery", {
      op: "kube.discovery",
      hint: "Lifeboat needs Kubernetes 1.27 or newer",
    });
  }
  const kinds = new Map<string, KubeKind>();
  const broken: BrokenVersion[] = [];
  for (const group of list.items ?? []) readGroup(group, kinds, broken);
  return { kinds: [...kinds.values()], broken };
}

function readGroup(group: RawGroup, kinds: Map<string, KubeKind>, broken: BrokenVersion[]): void {
  const name = group.metadata?.name ?? "";
  for (const version of group.versions ?? []) {
    if (version.freshness === "Stale") {
      broken.push({ groupVersion: name === "" ? version.version : `${name}/${version.version}` });
    }
    for (const raw of version.resources ?? []) {
      const resource = readResource(name, version.version, raw);
      if (resource === undefined) continue;
      const id = `${name}/${resource.kind}`;
      const known = kinds.get(id);
      // Of two resources of one kind in one version (none of the built-in ones) the first is the kind's own.
      if (known?.versions.some((other) => other.version === resource.version) === true) continue;
      const versions: [KubeResource, ...KubeResource[]] =
        known === undefined ? [resource] : [...known.versions, resource];
      kinds.set(id, { group: name, kind: resource.kind, versions });
    }
  }
}

function readResource(group: string, version: string, raw: RawResource): KubeResource | undefined {
  const kind = raw.responseKind?.kind ?? "";
  // A resource that has only subresources of its own (none can be read by itself) comes without a kind.
  if (kind === "") return undefined;
  return {
    group,
    version,
    kind,
    plural: raw.resource,
    namespaced: raw.scope === "Namespaced",
    verbs: new Set(raw.verbs),
    subresources: new Set((raw.subresources ?? []).map((subresource) => subresource.subresource)),
  };
}
