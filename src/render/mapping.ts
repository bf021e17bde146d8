import type { GroupSpec, Mappings } from "../config/group.ts";
import { firstSite } from "../config/match.ts";

/**
 * The mappings of a spec as functions from a value at the source to the value at the site. Values that no entry
 * names stay as they are.
 */
export interface SiteMapping {
  /** Whether any value at all differs; if not, rewriting is skipped. */
  readonly changes: boolean;
  /** Namespaces whose names differ: name at the source to name at the site. */
  readonly namespaces: ReadonlyMap<string, string>;
  readonly namespace: (name: string) => string;
  /** Name on the first site of a namespace at the source: what the spec's matches are written in. */
  readonly canonical: (name: string) => string;
  readonly storageClass: (name: string) => string;
  readonly ingressClass: (name: string) => string;
  readonly cidr: (range: string) => string;
  readonly address: (ip: string) => string;
  readonly host: (name: string) => string;
  readonly image: (name: string) => string;
}

/** Mappings by spec and direction: a spec is rendered for thousands of objects. */
const cache = new WeakMap<GroupSpec, Map<string, SiteMapping>>();

export function mappingFor(spec: GroupSpec, source: string, site: string): SiteMapping {
  const directions = cache.get(spec) ?? new Map<string, SiteMapping>();
  cache.set(spec, directions);
  const direction = `${source} ${site}`;
  const known = directions.get(direction);
  if (known !== undefined) return known;
  const made = makeMapping(spec, source, site);
  directions.set(direction, made);
  return made;
}

function makeMapping(spec: GroupSpec, source: string, site: string): SiteMapping {
  const table = (field: keyof Mappings, to = site) => tableOf(spec.mappings?.[field], source, to);
  const exact = (values: ReadonlyMap<string, string>) => (value: string) => values.get(value) ?? value;
  const namespaces = table("namespaces");
  const registries = longestFirst(table("registries"));
  const hosts = table("hosts");
  const suffixes = longestFirst(hosts).filter(([host]) => host.startsWith("."));
  const fields = ["storageClasses", "ingressClasses", "cidrs", "loadBalancerIPs"] as const;
  return {
    changes: namespaces.size + registries.length + hosts.size > 0 || fields.some((field) => table(field).size > 0),
    namespaces,
    namespace: exact(namespaces),
    canonical: exact(table("namespaces", firstSite(spec))),
    storageClass: exact(table("storageClasses")),
    ingressClass: exact(table("ingressClasses")),
    cidr: exact(table("cidrs")),
    address: exact(table("loadBalancerIPs")),
    host: (name) => hosts.get(name) ?? replaceEnd(suffixes, name),
    image: (name) => replaceStart(registries, name),
  };
}

function tableOf(
  entries: readonly Readonly<Record<string, string>>[] | undefined,
  from: string,
  to: string,
): ReadonlyMap<string, string> {
  const table = new Map<string, string>();
  for (const entry of entries ?? []) {
    const [left, right] = [entry[from], entry[to]];
    if (left !== undefined && right !== undefined && left !== right) table.set(left, right);
  }
  return table;
}

/** So that the more specific of two entries wins, whatever their order. */
function longestFirst(table: ReadonlyMap<string, string>): [string, string][] {
  return [...table].sort(([a], [b]) => b.length - a.length || (a < b ? -1 : 1));
}

function replaceStart(entries: readonly [string, string][], value: string): string {
  const entry = entries.find(([start]) => value.startsWith(start));
  return entry === undefined ? value : entry[1] + value.slice(entry[0].length);
}

function replaceEnd(entries: readonly [string, string][], value: string): string {
  const entry = entries.find(([end]) => value.endsWith(end));
  return entry === undefined ? value : value.slice(0, value.length - entry[0].length) + entry[1];
}
