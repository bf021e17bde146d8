import { type GroupSpec, peerOf } from "../config/group.ts";
import { firstSite } from "../config/match.ts";
import type { Journal } from "../journal/journal.ts";
import { formatKey, type ObjectKey, parseKey } from "../objects/key.ts";
import { mappingFor, type SiteMapping } from "../render/mapping.ts";
import { type Theirs, theirsOf } from "./stated.ts";

const namespacePrefix = "/Namespace//";

export interface PeerSideOptions {
  readonly journal: Journal;
  readonly site: string;
  /** Undefined before the first spec. */
  readonly spec: () => GroupSpec | undefined;
}

/** What the other site says, by the names that objects have here. */
export class PeerSide {
  readonly #options: PeerSideOptions;
  /** Namespaces in the journal; undefined when they are to be looked up anew. */
  #received: readonly string[] | undefined;

  constructor(options: PeerSideOptions) {
    this.#options = options;
  }

  /** Of a key at this site. Throws JournalCorrupt. */
  theirs(key: ObjectKey): Theirs | undefined {
    return theirsOf(this.#options.journal.read(this.keyThere(key)));
  }

  keyHere(key: ObjectKey): ObjectKey {
    return this.#mapped(key, (spec, site, peer) => mappingFor(spec, peer, site));
  }

  keyThere(key: ObjectKey): ObjectKey {
    return this.#mapped(key, (spec, site, peer) => mappingFor(spec, site, peer));
  }

  /** As named at the group's first site, whichever this one is. */
  canonical(key: ObjectKey): ObjectKey {
    return this.#mapped(key, (spec, site) => mappingFor(spec, site, firstSite(spec)));
  }

  /** Told of keys that the journal has committed. */
  changed(keys: readonly ObjectKey[]): void {
    if (keys.some((key) => key.startsWith(namespacePrefix))) this.#received = undefined;
  }

  /** The group's namespaces as the other site names them. */
  namespaces(): ReadonlySet<string> {
    const { spec, journal } = this.#options;
    this.#received ??= [...journal.entries()].flatMap(([key, { hash }]) =>
      key.startsWith(namespacePrefix) && hash !== "" ? [key.slice(namespacePrefix.length)] : [],
    );
    return new Set([...(spec()?.select.namespaces.names ?? []), ...this.#received]);
  }

  #mapped(key: ObjectKey, choose: (spec: GroupSpec, site: string, peer: string) => SiteMapping): ObjectKey {
    const { spec, site } = this.#options;
    const inForce = spec();
    if (inForce === undefined) return key;
    const mapping = choose(inForce, site, peerOf(inForce, site));
    if (mapping.namespaces.size === 0) return key;
    const parts = parseKey(key);
    const isNamespace = parts.group === "" && parts.kind === "Namespace";
    return formatKey({
      ...parts,
      namespace: parts.namespace === "" ? "" : mapping.namespace(parts.namespace),
      name: isNamespace ? mapping.namespace(parts.name) : parts.name,
    });
  }
}
