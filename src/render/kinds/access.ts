import { keyOf } from "../../objects/key.ts";
import type { KubeObject } from "../../objects/object.ts";
import { isJson, type Json, listAt, textAt } from "../pointer.ts";
import { mapAccountName } from "../rewrite.ts";
import { siteHasItsOwn, type KindRule, type Scope, type Withheld } from "./rule.ts";

/** ServiceAccounts and RBAC. */

/** Names of Secrets that a control plane makes for an account: tokens, and OpenShift's registry credentials. */
const generatedSecret = /-(token|dockercfg)-[a-z0-9]{5}$/;

export const serviceAccount: KindRule = {
  prepare(object) {
    for (const field of ["secrets", "imagePullSecrets"]) {
      const kept = listAt(object, field).filter((entry) => !generatedSecret.test(textAt(entry, "name")));
      if (kept.length === 0) delete object[field];
      else object[field] = kept;
    }
    return object.metadata.name === "default" && !isCustomised(object)
      ? siteHasItsOwn("every namespace has a default account")
      : undefined;
  },
};

function isCustomised(object: KubeObject): boolean {
  const { labels, annotations } = object.metadata;
  const fields = ["secrets", "imagePullSecrets", "automountServiceAccountToken"];
  return (
    fields.some((field) => object[field] !== undefined) ||
    Object.keys(labels ?? {}).length > 0 ||
    Object.keys(annotations ?? {}).length > 0
  );
}

const bootstrapLabel = "kubernetes.io/bootstrapping";

/** Roles and bindings that every API server makes for itself. */
function bootstrapped(object: KubeObject): Withheld | undefined {
  return object.metadata.labels?.[bootstrapLabel] === undefined
    ? undefined
    : siteHasItsOwn("every API server has the bootstrap roles");
}

export const role: KindRule = {
  prepare(object, scope) {
    // Rules of an aggregated role are put together by the site's own controller.
    if (isJson(object["aggregationRule"])) delete object["rules"];
    for (const rule of listAt(object, "rules")) mapNamespaceNames(rule, scope);
    return bootstrapped(object);
  },
};

function mapNamespaceNames(rule: Json, scope: Scope): void {
  const { resources, resourceNames } = rule;
  if (!Array.isArray(resources) || !Array.isArray(resourceNames) || !resources.includes("namespaces")) return;
  rule["resourceNames"] = resourceNames.map((name: unknown) => scope.mapping.namespace(String(name)));
}

export const roleBinding: KindRule = {
  prepare(object, scope) {
    for (const subject of listAt(object, "subjects")) mapSubject(subject, scope);
    return bootstrapped(object);
  },
};

/** ServiceAccounts are mapped with all other references; these name them in text. */
function mapSubject(subject: Json, scope: Scope): void {
  if (subject["kind"] !== "ServiceAccount") {
    subject["name"] = mapAccountName(textAt(subject, "name"), scope.mapping);
  }
}

/**
 * Only the subjects in the group's namespaces are the group's. Others that the binding has at the site belong to other
 * groups or to nobody, and stay.
 */
export const clusterRoleBinding: KindRule = {
  prepare(object, scope) {
    const generated = bootstrapped(object);
    if (generated !== undefined) return generated;
    for (const subject of listAt(object, "subjects")) mapSubject(subject, scope);
    const subjects = listAt(object, "subjects").filter((subject) => scope.siteNamespaces.has(namespaceOf(subject)));
    if (subjects.length === 0) return siteHasItsOwn("binds nobody in the group");
    object["subjects"] = [...foreignSubjects(object, scope), ...subjects];
    return undefined;
  },
};

function namespaceOf(subject: Json): string {
  if (subject["kind"] === "ServiceAccount") return textAt(subject, "namespace");
  const [, namespace] = /^system:serviceaccounts?:([^:]+)/.exec(textAt(subject, "name")) ?? [];
  return namespace ?? "";
}

function foreignSubjects(object: KubeObject, scope: Scope): Json[] {
  const present = scope.facts.subjects?.get(keyOf(object)) ?? [];
  return present
    .filter((subject) => !scope.siteNamespaces.has(namespaceOf(subject)))
    .map((subject) => ({ ...subject }));
}
