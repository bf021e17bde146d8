import { join } from "node:path";
import { Applier } from "../apply/applier.ts";
import type { DemoteReport, LocalObject } from "../apply/demotion.ts";
import type { ObjectDifference } from "../apply/diff.ts";
import { compileSelection } from "../capture/selection.ts";
import { peerOf, type GroupSpec, type ProtectionGroup } from "../config/group.ts";
import type { Command } from "../failover/agent-state.ts";
import { formatEpoch } from "../failover/epoch.ts";
import type { GuardAnswer, GuardPoll } from "../failover/messages.ts";
import type { CommandOutcome, Notice, StartGoal } from "../failover/runner/actions.ts";
import type { FailoverSnapshot } from "../failover/runner/snapshot.ts";
import { Journal } from "../journal/journal.ts";
import type { KubeObject } from "../objects/object.ts";
import type { GuardedGroup } from "../rpc/guard-messages.ts";
import type { KeyAndHash } from "../stream/doors.ts";
import { safeError, type Log } from "../telemetry/log.ts";
import { Background } from "./background.ts";
import { GroupEnding } from "./ending.ts";
import { lowestEpoch, SiteActions, type ActionHost, type FinalDigest, type StartOutcome } from "./group-actions.ts";
import { GroupGate } from "./group-gate.ts";
import { GroupNamespaces } from "./group-namespaces.ts";
import { GroupSpecs } from "./group-spec.ts";
import { explainFence, guardedGroup, proofOf } from "./guard-scope.ts";
import type { Fence, GuardedSide, SiteNodes } from "./guards.ts";
import { Holding } from "./holding.ts";
import { keptObjects, type KeptObject } from "./kept.ts";
import { unreadKinds } from "./kind-troubles.ts";
import { finderAt, LateObjects, startShortfalls } from "./late.ts";
import type { GroupAges } from "./metrics.ts";
import { ShownObject } from "./mirror.ts";
import { type Origin, ranHere, readEnded, readOrigin, recalledOrigin, writeOrigin } from "./origin.ts";
import type { AgentParts } from "./parts.ts";
import { GroupProtocol } from "./protocol.ts";
import { GroupPulling } from "./pulling.ts";
import { GroupServing } from "./serving.ts";

export interface GroupRuntimeOptions {
  readonly name: string;
  readonly parts: AgentParts;
  /** Ends everything of the group at this site, without stopping what runs there. */
  readonly signal: AbortSignal;
  /** Something that status shows has changed. Must not throw. */
  readonly onChange: () => void;
  /** The source has deleted the group: what stays here is to be opened anew, as orphaned. Must not throw. */
  readonly onOrphaned: () => void;
  /** What the group's objects here are could not be noted: the group is to be closed. Must not throw. */
  readonly onUnopened: (error: unknown) => void;
}

/** A move of the group to this site, for status and metrics. */
export interface StartReport extends StartOutcome {
  readonly goal: StartGoal;
  readonly atMs: number;
}

/** Notices and outcomes kept for status. */
const keptMaxCount = 20;
/** What keeps an object from being brought back is mended by people, or passes. */
const bringBackPauseMs = 5_000;

/**
 * One protection group at this site: its journal, what captures or applies it, and the failover protocol that says
 * which of the two. Lives from the moment the site hears of the group until the agent ends or the group is released.
 */
export class GroupRuntime implements ActionHost, GuardedSide {
  readonly name: string;
  readonly journal: Journal;
  readonly applier: Applier;
  readonly #parts: AgentParts;
  readonly #options: GroupRuntimeOptions;
  readonly #log: Log;
  readonly #specs: GroupSpecs;
  readonly #serving: GroupServing;
  readonly #pulling: GroupPulling;
  readonly #protocol: GroupProtocol;
  readonly #applying: Background;
  readonly #shown: ShownObject;
  readonly #ending: GroupEnding;
  readonly #holding: Holding;
  readonly #late: LateObjects;
  readonly #namespaces: GroupNamespaces;
  readonly #gate: GroupGate;
  #outcomes: readonly CommandOutcome[] = [];
  #notices: readonly Notice[] = [];
  #lastStart: StartReport | undefined;
  #offeredBy: string | undefined;
  /** Opened as what a deleted group left behind. */
  readonly #bornOrphaned: boolean;
  /** Since this was opened, the peer has been heard not to serve the group. */
  #withdrawn = false;
  #hasEnd = false;

  /** Throws JournalCorrupt, JournalVersion or JournalFull. */
  constructor(options: GroupRuntimeOptions) {
    const { name, parts, signal, onChange } = options;
    const { clock, random, config } = parts;
    this.name = name;
    this.#options = options;
    this.#parts = parts;
    this.#log = parts.log.child({ group: name });
    const log = this.#log;
    this.journal = Journal.open({
      path: journalPath(config.dataDir, name),
      group: name,
      ...(parts.journalKey === undefined ? {} : { key: parts.journalKey }),
    });
    // Before anything asks what is here.
    if (ranHere(this.journal, parts.records, config.site)) this.#noteOrigin("own");
    this.applier = this.#newApplier();
    const { journal } = this;
    const common = { name, parts, log, signal, onChange };
    this.#specs = new GroupSpecs({ name, site: config.site, journal, log, onTaken: (group) => this.#taken(group) });
    this.#protocol = new GroupProtocol({
      ...common,
      actions: new SiteActions(this),
      isSource: () => this.#specs.isSource,
      onAdopting: () => this.#adoptRunning(),
      onReleased: (held) => this.#released(held),
      keptData: (epoch) => this.#pulling.keptFor(epoch),
    });
    this.#namespaces = new GroupNamespaces({ site: config.site, journal });
    this.#gate = new GroupGate({
      name,
      site: config.site,
      gates: parts.gates,
      covered: () => this.#covered(),
      cert: () => this.#protocol.cert(),
    });
    const epoch = () => this.#protocol.epoch();
    const lacking = () => this.applier.absent;
    this.#serving = new GroupServing({ ...common, specs: this.#specs, journal, epoch, lacking });
    this.applier.onStatus(() => this.#serving.lackingChanged());
    this.#pulling = new GroupPulling({
      ...common,
      journal,
      peer: () => this.#peer(),
      onData: (data) => this.#protocol.setData(data),
    });
    this.#holding = new Holding({
      ...common,
      pool: parts.pool,
      namespaces: () => this.#serving.capture?.namespaces ?? [],
      clock,
      random,
    });
    this.#late = new LateObjects({ ...common, find: finderAt(parts), journal, clock, random });
    this.#ending = new GroupEnding({
      ...common,
      journal,
      serving: this.#serving,
      protocol: this.#protocol,
      hasObject: () => this.object !== undefined,
      clock,
    });
    this.journal.onCommit(() => this.#committed());
    const background = { clock, random, log, signal };
    this.#applying = new Background({ name: "apply", ...background }, async (inner) => {
      await this.#forgetSpec();
      await this.applier.run(inner);
    });
    this.#shown = new ShownObject({
      ...common,
      journal,
      specs: this.#specs,
      isTruth: () => this.#isTruth,
      peer: () => this.#peer(),
      onRestored: (message) => this.notice({ code: "ObjectRestored", message }),
    });
    this.#bornOrphaned = this.orphaned;
    if (this.#bornOrphaned) this.#letGo();
    if (this.#specs.readJournal()) this.#shown.check();
    if (!this.orphaned) this.#specs.readKept();
  }

  /** SQLite writes before it returns; only a failure comes later. */
  #noteOrigin(origin: Origin): void {
    writeOrigin(this.journal, origin).catch(this.#options.onUnopened);
  }

  #newApplier(): Applier {
    const { client, discovery, config, clock, random } = this.#parts;
    const { journal } = this;
    const origin = readOrigin(journal);
    const mode = origin === "copy" || origin === "none" ? "standby" : origin === "held" ? "held" : "active";
    const applier = new Applier({ journal, client, discovery, site: config.site, mode, clock, random, log: this.#log });
    applier.onStatus(() => this.#options.onChange());
    return applier;
  }

  /** Copies whose group was deleted at its source; nothing is followed any more. */
  get orphaned(): boolean {
    const origin = readOrigin(this.journal);
    const isGone = (this.journal.head(this.#specs.key)?.hash ?? "") === "";
    return (origin === "copy" || origin === "none") && this.journal.synced && isGone;
  }

  get group(): ProtectionGroup | undefined {
    return this.#specs.group;
  }

  get object(): KubeObject | undefined {
    return this.#specs.object;
  }

  get nowMs(): () => number {
    return () => this.#parts.clock.monotonicMs();
  }

  /** Epoch of whoever holds the group, as far as this site knows; undefined before the first grant. */
  get epoch(): string | undefined {
    return this.#protocol.snapshot()?.epoch;
  }

  /** What became of the latest orders. */
  get outcomes(): readonly CommandOutcome[] {
    return this.#outcomes;
  }

  /** To be called now and then: which namespaces the group has may have changed. */
  refreshGate(): void {
    this.#gate.refresh();
  }

  /** What status is made of. */
  view() {
    const specs = this.#specs;
    const capture = this.#serving.capture;
    const report = capture?.report();
    return {
      group: specs.group,
      object: specs.object,
      specError: specs.error,
      // What does nothing is told once it is known what the group holds.
      specWarnings: specs.warnings(report?.synced === true ? capture?.keys() : undefined),
      failover: this.#explained(),
      gateProblem: this.#gate.problem,
      capture: report,
      applier: this.applier.status(),
      origin: readOrigin(this.journal),
      orphaned: this.#bornOrphaned && this.orphaned,
      serving: this.#serving.offers,
      pulling: this.#pulling.active,
      standbyAgeMs: this.#pulling.ageMs(),
      journalSynced: this.journal.synced,
      streamError: this.#pulling.error,
      outcomes: this.#outcomes,
      notices: this.#notices,
      lastStart: this.#lastStart,
      late: this.#late.entries,
      divergent: this.journal.divergentKeys(),
    };
  }

  #explained(): FailoverSnapshot | undefined {
    const snapshot = this.#protocol.snapshot();
    if (snapshot === undefined) return undefined;
    return explainFence(snapshot, this.group?.spec, this.#parts.guards.unguarded);
  }

  #ages(): GroupAges {
    return {
      durableMs: () => this.#serving.capture?.lag.durableAgeMs ?? this.#pulling.ageMs(),
      appliedMs: () => this.#serving.capture?.lag.appliedAgeMs,
      eventMs: () => (this.#serving.capture === undefined ? undefined : this.#parts.pool.lastEventAgeMs()),
      witnessMs: () => this.#protocol.snapshot()?.witness.heardAgoMs ?? undefined,
    };
  }

  /** What another group at this site leaves this one to be refused for; "" for nothing. */
  refuse(problem: string): void {
    if (this.#specs.refuse(problem) && this.object !== undefined) this.observe(this.object);
  }

  get refused(): boolean {
    return this.#specs.refused;
  }

  /** The group's object at this site appeared or changed. */
  observe(object: KubeObject): void {
    this.#recall(object);
    const observed = this.#specs.observe(object);
    if (observed === "foreign") this.#shown.check();
    if (observed === "adopted" && this.group !== undefined) {
      this.#serving.update(object, this.group);
      const selection = compileSelection(this.group.spec, this.#parts.config.site);
      this.applier.giveUp((object) => selection.excludes(object));
    }
    this.#options.onChange();
  }

  /** What an agent that has lost its disk does not know, its API server does. */
  #recall(object: KubeObject): void {
    if (readOrigin(this.journal) !== "none" || this.journal.synced) return;
    const origin = recalledOrigin(object, this.#parts.config.site);
    if (origin === undefined) return;
    this.#log.warn({ origin }, "what this agent knew of the group is lost; its object says that this site ran it");
    this.#noteOrigin(origin);
  }

  /** A spec has come into force. */
  #taken(group: ProtectionGroup): void {
    this.#parts.metrics.open(this.name, peerOf(group.spec, this.#parts.config.site), this.#ages());
    this.#protocol.take(group);
  }

  /** The peer serves the group: this site pulls it, unless it ever ran it itself. */
  offered(): void {
    // A group that has just ended is offered until its end is known everywhere; one of its name may begin later.
    if (this.orphaned && !this.#bornOrphaned && !this.#withdrawn) return;
    const origin = readOrigin(this.journal);
    if (origin === "none" || origin === "copy") this.pull();
  }

  /** The peer does not serve the group at present. */
  withdrawn(): void {
    this.#withdrawn = true;
  }

  command(command: Command): void {
    const refusal = this.#protocol.command(command);
    if (refusal !== undefined) this.outcome(refusal);
  }

  setApi(up: boolean): void {
    this.#protocol.setApi(up);
  }

  /** Copies of a group that has ended are their users' to start. */
  #letGo(): void {
    this.#gate.remove();
    this.#protocol.letGuardsGo().catch((error: unknown) => {
      this.#log.warn({ error: safeError(error) }, "node guards could not be told of the group's end");
    });
  }

  guarded(): GuardedGroup | undefined {
    const covered = this.orphaned ? undefined : this.#covered();
    if (covered === undefined) return undefined;
    const proof = proofOf({
      origin: readOrigin(this.journal),
      current: this.#pulling.isCurrent,
      epoch: this.journal.epoch(),
      cert: this.#protocol.cert(),
      incarnation: this.#protocol.incarnation(),
    });
    return guardedGroup(this.name, covered, this.#parts.config.namespace, proof);
  }

  poll(poll: GuardPoll): GuardAnswer | undefined {
    return this.#protocol.guardPoll(poll);
  }

  setFence(fence: Fence): void {
    // When guards are no longer what stops the group, its pods wait for the protocol's word to be elsewhere.
    if (fence.cap === "guard") this.#gate.allowUnguarded(false);
    this.#protocol.setFence(fence);
  }

  setNodes({ guarded, ...nodes }: SiteNodes): void {
    this.#gate.setGuarded(guarded);
    this.#protocol.setNodes(nodes);
  }

  allowUnguarded(allowed: boolean): void {
    this.#gate.allowUnguarded(allowed);
  }

  /** Before the first grant the source serves what runs there already; nothing is gated. */
  async #adoptRunning(): Promise<void> {
    const origin = readOrigin(this.journal);
    if (!this.#specs.isSource || (origin !== "none" && origin !== "own")) return;
    await this.applier.activate();
    await this.serve();
  }

  /** What the gate and the node guards are about at this site. */
  #covered(): { readonly spec: GroupSpec; readonly namespaces: readonly string[] } | undefined {
    const spec = this.group?.spec;
    if (spec === undefined) return undefined;
    const capture = this.#serving.capture;
    return { spec, namespaces: this.#namespaces.here(spec, capture?.synced === true ? capture.namespaces : undefined) };
  }

  openGate(options: { signal: AbortSignal }): Promise<void> {
    return this.#gate.open(options);
  }

  closeGate(options: { signal: AbortSignal }): Promise<void> {
    return this.#gate.close(options);
  }

  async serve(): Promise<void> {
    await this.#pulling.stop();
    this.#serving.serve();
  }

  async stopServing(): Promise<void> {
    this.#serving.stopServing();
  }

  stopCapture(): Promise<void> {
    return this.#serving.stopCapture();
  }

  localObjects(options: { signal: AbortSignal }): Promise<LocalObject[]> {
    return this.#serving.localObjects(options);
  }

  /** What differs between what the journal says and what is at this site, the canary left out: it changes always. */
  async diff(options: { signal: AbortSignal }): Promise<ObjectDifference[]> {
    return (await this.applier.diff(options)).filter(({ key }) => this.#serving.isGroups(key));
  }

  /** What this site had of its own when the other took over. */
  divergence(): KeptObject[] {
    return keptObjects(this.journal);
  }

  /** What stands in the way of a switchover away from or to this site, as far as it can be told from here. */
  preflight(): string[] {
    const { failingCount, conflictCount, deletesPaused } = this.applier.status();
    const found = [...this.#protocol.preflight()];
    if (failingCount > 0) found.push(`${failingCount} objects cannot be applied here`);
    if (conflictCount > 0) found.push(`${conflictCount} objects exist here that Lifeboat has not made`);
    if (deletesPaused !== undefined) found.push(`${deletesPaused.pending} deletes wait to be confirmed here`);
    return found;
  }

  showObject(as: "original" | "mirror", options: { signal: AbortSignal }): Promise<void> {
    return this.#shown.show(as, options);
  }

  pull(): void {
    if (!this.#serving.offers) this.#pulling.start();
  }

  stopPulling(): Promise<void> {
    return this.#pulling.stop();
  }

  whenCurrent(options: { signal: AbortSignal }): Promise<void> {
    return this.#pulling.whenCurrent(options);
  }

  /** The other site of the group; before its spec has come, the only peer there is. */
  #peer(): string | undefined {
    const { config } = this.#parts;
    if (this.group !== undefined) return peerOf(this.group.spec, config.site);
    return config.peers.length === 1 ? config.peers[0]?.site : this.#offeredBy;
  }

  /** Which peer announced the group, told before {@link offered}. */
  announcedBy(peer: string): void {
    this.#offeredBy = peer;
  }

  #committed(): void {
    if (this.#specs.readJournal()) this.#shown.check();
    if (this.orphaned && !this.#bornOrphaned) this.#orphan();
    this.#options.onChange();
  }

  /** With the group's spec gone from the journal nothing is applied any more. */
  async #forgetSpec(): Promise<void> {
    const { key } = this.#specs;
    const head = this.journal.head(key);
    if (this.orphaned && head !== undefined) await this.journal.settle([{ key, seq: head.seq }]);
  }

  /** The group's end has arrived: what comes after it in the stream is not applied. */
  #orphan(): void {
    if (this.#hasEnd) return;
    this.#hasEnd = true;
    this.#log.info("the group was deleted at its source; the copies here stay");
    void this.#applying
      .stop()
      .then(() => this.#ending.atStandby(() => this.orphaned))
      .then(this.#options.onOrphaned)
      .catch(() => undefined);
  }

  /** What is at this site is no copy: its object here is the group's own. */
  get #isTruth(): boolean {
    const origin = readOrigin(this.journal);
    return origin === "none" ? this.#serving.offers : origin !== "copy";
  }

  finalDigest(options: { signal: AbortSignal }): Promise<FinalDigest> {
    return this.#serving.finalDigest(options);
  }

  unseal(): Promise<boolean> {
    return this.#serving.unseal();
  }

  receivedCanary(): KeyAndHash | undefined {
    return this.#serving.receivedCanary();
  }

  outcome(outcome: CommandOutcome): void {
    this.#outcomes = [...this.#outcomes.slice(1 - keptMaxCount), outcome];
    this.#options.onChange();
  }

  notice(notice: Notice): void {
    this.#notices = [...this.#notices.slice(1 - keptMaxCount), notice];
    if (this.object !== undefined) {
      this.#parts.events.note({ about: this.object, type: "Normal", reason: notice.code, message: notice.message });
    }
    this.#options.onChange();
  }

  stopped({ stopped, failed, stoppedMs }: DemoteReport, unread: readonly string[]): void {
    this.#late.replace([]);
    const done = `took down ${stopped.length} workloads in ${stoppedMs} ms, ${failed.length} failed`;
    const message = unread.length === 0 ? done : `${done}; not complete: ${unread.join(", ")} cannot be read`;
    this.notice({ code: "TakenDown", message });
  }

  unreadKinds(): string[] {
    const spec = this.group?.spec;
    if (spec === undefined) return [];
    const namespaces = this.#serving.capture?.namespaces ?? [];
    const { pool, config } = this.#parts;
    return unreadKinds(pool.states(), { name: this.name, site: config.site, spec, namespaces });
  }

  keepDown(hold: (options: { readonly signal: AbortSignal }) => Promise<void>): void {
    this.#holding.start(hold);
  }

  stopKeeping(): Promise<void> {
    return this.#holding.stop();
  }

  /** The object is gone from this site, for a reason yet unknown. */
  forgetObject(): void {
    this.#specs.forgetObject();
  }

  /** The object is not there, and nobody was seen deleting it: the group goes on, and shows it again. */
  absent(): void {
    this.#specs.forgetObject();
    this.#shown.check();
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
      this.#shown.check();
      return false;
    }
    this.#specs.restoreKept();
    return this.#ending.atHolder();
  }

  /** The protocol is over for the group. Resolves with whether one of its name is here, to begin anew. */
  async #released(held: boolean): Promise<boolean> {
    // Only a lease that ran out in the last moment can have taken it down; nobody else will run it.
    if (held && readOrigin(this.journal) === "held") await this.#bringBack(this.#options.signal);
    this.#ending.released();
    return this.object !== undefined && !this.orphaned;
  }

  /** Tries for as long as it takes: with the group's end nobody else is in charge of what was taken down. */
  async #bringBack(signal: AbortSignal): Promise<void> {
    await this.#holding.stop();
    for (;;) {
      await this.#gate.open({ signal });
      const epoch = this.journal.epoch() ?? lowestEpoch;
      const { failed } = await this.applier.release({ epoch, signal });
      if (failed.length === 0) break;
      this.#log.warn({ failed: failed.length }, "objects of an ended group could not be brought back; trying again");
      await this.#parts.clock.sleep(bringBackPauseMs, { signal });
    }
    await writeOrigin(this.journal, "own");
  }

  standbyAgeMs(): number | undefined {
    return this.#pulling.ageMs();
  }

  started(goal: StartGoal, report: StartOutcome): void {
    this.#parts.metrics.started(this.name, goal.kind, report.tookMs);
    this.#lastStart = { goal, ...report, atMs: this.#parts.clock.wallMs() };
    if (report.late !== undefined) this.#late.replace(report.late);
    const runs = `runs here under epoch ${formatEpoch(goal.cert.epoch)} (${goal.kind})`;
    const message = [runs, ...startShortfalls(report.failed, report.late ?? [])].join(", ");
    this.notice({ code: "Started", message });
  }

  /** Ends everything in order; what runs at the site goes on. Of a group that has ended nothing is remembered. */
  async close({ forget = false }: { readonly forget?: boolean } = {}): Promise<void> {
    await this.#protocol.stop();
    await this.#holding.stop();
    try {
      if (forget) await this.#forget();
    } finally {
      await this.#closeAll();
    }
  }

  async #forget(): Promise<void> {
    await this.#protocol.letGuardsGo();
    await this.#protocol.forget();
    this.#gate.remove();
  }

  async #closeAll(): Promise<void> {
    this.#serving.stopServing();
    await this.#serving.stopCapture();
    await this.#pulling.stop();
    await this.#late.stop();
    await this.#shown.stop();
    await this.#applying.stop();
    await this.#parts.metrics.close(this.name);
    this.journal.close();
  }
}

export function journalPath(dataDir: string, group: string): string {
  return join(dataDir, "groups", `${group}.db`);
}
