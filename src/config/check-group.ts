import { parseKey, type ObjectKey } from "../objects/key.ts";
import type { GroupSpec, Mappings, Mutation } from "./group.ts";
import { nearest } from "./issues.ts";
import { firstSite, nameMatches, namespaceAt } from "./match.ts";

/**
 * What a schema cannot say about a spec. Each check returns sentences that begin with the path of the field; the CRD
 * has CEL rules for those that the API server can check itself.
 */

export interface Problems {
  /** The spec is refused. */
  readonly errors: string[];
  /** The spec is accepted, but probably not what was meant. */
  readonly warnings: string[];
}

export function checkSpec(spec: GroupSpec): Problems {
  const problems: Problems = { errors: [], warnings: [] };
  checkSites(spec, problems);
  checkSelection(spec, problems);
  for (const [index, mutation] of (spec.mutations ?? []).entries()) checkMutation(mutation, index, spec, problems);
  checkMappings(spec, problems);
  checkFailover(spec, problems);
  if (spec.suspend) {
    problems.warnings.push("spec.suspend: nothing is applied at the standby until it is false; its journal goes on");
  }
  return problems;
}

const siteNames = (spec: GroupSpec) => spec.sites.map((site) => site.name);

function checkSites(spec: GroupSpec, { errors }: Problems): void {
  const [first, second] = siteNames(spec);
  if (first === second) errors.push(`spec.sites: the two sites must differ, both are ${first}`);
}

function checkSelection(spec: GroupSpec, { errors }: Problems): void {
  const { names = [], selector } = spec.select.namespaces;
  const requirements = Object.keys(selector?.matchLabels ?? {}).length + (selector?.matchExpressions ?? []).length;
  if (selector !== undefined && requirements === 0) {
    errors.push("spec.select.namespaces.selector: an empty selector would select every namespace; name a label");
  } else if (names.length === 0 && requirements === 0) {
    errors.push("spec.select.namespaces: selects nothing: give names, or a selector that is not empty");
  }
}

function checkMutation(mutation: Mutation, index: number, spec: GroupSpec, problems: Problems): void {
  const path = `spec.mutations[${index}]`;
  const { errors, warnings } = problems;
  if (mutation.site !== undefined && !siteNames(spec).includes(mutation.site)) {
    errors.push(`${path}.site: ${unknownSite(mutation.site, spec)}`);
  }
  const actions = (["labels", "annotations", "replicas", "jsonPatch"] as const).filter(
    (field) => mutation[field] !== undefined,
  );
  if (actions.length !== 1) {
    const found = actions.length === 0 ? "none" : actions.join(" and ");
    errors.push(`${path}: needs exactly one of labels, annotations, replicas, jsonPatch; it has ${found}`);
  }
  checkLabels(mutation, `${path}.labels`, problems);
  checkPatch(mutation, `${path}.jsonPatch`, problems);
  if (mutation.replicas !== undefined && mutation.when === "standby") {
    warnings.push(`${path}.replicas: has no effect with when: standby; a standby runs nothing`);
  }
  if (Object.keys(mutation.match).length === 0) {
    warnings.push(`${path}.match: is empty and matches every object of the group`);
  }
}

function unknownSite(name: string, spec: GroupSpec): string {
  const near = nearest(name, siteNames(spec));
  return `${name} is not one of spec.sites (${siteNames(spec).join(", ")})${near === undefined ? "" : `; did you mean ${near}?`}`;
}

/** Labels and annotations that say whose a copy is. */
const reserved = /^lifeboat\.dev\//;

function checkLabels(mutation: Mutation, path: string, { errors }: Problems): void {
  const { set = {}, remove = [], rename = {} } = mutation.labels ?? {};
  const targets = Object.values(rename);
  const touched = [...Object.keys(set), ...remove, ...Object.keys(rename), ...targets];
  const repeated = touched.find((name, position) => touched.indexOf(name) !== position);
  if (repeated !== undefined) errors.push(`${path}: ${repeated} is named twice; what is meant is not clear`);
  const annotations = [...Object.keys(mutation.annotations?.set ?? {}), ...(mutation.annotations?.remove ?? [])];
  const own = [...touched, ...annotations].find((name) => reserved.test(name) && name !== "lifeboat.dev/wave");
  if (own !== undefined) errors.push(`${path.replace(/\.labels$/, "")}: ${own} belongs to Lifeboat`);
}

/** A position in a list, or the place after its end. */
const position = /\/(\d+|-)$/;

function checkPatch(mutation: Mutation, path: string, { errors }: Problems): void {
  for (const [index, operation] of (mutation.jsonPatch ?? []).entries()) {
    const at = `${path}[${index}]`;
    if (["move", "copy"].includes(operation.op) && operation.from === undefined) {
      errors.push(`${at}.from: is required for ${operation.op}`);
    }
    if (["add", "replace", "test"].includes(operation.op) && operation.value === undefined) {
      errors.push(`${at}.value: is required for ${operation.op}`);
    }
    if (
      operation.op !== "test" &&
      /^\/(apiVersion|kind|status(\/.*)?|metadata(\/(name|namespace))?)$/.test(operation.path)
    ) {
      errors.push(`${at}.path: ${operation.path} cannot be patched`);
    }
    if (mutation.when === "standby" || mutation.irreversible || !changesList(operation)) continue;
    errors.push(
      `${at}: ${operation.op} ${operation.path} changes which entries a list has, which cannot be undone from the ` +
        "other site; replace the whole list or a field of an entry, or accept it with irreversible: true",
    );
  }
}

/** Whether entries of a list move: then the way back cannot find the ones that were meant. */
function changesList(operation: NonNullable<Mutation["jsonPatch"]>[number]): boolean {
  if (operation.op === "replace" || operation.op === "test") return false;
  return position.test(operation.path) || (operation.op === "move" && position.test(operation.from ?? ""));
}

const mappingFields = [
  "namespaces",
  "storageClasses",
  "registries",
  "ingressClasses",
  "hosts",
  "cidrs",
  "loadBalancerIPs",
] as const satisfies readonly (keyof Mappings)[];

function checkMappings(spec: GroupSpec, problems: Problems): void {
  for (const field of mappingFields) {
    const path = `spec.mappings.${field}`;
    const entries = spec.mappings?.[field] ?? [];
    for (const [index, entry] of entries.entries()) checkEntry(entry, `${path}[${index}]`, spec, problems);
    for (const site of siteNames(spec)) checkUnique(entries, site, path, problems);
  }
  checkMappedNames(spec, problems);
}

function checkEntry(
  entry: Readonly<Record<string, string>>,
  path: string,
  spec: GroupSpec,
  { errors }: Problems,
): void {
  for (const site of Object.keys(entry)) {
    if (!siteNames(spec).includes(site)) errors.push(`${path}: ${unknownSite(site, spec)}`);
  }
  for (const site of siteNames(spec)) {
    if (entry[site] === undefined) errors.push(`${path}: gives no value for ${site}`);
  }
}

function checkUnique(
  entries: readonly Readonly<Record<string, string>>[],
  site: string,
  path: string,
  { errors }: Problems,
): void {
  const seen = new Map<string, number>();
  for (const [index, entry] of entries.entries()) {
    const value = entry[site];
    if (value === undefined) continue;
    const other = seen.get(value);
    if (other !== undefined) {
      errors.push(`${path}[${index}]: collides with ${path}[${other}]: both are ${value} at ${site}`);
    }
    seen.set(value, index);
  }
}

/** A namespace that keeps its name must not be the one to which another is mapped. */
function checkMappedNames(spec: GroupSpec, { errors }: Problems): void {
  const [first = "", second = ""] = siteNames(spec);
  const entries = spec.mappings?.namespaces ?? [];
  for (const name of spec.select.namespaces.names ?? []) {
    if (entries.some((entry) => entry[first] === name)) continue;
    const index = entries.findIndex((entry) => entry[second] === name);
    if (index >= 0) {
      const from = entries[index]?.[first];
      errors.push(
        `spec.mappings.namespaces[${index}]: collides at ${second}: ${from} and ${name} would both be ${name}`,
      );
    }
  }
}

function checkFailover(spec: GroupSpec, { errors, warnings }: Problems): void {
  if (spec.mode === "ActiveActive") {
    if (spec.standby === "PilotLight") errors.push("spec.standby: PilotLight has no standby to keep in ActiveActive");
    if (spec.failover.automatic && spec.failover.fencing.policy !== "Unproven") {
      warnings.push(
        "spec.failover.fencing.policy: node guards stop whole namespaces, and in mode ActiveActive only what is single " +
          "must stop; without Unproven the witness does not take that over by itself, and a person decides",
      );
    }
  }
  if (spec.failover.fencing.policy === "Storage") {
    warnings.push(
      "spec.failover.fencing.policy: Storage is not there yet; it is treated as Guard: the witness moves the group by " +
        "itself only while every node has a node guard",
    );
  }
  if (spec.failover.surge !== undefined && spec.mode !== "ActiveActive") {
    warnings.push("spec.failover.surge: has an effect in mode ActiveActive only");
  }
  if (spec.failover.profile === "test") {
    warnings.push("spec.failover.profile: test is for tests; a busy site would lose its lease");
  }
}

/**
 * Mutations that match none of the objects, as warnings. The labels are not known here, so a mutation with a selector
 * is judged by the rest of its match.
 * @param keys keys of the group's objects at `site`
 */
export function unmatchedMutations(spec: GroupSpec, keys: Iterable<ObjectKey>, site: string): string[] {
  const unmatched = new Map((spec.mutations ?? []).map((mutation, index) => [index, mutation.match]));
  for (const key of keys) {
    if (unmatched.size === 0) break;
    const object = parseKey(key);
    const own = object.kind === "Namespace" && object.group === "" ? object.name : object.namespace;
    const namespace = namespaceAt(spec, own, site, firstSite(spec));
    for (const [index, match] of unmatched) {
      if (nameMatches(match, object, namespace)) unmatched.delete(index);
    }
  }
  return [...unmatched.keys()].map((index) => `spec.mutations[${index}]: matches no object of the group`);
}
