import { groupSpecSchema, type GroupSpec, type GroupSpecInput } from "../../../src/config/group.ts";
import { keyOf } from "../../../src/objects/key.ts";
import { marks, type KubeObject, type ManagedFieldsEntry } from "../../../src/objects/object.ts";
import { render } from "../../../src/render/render.ts";
import type { Facts, Rendered, Role } from "../../../src/render/types.ts";

/** A group of two sites over the namespace `shop`, with whatever the test is about. */
export function specWith(more: Partial<GroupSpecInput> = {}): GroupSpec {
  return groupSpecSchema.parse({
    sites: [{ name: "east" }, { name: "west" }],
    select: { namespaces: { names: ["shop"] } },
    ...more,
  });
}

export interface Situation {
  readonly spec?: GroupSpec;
  readonly role?: Role;
  readonly site?: string;
  readonly facts?: Facts;
  readonly managers?: readonly ManagedFieldsEntry[];
}

/** Renders for west, as standby, unless said otherwise. */
export function renderAt(object: KubeObject, situation: Situation = {}): Rendered {
  const { spec = specWith(), role = "standby", site = "west", facts = {}, managers = [] } = situation;
  const source = site === "west" ? "east" : "west";
  return render(
    { key: keyOf(object), object, managers },
    { spec, group: "shop", site, source, role, epoch: "1.1", facts },
  );
}

/** The one object that is rendered. */
export function rendered(object: KubeObject, situation: Situation = {}): KubeObject {
  const { objects, withheld } = renderAt(object, situation);
  if (objects[0] === undefined) throw new Error(`withheld: ${withheld?.message}`);
  return objects[0];
}

/** The rendered object without Lifeboat's marks: what the application sees. */
export function plain(object: KubeObject, situation: Situation = {}): KubeObject {
  return withoutMarks(rendered(object, situation));
}

export function withoutMarks(object: KubeObject, { keepUndo = false } = {}): KubeObject {
  const { labels, annotations, ...metadata } = object.metadata;
  const own = new Set<string>(Object.values(marks));
  own.delete(marks.wave);
  if (keepUndo) own.delete(marks.undo);
  const kept = (map: Record<string, string> | undefined) =>
    Object.fromEntries(Object.entries(map ?? {}).filter(([name]) => !own.has(name)));
  const result: KubeObject = { ...object, metadata };
  if (Object.keys(kept(labels)).length > 0) result.metadata.labels = kept(labels);
  if (Object.keys(kept(annotations)).length > 0) result.metadata.annotations = kept(annotations);
  return result;
}

export function heldIn(object: KubeObject): unknown {
  const text = object.metadata.annotations?.[marks.held];
  return text === undefined ? undefined : (JSON.parse(text) as unknown);
}

/** An object of the namespace `shop`. */
export function object(
  apiVersion: string,
  kind: string,
  name: string,
  rest: Record<string, unknown> & { labels?: Record<string, string>; annotations?: Record<string, string> } = {},
): KubeObject {
  const { labels, annotations, ...fields } = rest;
  return {
    apiVersion,
    kind,
    metadata: { name, namespace: "shop", ...(labels && { labels }), ...(annotations && { annotations }) },
    ...fields,
  };
}

export function clusterObject(
  apiVersion: string,
  kind: string,
  name: string,
  rest: Parameters<typeof object>[3] = {},
): KubeObject {
  const made = object(apiVersion, kind, name, rest);
  delete made.metadata.namespace;
  return made;
}

export function deployment(name = "web", labels: Record<string, string> = { app: name }): KubeObject {
  return object("apps/v1", "Deployment", name, {
    labels,
    spec: {
      replicas: 3,
      selector: { matchLabels: { app: name } },
      template: { metadata: { labels: { app: name } }, spec: { containers: [{ name: "web", image: "a:1" }] } },
    },
  });
}
