import type { Action } from "./action.ts";

export const annotations: Action = {
  apply(object, mutation) {
    const { set = {}, remove = [] } = mutation.annotations ?? {};
    const map = { ...object.metadata.annotations, ...set };
    for (const name of remove) delete map[name];
    object.metadata.annotations = map;
    return undefined;
  },
};
