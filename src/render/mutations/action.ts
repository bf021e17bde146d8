import type { Mutation } from "../../config/group.ts";
import type { KubeObject } from "../../objects/object.ts";

/**
 * A mutation. To add one: declare its field in the schema of the spec, write its action in a file of this folder, and
 * name it in `table.ts`.
 */
export interface Action {
  /** Changes the object in place, or returns why it must not (a sentence for people) and leaves it unchanged. */
  apply(object: KubeObject, mutation: Mutation, situation: Situation): string | undefined;
}

export interface Situation {
  /** Why this mutation must not change labels of this object, as found by looking at the whole group. */
  readonly labelRefusal: string | undefined;
}
