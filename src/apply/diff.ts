import { keyOf, type ObjectKey } from "../objects/key.ts";
import { type KubeObject, marks } from "../objects/object.ts";
import type { Role } from "../render/types.ts";
import { foreignClaims } from "./foreign.ts";
import { type GroupSite, isBookkeeping } from "./site.ts";
import { isShared, lacking, renderFailure, type Target } from "./view.ts";

/** What differs between what the journal says and what is at this site, read anew from the API server. */
export interface ObjectDifference {
  /** Key at this site. */
  readonly key: ObjectKey;
  /** Key at the source; `undefined` for an object that no key asks for. */
  readonly source: ObjectKey | undefined;
  /**
   * `missing`: not at this site. `differs`: fields have other values or are missing. `extra`: somebody else has added
   * fields. `stray`: nobody asks for it. `withheld`: kept back on purpose. `invalid`: cannot be rendered.
   */
  readonly what: "missing" | "differs" | "extra" | "stray" | "withheld" | "invalid";
  /** Paths without values: they may be a Secret's. */
  readonly fields: readonly string[];
  readonly message?: string;
}

export async function diffGroup(site: GroupSite, role: Role, signal: AbortSignal): Promise<ObjectDifference[]> {
  const found: ObjectDifference[] = [];
  const wanted = new Map<string, Map<ObjectKey, { target: Target; source: ObjectKey }>>();
  for (const [source, head] of site.journal.entries()) {
    if (head.hash === "" || isBookkeeping(source)) continue;
    try {
      const made = site.view.renderKey(source, role);
      const { withheld } = made?.rendered ?? {};
      if (withheld !== undefined) {
        found.push({
          key: site.view.keyAtSite(source),
          source,
          what: "withheld",
          fields: [],
          message: withheld.message,
        });
      }
      for (const target of made?.targets ?? []) {
        const kind = `${target.object.apiVersion} ${target.object.kind}`;
        const targets = wanted.get(kind) ?? new Map<ObjectKey, { target: Target; source: ObjectKey }>();
        wanted.set(kind, targets.set(target.key, { target, source }));
      }
    } catch (error) {
      const { message } = renderFailure(error);
      found.push({ key: source, source, what: "invalid", fields: [], message });
    }
  }
  for (const targets of wanted.values()) found.push(...(await diffKind(site, targets, signal)));
  for (const key of site.copies.keys()) {
    if (site.assignments.sourceOf(key) !== undefined || isShared(key)) continue;
    found.push({ key, source: undefined, what: "stray", fields: [] });
  }
  return found;
}

async function diffKind(
  site: GroupSite,
  targets: ReadonlyMap<ObjectKey, { target: Target; source: ObjectKey }>,
  signal: AbortSignal,
): Promise<ObjectDifference[]> {
  const found: ObjectDifference[] = [];
  const missing = new Map(targets);
  for await (const live of liveOf(site, [...targets.values()], signal)) {
    const key = keyOf(live);
    const wanted = missing.get(key);
    if (wanted === undefined) continue;
    missing.delete(key);
    const { target, source } = wanted;
    const fields = lacking(target, live).map(({ path }) => path);
    if (fields.length > 0) found.push({ key, source, what: "differs", fields });
    const extra = foreignClaims(live, target.object, site.manager).flatMap((claim) => claim.extra);
    if (extra.length > 0 && !isShared(key)) found.push({ key, source, what: "extra", fields: extra });
  }
  for (const [key, { source }] of missing) found.push({ key, source, what: "missing", fields: [] });
  return found;
}

async function* liveOf(
  site: GroupSite,
  wanted: readonly { target: Target }[],
  signal: AbortSignal,
): AsyncGenerator<KubeObject> {
  const { client, discovery } = site.options;
  const first = wanted[0]?.target;
  const resource = first === undefined ? undefined : discovery.resource(first.object.apiVersion, first.object.kind);
  if (first === undefined || resource === undefined) return;
  if (isShared(first.key)) {
    for (const { target } of wanted) {
      const live = await client.find(resource, { name: target.object.metadata.name }, { signal });
      if (live !== undefined) yield live;
    }
    return;
  }
  const labelSelector = `${marks.group}=${site.journal.group}`;
  for await (const page of client.list(resource, { labelSelector, signal })) yield* page.items;
}
