import { globMatches, globSource, kindMatches } from "../config/match.ts";
import type { LabelSelector, ObjectMatch } from "../config/fields.ts";
import type { GroupSpec } from "../config/group.ts";
import { compileSelection } from "../capture/selection.ts";
import { marks } from "../objects/object.ts";

/**
 * What a group selects, as expressions in CEL over one admission request. They answer for what a request *starts*: a
 * workload, its scale, a pod, a pod's binding. Pure.
 *
 * Variables that they read: `sub` (the subresource, or an empty text), `kind` (`apps/Deployment`, `Pod`; of a scale,
 * the kind that is scaled), `name`, `labels` and `owner` (`ReplicaSet/web-5d8f`, empty without a controller).
 */

/** Plurals of the workloads whose scale is asked for, as the kind that a spec names. */
export const scaledKinds: Readonly<Record<string, string>> = {
  deployments: "apps/Deployment",
  statefulsets: "apps/StatefulSet",
  replicasets: "apps/ReplicaSet",
  replicationcontrollers: "ReplicationController",
};

/** How controllers name what they make of a workload: kind and name of the owner that a pod shows. */
const ownerForms: readonly {
  readonly of: readonly [string, string];
  readonly kind: string;
  readonly suffix: string;
}[] = [
  { of: ["apps", "Deployment"], kind: "ReplicaSet", suffix: "-[a-z0-9]+" },
  { of: ["apps", "Deployment"], kind: "Deployment", suffix: "" },
  { of: ["apps", "ReplicaSet"], kind: "ReplicaSet", suffix: "" },
  { of: ["apps", "StatefulSet"], kind: "StatefulSet", suffix: "" },
  { of: ["apps", "DaemonSet"], kind: "DaemonSet", suffix: "" },
  { of: ["", "ReplicationController"], kind: "ReplicationController", suffix: "" },
  { of: ["batch", "Job"], kind: "Job", suffix: "" },
  { of: ["batch", "CronJob"], kind: "CronJob", suffix: "" },
  { of: ["batch", "CronJob"], kind: "Job", suffix: "-[0-9]+" },
];

/**
 * Whether the group's gate applies to the request. A binding shows nothing of its pod, so it is asked only about
 * groups that take all of a namespace.
 * @param namespaces as they are named on the first site, by their name at this site
 */
export function gatedExpression(
  group: string,
  spec: GroupSpec,
  site: string,
  namespaces: ReadonlyMap<string, string>,
): string {
  const { whole } = compileSelection(spec, site);
  const { exclude = [], objects } = spec.select;
  const spared = exclude.map((match) => excludedExpression(match, namespaces));
  const isSpared = spared.length === 0 ? "false" : spared.map((one) => `(${one})`).join(" || ");
  const isCopy = isOneOf(marks.group, [group]);
  const isTaken = whole ? "true" : `variables.sub == '' && (${isCopy} || (${selectorExpression(objects?.selector)}))`;
  // A pod's binding and, where labels decide, a scale do not show enough to spare what is excluded.
  const isBinding = "variables.sub == 'binding'";
  const binding = whole && exclude.length === 0 ? "true" : "false";
  return `${isBinding} ? ${binding} : (${isTaken}) && !(${isSpared})`;
}

/**
 * Whether the request is about what runs at one site only, in a group that runs at both, as `isSingle` of render says:
 * marked itself, in a namespace that is, or with a claim. What a controller makes does as its owner was allowed to. A
 * scale and a pod's binding show their namespace alone.
 */
export function singleExpression(): string {
  const says = (value: string, of: string): string =>
    ["labels", "annotations"]
      .map((map) => `${of}.metadata.${map}`)
      .map(
        (map) =>
          `(has(${map}) && ${text(marks.singleton)} in ${map} && ${map}[${text(marks.singleton)}] == '${value}')`,
      )
      .join(" || ");
  const own = `(${says("true", "object")}) || (variables.owner == '' && !(${says("false", "object")}) && (${mountsClaim}))`;
  const ofNamespace = says("true", "namespaceObject");
  return `(variables.sub == '' && (${own})) || (has(request.namespace) && request.namespace != '' && (${ofNamespace}))`;
}

const claimIn = (spec: string): string => `${spec}.volumes.exists(one, has(one.persistentVolumeClaim))`;

const mountsClaim = [
  `request.kind.kind == 'Pod' ? has(object.spec.volumes) && ${claimIn("object.spec")}`,
  `request.kind.kind == 'StatefulSet' && has(object.spec.volumeClaimTemplates) && object.spec.volumeClaimTemplates.size() > 0 ? true`,
  `request.kind.kind == 'CronJob' ? has(object.spec.jobTemplate.spec.template.spec.volumes) && ${claimIn("object.spec.jobTemplate.spec.template.spec")}`,
  `has(object.spec.template) && has(object.spec.template.spec.volumes) && ${claimIn("object.spec.template.spec")}`,
].join(" : ");

function excludedExpression(match: ObjectMatch, namespaces: ReadonlyMap<string, string>): string {
  const parts = [aboutKindAndName(match)];
  if (match.namespaces !== undefined) {
    const here = [...namespaces].filter(([, first]) => match.namespaces?.some((glob) => globMatches(glob, first)));
    parts.push(here.length === 0 ? "false" : `request.namespace in [${here.map(([name]) => text(name)).join(", ")}]`);
  }
  // The scale of an object does not show its labels: it is spared rather than kept from its own autoscaler.
  if (match.selector !== undefined) {
    parts.push(`(variables.sub == 'scale' || (${selectorExpression(match.selector)}))`);
  }
  return parts.join(" && ");
}

function aboutKindAndName({ kinds, names }: ObjectMatch): string {
  const nameIs = (variable: string, prefix: string, suffix: string): string =>
    names === undefined
      ? `${variable}.startsWith(${text(prefix)})`
      : `${variable}.matches(${text(`^${prefix}(${names.map((name) => globSource(name)).join("|")})${suffix}$`)})`;
  const own = [
    kinds === undefined || kinds.includes("*") ? undefined : `variables.kind.matches(${text(kindsSource(kinds))})`,
    names === undefined ? undefined : nameIs("variables.name", "", ""),
  ].filter((part) => part !== undefined);
  const owners = ownerForms
    .filter(({ of: [group, kind] }) => kinds === undefined || kinds.some((one) => kindMatches(one, group, kind)))
    .map(({ kind, suffix }) => nameIs("variables.owner", `${kind}/`, suffix));
  return `(${[own.length === 0 ? "true" : own.join(" && "), ...owners].map((one) => `(${one})`).join(" || ")})`;
}

function kindsSource(kinds: readonly string[]): string {
  // A pattern without a slash names core kinds alone, whose names have none.
  const source = (kind: string): string => (kind.includes("/") ? globSource(kind) : globSource(kind, "[^/]*"));
  return `^(${kinds.map(source).join("|")})$`;
}

/** A label selector over `variables.labels`; an absent one is satisfied by all. */
export function selectorExpression(selector: LabelSelector | undefined): string {
  const parts = Object.entries(selector?.matchLabels ?? {}).map(([key, value]) => isOneOf(key, [value]));
  for (const { key, operator, values = [] } of selector?.matchExpressions ?? []) {
    const has = `${text(key)} in variables.labels`;
    if (operator === "Exists") parts.push(has);
    else if (operator === "DoesNotExist") parts.push(`!(${has})`);
    else parts.push(operator === "In" ? isOneOf(key, values) : `!(${isOneOf(key, values)})`);
  }
  return parts.length === 0 ? "true" : parts.join(" && ");
}

function isOneOf(key: string, values: readonly string[]): string {
  return `(${text(key)} in variables.labels && variables.labels[${text(key)}] in [${values.map(text).join(", ")}])`;
}

/** A text as CEL writes it. */
export function text(value: string): string {
  return `'${value.replace(/[\\']/g, "\\$&").replaceAll("\n", "\\n")}'`;
}
