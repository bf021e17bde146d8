import type { Mutation } from "../../config/group.ts";
import { objectMatches } from "../../config/match.ts";
import type { KubeObject } from "../../objects/object.ts";
import type { Scope } from "../kinds/rule.ts";
import type { Role } from "../types.ts";
import { labelRefusal, namespaceLabelRefusal } from "./label-index.ts";
import { rewriteLabels } from "./label-changes.ts";
import { actionOf } from "./table.ts";

/** The mutations that this object gets at this site in either role, in the order of the spec. */
export function mutationsFor(scope: Scope): Mutation[] {
  const { spec, site } = scope.context;
  return (spec.mutations ?? []).filter(
    (mutation) =>
      (mutation.site === undefined || mutation.site === site) &&
      objectMatches(mutation.match, scope.source, canonicalNamespace(scope)),
  );
}

/** Makes those of the mutations that are meant for `role`, in place. A mutation that is refused leaves a finding. */
export function mutate(object: KubeObject, mutations: readonly Mutation[], role: Role, scope: Scope): void {
  for (const mutation of mutations) {
    if (mutation.when !== "always" && mutation.when !== role) continue;
    const refusal = actionOf(mutation)?.apply(object, mutation, { labelRefusal: refusalOf(mutation, scope) });
    if (refusal === undefined) continue;
    const number = (scope.context.spec.mutations ?? []).indexOf(mutation);
    scope.find("MutationRefused", `spec.mutations[${number}] is not made: ${refusal}`);
  }
}

function refusalOf(mutation: Mutation, scope: Scope): string | undefined {
  const index = scope.facts.labels;
  const change = mutation.labels;
  if (index === undefined || change === undefined) return undefined;
  const { source } = scope;
  if (source.kind === "Namespace") {
    const before = source.metadata.labels ?? {};
    return namespaceLabelRefusal(index, before, rewriteLabels(before, change).labels);
  }
  if (!change.templates && source.kind !== "Pod") return undefined;
  return labelRefusal(index, mutation, source.metadata.namespace ?? "", canonicalNamespace(scope));
}

/** The namespace that a match is about: for a Namespace, itself. */
function canonicalNamespace(scope: Scope): string {
  const { metadata, kind } = scope.source;
  return scope.mapping.canonical(metadata.namespace ?? (kind === "Namespace" ? metadata.name : ""));
}
