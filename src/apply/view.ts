import { type GroupSpec, peerOf } from "../config/group.ts";
import { parseGroup } from "../config/parse-group.ts";
import { LifeboatError, messageOf } from "../errors.ts";
import { type Difference, differences } from "./compare.ts";
import type { Journal, JournalEntry } from "../journal/journal.ts";
import type { KubeKind } from "../kube/resource.ts";
import { canaryName } from "../objects/canary.ts";
import { parseJson } from "../objects/json.ts";
import { formatKey, keyOf, kindName, type ObjectKey, parseKey } from "../objects/key.ts";
import { type KubeObject, type ManagedFieldsEntry, marks } from "../objects/object.ts";
import { mappingFor } from "../render/mapping.ts";
import { indexLabels, type LabelIndex } from "../render/mutations/label-index.ts";
import { render } from "../render/render.ts";
import type { Facts, Rendered, Role, SourceRecord } from "../render/types.ts";

/**
 * One group as the standby should have it: the journal's objects rendered for this site with what was observed here.
 * Reads the journal and memory only.
 */

/** One object to apply. */
export interface Target {
  /** Key at this site. */
  readonly key: ObjectKey;
  readonly object: KubeObject;
  /** The `lifeboat.dev/hash` annotation: covers everything but the epoch. */
  readonly hash: string;
}

export interface RenderedKey {
  readonly entry: JournalEntry;
  readonly rendered: Rendered;
  readonly targets: readonly Target[];
}

export interface ViewOptions {
  readonly journal: Journal;
  /** Kinds that the API server of this site serves. */
  readonly discovery: { kinds(): readonly KubeKind[] };
  /** UIDs of the group's objects at this site. */
  readonly uids: ReadonlyMap<ObjectKey, string>;
  readonly site: string;
  /** See SiteOptions. */
  readonly taken: () => ReadonlyMap<string, string>;
}

/** Facts that have to be asked for; whoever asks puts them here. */
export interface ObservedFacts {
  nodePorts: Map<string, ObjectKey> | undefined;
  readonly readyServices: Set<ObjectKey>;
  readonly storedVersions: Map<ObjectKey, readonly string[]>;
  readonly subjects: Map<ObjectKey, readonly Record<string, unknown>[]>;
  readonly sharedWith: Map<ObjectKey, readonly string[]>;
  /** Sizes of the group's claims, as their watch shows them. */
  readonly claimSizes: Map<ObjectKey, string>;
}

export function nothingObserved(): ObservedFacts {
  return {
    nodePorts: undefined,
    readyServices: new Set(),
    storedVersions: new Map(),
    subjects: new Map(),
    sharedWith: new Map(),
    claimSizes: new Map(),
  };
}

export class GroupView {
  readonly observed = nothingObserved();
  readonly #options: ViewOptions;
  #spec: GroupSpec | undefined;
  #specHash = "";
  #namespaces: Set<string> | undefined;
  #versions: Map<string, readonly string[]> | undefined;
  #labels: LabelIndex | undefined;
  #podOwners: ReadonlySet<string> | undefined;

  constructor(options: ViewOptions) {
    this.#options = options;
  }

  /**
   * The group's spec as last received; a malformed one leaves the last good one in force. Throws SpecInvalid while
   * there is none.
   */
  get spec(): GroupSpec {
    this.#readSpec();
    if (this.#spec !== undefined) return this.#spec;
    throw new LifeboatError("SpecInvalid", "no spec was received yet", { op: "apply.spec", retryable: true });
  }

  /** Whether a spec was received that can be worked with. */
  get hasSpec(): boolean {
    try {
      this.#readSpec();
    } catch {
      return false;
    }
    return this.#spec !== undefined;
  }

  #readSpec(): void {
    const { journal } = this.#options;
    if (this.#specHash !== "" && journal.head(this.specKey)?.hash === this.#specHash) return;
    const text = journal.specText();
    if (text === undefined) return;
    this.#specHash = journal.head(this.specKey)?.hash ?? "";
    try {
      this.#spec = parseGroup(parseJson(text) as KubeObject).group.spec;
    } catch (error) {
      if (this.#spec === undefined) throw error;
    }
  }

  get specKey(): ObjectKey {
    return `lifeboat.dev/ProtectionGroup//${this.#options.journal.group}`;
  }

  /** Told of keys that the journal has committed. `true` when everything must be rendered anew. */
  changed(keys: readonly ObjectKey[]): boolean {
    let all = false;
    for (const key of keys) {
      if (key === this.specKey) all = true;
      if (key.startsWith("/Namespace//")) this.#namespaces = undefined;
    }
    return all;
  }

  /** Told of keys that the journal has committed. Returns the keys whose custom resources now count as running pods. */
  ownersChanged(keys: readonly ObjectKey[]): ObjectKey[] {
    if (!keys.some((key) => this.#isCanary(key))) return [];
    const before = this.#podOwners ?? none;
    const now = this.#readPodOwners();
    const changed = [...now.symmetricDifference(before)];
    if (changed.length === 0) return [];
    const entries = [...this.#options.journal.entries()];
    return entries.filter(([key]) => changed.some((kind) => key.startsWith(`${kind}/`))).map(([key]) => key);
  }

  /** The source says in its canary which of its custom resources run pods. */
  #readPodOwners(): ReadonlySet<string> {
    const { journal } = this.#options;
    this.#canary ??= [...journal.entries()].find(([key]) => this.#isCanary(key))?.[0];
    const text = this.#canary === undefined ? "" : (journal.read(this.#canary)?.object ?? "");
    const { data } = (text === "" ? {} : JSON.parse(text)) as { data?: { podOwners?: string } };
    const names = (data?.podOwners ?? "").split(",").filter((name) => name !== "");
    this.#podOwners = names.length === 0 ? none : new Set(names);
    return this.#podOwners;
  }
  #canary: ObjectKey | undefined;

  /** It lies in the agents' namespace, whatever that is called. */
  #isCanary(key: ObjectKey): boolean {
    return key.startsWith("/ConfigMap/") && key.endsWith(`/${canaryName(this.#options.journal.group)}`);
  }

  /** A claim never becomes smaller: what it has grown to here is kept. */
  observeClaim(key: ObjectKey, object: KubeObject): void {
    if (object.kind !== "PersistentVolumeClaim") return;
    const spec = object["spec"] as { resources?: { requests?: { storage?: string } } } | undefined;
    const size = spec?.resources?.requests?.storage;
    if (size === undefined) this.observed.claimSizes.delete(key);
    else this.observed.claimSizes.set(key, size);
  }

  /** Served kinds have changed. */
  kindsChanged(): void {
    this.#versions = undefined;
  }

  /** Labels of the group's objects are to be looked at anew, where a mutation changes labels. */
  labelsChanged(): void {
    this.#labels = undefined;
  }

  /** Whether the spec rewrites labels, so that one object's labels matter to another. */
  get rewritesLabels(): boolean {
    return this.spec.mutations?.some((mutation) => mutation.labels !== undefined) ?? false;
  }

  /**
   * What this site should have for a key; `undefined` for one that the journal does not have.
   * @param supposed takes the place of what is known of this site
   */
  renderKey(key: ObjectKey, role: Role, supposed: Partial<Facts> = {}): RenderedKey | undefined {
    const entry = this.#options.journal.read(key);
    if (entry === undefined) return undefined;
    if (entry.object === "") return { entry, rendered: nothing, targets: [] };
    const object = parseJson(entry.object) as KubeObject;
    const spec = this.spec;
    const { site, journal, taken } = this.#options;
    const rendered = render(recordOf(entry, object), {
      spec,
      group: journal.group,
      site,
      source: peerOf(spec, site),
      role,
      epoch: journal.epoch() ?? "",
      facts: { ...this.#facts(), ...supposed },
      taken: taken(),
    });
    return { entry, rendered, targets: rendered.objects.map((item) => targetOf(item)) };
  }

  /** Key at this site of a key at the source, as far as the mappings alone decide it. */
  keyAtSite(key: ObjectKey): ObjectKey {
    const { spec } = this;
    const { site } = this.#options;
    const mapping = mappingFor(spec, peerOf(spec, site), site);
    const parts = parseKey(key);
    const isNamespace = parts.group === "" && parts.kind === "Namespace";
    return formatKey({
      ...parts,
      namespace: parts.namespace === "" ? "" : mapping.namespace(parts.namespace),
      name: isNamespace ? mapping.namespace(parts.name) : parts.name,
    });
  }

  #facts(): Facts {
    const { nodePorts, readyServices, storedVersions, subjects, sharedWith, claimSizes } = this.observed;
    return {
      namespaces: this.#sourceNamespaces(),
      uids: this.#options.uids,
      readyServices,
      storedVersions,
      subjects,
      sharedWith,
      claimSizes,
      podOwners: this.#podOwners ?? this.#readPodOwners(),
      versions: this.#servedVersions(),
      ...(nodePorts === undefined ? {} : { nodePorts }),
      ...(this.rewritesLabels ? { labels: this.#labelIndex() } : {}),
    };
  }

  /** The group's namespaces as named at this site. Throws SpecInvalid while there is no spec. */
  namespacesHere(): ReadonlySet<string> {
    const { spec } = this;
    const { site, taken } = this.#options;
    const mapping = mappingFor(spec, peerOf(spec, site), site);
    const others = taken();
    return new Set(
      [...this.#sourceNamespaces()].map((name) => mapping.namespace(name)).filter((name) => !others.has(name)),
    );
  }

  #sourceNamespaces(): ReadonlySet<string> {
    if (this.#namespaces !== undefined) return this.#namespaces;
    const names = new Set<string>(this.spec.select.namespaces?.names ?? []);
    for (const [key, head] of this.#options.journal.entries()) {
      if (head.hash !== "" && key.startsWith("/Namespace//")) names.add(parseKey(key).name);
    }
    this.#namespaces = names;
    return names;
  }

  #servedVersions(): ReadonlyMap<string, readonly string[]> {
    if (this.#versions !== undefined) return this.#versions;
    const versions = new Map<string, readonly string[]>();
    for (const kind of this.#options.discovery.kinds()) {
      versions.set(
        kindName(kind.group, kind.kind),
        kind.versions.map((resource) => resource.version),
      );
    }
    this.#versions = versions;
    return versions;
  }

  #labelIndex(): LabelIndex {
    this.#labels ??= indexLabels(this.#objects());
    return this.#labels;
  }

  *#objects(): Generator<KubeObject> {
    const { journal } = this.#options;
    for (const [key, head] of journal.entries()) {
      const entry = head.hash === "" ? undefined : journal.read(key);
      if (entry !== undefined) yield JSON.parse(entry.object) as KubeObject;
    }
  }
}

/** Owners are looked at for a few kinds only, and parsing them costs as much as parsing the object. */
function recordOf(entry: JournalEntry, object: KubeObject): SourceRecord {
  let managers: readonly ManagedFieldsEntry[] | undefined;
  return {
    key: entry.key,
    object,
    get managers() {
      managers ??= managersOf(entry);
      return managers;
    },
  };
}

/** The source's managedFields of an entry. */
export function managersOf(entry: JournalEntry): readonly ManagedFieldsEntry[] {
  return parseJson(entry.managers) as readonly ManagedFieldsEntry[];
}

const none: ReadonlySet<string> = new Set();
const nothing: Rendered = { objects: [], findings: [], waitsFor: [] };

function targetOf(object: KubeObject): Target {
  return { key: keyOf(object), object, hash: object.metadata.annotations?.[marks.hash] ?? "" };
}

/** What of a target is not in a live object, the epoch left out: it alone never causes a write. */
export function lacking(target: Target, live: KubeObject): Difference[] {
  const epoch = `metadata.annotations.${marks.epoch}`;
  return differences(target.object, live).filter(({ path }) => path !== epoch);
}

/**
 * Cluster-scoped objects other than Namespaces belong to every group that needs them, and to whoever made them: they
 * carry no label of ours and are never forced.
 */
export function isShared(key: ObjectKey): boolean {
  const { namespace, group, kind } = parseKey(key);
  return namespace === "" && !(group === "" && kind === "Namespace");
}

/** A sentence for an error of rendering: a defect or a spec that does not fit, never a reason to stop the others. */
export function renderFailure(error: unknown): { reason: "Invalid" | "Defect"; message: string } {
  const known = error instanceof LifeboatError && error.code !== "Internal";
  return { reason: known ? "Invalid" : "Defect", message: messageOf(error) };
}
