import type { KubeObject, ManagedFieldsEntry } from "../objects/object.ts";

/**
 * Reading and merging of `managedFields` in their `FieldsV1` form
 * (https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management): a tree whose steps are
 * `f:NAME` (field), `k:{…}` (list item with these key values), `v:VALUE` (member of a set), `i:N` (index) and `.`
 * (the item itself).
 */
export type FieldTree = Readonly<Record<string, unknown>>;

/** The owner entries of one manager over the object itself (not of a subresource such as status). */
export function entriesOf(object: KubeObject, manager: string): ManagedFieldsEntry[] {
  return (object.metadata.managedFields ?? []).filter(
    (entry) => entry.manager === manager && (entry.subresource ?? "") === "",
  );
}

/**
 * Managers of Kubernetes itself. What they add to an object (a bound volume, a revision, a finalizer) belongs to the
 * site it runs at and is not drift.
 */
const systemManagers: ReadonlySet<string> = new Set([
  "kube-apiserver",
  "kube-controller-manager",
  "kube-scheduler",
  "kubelet",
  "cloud-controller-manager",
  "Go-http-client",
]);

/** Entries of managers that are neither `manager` nor part of Kubernetes. */
export function foreignEntries(object: KubeObject, manager: string): ManagedFieldsEntry[] {
  return (object.metadata.managedFields ?? []).filter(
    (entry) => entry.manager !== manager && (entry.subresource ?? "") === "" && !systemManagers.has(entry.manager),
  );
}

/** Union of two trees. */
export function unionFields(left: FieldTree, right: FieldTree): FieldTree {
  const result: Record<string, unknown> = { ...left };
  for (const [step, below] of Object.entries(right)) {
    const mine = result[step];
    result[step] = isTree(mine) && isTree(below) ? unionFields(mine, below) : (mine ?? below);
  }
  return result;
}

export interface ResolvedFields {
  /** Paths of the tree that exist in the object: somebody else owns a value that is in it. */
  readonly present: string[];
  /** Paths that the object does not have: somebody else added them. */
  readonly extra: string[];
}

/** Which leaves of `tree` exist in `object`. Paths are written `spec.replicas`, `spec.containers[name=web].image`. */
export function resolveFields(tree: FieldTree, object: unknown): ResolvedFields {
  const result: ResolvedFields = { present: [], extra: [] };
  visit(tree, object, "", result);
  return result;
}

function visit(tree: FieldTree, value: unknown, path: string, result: ResolvedFields): void {
  const steps = Object.entries(tree).filter(([step]) => step !== ".");
  if (steps.length === 0) {
    (value === undefined ? result.extra : result.present).push(path);
    return;
  }
  for (const [step, below] of steps) {
    const next = stepInto(step, value, path);
    visit(isTree(below) ? below : {}, next.value, next.path, result);
  }
}

function stepInto(step: string, value: unknown, path: string): { value: unknown; path: string } {
  const text = step.slice(2);
  if (step.startsWith("f:")) {
    const field = isTree(value) ? value[text] : undefined;
    return { value: field, path: path === "" ? text : `${path}.${text}` };
  }
  const list: readonly unknown[] = Array.isArray(value) ? value : [];
  if (step.startsWith("k:")) {
    const wanted = Object.entries(JSON.parse(text) as Record<string, unknown>);
    const found = list.find((item) => isTree(item) && wanted.every(([name, key]) => keyMatches(item[name], key)));
    return { value: found, path: `${path}[${wanted.map(([name, key]) => `${name}=${String(key)}`).join(",")}]` };
  }
  if (step.startsWith("v:")) {
    const wanted = JSON.parse(text) as unknown;
    return { value: list.includes(wanted) ? wanted : undefined, path: `${path}[=${String(wanted)}]` };
  }
  return { value: list[Number(text)], path: `${path}[${text}]` };
}

/** A list key that the object leaves out has its schema's default: TCP is the only one among the built-in kinds. */
function keyMatches(actual: unknown, wanted: unknown): boolean {
  return actual === wanted || (actual === undefined && wanted === "TCP");
}

function isTree(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/**
 * The entries after `manager` has taken over everything that it wrote with other verbs and everything of the
 * `absorbed` managers, as one `Apply` entry: its next apply then removes what it no longer names. Entries of
 * everybody else and of subresources stay. `undefined` when there is nothing to change.
 */
export function settleOwners(
  object: KubeObject,
  manager: string,
  absorbed: readonly ManagedFieldsEntry[],
): ManagedFieldsEntry[] | undefined {
  const own = entriesOf(object, manager);
  const merged = [...own, ...absorbed];
  if (merged.length === 0 || (merged.length === 1 && own[0]?.operation === "Apply")) return undefined;
  const rest = (object.metadata.managedFields ?? []).filter((entry) => !merged.includes(entry));
  let fields: FieldTree = {};
  for (const entry of merged) fields = unionFields(fields, entry.fieldsV1 ?? {});
  const apply: ManagedFieldsEntry = {
    manager,
    operation: "Apply",
    apiVersion: object.apiVersion,
    fieldsType: "FieldsV1",
    fieldsV1: fields,
  };
  return [apply, ...rest];
}
