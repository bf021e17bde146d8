import { cloneJson } from "../objects/json.ts";
import { type KubeObject, marks } from "../objects/object.ts";
import { isAutoscaled, ownForm, type Place } from "../render/neutral.ts";
import { differences, removeAt, setAt } from "../render/pointer.ts";
import type { Entry } from "./replica.ts";
import { versionText } from "./stated.ts";

/**
 * How an object at this site becomes what it should be: only what differs is changed, so that what API server,
 * controllers and other owners have put into it stays. Pure.
 */

const droppedMarks = [marks.groups, marks.source, marks.epoch, marks.hash, marks.version];

/**
 * What is to be written in place of `live`, at its `resourceVersion`; `undefined` where nothing differs.
 * @param wanted as rendered for this site
 * @param entry the version that it has then
 */
export function replacement(
  live: KubeObject,
  wanted: KubeObject,
  entry: Entry | undefined,
  place: Place,
): KubeObject | undefined {
  const from = comparable(ownForm(live, place));
  const to = comparable(wanted);
  delete to.metadata.ownerReferences;
  const isHeld = wanted.metadata.annotations?.[marks.held] !== undefined;
  const keepsReplicas = !isHeld && isAutoscaled(live.metadata.managedFields ?? []);
  const found = differences(from, to).filter(({ pointer }) => !(keepsReplicas && pointer === "/spec/replicas"));
  if (found.length === 0) return undefined;
  const body = cloneJson(live);
  for (const { pointer, to: value } of found) {
    if (value === undefined) removeAt(body, pointer);
    else setAt(body, pointer, value);
  }
  return entry === undefined ? body : withVersion(body, entry);
}

/** What is to be created; owners stay, as rendered. */
export function creation(wanted: KubeObject, entry: Entry): KubeObject {
  const object = cloneJson(wanted);
  for (const name of droppedMarks) delete object.metadata.annotations?.[name];
  if (!isMarkedCopy(object)) delete object.metadata.labels?.[marks.group];
  return withVersion(object, entry);
}

/** What is held is found again by its label. */
function isMarkedCopy(object: KubeObject): boolean {
  return object.metadata.annotations?.[marks.held] !== undefined;
}

function withVersion(object: KubeObject, entry: Entry): KubeObject {
  object.metadata.annotations = { ...object.metadata.annotations, [marks.version]: versionText(entry) };
  return object;
}

/** Without the marks that mean nothing between two equals; maps are there, so that entries differ one by one. */
function comparable(form: KubeObject): KubeObject {
  const { labels = {}, annotations = {}, ...metadata } = form.metadata;
  const kept = { ...annotations };
  for (const name of droppedMarks) delete kept[name];
  const own = { ...labels };
  if (kept[marks.held] === undefined) delete own[marks.group];
  return { ...form, metadata: { ...metadata, labels: own, annotations: kept } };
}

/** When somebody last wrote the object, by its API server's clock; `undefined` where nobody says. */
export function changedMs(live: KubeObject): number | undefined {
  const times = (live.metadata.managedFields ?? [])
    .filter(({ subresource }) => subresource !== "status")
    .map(({ time }) => Date.parse(time ?? ""))
    .filter((ms) => Number.isFinite(ms));
  if (times.length > 0) return Math.max(...times);
  const created = Date.parse(live.metadata.creationTimestamp ?? "");
  return Number.isFinite(created) ? created : undefined;
}

/** Of two objects of one API server, whether `a` is at an older version than `text`. Versions of etcd are numbers. */
export function isOlder(a: KubeObject, text: string): boolean {
  const version = a.metadata.resourceVersion ?? "";
  return /^\d+$/.test(version) && /^\d+$/.test(text) && BigInt(version) < BigInt(text);
}
