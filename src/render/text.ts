import type { KubeObject } from "../objects/object.ts";
import type { Scope } from "./kinds/rule.ts";
import { isJson } from "./pointer.ts";

/**
 * Names of mapped namespaces in text that only the application reads: `db.shop.svc`. They are listed, never
 * rewritten, since nobody but the application knows what they mean.
 */
export function findNamedNamespaces(object: KubeObject, scope: Scope): void {
  if (scope.mapping.namespaces.size === 0 || object.kind === "Secret") return;
  for (const [from, to] of scope.mapping.namespaces) {
    const pattern = new RegExp(`[a-z0-9]\\.${from}(\\.svc)?(?![-a-z0-9])`);
    const places: string[] = [];
    search(textsOf(object), "", pattern, places);
    if (places.length === 0) continue;
    const shown = places.slice(0, placesMaxCount).join(", ");
    scope.find("NamespaceNamed", `names the namespace ${from}, which is ${to} here, in ${shown}`);
  }
}

/** More places of one object than this help nobody. */
const placesMaxCount = 5;

function textsOf(object: KubeObject): unknown {
  return object.kind === "ConfigMap" ? { data: object["data"] } : { spec: object["spec"] };
}

/** In a spec only what a container gets to see: environment, commands and arguments. */
const readByContainers = new Set(["env", "args", "command"]);

function search(
  node: unknown,
  path: string,
  pattern: RegExp,
  places: string[],
  inText = path.startsWith("/data"),
): void {
  if (typeof node === "string") {
    if (inText && pattern.test(node)) places.push(path);
  } else if (Array.isArray(node)) {
    for (const [index, item] of node.entries()) search(item, `${path}/${index}`, pattern, places, inText);
  } else if (isJson(node)) {
    for (const [name, item] of Object.entries(node)) {
      search(item, `${path}/${name}`, pattern, places, inText || name === "data" || readByContainers.has(name));
    }
  }
}
