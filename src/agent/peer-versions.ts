import type { KubeKind, KubeResource } from "../kube/resource.ts";
import { kindName } from "../objects/key.ts";
import type { ServedKind } from "../rpc/messages.ts";
import { isCaptured } from "../capture/rules.ts";

/**
 * In which version a kind is read, so that every peer can store it: the one that this site prefers, where all peers
 * that have the kind serve it, else the highest that they all serve.
 */
export class PeerVersions {
  readonly #bySite = new Map<string, ReadonlyMap<string, ReadonlySet<string>>>();
  readonly #uncommon = new Map<string, string>();

  /** What a peer serves now. Returns whether it is new. */
  learn(site: string, kinds: readonly ServedKind[]): boolean {
    const served = new Map(kinds.map(({ group, kind, versions }) => [kindName(group, kind), new Set(versions)]));
    const before = this.#bySite.get(site);
    const same =
      before?.size === served.size &&
      [...served].every(([kind, versions]) => {
        const known = before.get(kind);
        return known?.size === versions.size && [...versions].every((version) => known.has(version));
      });
    this.#bySite.set(site, served);
    return !same;
  }

  choose(kind: KubeKind): KubeResource {
    const id = kindName(kind.group, kind.kind);
    const served = [...this.#bySite].flatMap(([site, kinds]) => {
      const versions = kinds.get(id);
      return versions === undefined ? [] : [{ site, versions }];
    });
    const common = kind.versions.find(({ version }) => served.every(({ versions }) => versions.has(version)));
    if (common !== undefined) {
      this.#uncommon.delete(id);
      return common;
    }
    const ours = kind.versions.map(({ version }) => version).join(", ");
    const theirs = served.map(({ site, versions }) => `${site} ${[...versions].join(", ")}`).join("; ");
    this.#uncommon.set(id, `no version of ${id} is served at both sites: here ${ours}; ${theirs}`);
    return kind.versions[0];
  }

  /** Kinds without a version that all sites serve, each with a sentence that says which there are. */
  uncommon(): ReadonlyMap<string, string> {
    return this.#uncommon;
  }
}

/** What this site tells its peers of its kinds: those that travel. */
export function servedKinds(kinds: readonly KubeKind[]): ServedKind[] {
  return kinds
    .filter(({ versions }) => isCaptured(versions[0]))
    .map(({ group, kind, versions }) => ({ group, kind, versions: versions.map(({ version }) => version) }));
}
