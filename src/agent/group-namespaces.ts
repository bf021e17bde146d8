import type { GroupSpec } from "../config/group.ts";
import { firstSite, namespaceAt } from "../config/match.ts";
import type { Journal } from "../journal/journal.ts";
import { readOrigin } from "./origin.ts";

/** The namespaces of a group that runs here, for the next process. */
const recordName = "agent/namespaces";
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
  /** What was written last, as one text. */
  #noted: string | undefined;

  constructor(options: { readonly site: string; readonly journal: Journal }) {
    this.#site = options.site;
    this.#journal = options.journal;
    options.journal.onCommit((keys) => {
      if (keys.some((key) => key.startsWith(namespacePrefix))) this.#received = undefined;
    });
  }

  /** @param captured what the capture knows, once it has read everything */
  here(spec: GroupSpec, captured: readonly string[] | undefined): string[] {
    const first = firstSite(spec);
    const named = (spec.select.namespaces.names ?? []).map((name) => namespaceAt(spec, name, first, this.#site));
    const origin = readOrigin(this.#journal);
    if (captured !== undefined) return this.#keep([...new Set([...named, ...captured])].sort());
    // Of what this site ran, until it has been read again: none may be forgotten by a restart.
    if (origin !== "copy" && origin !== "none") return [...new Set([...named, ...this.#kept()])].sort();
    const peer = spec.sites.find(({ name }) => name !== this.#site)?.name ?? first;
    this.#received ??= [...this.#journal.entries()].flatMap(([key, { hash }]) =>
      key.startsWith(namespacePrefix) && hash !== "" ? [key.slice(namespacePrefix.length)] : [],
    );
    const received = this.#received.map((name) => namespaceAt(spec, name, peer, this.#site));
    return [...new Set([...named, ...received])].sort();
  }

  #kept(): readonly string[] {
    const stored = this.#journal.getState(recordName);
    return Array.isArray(stored) ? stored.filter((name) => typeof name === "string") : [];
  }

  #keep(names: string[]): string[] {
    const text = names.join();
    if (this.#noted !== text) {
      this.#noted = text;
      this.#journal.putState(recordName, names).catch(() => (this.#noted = undefined));
    }
    return names;
  }
}
