import { marks, type KubeObject } from "../objects/object.ts";

/**
 * In mode ActiveActive everything runs at both sites but what people have marked as single: an object by the label or
 * annotation `lifeboat.dev/singleton: "true"`, everything in a namespace by the same on the Namespace.
 */
export function isMarkedSingle({ metadata }: KubeObject): boolean {
  return metadata.labels?.[marks.singleton] === "true" || metadata.annotations?.[marks.singleton] === "true";
}
