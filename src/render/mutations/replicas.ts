import { isJson } from "../pointer.ts";
import type { Action } from "./action.ts";

export const replicas: Action = {
  apply(object, mutation) {
    const { spec } = object;
    if (!isJson(spec)) return `${object.kind} has no spec.replicas`;
    if (mutation.replicas !== undefined) spec["replicas"] = mutation.replicas;
    return undefined;
  },
};
