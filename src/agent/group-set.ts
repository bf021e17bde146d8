import { existsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { dirname } from "node:path";
import { clearTimeout, setTimeout } from "node:timers";
import { Pulse } from "../abort.ts";
import { checkGroups } from "../config/check-groups.ts";
import type { ProtectionGroup } from "../config/group.ts";
import { firstSite, namespaceAt } from "../config/match.ts";
import { GroupRecords } from "../failover/runner/records.ts";
import { Reflector, type ReflectorHandler, type ReflectorPhase } from "../kube/reflector.ts";
import { resources } from "../kube/resource.ts";
import type { KubeObject } from "../objects/object.ts";
import type { GroupsUpdate } from "../rpc/messages.ts";
import { safeError } from "../telemetry/log.ts";
import { endJournal } from "./ended-journal.ts";
import { GroupDefinition } from "./group-definition.ts";
import { journalPath, openJournal } from "./group-journal.ts";
import { GroupRuntime } from "./group-runtime.ts";
import { readOrigin } from "./origin.ts";
import type { AgentParts } from "./parts.ts";
import { followPeerGroups } from "./peer-groups.ts";
import { RequestDesk } from "./request-desk.ts";
import { StatusWriter } from "./status-writer.ts";
import { UnopenedGroups } from "./unopened.ts";

/** A group's status is written at most this often, and at least {@link statusEveryMs} while its lag changes. */
const statusDelayMs = 500;
const statusEveryMs = 5000;

/** Names of the groups that have a journal under `dataDir`. */
export async function journalsIn(dataDir: string): Promise<string[]> {
  const files = await readdir(dirname(journalPath(dataDir, "x"))).catch(() => [] as string[]);
  return files.filter((file) => file.endsWith(".db")).map((file) => file.slice(0, -".db".length));
}

interface Entry {
  readonly runtime: GroupRuntime;
  readonly status: StatusWriter;
  readonly desk: RequestDesk;
  timer: NodeJS.Timeout | undefined;
}

/** What is heard of a group while its former life is being closed: it begins after that. */
interface Meanwhile {
  object: KubeObject | undefined;
  removed: boolean;
  offeredBy: string | undefined;
  readonly closed: Promise<void>;
}

/**
 * The groups that this site has to do with: those whose ProtectionGroup stands here, those that a peer serves, and
 * those whose journal an earlier process left.
 */
export class GroupSet {
  readonly #parts: AgentParts;
  readonly #signal: AbortSignal;
  readonly #entries = new Map<string, Entry>();
  /** Groups whose objects were deleted and that are not let go of yet. */
  readonly #ending = new Set<string>();
  /** The last of what is done to a group as a whole, by its name: one after the other. */
  readonly #turns = new Map<string, Promise<void>>();
  readonly #closing = new Map<string, Meanwhile>();
  /** The objects of all groups that are at this site have been seen. */
  #isListed = false;
  /** New groups that a peer, which is named, has offered before that. */
  readonly #early = new Map<string, string>();
  /** One for each peer that is told which groups are kept here. */
  readonly #told = new Set<Pulse>();
  #areOpened = false;
  /** What peers have said of that before the journals were open. */
  readonly #keptBefore = new Map<string, readonly string[]>();
  readonly #definition: GroupDefinition;
  readonly #unopened: UnopenedGroups;

  constructor(parts: AgentParts, signal: AbortSignal) {
    this.#parts = parts;
    this.#signal = signal;
    this.#definition = new GroupDefinition(parts);
    this.#unopened = new UnopenedGroups(parts);
  }

  get runtimes(): GroupRuntime[] {
    return [...this.#entries.values()].map((entry) => entry.runtime);
  }

  /** Opens the journals that are on disk; one that cannot be opened is reported and left alone. */
  async openJournals(): Promise<void> {
    await this.#openAll();
    this.#areOpened = true;
    this.#tellPeers();
    for (const [site, kept] of this.#keptBefore) this.peerKeeps(site, kept);
    this.#keptBefore.clear();
  }

  async #openAll(): Promise<void> {
    const { shared, config } = this.#parts;
    const here = await journalsIn(config.dataDir);
    if (shared === undefined) {
      for (const name of here) this.#ensure(name);
      return;
    }
    const known = new Set(shared.groups());
    const isLive = (name: string): boolean => known.has(name) || new GroupRecords(shared, name).isLive();
    // Filled by this agent while another one led, which has seen the group's end.
    const over = shared.isFirst ? [] : here.filter((name) => !isLive(name));
    for (const name of over) await this.#endUnknown(name);
    for (const name of new Set([...known, ...here.filter((each) => !over.includes(each))])) this.#ensure(name);
  }

  async #endUnknown(name: string): Promise<void> {
    const { config, clock, log } = this.#parts;
    const path = journalPath(config.dataDir, name);
    try {
      const journal = openJournal(name, this.#parts);
      const divergent = journal.divergentKeys().length;
      journal.close();
      await endJournal(path, { divergent, wallMs: clock.wallMs() });
      log.info({ group: name }, "the journal of a group that has ended is removed");
    } catch (error) {
      this.#unopened.note(name, error);
    }
  }

  /** Follows the ProtectionGroups of this site until the signal aborts. */
  async followObjects({ signal }: { signal: AbortSignal }): Promise<void> {
    const { client, clock, random, log } = this.#parts;
    const handler: ReflectorHandler = {
      upsert: (object) => this.#observe(object),
      removed: ({ name }, how) => {
        if (how === "deleted") this.#removed(name, true);
        else this.#absent(name);
      },
      synced: () => {
        void this.#definition.note({ signal });
        this.#lookForAbsent();
        this.#isListed = true;
        this.#tellPeers();
        for (const name of this.#early.keys()) this.#entries.get(name)?.runtime.offered();
        this.#early.clear();
      },
    };
    const onPhase = (phase: ReflectorPhase): void => {
      if (phase !== "rewound") return;
      log.warn("the API server was restored from a backup: its groups are taken as they are, and none ends by it");
      reflector.acceptRewind();
    };
    const resource = resources.protectionGroups;
    const reflector = new Reflector({ client, resource, handler, onPhase, clock, random, log });
    await this.#definition.note({ signal });
    await reflector.run({ signal });
  }

  /** Follows what one peer serves, for ever. */
  async followPeer(site: string, { signal }: { signal: AbortSignal }): Promise<void> {
    const { dataLinks, discovery, clock, config, log } = this.#parts;
    const link = dataLinks.get(site);
    if (link === undefined) return;
    const onUpdate = (update: GroupsUpdate): void => this.#offered(site, update);
    const keeping = { names: () => this.kept, changed: new Pulse() };
    this.#told.add(keeping.changed);
    try {
      await followPeerGroups({ link, peer: site, site: config.site, discovery, clock, log, signal, onUpdate, keeping });
    } finally {
      this.#told.delete(keeping.changed);
    }
  }

  /**
   * The groups of which this site keeps more than a name and what an ended one left behind; undefined before all are
   * known: of what an agent has lost, the group's object may know.
   */
  get kept(): string[] | undefined {
    if (!this.#areOpened || !this.#isListed) return undefined;
    const open = this.runtimes.filter(({ isKept }) => isKept).map(({ name }) => name);
    return [...new Set([...open, ...this.#closing.keys(), ...this.#unopened.names])];
  }

  #tellPeers(): void {
    if (this.kept === undefined) return;
    for (const pulse of this.#told) pulse.raise();
  }

  /** A peer has said which groups it keeps: what it has let go of, it is to get anew. */
  peerKeeps(site: string, kept: readonly string[]): void {
    if (!this.#areOpened) {
      this.#keptBefore.set(site, kept);
      return;
    }
    const names = new Set(kept);
    for (const { runtime } of this.#entries.values()) if (!names.has(runtime.name)) runtime.lackedBy(site);
  }

  /** Writes every status again now and then: lags and ages change without an event. */
  async refreshStatus({ signal }: { signal: AbortSignal }): Promise<void> {
    for (;;) {
      await this.#parts.clock.sleep(statusEveryMs, { signal });
      for (const runtime of this.runtimes) runtime.recheck();
      for (const name of this.#entries.keys()) this.#changed(name);
    }
  }

  async close(): Promise<void> {
    await Promise.all([
      ...[...this.#entries.values()].map(async ({ runtime, timer }) => {
        clearTimeout(timer);
        await runtime.close();
      }),
      ...[...this.#closing.values()].map(({ closed }) => closed),
    ]);
  }

  #ensure(name: string): Entry | undefined {
    const known = this.#entries.get(name);
    if (known !== undefined) return known;
    try {
      const runtime = new GroupRuntime({
        name,
        parts: this.#parts,
        signal: this.#signal,
        problem: (group) => this.#problem(group),
        others: () => this.#othersThan(name),
        isGone: (other) => this.#isGone(other),
        onChange: () => this.#changed(name),
        onOrphaned: () => this.#inTurn(name, "the group could not be opened anew", () => this.#reopen(name)),
        onUnopened: (error) =>
          this.#inTurn(name, "the group could not be closed", () => this.#unopen(name, runtime, error)),
      });
      const status = new StatusWriter(this.#parts, runtime);
      const desk = new RequestDesk({ parts: this.#parts, runtime, status, signal: this.#signal });
      const entry: Entry = { runtime, status, desk, timer: undefined };
      this.#entries.set(name, entry);
      // Its journal may be empty by now.
      if (this.#unopened.has(name)) this.#tellPeers();
      this.#unopened.opened(name);
      return entry;
    } catch (error) {
      this.#unopened.note(name, error);
      return undefined;
    }
  }

  #observe(object: KubeObject): void {
    const meanwhile = this.#closing.get(object.metadata.name);
    if (meanwhile !== undefined) {
      meanwhile.object = object;
      return;
    }
    const entry = this.#ensure(object.metadata.name);
    if (entry === undefined) {
      void this.#unopened.show(object, { signal: this.#signal });
      return;
    }
    entry.runtime.observe(object);
    entry.desk.observe(object);
  }

  /** A namespace belongs to one group: a new spec is refused what another one has. */
  #problem(group: ProtectionGroup): string {
    const { site } = this.#parts.config;
    const namespaces = new Map<string, string[]>();
    const others = this.#othersThan(group.name).flatMap((other) => {
      if (other.group === undefined) return [];
      const { spec } = other.group;
      namespaces.set(
        other.name,
        other.claims.namespaces.map((here) => namespaceAt(spec, here, site, firstSite(spec))),
      );
      return [other.group];
    });
    return (checkGroups([...others, group], namespaces).get(group.name) ?? []).join("; ");
  }

  #othersThan(name: string): GroupRuntime[] {
    return this.runtimes.filter((other) => other.name !== name && !other.orphaned);
  }

  /** All groups of this site are known, and none of that name has anything here. */
  #isGone(name: string): boolean {
    const runtime = this.#entries.get(name)?.runtime;
    if (runtime !== undefined && !(this.#isListed && runtime.isEmpty)) return runtime.orphaned;
    return this.#isListed && !this.#closing.has(name) && !this.#unopened.has(name);
  }

  #offered(site: string, update: GroupsUpdate): void {
    const served = new Set(update.groups.map(({ name }) => name));
    for (const { runtime } of this.#entries.values()) if (!served.has(runtime.name)) runtime.withdrawn(site);
    for (const [name, by] of this.#early) if (by === site && !served.has(name)) this.#early.delete(name);
    for (const [name, meanwhile] of this.#closing) {
      if (served.has(name)) meanwhile.offeredBy = site;
      else if (meanwhile.offeredBy === site) meanwhile.offeredBy = undefined;
    }
    for (const name of served) if (!this.#closing.has(name)) this.#offer(name, site);
  }

  #offer(name: string, site: string): void {
    const entry = this.#ensure(name);
    if (entry === undefined) return;
    entry.runtime.announcedBy(site);
    // Of a group of which nothing is known its object here may know that this site ran it.
    if (!this.#isListed && readOrigin(entry.runtime.journal) === "none") this.#early.set(name, site);
    else entry.runtime.offered();
  }

  /**
   * Somebody has deleted the object; `confirm` unless that is known to be the wish for this group. At the active site
   * it ends the group: what runs goes on, unprotected. At the standby the mirror is written again.
   */
  #removed(name: string, confirm: boolean): void {
    const meanwhile = this.#closing.get(name);
    if (meanwhile !== undefined) Object.assign(meanwhile, { object: undefined, removed: true });
    const entry = this.#entries.get(name);
    if (entry === undefined) return;
    entry.runtime.forgetObject();
    // A second end would take away what has begun under the same name since.
    if (this.#ending.has(name)) return;
    this.#ending.add(name);
    this.#inTurn(name, "the group could not be ended in order", () =>
      this.#end(name, confirm).finally(() => this.#ending.delete(name)),
    );
  }

  /** Does what concerns the whole of a group when nothing else of that kind is under way for it. */
  #inTurn(name: string, failure: string, work: () => Promise<void>): void {
    const turn = (this.#turns.get(name) ?? Promise.resolve())
      .then(work)
      .catch((error: unknown) => {
        if (!this.#signal.aborted) this.#parts.log.error({ group: name, error: safeError(error) }, failure);
      })
      .finally(() => {
        if (this.#turns.get(name) === turn) this.#turns.delete(name);
      });
    this.#turns.set(name, turn);
  }

  /** The object is not there, and nobody was seen deleting it: a store set back, an agent that was away. */
  #absent(name: string): void {
    const runtime = this.#entries.get(name)?.runtime;
    if (runtime?.ended === true) this.#removed(name, false);
    else runtime?.absent();
  }

  #lookForAbsent(): void {
    for (const { runtime } of this.#entries.values()) if (runtime.object === undefined) this.#absent(runtime.name);
  }

  /** A group that has ended at its source is opened anew as what it left behind. */
  async #reopen(name: string): Promise<void> {
    const entry = this.#entries.get(name);
    if (entry !== undefined) await this.#close(name, entry, () => entry.runtime.close());
  }

  /** What the group must not be without could not be written: nothing of it is done until it is heard of again. */
  async #unopen(name: string, runtime: GroupRuntime, error: unknown): Promise<void> {
    this.#unopened.note(name, error);
    const entry = this.#entries.get(name);
    if (entry?.runtime !== runtime) return;
    const { object } = runtime;
    const show = ({ object: last }: Meanwhile): void => {
      if (last !== undefined && last !== object) this.#observe(last);
      else if (last !== undefined) void this.#unopened.show(last, { signal: this.#signal });
    };
    await this.#close(name, entry, () => runtime.close(), show);
  }

  /**
   * Closes a group. Its journal can be opened once at a time: what is heard of one of its name from now on, or was heard
   * at the last moment, waits until `close` has resolved or failed, and goes to `next`.
   */
  async #close(
    name: string,
    entry: Entry,
    close: () => Promise<void>,
    next: (meanwhile: Meanwhile) => void = (meanwhile) => this.#begin(name, meanwhile),
  ): Promise<void> {
    const closed = Promise.withResolvers<void>();
    const { object } = entry.runtime;
    const meanwhile: Meanwhile = { object, removed: false, offeredBy: undefined, closed: closed.promise };
    this.#entries.delete(name);
    this.#closing.set(name, meanwhile);
    try {
      await close();
    } finally {
      // Whatever has changed meanwhile asks for another look, at a journal that is closed by now.
      clearTimeout(entry.timer);
      this.#closing.delete(name);
      closed.resolve();
      if (!this.#signal.aborted) next(meanwhile);
      this.#tellPeers();
    }
  }

  #begin(name: string, { object, removed, offeredBy }: Meanwhile): void {
    if (object !== undefined) this.#observe(object);
    else if (existsSync(journalPath(this.#parts.config.dataDir, name))) {
      this.#ensure(name);
      if (removed) this.#removed(name, true);
    }
    if (offeredBy !== undefined) this.#offer(name, offeredBy);
    this.#changed(name);
  }

  async #end(name: string, confirm: boolean): Promise<void> {
    const entry = this.#entries.get(name);
    if (entry === undefined) return;
    const { runtime } = entry;
    const { config, clock, log } = this.#parts;
    if (confirm && !(await this.#definition.stands({ signal: this.#signal }))) {
      log.warn({ group: name }, "the group's object went with its custom resource definition; the group goes on");
      if (runtime.object === undefined) runtime.absent();
      return;
    }
    if (!(await runtime.deleted())) return;
    await this.#close(name, entry, async () => {
      const divergent = runtime.journal.divergentKeys().length;
      await runtime.close({ forget: true });
      await this.#parts.shared?.forgetJournal(name);
      const path = await endJournal(journalPath(config.dataDir, name), { divergent, wallMs: clock.wallMs() });
      if (path === undefined) return;
      const said = "the ended group's journal holds what nobody has looked at; it is kept";
      log.warn({ group: name, divergent, path }, said);
    });
  }

  #changed(name: string): void {
    const entry = this.#entries.get(name);
    if (entry === undefined || entry.timer !== undefined || this.#signal.aborted) return;
    entry.timer = setTimeout(() => {
      entry.timer = undefined;
      this.#tell(entry).catch((error: unknown) => {
        // Its journal may just have been closed.
        this.#parts.log.warn({ group: name, error: safeError(error) }, "the group's status could not be made");
      });
    }, statusDelayMs);
  }

  async #tell({ desk, status }: Entry): Promise<void> {
    desk.settle();
    await status.write({ signal: this.#signal });
  }
}
