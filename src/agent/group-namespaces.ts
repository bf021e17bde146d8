import type { GroupSpec } from "../config/group.ts";
import { firstSite, namespaceAt } from "../config/match.ts";
import type { Journal } from "../journal/journal.ts";
import { readOrigin } from "./origin.ts";

/** The namespaces of a group here as they were last known whole, for the next process and after a promotion. */
const recordName = "agent/namespaces";
const namespacePrefix = "/Namespace//";

export interface NamespacesHere {
  readonly namespaces: readonly string[];
  /** None is missing. */
  readonly whole: boolean;
}

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
  here(spec: GroupSpec, captured: readonly string[] | undefined): NamespacesHere {
    const first = firstSite(spec);
    const named = (spec.select.namespaces.names ?? []).map((name) => namespaceAt(spec, name, first, this.#site));
    const sorted = (more: readonly string[]): string[] => [...new Set([...named, ...more])].sort();
    if (captured !== undefined) return this.#whole(sorted(captured));
    const origin = readOrigin(this.#journal);
    const isReceived = origin === "copy" || origin === "promoting";
    if (isReceived && this.#journal.synced) return this.#whole(sorted(this.#receivedNames(spec)));
    // Until it has been read again: none may be forgotten by a restart.
    const received = origin === "own" || origin === "held" ? [] : this.#receivedNames(spec);
    return { namespaces: sorted([...this.#kept(), ...received]), whole: false };
  }

  #receivedNames(spec: GroupSpec): string[] {
    const peer = spec.sites.find(({ name }) => name !== this.#site)?.name ?? firstSite(spec);
    this.#received ??= [...this.#journal.entries()].flatMap(([key, { hash }]) =>
      key.startsWith(namespacePrefix) && hash !== "" ? [key.slice(namespacePrefix.length)] : [],
    );
    return this.#received.map((name) => namespaceAt(spec, name, peer, this.#site));
  }

  #kept(): readonly string[] {
    const stored = this.#journal.getState(recordName);
    return Array.isArray(stored) ? stored.filter((name) => typeof name === "string") : [];
  }

  #whole(names: string[]): NamespacesHere {
    const text = names.join();
    if (this.#noted !== text) {
      this.#noted = text;
      this.#journal.putState(recordName, names).catch(() => (this.#noted = undefined));
    }
    return { namespaces: names, whole: true };
  }
}
