import type { DivergentObject, Journal } from "../journal/journal.ts";
import { parseJson } from "../objects/json.ts";
import type { ObjectKey } from "../objects/key.ts";
import type { KubeObject } from "../objects/object.ts";

/** An object of this site that the site which took over has otherwise, or not at all. */
export interface KeptObject {
  readonly key: ObjectKey;
  /** `changed`: both have it; `extra`: only this site had it; `unknown`: not compared yet. */
  readonly what: DivergentObject["what"];
  /** As this site had it; the values of a Secret are left out. */
  readonly object?: KubeObject;
}

/** What the journal keeps of a site that ran the group and was overtaken. */
export function keptObjects(journal: Journal): KeptObject[] {
  return journal.divergentKeys().map(({ key, what }) => {
    const text = journal.divergent(key)?.object;
    return text === undefined ? { key, what } : { key, what, object: withoutSecrets(parseJson(text) as KubeObject) };
  });
}

/** The answer passes through a ConfigMap. kubectl keeps a copy of what was applied in an annotation. */
function withoutSecrets(object: KubeObject): KubeObject {
  if (object.kind !== "Secret" || object.apiVersion !== "v1") return object;
  const names = Object.keys(object["data"] ?? {});
  const { annotations: _mayHoldACopy, ...metadata } = object.metadata;
  return { ...object, metadata, data: Object.fromEntries(names.map((name) => [name, "(not shown)"])) };
}
