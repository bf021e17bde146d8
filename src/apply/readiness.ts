import { type ObjectKey, keyOf, parseKey } from "../objects/key.ts";
import { type KubeObject, marks } from "../objects/object.ts";
import { isReady } from "../render/ready.ts";
import type { GroupSite } from "./site.ts";
import { isShared } from "./view.ts";

/** Waiting until objects at this site are ready, by looking at them. */
export interface NotReady {
  /** Key at this site. */
  readonly key: ObjectKey;
  readonly reason: string;
}

/** A pod takes a second or more to start; looking more often only costs the API server. */
const lookEveryMs = 250;
const slowLookEveryMs = 1_000;

/** Returns what was not ready in time. Rejects by the signal only. */
export async function waitReady(
  site: GroupSite,
  keys: readonly ObjectKey[],
  options: { timeoutMs: number; signal: AbortSignal },
): Promise<NotReady[]> {
  const { clock, log } = site.options;
  const { signal } = options;
  const begun = clock.monotonicMs();
  const left = new Map<ObjectKey, string>();
  for (const key of keys) for (const target of site.assignments.targetsOf(key)) left.set(target, "not seen yet");
  for (;;) {
    try {
      await look(site, left, signal);
    } catch (error) {
      signal.throwIfAborted();
      log.warn({ err: error }, "readiness could not be looked at");
    }
    const elapsedMs = clock.monotonicMs() - begun;
    if (left.size === 0 || elapsedMs >= options.timeoutMs) break;
    await clock.sleep(elapsedMs < 10_000 ? lookEveryMs : slowLookEveryMs, { signal });
  }
  return [...left].map(([key, reason]) => ({ key, reason }));
}

/** Looks at what is left, one list per kind and namespace, and takes off what is ready. */
async function look(site: GroupSite, left: Map<ObjectKey, string>, signal: AbortSignal): Promise<void> {
  const places = new Map<string, { group: string; kind: string; namespace: string; keys: ObjectKey[] }>();
  for (const key of left.keys()) {
    const { group, kind, namespace } = parseKey(key);
    const name = `${group}/${kind}/${namespace}`;
    const place = places.get(name) ?? { group, kind, namespace, keys: [] };
    places.set(name, place);
    place.keys.push(key);
  }
  for (const place of places.values()) {
    for await (const object of objectsAt(site, place, signal)) {
      const key = keyOf(object);
      if (!left.has(key)) continue;
      const { ready, reason } = isReady(object);
      if (ready) left.delete(key);
      else left.set(key, reason);
    }
  }
}

async function* objectsAt(
  site: GroupSite,
  place: { group: string; kind: string; namespace: string; keys: readonly ObjectKey[] },
  signal: AbortSignal,
): AsyncGenerator<KubeObject> {
  const { client, discovery } = site.options;
  const resource = discovery.find(place.group, place.kind)?.versions[0];
  if (resource === undefined) return;
  const [first] = place.keys;
  if (first !== undefined && isShared(first)) {
    for (const key of place.keys) {
      const live = await client.find(resource, { name: parseKey(key).name }, { signal });
      if (live !== undefined) yield live;
    }
    return;
  }
  const namespace = place.namespace === "" ? undefined : place.namespace;
  const labelSelector = `${marks.group}=${site.journal.group}`;
  for await (const page of client.list(resource, { namespace, labelSelector, signal })) yield* page.items;
}
