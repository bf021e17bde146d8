import type { Applier } from "../apply/applier.ts";
import type { ObjectDifference } from "../apply/diff.ts";
import { compileSelection } from "../capture/selection.ts";
import { peerOf, type ProtectionGroup } from "../config/group.ts";
import { LifeboatError } from "../errors.ts";
import type { Command } from "../failover/agent-state.ts";
import { formatEpoch } from "../failover/epoch.ts";
import type { CommandOutcome } from "../failover/runner/actions.ts";
import { GroupRecords } from "../failover/runner/records.ts";
import type { FailoverSnapshot } from "../failover/runner/snapshot.ts";
import type { Journal } from "../journal/journal.ts";
import { isLedgerRecord } from "../merge/ledger.ts";
import { compareEpochs } from "../objects/epoch.ts";
import type { ObjectKey } from "../objects/key.ts";
import type { KubeObject } from "../objects/object.ts";
import { safeError, type Log } from "../telemetry/log.ts";
import { Background } from "./background.ts";
import type { Claimant, GroupClaims } from "./claims.ts";
import { openJournal } from "./group-journal.ts";
import { type GroupRooms, openRooms } from "./group-rooms.ts";
import { agesOf, findingsOf, viewOf } from "./group-view.ts";
import { GroupGuarding } from "./guarding.ts";
import type { GuardedSide } from "./guards.ts";
import { keptObjects, type KeptObject } from "./kept.ts";
import { type Origin, ranHere, readEnded, readOrigin, recalledOrigin, writeOrigin } from "./origin.ts";
import type { AgentParts } from "./parts.ts";
import { ownStates } from "./standby-data.ts";

export interface GroupRuntimeOptions {
  readonly name: string;
  readonly parts: AgentParts;
  /** Ends everything of the group at this site, without stopping what runs there. */
  readonly signal: AbortSignal;
  /** What another group at this site leaves one of this spec to be refused for; "" for nothing. Must not throw. */
  readonly problem: (group: ProtectionGroup) => string;
  /** The other groups at this site, as far as they are open. Must not throw. */
  readonly others: () => readonly Claimant[];
  /** It is known that no group of that name has anything at this site. Must not throw. */
  readonly isGone: (name: string) => boolean;
  /** Something that status shows has changed. Must not throw. */
  readonly onChange: () => void;
  /** The source has deleted the group: what stays here is to be opened anew, as orphaned. Must not throw. */
  readonly onOrphaned: () => void;
  /** What the group's objects here are could not be noted: the group is to be closed. Must not throw. */
  readonly onUnopened: (error: unknown) => void;
}

/**
 * One protection group at this site: its journal, what captures or applies it, and the failover protocol that says
 * which of the two. Lives from the moment the site hears of the group until the agent ends or the group is released.
 */
export class GroupRuntime {
  readonly name: string;
  readonly journal: Journal;
  readonly applier: Applier;
  /** What the site's node guards are told of it. */
  readonly guarding: GuardedSide;
  readonly #options: GroupRuntimeOptions;
  readonly #log: Log;
  readonly #rooms: GroupRooms;
  readonly #applying: Background;
  #offeredBy: string | undefined;
  /** Opened as what a deleted group left behind, and nothing else since. */
  #bornOrphaned: boolean;
  /** By the last word of the peer; undefined before the first. */
  #isOffered: boolean | undefined;
  #hasEnd = false;

  /** Throws JournalCorrupt, JournalVersion or JournalFull. */
  constructor(options: GroupRuntimeOptions) {
    const { name, parts, signal } = options;
    const { clock, random } = parts;
    this.name = name;
    this.#options = options;
    const log = parts.log.child({ group: name });
    this.#log = log;
    this.journal = openJournal(name, parts, parts.shared?.journal(name));
    this.#takeOver(parts);
    this.#rooms = openRooms({
      ...options,
      journal: this.journal,
      log,
      onTaken: (group) => this.#taken(group),
      onAdopting: () => this.#adoptRunning(),
      onReleased: (held) => this.#released(held),
      peer: () => this.#peer(),
      isOffered: () => this.#isOffered === true,
      isTruth: () => this.#isTruth,
    });
    const { covered } = this.#rooms;
    this.applier = this.#rooms.applier;
    this.guarding = new GroupGuarding({ ...this.#rooms, covered: () => (this.orphaned ? undefined : covered()) });
    this.journal.onCommit((keys) => this.#committed(keys));
    this.#applying = new Background({ name: "apply", clock, random, log, signal }, async (inner) => {
      await this.#forgetSpec();
      await this.applier.run(inner);
    });
    this.#bornOrphaned = this.orphaned;
    if (this.#bornOrphaned) this.#letGo();
    if (this.#rooms.specs.readJournal()) this.#rooms.shown.check();
    if (!this.orphaned) this.#rooms.specs.readKept();
  }

  /** What another process knew of this site counts, whatever the journal at hand says or lacks. */
  #takeOver({ records, config, shared }: AgentParts): void {
    const { journal } = this;
    const { onUnopened } = this.#options;
    if (shared?.journal(this.name).isEmpty === true) shareStates(journal).catch(onUnopened);
    // Before anything asks what is here.
    if (ranHere(journal, records, config.site)) this.#noteOrigin("own");
    if (shared === undefined) return;
    const { cert } = new GroupRecords(records, this.name).read();
    const origin = readOrigin(journal);
    if (cert?.holder !== config.site || origin === "copy" || origin === "none") return;
    // Another agent led when this site took the group over: this journal is of before.
    const epoch = formatEpoch(cert.epoch);
    const stored = journal.epoch();
    if (stored === undefined || compareEpochs(stored, epoch) < 0) journal.raiseEpoch(epoch).catch(onUnopened);
  }

  /** What is being written is read as if it were; only a failure comes later. */
  #noteOrigin(origin: Origin): void {
    writeOrigin(this.journal, origin).catch(this.#options.onUnopened);
  }

  /** Copies whose group was deleted at its source; nothing is followed any more. */
  get orphaned(): boolean {
    const origin = readOrigin(this.journal);
    const isGone = (this.journal.head(this.#rooms.specs.key)?.hash ?? "") === "";
    return (origin === "copy" || origin === "none") && this.journal.synced && isGone;
  }

  /** It ran here, or this site has something of it to follow, or its end to tell of. */
  get isKept(): boolean {
    const origin = readOrigin(this.journal);
    if (origin !== "none" && origin !== "copy") return true;
    return this.orphaned ? !this.#bornOrphaned : (this.journal.head(this.#rooms.specs.key)?.hash ?? "") !== "";
  }

  /** What its objects here are; of a group that runs at both sites they are the truth, whoever holds its epoch. */
  get origin(): Origin {
    return this.#rooms.merging.isOn ? "own" : readOrigin(this.journal);
  }

  /** Nothing of a group is known here but its name. */
  get isEmpty(): boolean {
    const isUnknown = this.group === undefined && this.object === undefined && this.#isOffered !== true;
    return isUnknown && readOrigin(this.journal) === "none" && !this.journal.synced;
  }

  get group(): ProtectionGroup | undefined {
    return this.#rooms.specs.group;
  }

  get object(): KubeObject | undefined {
    return this.#rooms.specs.object;
  }

  /** The protocol's part here; undefined before the first spec, and in a group that has ended. */
  get failover(): FailoverSnapshot | undefined {
    return this.#rooms.protocol.snapshot();
  }

  /** What became of the latest orders. */
  get outcomes(): readonly CommandOutcome[] {
    return this.#rooms.happenings.outcomes;
  }

  /** Its namespaces here. */
  get claims(): GroupClaims {
    return this.#rooms.claims;
  }

  /** To be called now and then: which namespaces the group has, and which the others have, may have changed. */
  refreshNamespaces(): void {
    const { claims, serving, gate } = this.#rooms;
    claims.refresh();
    serving.capture?.reconsiderNamespaces();
    gate.refresh();
  }

  /** What status is made of. */
  view() {
    return viewOf(this.#rooms, this.#bornOrphaned && this.orphaned);
  }

  /** Another group may have left room for what this one was refused. */
  recheck(): void {
    if (this.#rooms.specs.refused && this.object !== undefined) this.observe(this.object);
  }

  /** The group's object at this site appeared or changed. */
  observe(object: KubeObject): void {
    this.#recall(object);
    const observed = this.#rooms.specs.observe(object);
    if (observed === "foreign") this.#rooms.shown.check();
    if (observed === "adopted" && this.group !== undefined) {
      this.#rooms.serving.update(object, this.group);
      const selection = compileSelection(this.group.spec, this.#options.parts.config.site);
      this.applier.giveUp((object) => selection.excludes(object));
    }
    this.#options.onChange();
  }

  /** What an agent that has lost its disk does not know, its API server does. */
  #recall(object: KubeObject): void {
    if (readOrigin(this.journal) !== "none" || this.journal.synced) return;
    const origin = recalledOrigin(object, this.#options.parts.config.site);
    if (origin === undefined) return;
    this.#log.warn({ origin }, "what this agent knew of the group is lost; its object says that this site ran it");
    this.#noteOrigin(origin);
  }

  /** A spec has come into force. */
  #taken(group: ProtectionGroup): void {
    this.#options.parts.metrics.open(
      this.name,
      peerOf(group.spec, this.#options.parts.config.site),
      agesOf(this.#rooms),
    );
    this.#rooms.claims.begin();
    this.#rooms.claims.refresh();
    this.applier.reconsider();
    this.#rooms.merging.take(group);
    this.#rooms.protocol.take(group);
  }

  /** The peer serves the group: this site pulls it, unless it ever ran it itself. */
  offered(): void {
    const isNew = this.#isOffered === false;
    this.#isOffered = true;
    // A group that has just ended is offered until its end is known everywhere; one of its name may begin later.
    if (this.orphaned && !this.#bornOrphaned && !isNew) return;
    if (this.#rooms.merging.isOn) {
      this.#rooms.merging.begin();
      return;
    }
    const origin = readOrigin(this.journal);
    if (origin === "none" || origin === "copy") this.#rooms.host.pull();
  }

  /** A site does not serve the group at present. */
  withdrawn(site: string): void {
    if (site !== this.#peer()) return;
    this.#isOffered = false;
    this.#rooms.ending.withdrawn();
  }

  /**
   * A site keeps nothing of the group. Where this one had to stop it, the witness grants it to nobody before that site
   * has been heard, which cannot speak of what it does not know.
   */
  lackedBy(site: string): void {
    const { serving, merging, host } = this.#rooms;
    if (site !== this.#peer() || merging.isOn) return;
    serving.forgetStandby();
    if (readOrigin(this.journal) !== "held" || serving.offers) return;
    const { cert } = new GroupRecords(this.#options.parts.records, this.name).read();
    // A site that is to follow keeps to that, whatever its source has lost.
    if (cert?.holder === site) return;
    this.#log.info("the peer has let go of the group; it gets it anew, also from a site that has stopped it");
    host.serve().catch((error: unknown) => {
      this.#log.warn({ error: safeError(error) }, "a group that was stopped could not be offered");
    });
  }

  command(command: Command): void {
    const refusal = this.#rooms.protocol.command(command);
    if (refusal !== undefined) this.#rooms.happenings.outcome(refusal);
  }

  setApi(up: boolean): void {
    this.#rooms.protocol.setApi(up);
  }

  /** Copies of a group that has ended are their users' to start. */
  #letGo(): void {
    this.#rooms.gate.remove();
    this.#rooms.protocol.letGuardsGo().catch((error: unknown) => {
      this.#log.warn({ error: safeError(error) }, "node guards could not be told of the group's end");
    });
  }

  /** Before the first grant the source serves what runs there already; nothing is gated. */
  async #adoptRunning(): Promise<void> {
    const origin = readOrigin(this.journal);
    if (!this.#rooms.specs.isSource || (origin !== "none" && origin !== "own")) return;
    await this.applier.activate();
    if (this.#rooms.merging.isOn) {
      this.#rooms.merging.setMayStart(true);
      this.#rooms.merging.begin();
    } else await this.#rooms.host.serve();
  }

  /** What differs between what the journal says and what is at this site, the canary left out: it changes always. */
  async diff(options: { signal: AbortSignal }): Promise<ObjectDifference[]> {
    if (this.#rooms.merging.isOn) {
      throw new LifeboatError("FailoverRefused", "the group runs at both sites: neither is the copy of the other", {
        op: "agent.diff",
        hint: "`lifeboat status GROUP` lists what is not the same yet, and conflicts",
      });
    }
    return (await this.applier.diff(options)).filter(({ key }) => this.#rooms.serving.isGroups(key));
  }

  /** Carries out the deletes that are held back here. Returns their number. */
  confirmDeletes(): Promise<number> {
    const { merging } = this.#rooms;
    return merging.isOn ? merging.merger.confirmDeletes() : this.applier.confirmDeletes();
  }

  /** What this site had of its own when the other took over. */
  divergence(): KeptObject[] {
    return keptObjects(this.journal);
  }

  /** What stands in the way of a switchover away from or to this site, as far as it can be told from here. */
  preflight(): string[] {
    return findingsOf(this.#rooms);
  }

  /** The other site of the group; before its spec has come, the only peer there is. */
  #peer(): string | undefined {
    const { config } = this.#options.parts;
    if (this.group !== undefined) return peerOf(this.group.spec, config.site);
    return config.peers.length === 1 ? config.peers[0]?.site : this.#offeredBy;
  }

  /** Which peer announced the group, told before {@link offered}. */
  announcedBy(peer: string): void {
    this.#offeredBy = peer;
  }

  #committed(keys: readonly ObjectKey[]): void {
    if (this.#rooms.specs.readJournal()) this.#rooms.shown.check();
    if (keys.some((key) => key.startsWith("/Namespace//"))) this.refreshNamespaces();
    if (!this.orphaned) this.#bornOrphaned = false;
    else if (!this.#bornOrphaned) this.#orphan();
    this.#options.onChange();
  }

  /** With the group's spec gone from the journal nothing is applied any more. */
  async #forgetSpec(): Promise<void> {
    const { key } = this.#rooms.specs;
    const head = this.journal.head(key);
    if (this.orphaned && head !== undefined) await this.journal.settle([{ key, seq: head.seq }]);
  }

  /** The group's end has arrived: what comes after it in the stream is not applied. */
  #orphan(): void {
    if (this.#hasEnd) return;
    this.#hasEnd = true;
    this.#log.info("the group was deleted at its source; the copies here stay");
    // Before anything that takes time: the source, which knows that the end is on this disk, may be silent from now on.
    this.#rooms.protocol.setEnding(true);
    // Where both sites serve: what the source has let go of is not to come back to it from here.
    this.#rooms.serving.stopServing();
    void Promise.all([this.#applying.stop(), this.#rooms.merging.stop()])
      .then(() => this.#rooms.ending.atStandby(() => this.orphaned))
      .then(this.#options.onOrphaned)
      .catch(() => undefined);
  }

  /** What is at this site is no copy: its object here is the group's own. */
  get #isTruth(): boolean {
    const origin = readOrigin(this.journal);
    if (origin === "none" && this.#rooms.merging.isOn) return this.#rooms.specs.isSource;
    return origin === "none" ? this.#rooms.serving.offers : origin !== "copy";
  }

  /** The object is gone from this site, for a reason yet unknown. */
  forgetObject(): void {
    this.#rooms.specs.forgetObject();
  }

  /** The object is not there, and nobody was seen deleting it: the group goes on, and shows it again. */
  absent(): void {
    this.#rooms.specs.forgetObject();
    this.#rooms.shown.check();
  }

  /** Somebody has deleted the group here, and what follows from that is not all done. */
  get ended(): boolean {
    return readEnded(this.journal);
  }

  /**
   * Somebody has deleted the object at this site. Returns whether that ends the group here: at the site that runs it,
   * not at a standby, whose mirror is only shown again.
   */
  async deleted(): Promise<boolean> {
    if (this.orphaned) return true;
    if (!this.#isTruth) {
      this.#rooms.shown.check();
      return false;
    }
    this.#rooms.specs.restoreKept();
    return this.#rooms.ending.atHolder();
  }

  /** The protocol is over for the group. Resolves with whether one of its name is here, to begin anew. */
  async #released(held: boolean): Promise<boolean> {
    // A lease that ran out, or a switchover that was called off, in the last moment; nobody else will run it.
    if (held && readOrigin(this.journal) === "held") await this.#rooms.host.bringBack(this.#options);
    this.#rooms.ending.released();
    const isBack = this.object !== undefined && !this.orphaned;
    if (isBack) this.#rooms.serving.forgetStandby();
    return isBack;
  }

  /** Ends everything in order; what runs at the site goes on. Of a group that has ended nothing is remembered. */
  async close({ forget = false }: { readonly forget?: boolean } = {}): Promise<void> {
    await this.#rooms.protocol.stop();
    await this.#rooms.holding.stop();
    try {
      if (forget) await this.#forget();
    } finally {
      await this.#closeAll();
    }
  }

  async #forget(): Promise<void> {
    await this.#rooms.protocol.letGuardsGo();
    await this.#rooms.protocol.forget();
    this.#rooms.gate.remove();
  }

  async #closeAll(): Promise<void> {
    await this.#rooms.merging.stop();
    this.#rooms.serving.stopServing();
    await this.#rooms.serving.stopCapture();
    await this.#rooms.pulling.stop();
    await this.#rooms.late.stop();
    await this.#rooms.shown.stop();
    await this.#applying.stop();
    await this.#options.parts.metrics.close(this.name);
    this.journal.close();
  }
}

/** An agent that was alone until now kept in the journal's file what others are to know. */
async function shareStates(journal: Journal): Promise<void> {
  const names = journal.ownStates().filter((name) => !ownStates.has(name) && !isLedgerRecord(name));
  await Promise.all(names.map((name) => journal.putState(name, journal.getOwnState(name))));
}
