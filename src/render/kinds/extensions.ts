import { formatKey, keyOf, type ObjectKey } from "../../objects/key.ts";
import type { KubeObject } from "../../objects/object.ts";
import type { Json } from "../pointer.ts";
import { siteHasItsOwn, specOf, type KindRule, type Scope, type Withheld } from "./rule.ts";
import { jsonAt, listAt, textAt } from "../pointer.ts";

/** What extends the API server: definitions of kinds, webhooks, aggregated APIs. */

/** Annotations by which a controller of the site puts its own authority into `caBundle`. */
const injectors = [
  "cert-manager.io/inject-ca-from",
  "cert-manager.io/inject-ca-from-secret",
  "cert-manager.io/inject-apiserver-ca",
  "service.beta.openshift.io/inject-cabundle",
  "service.alpha.openshift.io/inject-cabundle",
];

function dropInjectedBundle(object: KubeObject, node: Json | undefined): void {
  const annotations = object.metadata.annotations ?? {};
  if (node !== undefined && injectors.some((name) => annotations[name] !== undefined)) delete node["caBundle"];
}

/** Key at the target of the group's Service that a `{name, namespace}` names; `undefined` for any other. */
function ownService(reference: Json | undefined, scope: Scope): ObjectKey | undefined {
  if (reference === undefined) return undefined;
  const namespace = textAt(reference, "namespace");
  if (!scope.siteNamespaces.has(namespace)) return undefined;
  return formatKey({ group: "", kind: "Service", namespace, name: textAt(reference, "name") });
}

function isReady(service: ObjectKey, scope: Scope): boolean {
  scope.waitFor(service);
  return scope.facts.readyServices?.has(service) ?? false;
}

/** Admission webhooks in either role wait for their Service: without endpoints they would refuse every write. */
export const webhooks: KindRule = {
  prepare(object, scope) {
    for (const webhook of listAt(object, "webhooks")) {
      const client = jsonAt(webhook, "clientConfig");
      dropInjectedBundle(object, client);
      const service = ownService(jsonAt(client, "service"), scope);
      if (service !== undefined && !isReady(service, scope)) return notReady(service);
    }
    return undefined;
  },
};

function notReady(service: ObjectKey): Withheld {
  return { reason: "ServiceNotReady", message: `waits for endpoints of ${service}` };
}

export const apiService: KindRule = {
  prepare(object, scope) {
    const spec = specOf(object);
    const reference = jsonAt(spec, "service");
    if (reference === undefined) return siteHasItsOwn("served by the API server itself");
    dropInjectedBundle(object, spec);
    const service = ownService(reference, scope);
    return service === undefined || isReady(service, scope) ? undefined : notReady(service);
  },
};

export const customResourceDefinition: KindRule = {
  prepare(object, scope) {
    const lost = lostVersions(object, scope);
    if (lost.length > 0) {
      scope.find(
        "StoredVersionLost",
        `the site has objects stored as ${lost.join(", ")}, which the new definition lacks`,
      );
      return { reason: "Refused", message: `would drop the stored version ${lost.join(", ")}` };
    }
    const client = jsonAt(specOf(object), "conversion", "webhook", "clientConfig");
    dropInjectedBundle(object, client);
    const service = ownService(jsonAt(client, "service"), scope);
    if (service !== undefined && !isReady(service, scope)) {
      scope.find("ConversionNeedsService", `versions are converted by ${service}, which has no endpoints here yet`);
    }
    return undefined;
  },
};

function lostVersions(object: KubeObject, scope: Scope): string[] {
  const kept = new Set(listAt(specOf(object), "versions").map((version) => version["name"]));
  return (scope.facts.storedVersions?.get(keyOf(object)) ?? []).filter((version) => !kept.has(version));
}
