import type { Journal } from "../journal/journal.ts";
import { safeError, type Log } from "../telemetry/log.ts";
import type { NamespacesHere } from "./group-namespaces.ts";
import { readOrigin } from "./origin.ts";

/** Namespaces of a group that are another one's here, for the next process. */
const recordName = "agent/taken";

export interface ClaimsOptions {
  readonly journal: Journal;
  /** Namespaces of the group at this site, by the spec in force and what has come of it; undefined before the first. */
  readonly wanted: () => NamespacesHere | undefined;
  /** What the capture of the site's objects leaves to other groups, which are named. */
  readonly leftOut: () => ReadonlyMap<string, string>;
  /** The other groups at this site, as far as they are open. */
  readonly others: () => readonly Claimant[];
  /** It is known that no group of that name has anything at this site. */
  readonly isGone: (name: string) => boolean;
  /** What is taken has changed. Must not throw. */
  readonly onChange: () => void;
  readonly log: Log;
}

export interface Claimant {
  readonly name: string;
  readonly claims: GroupClaims;
}

/** Groups whose first spec has come into force in this process: the order of all of them. */
let begun = 0;

/**
 * To which of two groups a namespace of this site belongs: to the one that was here first, and to one that runs here
 * before a copy of what runs elsewhere. What a group has not, it leaves alone at this site, in whatever role.
 */
export class GroupClaims {
  readonly #options: ClaimsOptions;
  readonly #ranHere: boolean;
  #since = Infinity;
  #taken: ReadonlyMap<string, string>;

  constructor(options: ClaimsOptions) {
    this.#options = options;
    const origin = readOrigin(options.journal);
    this.#ranHere = origin !== "none" && origin !== "copy";
    this.#taken = new Map(Object.entries((options.journal.getState(recordName) ?? {}) as Record<string, string>));
  }

  /** Names of the groups that have what this one would have, by namespace. */
  get taken(): ReadonlyMap<string, string> {
    return this.#taken;
  }

  /** Namespaces that are the group's here. */
  get namespaces(): string[] {
    return (this.#options.wanted()?.namespaces ?? []).filter((name) => !this.#taken.has(name));
  }

  /** Name of the other group that has a namespace, or to which it was left and that is not known to have it no more. */
  holderOf(namespace: string): string | undefined {
    const found = this.#options.others().find(({ claims }) => claims.namespaces.includes(namespace));
    const had = this.#taken.get(namespace);
    return found?.name ?? (this.#mayHave(had, namespace) ? had : undefined);
  }

  /** Its first spec has come into force. */
  begin(): void {
    if (this.#since === Infinity) this.#since = begun++;
  }

  /** To be called when namespaces of this group or of others may have changed. Before the first spec nothing changes. */
  refresh(): void {
    const wanted = this.#options.wanted();
    if (wanted === undefined) return;
    const others = this.#options.others().map(({ name, claims }) => {
      return { name, isBefore: claims.#isBefore(this), namespaces: new Set(claims.namespaces) };
    });
    const next = new Map<string, string>();
    const leftOut = this.#options.leftOut();
    // While not all is known, what it left to others it may still want.
    const before = wanted.whole ? [] : this.#taken.keys();
    for (const name of new Set([...wanted.namespaces, ...leftOut.keys(), ...before])) {
      // What it left to another group once it takes only when that one is known to have it no more.
      const had = this.#taken.get(name) ?? leftOut.get(name);
      const found = others.find((each) => (had !== undefined || each.isBefore) && each.namespaces.has(name));
      const holder = found?.name ?? (this.#mayHave(had, name) ? had : undefined);
      if (holder !== undefined) next.set(name, holder);
    }
    if (JSON.stringify([...next]) === JSON.stringify([...this.#taken])) return;
    this.#taken = next;
    const { journal, log, onChange } = this.#options;
    onChange();
    log.info({ taken: Object.fromEntries(next) }, "namespaces of the group that belong to other groups here");
    journal.putState(recordName, Object.fromEntries(next)).catch((error: unknown) => {
      log.warn({ error: safeError(error) }, "which namespaces belong to other groups could not be noted");
    });
  }

  /** Whether a group may have the namespace for all that is known: an agent that starts opens one after the other. */
  #mayHave(name: string | undefined, namespace: string): boolean {
    if (name === undefined || this.#options.isGone(name)) return false;
    const holder = this.#options.others().find((other) => other.name === name)?.claims;
    if (holder === undefined) return true;
    const has = holder.#options.wanted();
    return has === undefined || (!has.whole && !holder.taken.has(namespace));
  }

  #isBefore(other: GroupClaims): boolean {
    if (this.#ranHere !== other.#ranHere) return this.#ranHere;
    return this.#since < other.#since;
  }
}
