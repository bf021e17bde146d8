import type { GroupSpec } from "../config/group.ts";
import { firstSite, namespaceAt } from "../config/match.ts";
import type { Journal } from "../journal/journal.ts";

const namespacePrefix = "/Namespace//";

/**
 * The namespaces of a group as this site names them: what runs there is the group's to start and to stop. At the site
 * that runs it, what its capture knows; at a standby, what its journal has.
 */
export class GroupNamespaces {
  readonly #site: string;
  readonly #journal: Journal;
  /** Names at the source; undefined when they are to be looked up anew. */
  #received: readonly string[] | undefined;

  constructor(options: { readonly site: string; readonly journal: Journal }) {
    this.#site = options.site;
    this.#journal = options.journal;
    options.journal.onCommit((keys) => {
      if (keys.some((key) => key.startsWith(namespacePrefix))) this.#received = undefined;
    });
  }

  /** @param captured what the capture knows, while there is one */
  here(spec: GroupSpec, captured: readonly string[] | undefined): string[] {
    const first = firstSite(spec);
    const named = (spec.select.namespaces.names ?? []).map((name) => namespaceAt(spec, name, first, this.#site));
    if (captured !== undefined) return [...new Set([...named, ...captured])].sort();
    const peer = spec.sites.find(({ name }) => name !== this.#site)?.name ?? first;
    this.#received ??= [...this.#journal.entries()].flatMap(([key, { hash }]) =>
      key.startsWith(namespacePrefix) && hash !== "" ? [key.slice(namespacePrefix.length)] : [],
    );
    const received = this.#received.map((name) => namespaceAt(spec, name, peer, this.#site));
    return [...new Set([...named, ...received])].sort();
  }
}
