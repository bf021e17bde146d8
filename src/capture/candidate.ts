import type { KubeResource } from "../kube/resource.ts";
import { formatKey, type ObjectKey } from "../objects/key.ts";
import type { KubeObject } from "../objects/object.ts";
import { factsOf, wholeFacts } from "./facts.ts";
import type { Candidate } from "./membership.ts";
import { isCaptured, leftOut, recreatedBy } from "./rules.ts";
import type { Selection } from "./selection.ts";

export interface CandidateQuestion {
  readonly resource: KubeResource;
  readonly object: KubeObject;
  readonly key: ObjectKey;
  readonly selection: Selection;
  /** Namespaces that the group takes. */
  readonly namespaces: ReadonlySet<string>;
  /** Kinds that are read. */
  readonly pool: { resource(group: string, kind: string): KubeResource | undefined };
}

/** The object as membership sees it, or `undefined` where it never travels with this selection. Pure. */
export function candidateOf(question: CandidateQuestion): Candidate | undefined {
  const { resource, object, key, selection, namespaces } = question;
  if (leftOut(object) !== undefined || selection.excludes(object)) return undefined;
  const { namespace = "", name, labels } = object.metadata;
  const facts = factsOf(object, crdKeyOf(resource));
  return {
    key,
    namespace,
    root: namespace === "" ? resource.kind === "Namespace" && namespaces.has(name) : selection.labelled(labels),
    owner: ownerThatRecreates(question),
    facts: selection.whole ? wholeFacts(facts) : facts,
  };
}

/** An owner in the group makes the object anew; one that is left out, or is not of the namespace, does not. */
function ownerThatRecreates({ object, selection, pool }: CandidateQuestion): ObjectKey | undefined {
  const owner = recreatedBy(object);
  const { namespace } = object.metadata;
  if (owner === undefined || namespace === undefined) return undefined;
  const resource = pool.resource(owner.group, owner.kind);
  if (resource === undefined || !isCaptured(resource) || !resource.namespaced) return undefined;
  const { apiVersion, kind, name } = owner;
  if (selection.excludes({ apiVersion, kind, metadata: { name, namespace } })) return undefined;
  return formatKey({ group: owner.group, kind, namespace, name });
}

const crdKeys = new WeakMap<KubeResource, ObjectKey>();

/** Key under which a kind's definition would stand, if it has one: core and the oldest groups have none. */
function crdKeyOf(resource: KubeResource): ObjectKey | undefined {
  if (!resource.group.includes(".")) return undefined;
  let key = crdKeys.get(resource);
  if (key === undefined) {
    const name = `${resource.plural}.${resource.group}`;
    key = formatKey({ group: "apiextensions.k8s.io", kind: "CustomResourceDefinition", namespace: "", name });
    crdKeys.set(resource, key);
  }
  return key;
}
