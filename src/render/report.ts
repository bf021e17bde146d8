import type { GroupSpec } from "../config/group.ts";
import { firstSite, namespaceAt } from "../config/match.ts";
import { keyOf, type ObjectKey } from "../objects/key.ts";
import type { KubeObject } from "../objects/object.ts";
import type { Scope, Withheld } from "./kinds/rule.ts";
import { mappingFor, type SiteMapping } from "./mapping.ts";
import { setMarks } from "./marks.ts";
import type { Facts, Finding, FindingCode, RenderContext, Rendered, SourceRecord } from "./types.ts";

/** Collects what rules say while one object is rendered, and closes with the result. */
export class Report {
  readonly #key: ObjectKey;
  readonly #findings: Finding[] = [];
  readonly #waitsFor = new Set<ObjectKey>();

  constructor(key: ObjectKey) {
    this.#key = key;
  }

  /** The same thing found twice (in the active and in the standby form) is said once. */
  find(code: FindingCode, message: string): void {
    if (this.#findings.some((finding) => finding.code === code && finding.message === message)) return;
    this.#findings.push({ code, key: this.#key, message });
  }

  waitFor(key: ObjectKey): void {
    this.#waitsFor.add(key);
  }

  withheld(withheld: Withheld): Rendered {
    return { objects: [], withheld, findings: this.#findings, waitsFor: [...this.#waitsFor] };
  }

  applied(object: KubeObject, scope: Scope): Rendered {
    setMarks(object, scope.context, scope.facts.sharedWith?.get(keyOf(object)) ?? []);
    return { objects: [object], findings: this.#findings, waitsFor: [...this.#waitsFor] };
  }
}

export function scopeOf(record: SourceRecord, context: RenderContext, report: Report): Scope {
  const mapping = mappingFor(context.spec, context.source, context.site);
  const sourceNamespaces = namespacesOf(context.spec, context.facts, context.source);
  return {
    context,
    facts: context.facts,
    mapping,
    source: record.object,
    managers: record.managers,
    sourceNamespaces,
    siteNamespaces: namespacesAtSite(sourceNamespaces, mapping),
    find: (code, message) => report.find(code, message),
    waitFor: (key) => report.waitFor(key),
  };
}

/** Namespaces named in the spec, by source site: the stand-in for the fact where nobody has observed it. */
const namedNamespaces = new WeakMap<GroupSpec, Map<string, ReadonlySet<string>>>();

function namespacesOf(spec: GroupSpec, facts: Facts, source: string): ReadonlySet<string> {
  if (facts.namespaces !== undefined) return facts.namespaces;
  const bySource = namedNamespaces.get(spec) ?? new Map<string, ReadonlySet<string>>();
  namedNamespaces.set(spec, bySource);
  const known = bySource.get(source);
  if (known !== undefined) return known;
  const names = (spec.select.namespaces.names ?? []).map((name) => namespaceAt(spec, name, firstSite(spec), source));
  const made = new Set(names);
  bySource.set(source, made);
  return made;
}

/** One entry per set and mapping: thousands of objects share both. */
const mappedNamespaces = new WeakMap<ReadonlySet<string>, WeakMap<SiteMapping, ReadonlySet<string>>>();

function namespacesAtSite(names: ReadonlySet<string>, mapping: SiteMapping): ReadonlySet<string> {
  const byMapping = mappedNamespaces.get(names) ?? new WeakMap<SiteMapping, ReadonlySet<string>>();
  mappedNamespaces.set(names, byMapping);
  const known = byMapping.get(mapping);
  if (known !== undefined) return known;
  const made = new Set([...names].map((name) => mapping.namespace(name)));
  byMapping.set(mapping, made);
  return made;
}
