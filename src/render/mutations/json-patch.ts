import { applyPatch, type Operation } from "rfc6902";
import { cloneJson } from "../../objects/json.ts";
import type { Action } from "./action.ts";

/** Fields that say which object this is; a patch that changed them would make another one. */
const identity = /^\/(apiVersion|kind|metadata(\/(name|namespace))?)$/;

export const jsonPatch: Action = {
  apply(object, mutation) {
    const patch = (mutation.jsonPatch ?? []) as unknown as Operation[];
    const forbidden = patch.find((operation) => operation.op !== "test" && identity.test(operation.path));
    if (forbidden !== undefined) return `${forbidden.path} says which object it is and cannot be patched`;
    // On a copy, since a patch whose third operation fails has made two.
    const copy = cloneJson(object);
    const failed = applyPatch(copy, cloneJson(patch)).findIndex((error) => error !== null);
    if (failed >= 0) return `operation ${failed + 1} of the patch, ${describe(patch[failed])}, does not fit the object`;
    Object.assign(object, copy);
    for (const name of Object.keys(object)) {
      if (!Object.hasOwn(copy, name)) delete object[name];
    }
    return undefined;
  },
};

function describe(operation: Operation | undefined): string {
  return operation === undefined ? "" : `${operation.op} ${operation.path}`;
}
