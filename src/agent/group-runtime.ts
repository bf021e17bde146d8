import { join } from "node:path";
import { Pulse } from "../abort.ts";
import { Applier } from "../apply/applier.ts";
import type { DemoteReport, LocalObject } from "../apply/demotion.ts";
import type { ObjectDifference } from "../apply/diff.ts";
import { GroupCapture } from "../capture/group.ts";
import { peerOf, type ProtectionGroup } from "../config/group.ts";
import { unmatchedMutations } from "../config/check-group.ts";
import { parseGroup } from "../config/parse-group.ts";
import { LifeboatError } from "../errors.ts";
import type { Command } from "../failover/agent-state.ts";
import { formatEpoch } from "../failover/epoch.ts";
import type { CommandOutcome, Notice, StartGoal } from "../failover/runner/actions.ts";
import { claimIncarnation } from "../failover/runner/records.ts";
import { FailoverRunner } from "../failover/runner/runner.ts";
import { Journal } from "../journal/journal.ts";
import { canaryName } from "../objects/canary.ts";
import { canonicalJson, parseJson } from "../objects/json.ts";
import { formatKey, type ObjectKey, parseKey } from "../objects/key.ts";
import { marks, type KubeObject } from "../objects/object.ts";
import type { KeyAndHash } from "../stream/doors.ts";
import type { PullEvent } from "../stream/pull.ts";
import { keepPulling } from "../stream/puller.ts";
import { safeError, type Log } from "../telemetry/log.ts";
import { withAcknowledged } from "./acknowledged.ts";
import { Background } from "./background.ts";
import { SiteActions, type ActionHost, type FinalDigest } from "./group-actions.ts";
import { readOrigin, writeOrigin } from "./origin.ts";
import { showGroupObject } from "./mirror.ts";
import type { GroupAges } from "./metrics.ts";
import type { AgentParts } from "./parts.ts";
import { policyOf } from "./policy.ts";
import { StandbyFreshness } from "./standby-data.ts";

export interface GroupRuntimeOptions {
  readonly name: string;
  readonly parts: AgentParts;
  /** Ends everything of the group at this site, without stopping what runs there. */
  readonly signal: AbortSignal;
  /** Something that status shows has changed. Must not throw. */
  readonly onChange: () => void;
  /** The source has deleted the group: what stays here is to be opened anew, as orphaned. Must not throw. */
  readonly onOrphaned: () => void;
}

/** A move of the group to this site, for status and metrics. */
export interface StartReport {
  readonly goal: StartGoal;
  readonly failed: number;
  readonly tookMs: number;
  readonly atMs: number;
}

/** Notices and outcomes kept for status. */
const keptMaxCount = 20;
/** Until a standby has surely told the source that it knows of the group's end. */
const farewellMs = 2000;
/** The group's object as it was last valid here: what is deleted is served until its standby knows. */
const objectRecord = "agent/object";
/** The epoch under which a group is served before its first grant: below every other. */
const adoptingEpoch = "0.0";

/**
 * One protection group at this site: its journal, what captures or applies it, and the failover protocol that says
 * which of the two. Lives from the moment the site hears of the group until the agent ends or the group is released.
 */
export class GroupRuntime implements ActionHost {
  readonly name: string;
  readonly journal: Journal;
  readonly applier: Applier;
  readonly #parts: AgentParts;
  readonly #options: GroupRuntimeOptions;
  readonly #log: Log;
  readonly #freshness: StandbyFreshness;
  readonly #current = new Pulse();
  readonly #mirroring = new Pulse();
  readonly #applying: Background;
  readonly #showing: Background;
  #group: ProtectionGroup | undefined;
  /** The local object, as the API server has it; of a standby the mirror. */
  #object: KubeObject | undefined;
  #specError: LifeboatError | undefined;
  #specWarnings: readonly string[] = [];
  #runner: FailoverRunner | undefined;
  #running: Background | undefined;
  #capture: GroupCapture | undefined;
  #capturing: Background | undefined;
  #offer: { readonly offer: Disposable; readonly stop: AbortController } | undefined;
  #pulling: Background | undefined;
  #streamError: LifeboatError | undefined;
  #outcomes: readonly CommandOutcome[] = [];
  #notices: readonly Notice[] = [];
  #lastStart: StartReport | undefined;
  readonly #acknowledged = new Pulse();
  #durableSeq = 0;
  /** Opened as what a deleted group left behind. */
  readonly #bornOrphaned: boolean;
  /** Since this was opened, the peer has been heard not to serve the group. */
  #withdrawn = false;

  /** Throws JournalCorrupt, JournalVersion or JournalFull. */
  constructor(options: GroupRuntimeOptions) {
    const { name, parts, signal } = options;
    const { clock, random, config } = parts;
    this.name = name;
    this.#options = options;
    this.#parts = parts;
    this.#log = parts.log.child({ group: name });
    this.journal = Journal.open({
      path: journalPath(config.dataDir, name),
      group: name,
      ...(parts.journalKey === undefined ? {} : { key: parts.journalKey }),
    });
    const origin = readOrigin(this.journal);
    this.applier = new Applier({
      journal: this.journal,
      client: parts.client,
      discovery: parts.discovery,
      site: config.site,
      mode: origin === "copy" || origin === "none" ? "standby" : origin === "held" ? "held" : "active",
      clock,
      random,
      log: this.#log,
    });
    this.applier.onStatus(() => options.onChange());
    this.#freshness = new StandbyFreshness(this.journal, clock);
    this.journal.onCommit(() => this.#committed());
    const background = { clock, random, log: this.#log, signal };
    this.#applying = new Background({ name: "apply", ...background }, async (inner) => {
      await this.#forgetSpec();
      await this.applier.run(inner);
    });
    this.#showing = new Background({ name: "mirror", ...background }, (inner) => this.#mirror(inner));
    this.#bornOrphaned = this.orphaned;
    this.#readJournalSpec();
    this.#readKept();
  }

  /**
   * The site that runs the group goes on with the object as it last was, from the first moment: its lease must not
   * wait for an API server that is away while the agent starts.
   */
  #readKept(): void {
    const stored = this.journal.getState(objectRecord);
    if (readOrigin(this.journal) === "copy" || this.orphaned || typeof stored !== "string") return;
    this.#kept = parseJson(stored) as KubeObject;
    const group = this.#group === undefined ? this.#parse(this.#kept) : undefined;
    if (group !== undefined) this.#take(group);
  }
  #kept: KubeObject | undefined;

  /** Copies whose group was deleted at its source; nothing is followed any more. */
  get orphaned(): boolean {
    const origin = readOrigin(this.journal);
    const isGone = (this.journal.head(this.#specKey)?.hash ?? "") === "";
    return (origin === "copy" || origin === "none") && this.journal.synced && isGone;
  }

  get group(): ProtectionGroup | undefined {
    return this.#group;
  }

  get object(): KubeObject | undefined {
    return this.#object;
  }

  get nowMs(): () => number {
    return () => this.#parts.clock.monotonicMs();
  }

  /** What status is made of. */
  view() {
    return {
      group: this.#group,
      object: this.#object,
      specError: this.#specError,
      specWarnings: [...this.#specWarnings, ...this.#unmatched()],
      failover: this.#runner?.snapshot(),
      capture: this.#capture?.report(),
      applier: this.applier.status(),
      origin: readOrigin(this.journal),
      orphaned: this.#bornOrphaned && this.orphaned,
      serving: this.#offer !== undefined,
      pulling: this.#pulling !== undefined,
      standbyAgeMs: this.#freshness.ageMs(),
      journalSynced: this.journal.synced,
      streamError: this.#streamError,
      outcomes: this.#outcomes,
      notices: this.#notices,
      lastStart: this.#lastStart,
      divergent: this.journal.divergentKeys(),
    };
  }

  #ages(): GroupAges {
    return {
      durableMs: () => this.#capture?.report().lag.durableAgeMs ?? this.#freshness.ageMs(),
      appliedMs: () => this.#capture?.report().lag.appliedAgeMs,
      witnessMs: () => this.#runner?.snapshot().witness.heardAgoMs ?? undefined,
    };
  }

  /** Mutations that do nothing; told once it is known what the group holds. */
  #unmatched(): string[] {
    const { group } = this;
    const { site } = this.#parts.config;
    if (group === undefined || group.spec.mutations === undefined || this.#capture?.report().synced !== true) return [];
    return unmatchedMutations(group.spec, this.#capture.keys(), site);
  }

  /** What another group at this site leaves this one to be refused for; "" for nothing. */
  refuse(problem: string): void {
    if (problem === this.#refusal) return;
    this.#refusal = problem;
    if (problem !== "") this.#log.warn({ problem }, "the group is refused");
    if (this.#object !== undefined) this.observe(this.#object);
  }
  #refusal = "";

  get refused(): boolean {
    return this.#refusal !== "";
  }

  /** The group's object at this site appeared or changed. */
  observe(object: KubeObject): void {
    this.#object = object;
    if (!this.#isMirror(object)) this.#adopt(object);
    else if (this.#isForeign(object)) this.#mirroring.raise();
    this.#options.onChange();
  }

  /** A mirror, also when somebody has taken its mark away. */
  #isMirror(object: KubeObject): boolean {
    return object.metadata.annotations?.[marks.mirror] !== undefined || readOrigin(this.journal) === "copy";
  }

  /** Whether somebody has changed what a standby shows. */
  #isForeign(object: KubeObject): boolean {
    const origin = readOrigin(this.journal);
    const text = this.journal.specText();
    if (text === undefined || (origin !== "copy" && origin !== "none")) return false;
    const source = parseJson(text) as KubeObject;
    const isMarked = object.metadata.annotations?.[marks.mirror] !== undefined;
    return !isMarked || canonicalJson(object["spec"]) !== canonicalJson(source["spec"]);
  }

  /** The source's own object: its spec is in force here once it is valid. */
  #adopt(object: KubeObject): void {
    const group = this.#parse(object);
    if (group === undefined) return;
    this.#take(group);
    this.#remember(object);
    this.#capture?.update(object, group.spec);
    if (this.#offer !== undefined) this.#parts.served.announce();
  }

  #remember(object: KubeObject): void {
    const text = canonicalJson(object);
    if (this.journal.getState(objectRecord) === text) return;
    void this.journal.putState(objectRecord, text).catch((error: unknown) => {
      this.#log.warn({ error: safeError(error) }, "the group's object could not be noted");
    });
  }

  #parse(object: KubeObject): ProtectionGroup | undefined {
    try {
      const { group, warnings } = parseGroup(object);
      peerOf(group.spec, this.#parts.config.site);
      if (this.#refusal !== "") throw new LifeboatError("SpecInvalid", this.#refusal, { op: "group.check" });
      this.#specError = undefined;
      this.#specWarnings = warnings;
      return group;
    } catch (error) {
      this.#specError =
        error instanceof LifeboatError
          ? error
          : new LifeboatError("SpecInvalid", `${this.#parts.config.site} is not a site of this group`, {
              cause: error,
            });
      this.#log.warn({ error: safeError(this.#specError) }, "the group's spec is not valid; the last good one stays");
      return undefined;
    }
  }

  #take(group: ProtectionGroup): void {
    this.#group = group;
    this.#parts.metrics.open(this.name, peerOf(group.spec, this.#parts.config.site), this.#ages());
    this.#runner?.setPolicy(policyOf(group.spec));
    this.#ensureRunner();
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
    if (this.#runner === undefined) {
      const message = "the group is not ready at this site: its spec has not arrived or is not valid";
      this.outcome({ nonce: command.nonce, ok: false, code: "NotReady", message });
      return;
    }
    this.#runner.command(command);
  }

  setApi(up: boolean): void {
    this.#runner?.setApi(up);
  }

  #ensureRunner(): void {
    const group = this.#group;
    if (group === undefined || this.#running !== undefined) return;
    const { clock, random } = this.#parts;
    const options = { name: "failover", clock, random, log: this.#log, signal: this.#options.signal };
    this.#running = new Background(options, async ({ signal }) => {
      const runner = await this.#openRunner(group);
      this.#runner = runner;
      using _listener = runner.onChange(() => this.#options.onChange());
      runner.setFence({ cap: "api", stopBoundMs: policyOf(group.spec).timing.stopBoundMs });
      if (isAdopting(runner)) await this.#adoptRunning();
      await runner.run({ signal });
    });
  }

  async #openRunner(group: ProtectionGroup): Promise<FailoverRunner> {
    const { config, records, bootId, links, clock, random } = this.#parts;
    // One that failed has used its number up: what it had sent would make its successor's messages look old.
    const incarnation = await claimIncarnation(records, clock);
    return FailoverRunner.open({
      config: {
        group: this.name,
        site: config.site,
        peer: peerOf(group.spec, config.site),
        source: this.#isSource(),
        policy: policyOf(group.spec),
      },
      incarnation,
      records,
      bootId,
      links,
      actions: new SiteActions(this),
      clock,
      random,
      log: this.#log,
    });
  }

  /** Created here: its object is no mirror and nothing was ever received from a peer. */
  #isSource(): boolean {
    const object = this.#object ?? this.#kept;
    return object !== undefined && !this.#isMirror(object);
  }

  /** Before the first grant the source serves what runs there already; nothing is gated. */
  async #adoptRunning(): Promise<void> {
    if (!this.#isSource() || readOrigin(this.journal) !== "none") return;
    await this.applier.activate();
    await this.serve();
  }

  #epoch(): string {
    const cert = this.#runner?.state.record.cert;
    return cert === null || cert === undefined ? adoptingEpoch : formatEpoch(cert.epoch);
  }

  async serve(): Promise<void> {
    await this.stopPulling();
    const { served, metrics, config } = this.#parts;
    if (this.#offer !== undefined) {
      served.announce();
      return;
    }
    const { capture, group } = this.#ensureCapture();
    const stop = new AbortController();
    this.#durableSeq = 0;
    const offer = served.offer({
      name: this.name,
      peer: peerOf(group.spec, config.site),
      revision: group.generation ?? 0,
      source: withAcknowledged(capture, (seq) => {
        this.#durableSeq = Math.max(this.#durableSeq, seq);
        this.#acknowledged.raise();
      }),
      signal: stop.signal,
      meter: metrics.streamMeter(this.name),
      onNewerEpoch: (epoch) => this.#log.warn({ epoch }, "the peer has stored a newer epoch; this site is not active"),
    });
    this.#offer = { offer, stop };
    this.#options.onChange();
  }

  #ensureCapture(): { readonly capture: GroupCapture; readonly group: ProtectionGroup } {
    const { pool, client, config, clock, random, metrics } = this.#parts;
    const group = this.#group;
    if (group === undefined)
      throw new LifeboatError("SpecInvalid", "the group has no valid spec", { op: "agent.serve" });
    if (this.#capture !== undefined) return { capture: this.#capture, group };
    const capture = new GroupCapture({
      group: this.#ownObject(),
      spec: group.spec,
      site: config.site,
      pool,
      client,
      agentNamespace: config.namespace,
      epoch: () => this.#epoch(),
      isHeld: () => readOrigin(this.journal) === "held",
      onLag: (kind, ms) => metrics.observeLag(this.name, kind, ms),
      clock,
      random,
      log: this.#log,
    });
    const options = { name: "capture", clock, random, log: this.#log, signal: this.#options.signal };
    this.#capture = capture;
    this.#capturing = new Background(options, (inner) => capture.run(inner));
    return { capture, group };
  }

  async stopServing(): Promise<void> {
    const { offer, stop } = this.#offer ?? {};
    this.#offer = undefined;
    offer?.[Symbol.dispose]();
    stop?.abort(new LifeboatError("PeerUnreachable", "this site is not active any more", { retryable: true }));
    this.#options.onChange();
  }

  async stopCapture(): Promise<void> {
    const capturing = this.#capturing;
    this.#capture = undefined;
    this.#capturing = undefined;
    await capturing?.stop();
  }

  async localObjects({ signal }: { signal: AbortSignal }): Promise<LocalObject[]> {
    const { capture } = this.#ensureCapture();
    await capture.whenSynced({ signal });
    const records = capture.read(0, { maxCount: Infinity, maxBytes: Infinity });
    return records.flatMap(({ key, object, managers }) =>
      object === undefined || key === this.#specKey || !this.#isGroups(key) ? [] : [{ key, object, managers }],
    );
  }

  /** What differs between what the journal says and what is at this site, the canary left out: it changes always. */
  async diff(options: { signal: AbortSignal }): Promise<ObjectDifference[]> {
    return (await this.applier.diff(options)).filter(({ key }) => this.#isGroups(key));
  }

  /** The canary travels with the group and is none of its objects. */
  #isGroups(key: ObjectKey): boolean {
    return parseKey(key).namespace !== this.#parts.config.namespace;
  }

  async showObject(as: "original" | "mirror", { signal }: { signal: AbortSignal }): Promise<void> {
    const text = this.journal.specText();
    const peer = this.#peer();
    if (text === undefined || peer === undefined) return;
    const object = parseJson(text) as KubeObject;
    await showGroupObject(this.#parts.client, object, as === "mirror" ? peer : undefined, { signal });
  }

  pull(): void {
    if (this.#pulling !== undefined || this.#offer !== undefined) return;
    const { config, dataLinks, clock, random, metrics } = this.#parts;
    const peer = this.#peer();
    const link = peer === undefined ? undefined : dataLinks.get(peer);
    if (link === undefined) {
      this.#streamError = new LifeboatError("PeerUnreachable", `no address is configured for ${peer ?? "the peer"}`, {
        hint: "give peers[].address in this agent's configuration, so that it can pull",
      });
      return;
    }
    const options = { name: "pull", clock, random, log: this.#log, signal: this.#options.signal };
    this.#pulling = new Background(options, ({ signal }) =>
      keepPulling(this.journal, {
        site: config.site,
        group: this.name,
        connect: (inner) => link.ready(inner),
        clock,
        random,
        log: this.#log,
        signal,
        meter: metrics.streamMeter(this.name),
        onEvent: (event) => this.#heard(event),
        onEnd: (error) => {
          this.#streamError = error;
          this.#options.onChange();
        },
      }),
    );
  }

  /** The other site of the group; before its spec has come, the only peer there is. */
  #peer(): string | undefined {
    const { config } = this.#parts;
    if (this.#group !== undefined) return peerOf(this.#group.spec, config.site);
    return config.peers.length === 1 ? config.peers[0]?.site : this.#offeredBy;
  }
  #offeredBy: string | undefined;

  /** Which peer announced the group, told before {@link offered}. */
  announcedBy(peer: string): void {
    this.#offeredBy = peer;
  }

  async stopPulling(): Promise<void> {
    const pulling = this.#pulling;
    this.#pulling = undefined;
    await pulling?.stop();
  }

  #heard(event: PullEvent): void {
    this.#streamError = undefined;
    if (event.kind === "compared" && event.purpose === "RESET") this.#parts.metrics.resynced(this.name);
    const data = this.#freshness.observe(event);
    if (data !== undefined) this.#runner?.setData(data);
    if (this.journal.current) this.#current.raise();
  }

  #committed(): void {
    this.#readJournalSpec();
    if (this.orphaned && !this.#bornOrphaned) this.#orphan();
    this.#options.onChange();
  }

  /** With the group's spec gone from the journal nothing is applied any more. */
  async #forgetSpec(): Promise<void> {
    const head = this.journal.head(this.#specKey);
    if (this.orphaned && head !== undefined) await this.journal.settle([{ key: this.#specKey, seq: head.seq }]);
  }

  /** The group's end has arrived: what comes after it in the stream is not applied. */
  #orphan(): void {
    if (this.#isEnding) return;
    this.#isEnding = true;
    this.#log.info("the group was deleted at its source; the copies here stay");
    void this.#applying
      .stop()
      .then(() => this.#parts.clock.sleep(farewellMs, { signal: this.#options.signal }))
      .then(this.#options.onOrphaned)
      .catch(() => undefined);
  }
  #isEnding = false;

  /** A standby's spec is the one in its journal; what takes effect here is what was valid there. */
  #readJournalSpec(): void {
    const origin = readOrigin(this.journal);
    if (origin === "own" || origin === "held") return;
    const hash = this.journal.head(this.#specKey)?.hash;
    if (hash === undefined || hash === "" || hash === this.#journalSpecHash) return;
    const text = this.journal.specText();
    if (text === undefined) return;
    this.#journalSpecHash = hash;
    const group = this.#parse(parseJson(text) as KubeObject);
    if (group !== undefined) this.#take(group);
    if (origin === "copy" || origin === "none") this.#mirroring.raise();
  }

  get #specKey(): ObjectKey {
    return `lifeboat.dev/ProtectionGroup//${this.name}`;
  }

  /** Shows the spec of the peer at this site, whenever it has changed and this site is not active. */
  async #mirror({ signal }: { signal: AbortSignal }): Promise<void> {
    for (;;) {
      await this.#mirroring.wait({ signal });
      const origin = readOrigin(this.journal);
      if (origin !== "copy" && origin !== "none") continue;
      await writeOrigin(this.journal, "copy");
      await this.showObject("mirror", { signal });
    }
  }
  #journalSpecHash: string | undefined;

  /** The object that is the first record of the stream: at a promoted site the journal's, until it is applied here. */
  #ownObject(): KubeObject {
    const object = this.#object ?? this.#kept;
    if (object !== undefined) return object;
    const text = this.journal.specText();
    if (text === undefined) throw new LifeboatError("SpecInvalid", "the group's object is gone", { op: "agent.serve" });
    return parseJson(text) as KubeObject;
  }

  async whenCurrent({ signal }: { signal: AbortSignal }): Promise<void> {
    while (!this.journal.current) await this.#current.wait({ signal });
  }

  async finalDigest(options: { signal: AbortSignal }): Promise<FinalDigest> {
    const capture = this.#capture;
    if (capture === undefined) throw new LifeboatError("FailoverRefused", "this site does not serve the group");
    await capture.settle(options);
    const { hash } = capture.current(this.#canaryKey);
    const canary = hash === "" ? undefined : { key: this.#canaryKey, hash };
    return { digest: capture.digest, revision: `${capture.ring}/${capture.head}`, canary };
  }

  receivedCanary(): KeyAndHash | undefined {
    const hash = this.journal.head(this.#canaryKey)?.hash ?? "";
    return hash === "" ? undefined : { key: this.#canaryKey, hash };
  }

  /** Agents of a pair live in namespaces of one name. */
  get #canaryKey(): ObjectKey {
    const { namespace } = this.#parts.config;
    return formatKey({ group: "", kind: "ConfigMap", namespace, name: canaryName(this.name) });
  }

  outcome(outcome: CommandOutcome): void {
    this.#outcomes = [...this.#outcomes.slice(1 - keptMaxCount), outcome];
    this.#options.onChange();
  }

  notice(notice: Notice): void {
    this.#notices = [...this.#notices.slice(1 - keptMaxCount), notice];
    if (this.#object !== undefined) {
      this.#parts.events.note({ about: this.#object, type: "Normal", reason: notice.code, message: notice.message });
    }
    this.#options.onChange();
  }

  stopped({ stopped, failed, stoppedMs }: DemoteReport): void {
    const message = `took down ${stopped.length} workloads in ${stoppedMs} ms, ${failed.length} failed`;
    this.notice({ code: "TakenDown", message });
  }

  /**
   * The object is gone from this site. Returns whether that ends the group here: at the site that runs it, not at a
   * standby, whose mirror is only shown again.
   */
  async deleted(): Promise<boolean> {
    this.#object = undefined;
    if (this.orphaned) return true;
    const origin = readOrigin(this.journal);
    if (origin === "copy" || (origin === "none" && this.#offer === undefined)) {
      this.#mirroring.raise();
      return false;
    }
    this.#log.info("the group was deleted; what runs here goes on unprotected once the peer knows");
    return this.#farewell(this.#options.signal);
  }

  /**
   * Serves the group, and holds its lease, until the standby has the end of it on its disk: one that does not know
   * would take a silent site for a dead one. Resolves with whether that was reached before the group came back.
   */
  async #farewell(signal: AbortSignal): Promise<boolean> {
    const stored = this.journal.getState(objectRecord);
    if (this.#group === undefined && typeof stored === "string") {
      this.#object = parseJson(stored) as KubeObject;
      const group = this.#parse(this.#object);
      if (group !== undefined) this.#take(group);
    }
    let ended: GroupCapture | undefined;
    for (;;) {
      const capture = this.#offer === undefined ? undefined : this.#capture;
      if (capture !== undefined && ended !== capture) {
        capture.end();
        this.#object = undefined;
        ended = capture;
      }
      if (ended !== undefined && this.#durableSeq >= ended.head) return true;
      await Promise.race([this.#acknowledged.wait({ signal }), this.#parts.clock.sleep(farewellMs, { signal })]);
      if (this.#object !== undefined && ended !== undefined) return false;
    }
  }

  started(goal: StartGoal, report: { readonly failed: number; readonly tookMs: number }): void {
    this.#parts.metrics.started(this.name, goal.kind, report.tookMs);
    this.#lastStart = { goal, ...report, atMs: this.#parts.clock.wallMs() };
    const message = `runs here under epoch ${formatEpoch(goal.cert.epoch)} (${goal.kind}), ${report.failed} objects failed`;
    this.notice({ code: "Started", message });
  }

  /** Ends everything in order; what runs at the site goes on. */
  async close(): Promise<void> {
    await this.#running?.stop();
    await this.stopServing();
    await this.stopCapture();
    await this.stopPulling();
    await this.#showing.stop();
    await this.#applying.stop();
    await this.#parts.metrics.close(this.name);
    this.journal.close();
  }
}

function isAdopting(runner: FailoverRunner): boolean {
  return runner.state.phase.type === "Adopting";
}

export function journalPath(dataDir: string, group: string): string {
  return join(dataDir, "groups", `${group}.db`);
}
