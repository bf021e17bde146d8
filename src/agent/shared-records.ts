import { randomUUID } from "node:crypto";
import type { Clock } from "../clock.ts";
import { LifeboatError } from "../errors.ts";
import type { DurableRecords } from "../failover/runner/records.ts";
import type { StateFile } from "../journal/state.ts";
import type { KubeClient } from "../kube/client.ts";
import { resources } from "../kube/resource.ts";
import { safeError, type Log } from "../telemetry/log.ts";
import { SharedObject, sharedLabel, storedIn, type Found, type Stored } from "./shared-object.ts";

export interface SharedRecordsOptions {
  readonly client: KubeClient;
  readonly namespace: string;
  readonly site: string;
  /** This agent's own disk: what an API server that is set back has forgotten, and what one agent alone has kept. */
  readonly local: StateFile;
  /** An incarnation that somebody has heard; this leader is above it. @default 0 */
  readonly above?: number;
  /** Another agent leads the site: nothing is written any more. Must not throw. */
  readonly onFollowed: (term: number) => void;
  readonly clock: Clock;
  readonly log: Log;
}

/** Records that belong to one group, by what follows in their names. */
const groupPrefixes = ["failover/group/", "failover/running/"];
/** Of what a group's journal would keep by itself. */
const journalPrefix = "journal/";
/** On the disk of an agent: what it has written, by the name of the Secret. */
const localPrefix = "shared/";
/** Objects that are claimed at the same time by a new leader. */
const claimsAtOnceMax = 16;

/**
 * What a site must never forget, where several agents take turns to lead it: a Secret for each group and one for the
 * site, in the namespace of the agents. Read once, by a new leader, which at the same time writes its term into each:
 * from then on every write of a former one meets a conflict, and what it finds there tells it that it has been followed.
 */
export class SharedRecords implements DurableRecords {
  readonly #options: SharedRecordsOptions;
  readonly #objects = new Map<string, SharedObject>();
  readonly term: number;
  /** Nobody has led this site by election yet: what is on this agent's disk is all there is. */
  readonly isFirst: boolean;
  readonly #leader = randomUUID();

  /** Takes the records over. Rejects when they cannot be read and written: then this agent does not lead. */
  static async open(options: SharedRecordsOptions, { signal }: { signal: AbortSignal }): Promise<SharedRecords> {
    const found = await findAll(options, { signal });
    const terms = [...found.values()].map(({ stored }) => stored.term);
    const { above = 0, clock } = options;
    const term = Math.max(0, above, ...terms, Math.floor(clock.wallMs() / 1000) - 1) + 1;
    const isFirst = [...found.values()].every(({ stored }) => stored.term === 0);
    const records = new SharedRecords(options, { term, found, isFirst });
    await records.#claim();
    return records;
  }

  private constructor(
    options: SharedRecordsOptions,
    { term, found, isFirst }: Pick<SharedRecords, "term" | "isFirst"> & { readonly found: ReadonlyMap<string, Found> },
  ) {
    this.#options = options;
    this.term = term;
    this.isFirst = isFirst;
    for (const [name, { stored, version }] of found) this.#add(name, stored.group, stored, version);
  }

  getState(name: string): unknown {
    return this.#objectOf(groupOf(name)).get(name);
  }

  /** Rejects with FailoverRefused when another agent leads, with KubeUnreachable or Timeout when it is not known. */
  async putState(name: string, value: unknown): Promise<void> {
    await this.#objectOf(groupOf(name)).put({ [name]: value });
  }

  /** What a group's journal keeps beside its objects. */
  journal(group: string): DurableRecords & { readonly isEmpty: boolean } {
    const object = this.#objectOf(group);
    return {
      get isEmpty() {
        return object.names().every((name) => !name.startsWith(journalPrefix));
      },
      getState: (name) => object.get(`${journalPrefix}${name}`),
      putState: (name, value) => object.put({ [`${journalPrefix}${name}`]: value }),
    };
  }

  /** Groups of which a journal kept something here. */
  groups(): string[] {
    return [...this.#objects.values()].flatMap(({ group, names }) =>
      group !== null && names().some((name) => name.startsWith(journalPrefix)) ? [group] : [],
    );
  }

  /** The group's journal is gone, and with it what is kept for it. */
  async forgetJournal(group: string): Promise<void> {
    const object = this.#objectOf(group);
    const gone = object.names().filter((name) => name.startsWith(journalPrefix));
    if (gone.length > 0) await object.put(Object.fromEntries(gone.map((name) => [name, undefined])));
  }

  async #claim(): Promise<void> {
    this.#objectOf(null);
    const all = [...this.#objects.values()];
    for (let next = 0; next < all.length; next += claimsAtOnceMax) {
      await Promise.all(all.slice(next, next + claimsAtOnceMax).map((object) => object.put({})));
    }
  }

  #objectOf(group: string | null): SharedObject {
    return this.#objects.get(secretName(group)) ?? this.#add(secretName(group), group, undefined, undefined);
  }

  #add(name: string, group: string | null, stored: Stored | undefined, version: string | undefined): SharedObject {
    const { client, namespace, site, local, onFollowed, log } = this.#options;
    const object = new SharedObject({
      client,
      place: { namespace, name },
      site,
      group,
      term: this.term,
      leader: this.#leader,
      stored,
      version,
      onWritten: (written) => {
        // A copy for the day on which the API server is restored from a backup; losing it loses nothing yet.
        local.putState(`${localPrefix}${name}`, written).catch((error: unknown) => {
          log.warn({ error: safeError(error) }, "the copy of the site's records could not be written");
        });
      },
      onFollowed,
    });
    this.#objects.set(name, object);
    return object;
  }
}

function groupOf(name: string): string | null {
  const prefix = groupPrefixes.find((each) => name.startsWith(each));
  return prefix === undefined ? null : name.slice(prefix.length);
}

function secretName(group: string | null): string {
  return group === null ? "lifeboat-site" : `lifeboat-group-${group}`;
}

/** The newest there is of each object: in the API server, or on this agent's disk where the API server was set back. */
async function findAll(
  { client, namespace, site, local, log }: SharedRecordsOptions,
  { signal }: { signal: AbortSignal },
): Promise<Map<string, Found>> {
  const found = new Map<string, Found>();
  const labelSelector = `${sharedLabel}=${site}`;
  for await (const page of client.list(resources.secrets, { namespace, labelSelector, signal })) {
    for (const secret of page.items) {
      const stored = storedIn(secret);
      if (stored === undefined) throw damaged(secret.metadata.name);
      found.set(secret.metadata.name, { stored, version: secret.metadata.resourceVersion });
    }
  }
  const copies = local.names().filter((name) => name.startsWith(localPrefix));
  if (found.size === 0 && copies.length === 0) for (const [name, own] of onlyHere(local)) found.set(name, own);
  for (const name of copies) {
    const own = local.getState(name) as Stored;
    const there = found.get(name.slice(localPrefix.length));
    if (there !== undefined && !isNewer(own, there.stored)) continue;
    log.warn({ name }, "the API server was set back: this agent's own copy of the site's records is newer");
    found.set(name.slice(localPrefix.length), { stored: own, version: there?.version });
  }
  return found;
}

/** What an agent that was alone until now has kept on its disk. */
function onlyHere(local: StateFile): Map<string, Found> {
  const found = new Map<string, Found>();
  for (const name of local.names()) {
    const group = groupOf(name);
    const before = found.get(secretName(group))?.stored ?? { term: 0, leader: "", writes: 0, group, values: {} };
    const values = { ...before.values, [name]: local.getState(name) };
    found.set(secretName(group), { stored: { ...before, values }, version: undefined });
  }
  return found;
}

function isNewer(a: Stored, b: Stored): boolean {
  return a.term === b.term ? a.writes > b.writes : a.term > b.term;
}

function damaged(name: string): LifeboatError {
  return new LifeboatError("JournalCorrupt", `Secret ${name} does not hold the records of a site`, {
    op: "agent.records",
    hint: "restore it from a backup; without it the site must be told anew by the witness and its peer",
  });
}
