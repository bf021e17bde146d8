import { createHash } from "node:crypto";
import type { Applier } from "../apply/applier.ts";
import type { DemoteReport, LocalObject } from "../apply/demotion.ts";
import type { ProtectionGroup } from "../config/group.ts";
import { LifeboatError } from "../errors.ts";
import { formatEpoch, type Cert } from "../failover/epoch.ts";
import type {
  ActionOptions,
  AppliedContent,
  CommandOutcome,
  GroupActions,
  Notice,
  SealContent,
  StartGoal,
} from "../failover/runner/actions.ts";
import type { Seal } from "../failover/messages.ts";
import type { Journal } from "../journal/journal.ts";
import type { DigestTable } from "../objects/digest.ts";
import type { KeyAndHash } from "../stream/doors.ts";
import { isWorkload } from "./kind-troubles.ts";
import { type LateObject, lateOf } from "./late.ts";
import { readOrigin, writeOrigin } from "./origin.ts";

export interface FinalDigest {
  readonly digest: DigestTable;
  /** Place in the source's order. */
  readonly revision: string;
  /** The canary, which is no part of what is sealed. */
  readonly canary: KeyAndHash | undefined;
}

/** How a start ended. */
export interface StartOutcome {
  /** Objects that could not be brought up. */
  readonly failed: number;
  /** Objects that are up and not as they should be; undefined where nothing was brought up from a journal. */
  readonly late: readonly LateObject[] | undefined;
  readonly tookMs: number;
  /** At most this much of what the other site did last is missing; undefined where that is not known. */
  readonly rpoMs: number | undefined;
}

/** What the group's runtime does for its actions. */
export interface ActionHost {
  readonly journal: Journal;
  readonly applier: Applier;
  /** With the spec that is in force at this site. */
  readonly group: ProtectionGroup | undefined;
  /** Lets this site's API server start what belongs to the group. */
  openGate(options: ActionOptions): Promise<void>;
  /** Has this site's API server refuse whatever would start something of the group. */
  closeGate(options: ActionOptions): Promise<void>;
  /** Whether this site's API server lets pods of the group be placed where no node guard works. */
  allowUnguarded(allowed: boolean): void;
  /** Begins to capture and serve under the epoch; resolves once the group is offered. */
  serve(epoch: string): Promise<void>;
  /** The group is offered to the peer no more; what is known of it here stays known. */
  stopServing(): Promise<void>;
  /** A standby has once said that it has something of the group on its disk. */
  hasStandby(): boolean;
  /** Ends the following of the site's own objects. */
  stopCapture(): Promise<void>;
  /** Begins to pull from the peer, where that is not done already. */
  pull(): void;
  stopPulling(): Promise<void>;
  /** Digest of what is served, once everything up to now is in it. From then on nothing else is served. */
  finalDigest(options: ActionOptions): Promise<FinalDigest>;
  /** Ends a seal: the site's objects are read anew, and not served. Resolves with whether there was one. */
  unseal(): Promise<boolean>;
  /** The source's canary as the journal has it. */
  receivedCanary(): KeyAndHash | undefined;
  /** Resolves when the journal holds everything of the peer. */
  whenCurrent(options: ActionOptions): Promise<void>;
  outcome(outcome: CommandOutcome): void;
  notice(notice: Notice): void;
  /** The group was taken down here, as far as its objects can be read. */
  stopped(report: DemoteReport, unread: readonly string[]): void;
  /** Kinds (`group/Kind`) that can hold what runs and of which the group's objects cannot be read at present. */
  unreadKinds(): readonly string[];
  /** From now on what is taken down is kept so, by calling `hold` again and again. */
  keepDown(hold: (options: ActionOptions) => Promise<void>): void;
  /** Ends that; resolves when nothing of it is under way. */
  stopKeeping(): Promise<void>;
  /** The group runs here. */
  started(goal: StartGoal, report: StartOutcome): void;
  /** Time since the journal was last known to hold everything of the peer; undefined when it never was. */
  standbyAgeMs(): number | undefined;
  /** The group's objects as this site has them. */
  localObjects(options: ActionOptions): Promise<readonly LocalObject[]>;
  /** Shows the group's object at this site as what it is: the original, or a mirror of the peer's. */
  showObject(as: "original" | "mirror", options: ActionOptions): Promise<void>;
  readonly nowMs: () => number;
}

/** How long one wave of a promotion may take to become ready before it is reported and the next one begins. */
const waveTimeoutMs = 30_000;

/** Below every epoch: what was never granted. */
export const lowestEpoch = "0.0";

/** Performs what the failover protocol decides for one group at one site. */
export class SiteActions implements GroupActions {
  readonly #host: ActionHost;

  constructor(host: ActionHost) {
    this.#host = host;
  }

  async startRunning(goal: StartGoal, { signal }: ActionOptions): Promise<void> {
    const { journal, applier } = this.#host;
    const epoch = formatEpoch(goal.cert.epoch);
    const startedMs = this.#host.nowMs();
    const rpoMs = this.#lossOf(goal);
    await this.#host.stopKeeping();
    await this.#host.openGate({ signal });
    await this.#host.unseal();
    await this.#host.stopPulling();
    let failed = 0;
    let late: readonly LateObject[] | undefined;
    const origin = readOrigin(journal);
    if (origin === "held") {
      const report = await applier.release({ epoch, signal });
      // What could be brought back runs: it is protected, while the rest is tried again.
      if (report.failed.length > 0) await this.#host.serve(epoch);
      refuseFailures("could not be brought back", report.failed);
    } else if (origin === "copy" || origin === "promoting") {
      this.#sayIncomplete(goal);
      await writeOrigin(journal, "promoting");
      const onUp = async (): Promise<void> => {
        await this.#host.showObject("original", { signal });
        // Not sooner: what is not brought up yet would look deleted to the other site, or as people never had it.
        await this.#host.serve(epoch);
      };
      const report = await applier.promote({ epoch, signal, readyTimeoutMs: waveTimeoutMs, onUp });
      failed = report.failed.length;
      late = lateOf(report);
    } else {
      await applier.activate();
    }
    await writeOrigin(journal, "own");
    await this.#host.serve(epoch);
    this.#host.started(goal, { failed, late, tookMs: this.#host.nowMs() - startedMs, rpoMs });
  }

  /**
   * What the other site may have done that never came here, as an upper bound: the time from the last moment at which
   * everything was here to the grant. Known at the first attempt; a switchover is only committed with nothing missing.
   */
  #lossOf({ cert, kind }: StartGoal): number | undefined {
    const epoch = formatEpoch(cert.epoch);
    if (this.#loss?.epoch === epoch) return this.#loss.ms;
    const came = readOrigin(this.#host.journal) === "copy" && this.#host.journal.current;
    const ms = kind === "commit" ? 0 : came ? this.#host.standbyAgeMs() : undefined;
    this.#loss = { epoch, ms };
    return ms;
  }
  #loss: { readonly epoch: string; readonly ms: number | undefined } | undefined;

  /** A person may start a standby that never had everything; nobody is to find out by what is missing. */
  #sayIncomplete(goal: StartGoal): void {
    const { journal } = this.#host;
    if (journal.synced && (journal.current || readOrigin(journal) === "promoting")) return;
    const message = journal.synced
      ? "the journal was being compared with a restarted source; some of its last changes may be missing"
      : "the first sync was never completed: only a part of the group's objects is here";
    this.#host.notice({
      code: "IncompleteStart",
      message: `started (${goal.kind}) from an incomplete journal; ${message}`,
    });
  }

  async stopRunning(goal: { readonly reason: string }, { signal }: ActionOptions): Promise<void> {
    // The source of a switchover is stopped already, and its target may still be fetching what it lacks. A standby that
    // has nothing of the group has to hear of it, or the witness grants it to nobody; also from a process that began
    // stopped. To any other one this site is silent: it is to look no fresher than what it got while the group ran.
    const { journal } = this.#host;
    const origin = readOrigin(journal);
    if (origin !== "held" && (origin !== "own" || this.#host.hasStandby())) await this.#host.stopServing();
    let unread: readonly string[];
    try {
      unread = await this.#hold({ signal });
    } finally {
      // Whatever could not be taken down: it is what the holder has.
      if (!this.#host.hasStandby() && readOrigin(journal) === "held" && !signal.aborted)
        await this.#host.serve(journal.epoch() ?? lowestEpoch);
    }
    refuseUnread(unread.filter(isWorkload));
    if (unread.length === 0) this.#host.notice({ code: "Stopped", message: goal.reason });
    else this.#host.notice({ code: "StopIncomplete", message: `${goal.reason}; ${sentenceOf(unread)}` });
  }

  /**
   * Takes down what runs; what only waits to run is left alone. Rejects while anything of it could not be taken down.
   * Noted before it is begun: after a crash in the middle of it the way back must be known. Returns the kinds that may
   * hold more of what runs and cannot be read.
   */
  async #hold({ signal, untilGone = false }: HoldOptions): Promise<readonly string[]> {
    const { journal } = this.#host;
    const origin = readOrigin(journal);
    if (origin !== "own" && origin !== "promoting" && origin !== "held") return [];
    await this.#host.stopKeeping();
    try {
      const report = await this.#demote({ signal, untilGone });
      const unread = this.#host.unreadKinds();
      this.#host.stopped(report, unread);
      refuseFailures("could not be taken down", report.failed);
      if (origin === "promoting") await writeOrigin(journal, "copy");
      return unread;
    } finally {
      if (readOrigin(journal) === "held") this.#host.keepDown((options) => this.#holdAgain(options));
    }
  }

  async #demote({ signal, untilGone }: HoldOptions): Promise<DemoteReport> {
    const { journal, applier } = this.#host;
    await this.#host.closeGate({ signal });
    const local = await this.#host.localObjects({ signal });
    if (readOrigin(journal) === "own") await writeOrigin(journal, "held");
    return applier.demote({
      epoch: journal.epoch() ?? lowestEpoch,
      local,
      spec: this.#host.group?.spec,
      untilGone: untilGone ?? false,
      signal,
    });
  }

  async #holdAgain({ signal }: ActionOptions): Promise<void> {
    if (readOrigin(this.#host.journal) !== "held") return;
    refuseFailures("could not be kept down", (await this.#demote({ signal })).failed);
  }

  /** The group goes on being served: what is held back is read as what it was. The other site starts after this. */
  async quiesce(_goal: { readonly opId: string }, { signal }: ActionOptions): Promise<void> {
    refuseUnread(await this.#hold({ signal, untilGone: true }));
  }

  async prepareSeal(_goal: { readonly opId: string }, options: ActionOptions): Promise<SealContent> {
    const { digest, revision, canary } = await this.#host.finalDigest(options);
    return { objectsRevision: revision, objectsHash: sealHash(digest, canary), volumes: {} };
  }

  async unquiesce(_goal: { readonly opId: string; readonly reason: string }, { signal }: ActionOptions): Promise<void> {
    const { journal, applier } = this.#host;
    const origin = readOrigin(journal);
    if (origin !== "held" && origin !== "own") return;
    await this.#host.stopKeeping();
    // Also where it was called off before anything was taken down: the gate is the first to close.
    await this.#host.openGate({ signal });
    if (await this.#host.unseal()) await this.#host.serve(journal.epoch() ?? lowestEpoch);
    if (origin === "own") return;
    const { failed } = await applier.release({ epoch: journal.epoch() ?? lowestEpoch, signal });
    refuseFailures("could not be brought back", failed);
    await writeOrigin(journal, "own");
  }

  async applySeal({ seal }: { readonly seal: Seal }, options: ActionOptions): Promise<AppliedContent> {
    await this.#host.whenCurrent(options);
    const { journal } = this.#host;
    const objectsHash = sealHash(journal.digest, this.#host.receivedCanary());
    if (objectsHash !== seal.objectsHash) {
      throw new LifeboatError("FailoverRefused", "what has arrived is not yet what the seal says", {
        op: "agent.applySeal",
        retryable: true,
      });
    }
    return { objectsHash, volumes: {} };
  }

  /** Everything of the new active site is fetched first, then what differs here is kept, then it may be overwritten. */
  async saveDivergence(_goal: { readonly cert: Cert }, options: ActionOptions): Promise<void> {
    const { journal, applier } = this.#host;
    const origin = readOrigin(journal);
    if (origin !== "own" && origin !== "held") return;
    await this.#host.stopServing();
    this.#host.pull();
    await this.#host.whenCurrent(options);
    await this.#host.stopKeeping();
    const differing = await applier.settleDivergence();
    const message = `${differing.length} objects differ from what took over; they are kept`;
    this.#host.notice({ code: "DivergenceKept", message });
  }

  async followPeer(_goal: { readonly cert: Cert }, { signal }: ActionOptions): Promise<void> {
    const { journal, applier } = this.#host;
    await this.#host.stopServing();
    const origin = readOrigin(journal);
    await this.#host.closeGate({ signal });
    // What was written here since the seal is kept as what this site had of its own.
    await this.#host.unseal();
    await this.#hold({ signal });
    this.#host.pull();
    // What this site ran is overwritten only by something that is known to be whole.
    if (origin !== "none" && origin !== "copy") await this.#host.whenCurrent({ signal });
    await this.#host.stopKeeping();
    await this.#host.stopCapture();
    await writeOrigin(journal, "copy");
    await this.#host.showObject("mirror", { signal });
    applier.follow();
  }

  async allowUnguarded({ allowed }: { readonly allowed: boolean }): Promise<void> {
    this.#host.allowUnguarded(allowed);
  }

  outcome(outcome: CommandOutcome): void {
    this.#host.outcome(outcome);
  }

  notice(notice: Notice): void {
    this.#host.notice(notice);
  }
}

interface HoldOptions extends ActionOptions {
  readonly untilGone?: boolean;
}

function sentenceOf(unread: readonly string[]): string {
  return `${unread.join(", ")} cannot be read: what runs by them may run on`;
}

/** What cannot be seen cannot be said to have stopped. */
function refuseUnread(unread: readonly string[]): void {
  if (unread.length === 0) return;
  throw new LifeboatError("FailoverRefused", `the stop is not complete: ${sentenceOf(unread)}`, {
    op: "agent.role",
    retryable: true,
    hint: "give the agent permission to read them, mend what serves them, or exclude the kinds from the group",
  });
}

/** An action that did not reach its goal rejects, so that it is begun anew. */
function refuseFailures(what: string, failed: DemoteReport["failed"]): void {
  const [first] = failed;
  if (first === undefined) return;
  throw new LifeboatError(
    "FailoverRefused",
    `${failed.length} objects ${what}, such as ${first.key}: ${first.failure.message}`,
    {
      op: "agent.role",
      retryable: true,
    },
  );
}

/** Hash over all keys and hashes but the canary's, which goes on changing. */
function sealHash(digest: DigestTable, canary: KeyAndHash | undefined): string {
  if (canary !== undefined) digest.toggle(canary.key, canary.hash);
  const hash = createHash("sha256").update(digest.bytes()).digest("hex");
  if (canary !== undefined) digest.toggle(canary.key, canary.hash);
  return hash;
}
