import type { Journal } from "../journal/journal.ts";
import { safeError, type Log } from "../telemetry/log.ts";
import { readOrigin } from "./origin.ts";

/** Namespaces of a group that are another one's here, for the next process. */
const recordName = "agent/taken";

export interface ClaimsOptions {
  readonly journal: Journal;
  /** Namespaces of the group at this site, by the spec in force and what has come of it; none before the first. */
  readonly wanted: () => readonly string[];
  /** The other groups at this site. */
  readonly others: () => readonly Claimant[];
  readonly log: Log;
}

export interface Claimant {
  readonly name: string;
  readonly claims: GroupClaims;
}

let served = 0;

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
    return this.#options.wanted().filter((name) => !this.#taken.has(name));
  }

  /** Its first spec has come into force. */
  begin(): void {
    if (this.#since === Infinity) this.#since = served++;
  }

  /** To be called when namespaces of this group or of others may have changed. True when what is taken has. */
  refresh(): boolean {
    const others = this.#options.others();
    const next = new Map<string, string>();
    for (const name of this.#options.wanted()) {
      // What it left to another group once it takes only when that one has gone.
      const had = this.#taken.has(name);
      const holder = others.find(({ claims }) => (had || claims.#isBefore(this)) && claims.namespaces.includes(name));
      if (holder !== undefined) next.set(name, holder.name);
    }
    if (JSON.stringify([...next]) === JSON.stringify([...this.#taken])) return false;
    this.#taken = next;
    const { journal, log } = this.#options;
    log.info({ taken: Object.fromEntries(next) }, "namespaces of the group that belong to other groups here");
    journal.putState(recordName, Object.fromEntries(next)).catch((error: unknown) => {
      log.warn({ error: safeError(error) }, "which namespaces belong to other groups could not be noted");
    });
    return true;
  }

  #isBefore(other: GroupClaims): boolean {
    if (this.#ranHere !== other.#ranHere) return this.#ranHere;
    return this.#since < other.#since;
  }
}
