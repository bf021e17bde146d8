import type { Mutation } from "../../config/group.ts";
import type { Action } from "./action.ts";
import { annotations } from "./annotations.ts";
import { jsonPatch } from "./json-patch.ts";
import { labels } from "./labels.ts";
import { replicas } from "./replicas.ts";

/** The action of each field of a mutation. A mutation has exactly one of these fields. */
const actions = { labels, annotations, replicas, jsonPatch } as const satisfies Partial<Record<keyof Mutation, Action>>;

export const actionFields = Object.keys(actions) as readonly (keyof typeof actions)[];

export function actionOf(mutation: Mutation): Action | undefined {
  const field = actionFields.find((name) => mutation[name] !== undefined);
  return field === undefined ? undefined : actions[field];
}
