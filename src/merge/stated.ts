import { type Normalised, normalise } from "../capture/normalise.ts";
import type { JournalEntry } from "../journal/journal.ts";
import { apiVersionOf } from "../kube/resource.ts";
import { canonicalJson, parseJson } from "../objects/json.ts";
import { type ObjectKey, parseKey } from "../objects/key.ts";
import { type KubeObject, marks } from "../objects/object.ts";
import { hashOf } from "../objects/record.ts";
import type { Entry } from "./replica.ts";
import { decodeVersion, encodeVersion } from "./version.ts";

/**
 * How versions travel: in an annotation of the object's record. A deleted object is a record too, of nothing but its
 * name and its version, so that its deletion is compared and resumed like everything else.
 */

/** Text of the annotation. */
export function versionText({ version, content }: Entry): string {
  return canonicalJson({ ...encodeVersion(version), content });
}

/** What the annotation says; `undefined` where there is none that can be read. */
export function versionIn(object: KubeObject): Entry | undefined {
  const text = object.metadata.annotations?.[marks.version];
  if (text === undefined) return undefined;
  try {
    const value = parseJson(text);
    const version = decodeVersion(value);
    const content = (value as { content?: unknown }).content;
    return version === undefined || typeof content !== "string" ? undefined : { version, content };
  } catch {
    return undefined;
  }
}

/** The record of an object that is at this site. */
export function statedOf(live: KubeObject, entry: Entry): Normalised {
  const { object: text, managers } = normalise(live);
  const object = parseJson(text) as KubeObject;
  const annotations = { ...object.metadata.annotations, [marks.version]: versionText(entry) };
  const stated = canonicalJson({ ...object, metadata: { ...object.metadata, annotations } });
  return { object: stated, managers, hash: hashOf(stated, managers) };
}

/** The record of one that is deleted. */
export function tombstoneOf(key: ObjectKey, entry: Entry): Normalised {
  const { group, kind, namespace, name } = parseKey(key);
  const object = canonicalJson({
    apiVersion: apiVersionOf({ group, version: "v1" }),
    kind,
    metadata: {
      name,
      ...(namespace === "" ? {} : { namespace }),
      annotations: { [marks.version]: versionText(entry) },
    },
  });
  return { object, managers: "[]", hash: hashOf(object, "[]") };
}

/** What the other site says of an object. */
export interface Theirs {
  readonly entry: Entry;
  /** Without the annotation; of one that is deleted, nothing but its name. */
  readonly object: KubeObject;
  readonly record: JournalEntry;
}

/** `undefined` where the record is none of a group that runs at both sites. */
export function theirsOf(record: JournalEntry | undefined): Theirs | undefined {
  if (record === undefined || record.deleted || record.object === "") return undefined;
  const object = parseJson(record.object) as KubeObject;
  const entry = versionIn(object);
  if (entry === undefined) return undefined;
  const { [marks.version]: _version, ...annotations } = object.metadata.annotations ?? {};
  const metadata = { ...object.metadata, annotations };
  if (Object.keys(annotations).length === 0) Reflect.deleteProperty(metadata, "annotations");
  return { entry, object: { ...object, metadata }, record };
}
