import type { GroupSpec } from "../config/group.ts";
import { firstSite, namespaceAt } from "../config/match.ts";
import { type KubeObject, managerOf } from "../objects/object.ts";
import { nowhere } from "../render/kinds/workloads.ts";
import { gatedExpression, scaledKinds, singleExpression, text } from "./expressions.ts";

/**
 * The objects by which a site's own API server keeps a group from being started where it must not run: one
 * ValidatingAdmissionPolicy, its binding, and the parameter that says whether the gate is open. Pure.
 *
 * Nobody is exempt, Lifeboat included: what starts the group opens the gate first, under the epoch that allows it, and
 * the parameter's kind refuses an epoch that goes back.
 */

/** Label on all three, with the group's name. */
export const gateLabel = "lifeboat.dev/gate";
/** Keeps the parameter's loss from going unnoticed: without it a gate decides nothing. */
export const gateFinalizer = "lifeboat.dev/gate";
export const gateManager = "lifeboat-gate";

export interface GateState {
  /** Whether the group may be started at this site. */
  readonly open: boolean;
  readonly epoch: GateEpoch;
  /** What a person is told whose request is refused. */
  readonly message: string;
}

/** What of an epoch decides which parameter is newer. */
export interface GateEpoch {
  readonly generation: number;
  readonly counter: number;
}

export interface GateSubject {
  readonly group: string;
  readonly spec: GroupSpec;
  readonly site: string;
  /** The group's namespaces, as they are named at this site. */
  readonly namespaces: readonly string[];
}

/** Name of all three objects. */
export function gateName(group: string): string {
  return `lifeboat-gate-${group}`;
}

/**
 * The parameter; `nodes` are those on which pods may be placed, undefined for all. No ConfigMap: API servers (1.30 to
 * 1.36 at least) stop to follow parameters of a built-in kind for good once no binding names one for a second, and
 * then decide by what they last saw (kubernetes/kubernetes#130887).
 */
export function gateParameter(
  group: string,
  { open, epoch, message }: GateState,
  nodes: readonly string[] | undefined,
): KubeObject {
  return {
    apiVersion: "lifeboat.dev/v1alpha1",
    kind: "Gate",
    metadata: { ...metadataOf(group), finalizers: [gateFinalizer] },
    spec: {
      open,
      generation: epoch.generation,
      counter: epoch.counter,
      message,
      anyNode: nodes === undefined,
      nodes: [...(nodes ?? [])].sort(),
    },
  };
}

export function gateBinding({ group, namespaces }: Pick<GateSubject, "group" | "namespaces">): KubeObject {
  return {
    apiVersion: "admissionregistration.k8s.io/v1",
    kind: "ValidatingAdmissionPolicyBinding",
    metadata: metadataOf(group),
    spec: {
      policyName: gateName(group),
      paramRef: { name: gateName(group), parameterNotFoundAction: "Deny" },
      validationActions: ["Deny"],
      // Said here too, so that a binding that somebody has narrowed is mended.
      matchResources: { namespaceSelector: selectorOf(namespaces) },
    },
  };
}

function selectorOf(namespaces: readonly string[]): unknown {
  // Without a value `In` is refused; no namespace has the empty name.
  const values = namespaces.length === 0 ? [""] : [...namespaces].sort();
  return { matchExpressions: [{ key: "kubernetes.io/metadata.name", operator: "In", values }] };
}

const nowhereLabel = Object.keys(nowhere)[0] ?? "";

/** `old` may be null (a create): then there was nothing. */
const nodeSelectorHas = (which: "object" | "oldObject"): string =>
  `has(${which}.spec.template.spec.nodeSelector) && ${text(nowhereLabel)} in ${which}.spec.template.spec.nodeSelector`;

const suspended = (which: "object" | "oldObject"): string =>
  `(has(${which}.spec.suspend) && ${which}.spec.suspend == true)`;

/** Replicas of a workload are filled in by the API server before this; those of a scale are left out when zero. */
const replicas = (which: "object" | "oldObject"): string =>
  `(has(${which}.spec) && has(${which}.spec.replicas) ? ${which}.spec.replicas : 0)`;

/** Whether the request would start something that did not run before it. */
const starts = [
  "variables.sub == 'binding' || (request.kind.kind == 'Pod' && variables.sub == '') ? true",
  `request.kind.kind == 'DaemonSet' ? !(${nodeSelectorHas("object")}) && (oldObject == null || (${nodeSelectorHas("oldObject")}))`,
  `request.kind.kind == 'Job' || request.kind.kind == 'CronJob' ? !${suspended("object")} && (oldObject == null || ${suspended("oldObject")})`,
  `oldObject == null ? ${replicas("object")} > 0 : ${replicas("object")} > ${replicas("oldObject")}`,
].join(" : ");

/** A dry run starts nothing. Other people's are answered as the real request would be. */
const dryRunOf = (manager: string): string =>
  `has(request.dryRun) && request.dryRun && has(request.options.fieldManager) && request.options.fieldManager == ${text(manager)}`;

const kindOf = [
  `variables.sub == 'scale' ? (request.resource.resource in variables.scaled ? variables.scaled[request.resource.resource] : '')`,
  "request.kind.group == '' ? request.kind.kind",
  "request.kind.group + '/' + request.kind.kind",
].join(" : ");

/** The node that the request places a pod on; an empty text where it places none. */
const nodeOf = [
  `variables.sub == 'binding' ? (has(object.target) && has(object.target.name) ? object.target.name : '')`,
  `request.kind.kind == 'Pod' && variables.sub == '' && has(object.spec.nodeName) ? object.spec.nodeName`,
  "''",
].join(" : ");

const anyNode = "!has(params.spec.anyNode) || params.spec.anyNode";

const controllers = "object.metadata.ownerReferences.filter(one, has(one.controller) && one.controller)";
const ownerOf = `has(object.metadata.ownerReferences) && ${controllers}.size() > 0 ? ${controllers}[0].kind + '/' + ${controllers}[0].name : ''`;

/**
 * For half a minute after its start an API server may not know the parameter's kind, and can decide nothing. A gate that
 * is `firm` refuses everything then, also what stops something; any other one nothing. The policy itself names the
 * namespaces: what cannot be decided is refused before the binding is looked at, and would be in the whole cluster.
 */
export function gatePolicy(
  { group, spec, site, namespaces }: GateSubject,
  { firm }: { readonly firm: boolean },
): KubeObject {
  const first = firstSite(spec);
  const named = new Map(namespaces.map((name) => [name, namespaceAt(spec, name, site, first)]));
  const isBoth = spec.mode === "ActiveActive";
  const selected = gatedExpression(group, spec, site, named);
  const rule = (apiGroups: string[], kinds: string[], operations: string[]): unknown => ({
    apiGroups,
    apiVersions: ["*"],
    resources: kinds,
    operations,
    // A selector of namespaces lets everything pass that is in none.
    scope: "Namespaced",
  });
  return {
    apiVersion: "admissionregistration.k8s.io/v1",
    kind: "ValidatingAdmissionPolicy",
    metadata: metadataOf(group),
    spec: {
      failurePolicy: firm ? "Fail" : "Ignore",
      paramKind: { apiVersion: "lifeboat.dev/v1alpha1", kind: "Gate" },
      matchConstraints: {
        namespaceSelector: selectorOf(namespaces),
        resourceRules: [
          rule(["apps"], ["deployments", "statefulsets", "replicasets", "daemonsets"], ["CREATE", "UPDATE"]),
          rule(["batch"], ["jobs", "cronjobs"], ["CREATE", "UPDATE"]),
          rule([""], ["replicationcontrollers"], ["CREATE", "UPDATE"]),
          rule([""], ["pods", "pods/binding"], ["CREATE"]),
          rule(["*"], ["*/scale"], ["UPDATE"]),
        ],
      },
      // The proof that a standby could start the group (`src/apply/proof.ts`) would else meet nothing but this gate.
      matchConditions: [{ name: "not-a-proof", expression: `!(${dryRunOf(managerOf(group))})` }],
      variables: [
        { name: "open", expression: "params.spec.open" },
        { name: "sub", expression: "has(request.subResource) ? request.subResource : ''" },
        { name: "scaled", expression: celMap(scaledKinds) },
        { name: "kind", expression: kindOf },
        { name: "name", expression: "has(request.name) && request.name != '' ? request.name : object.metadata.name" },
        { name: "labels", expression: "has(object.metadata.labels) ? object.metadata.labels : {}" },
        { name: "owner", expression: ownerOf },
        ...(isBoth ? [{ name: "single", expression: singleExpression() }] : []),
        { name: "gated", expression: isBoth ? `variables.single && (${selected})` : selected },
        { name: "starts", expression: starts },
        { name: "node", expression: nodeOf },
      ],
      validations: [
        {
          expression: "variables.open || !variables.starts || !variables.gated",
          messageExpression: "has(params.spec.message) ? string(params.spec.message) : ''",
          message: `Lifeboat's gate of group ${group} is closed at this site`,
          reason: "Forbidden",
        },
        {
          expression: `${anyNode} || variables.node == '' || variables.node in params.spec.nodes || !variables.gated`,
          messageExpression: `'no working node guard is on node ' + variables.node + ', which pods of group ${group} need here'`,
          message: `pods of group ${group} are placed only on nodes with a working node guard`,
          reason: "Forbidden",
        },
      ],
    },
  };
}

/** Whether an object of the API server says what is wanted, whatever the server and others have added. */
export function isAsWanted(live: KubeObject, wanted: KubeObject): boolean {
  const finalizers = wanted.metadata.finalizers ?? [];
  return (
    live.metadata.deletionTimestamp === undefined &&
    finalizers.every((one) => live.metadata.finalizers?.includes(one) === true) &&
    live.metadata.labels?.[gateLabel] === wanted.metadata.labels?.[gateLabel] &&
    covers(live["spec"], wanted["spec"])
  );
}

/** The API server fills defaults in: what is wanted must be there, and lists must have no more. */
function covers(live: unknown, wanted: unknown): boolean {
  if (wanted === undefined) return true;
  if (Array.isArray(wanted)) {
    return Array.isArray(live) && live.length === wanted.length && wanted.every((one, at) => covers(live[at], one));
  }
  if (typeof wanted !== "object" || wanted === null) return live === wanted;
  if (typeof live !== "object" || live === null) return false;
  return Object.entries(wanted).every(([key, value]) => covers((live as Record<string, unknown>)[key], value));
}

function metadataOf(group: string): KubeObject["metadata"] {
  return { name: gateName(group), labels: { [gateLabel]: group } };
}

function celMap(map: Readonly<Record<string, string>>): string {
  return `{${Object.entries(map)
    .map(([key, value]) => `${text(key)}: ${text(value)}`)
    .join(", ")}}`;
}
