import type { KubeObject } from "../../objects/object.ts";
import { dropAnnotations, type KindRule } from "./rule.ts";

/** Ways in. Host names and classes are mapped with all other values; what is left is who publishes them in DNS. */

/** external-dns publishes an object's addresses under the names in its annotations and its own host names. */
const dnsPrefix = "external-dns.alpha.kubernetes.io/";
const dnsController = "external-dns.alpha.kubernetes.io/controller";
/** external-dns leaves alone what names another controller than its own. */
const nobody = "lifeboat-standby";

/** Ingress, Gateway and routes: only the active site publishes them. */
export const published: KindRule = {
  hold(object) {
    dropAnnotations(object, dnsAnnotations(object));
    object.metadata.annotations = { ...object.metadata.annotations, [dnsController]: nobody };
    return undefined;
  },
};

/** A Service is published only where an annotation asks for it. */
export function holdPublication(object: KubeObject): void {
  dropAnnotations(object, dnsAnnotations(object));
}

function dnsAnnotations(object: KubeObject): string[] {
  return Object.keys(object.metadata.annotations ?? {}).filter((name) => name.startsWith(dnsPrefix));
}
