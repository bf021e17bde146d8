import type { GroupSpec } from "../config/group.ts";
import { canonicalJson, parseJson } from "../objects/json.ts";
import type { ObjectKey } from "../objects/key.ts";
import type { KubeObject } from "../objects/object.ts";
import { render } from "../render/render.ts";
import type { Rendered, Role, SourceRecord } from "../render/types.ts";
import type { GroupSite } from "./site.ts";

/** What a site that ran the group has of its own, against what took over. */

/**
 * Renders an object of this site for this site itself, as if it had come from a source that is equal to it. A site
 * that was never a standby has no spec in its journal: it gives the one that is in force there.
 */
export function renderLocal(
  site: GroupSite,
  record: SourceRecord,
  role: Role,
  spec: GroupSpec = site.view.spec,
): Rendered {
  return render(record, {
    // A pilot light would hold back everything, and what runs has to be held all the same.
    spec: spec.standby === "PilotLight" ? { ...spec, standby: "Warm" } : spec,
    group: site.journal.group,
    site: site.options.site,
    source: site.options.site,
    role,
    epoch: site.journal.epoch() ?? "",
    facts: {},
  });
}

/**
 * Compares what a demotion kept with what the new active site has, once the journal has all of it: what is equal is
 * forgotten, the rest says how it differs. Returns the keys that differ.
 */
export async function settleDivergence(site: GroupSite): Promise<ObjectKey[]> {
  const { journal } = site;
  const kept = journal.divergentKeys().filter(({ what }) => what === "unknown");
  if (kept.length === 0) return [];
  const theirs = theirForms(site);
  const differing: { key: ObjectKey; what: "changed" | "extra" }[] = [];
  const equal: ObjectKey[] = [];
  for (const { key } of kept) {
    const text = journal.divergent(key)?.object;
    if (text === undefined) continue;
    const mine = renderLocal(site, { key, object: parseJson(text) as KubeObject, managers: [] }, "active").objects[0];
    const their = theirs.get(key);
    if (mine === undefined || their === "withheld") equal.push(key);
    else if (their === undefined) differing.push({ key, what: "extra" });
    else if (plain(mine) === plain(their)) equal.push(key);
    else differing.push({ key, what: "changed" });
  }
  await journal.judgeDivergence(differing, equal);
  return differing.map(({ key }) => key);
}

/** The active forms of what the journal holds, by their keys at this site. */
function theirForms(site: GroupSite): Map<ObjectKey, KubeObject | "withheld"> {
  const { journal, view } = site;
  const forms = new Map<ObjectKey, KubeObject | "withheld">();
  for (const [key, head] of journal.entries()) {
    if (head.hash === "") continue;
    const target = view.renderKey(key, "active")?.targets[0];
    if (target === undefined) forms.set(view.keyAtSite(key), "withheld");
    else forms.set(target.key, target.object);
  }
  return forms;
}

/** The object without what Lifeboat or an API server adds to it. */
function plain(object: KubeObject): string {
  const { labels = {}, annotations = {}, ownerReferences: _o, finalizers: _f, ...metadata } = object.metadata;
  const own = ([name]: [string, string]): boolean => !name.startsWith("lifeboat.dev/");
  return canonicalJson({
    ...object,
    metadata: {
      ...metadata,
      labels: Object.fromEntries(Object.entries(labels).filter(own)),
      annotations: Object.fromEntries(Object.entries(annotations).filter(own)),
    },
  });
}
