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
import { readOrigin, writeOrigin } from "./origin.ts";

export interface FinalDigest {
  readonly digest: DigestTable;
  /** Place in the source's order. */
  readonly revision: string;
  /** The canary, which is no part of what is sealed. */
  readonly canary: KeyAndHash | undefined;
}

/** What the group's runtime does for its actions. */
export interface ActionHost {
  readonly journal: Journal;
  readonly applier: Applier;
  /** With the spec that is in force at this site. */
  readonly group: ProtectionGroup | undefined;
  /** Begins to capture and serve under the epoch; resolves once the group is offered. */
  serve(epoch: string): Promise<void>;
  /** The group is offered to the peer no more; what is known of it here stays known. */
  stopServing(): Promise<void>;
  /** Ends the following of the site's own objects. */
  stopCapture(): Promise<void>;
  /** Begins to pull from the peer, where that is not done already. */
  pull(): void;
  stopPulling(): Promise<void>;
  /** Digest of what is served, once everything up to now is in it. */
  finalDigest(options: ActionOptions): Promise<FinalDigest>;
  /** The source's canary as the journal has it. */
  receivedCanary(): KeyAndHash | undefined;
  /** Resolves when the journal holds everything of the peer. */
  whenCurrent(options: ActionOptions): Promise<void>;
  outcome(outcome: CommandOutcome): void;
  notice(notice: Notice): void;
  /** The group was taken down here. */
  stopped(report: DemoteReport): void;
  /** The group runs here. */
  started(goal: StartGoal, report: { readonly failed: number; readonly tookMs: number }): void;
  /** The group's objects as this site has them. */
  localObjects(options: ActionOptions): Promise<readonly LocalObject[]>;
  /** Shows the group's object at this site as what it is: the original, or a mirror of the peer's. */
  showObject(as: "original" | "mirror", options: ActionOptions): Promise<void>;
  readonly nowMs: () => number;
}

/** How long one wave of a promotion may take to become ready before it is reported and the next one begins. */
const waveTimeoutMs = 120_000;

/** Below every epoch: what was never granted. */
const lowestEpoch = "0.0";

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
    await this.#host.stopPulling();
    let failed = 0;
    const origin = readOrigin(journal);
    if (origin === "held") {
      failed = (await applier.release({ epoch, signal })).failed.length;
    } else if (origin === "copy" || origin === "promoting") {
      await writeOrigin(journal, "promoting");
      failed = (await applier.promote({ epoch, signal, readyTimeoutMs: waveTimeoutMs })).failed.length;
      await this.#host.showObject("original", { signal });
    }
    await writeOrigin(journal, "own");
    await this.#host.serve(epoch);
    this.#host.started(goal, { failed, tookMs: this.#host.nowMs() - startedMs });
  }

  async stopRunning(goal: { readonly reason: string }, { signal }: ActionOptions): Promise<void> {
    await this.#host.stopServing();
    await this.#hold(signal);
    this.#host.notice({ code: "Stopped", message: goal.reason });
  }

  /** Takes down what runs; what only waits to run is left alone. */
  async #hold(signal: AbortSignal): Promise<void> {
    const { journal, applier } = this.#host;
    const origin = readOrigin(journal);
    if (origin !== "own" && origin !== "promoting" && origin !== "held") return;
    const local = await this.#host.localObjects({ signal });
    const report = await applier.demote({
      epoch: journal.epoch() ?? lowestEpoch,
      local,
      spec: this.#host.group?.spec,
      signal,
    });
    await writeOrigin(journal, origin === "promoting" ? "copy" : "held");
    this.#host.stopped(report);
  }

  /** The group goes on being served: what is held back is read as what it was. */
  async quiesce(_goal: { readonly opId: string }, { signal }: ActionOptions): Promise<void> {
    await this.#hold(signal);
  }

  async prepareSeal(_goal: { readonly opId: string }, options: ActionOptions): Promise<SealContent> {
    const { digest, revision, canary } = await this.#host.finalDigest(options);
    return { objectsRevision: revision, objectsHash: sealHash(digest, canary), volumes: {} };
  }

  async unquiesce(_goal: { readonly opId: string; readonly reason: string }, { signal }: ActionOptions): Promise<void> {
    const { journal, applier } = this.#host;
    if (readOrigin(journal) !== "held") return;
    await applier.release({ epoch: journal.epoch() ?? lowestEpoch, signal });
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
    this.#host.pull();
    await this.#host.whenCurrent(options);
    const differing = await applier.settleDivergence();
    const message = `${differing.length} objects differ from what took over; they are kept`;
    this.#host.notice({ code: "DivergenceKept", message });
  }

  async followPeer(_goal: { readonly cert: Cert }, { signal }: ActionOptions): Promise<void> {
    const { journal, applier } = this.#host;
    await this.#host.stopServing();
    const origin = readOrigin(journal);
    await this.#hold(signal);
    this.#host.pull();
    // What this site ran is overwritten only by something that is known to be whole.
    if (origin !== "none" && origin !== "copy") await this.#host.whenCurrent({ signal });
    await this.#host.stopCapture();
    await writeOrigin(journal, "copy");
    await this.#host.showObject("mirror", { signal });
    applier.follow();
  }

  /** Nodes are looked after by the node guard, where there is one. */
  async allowUnguarded(): Promise<void> {}

  outcome(outcome: CommandOutcome): void {
    this.#host.outcome(outcome);
  }

  notice(notice: Notice): void {
    this.#host.notice(notice);
  }
}

/** Hash over all keys and hashes but the canary's, which goes on changing. */
function sealHash(digest: DigestTable, canary: KeyAndHash | undefined): string {
  if (canary !== undefined) digest.toggle(canary.key, canary.hash);
  const hash = createHash("sha256").update(digest.bytes()).digest("hex");
  if (canary !== undefined) digest.toggle(canary.key, canary.hash);
  return hash;
}
