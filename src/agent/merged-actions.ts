import { createHash } from "node:crypto";
import type { LocalObject } from "../apply/demotion.ts";
import { removedObjects } from "../apply/removed.ts";
import { LifeboatError } from "../errors.ts";
import type { Cert } from "../failover/epoch.ts";
import type { Seal } from "../failover/messages.ts";
import type {
  ActionOptions,
  AppliedContent,
  CommandOutcome,
  GroupActions,
  Notice,
  SealContent,
  StartGoal,
} from "../failover/runner/actions.ts";
import { versionIn } from "../merge/stated.ts";
import { parseJson } from "../objects/json.ts";
import type { ObjectKey } from "../objects/key.ts";
import type { KubeObject } from "../objects/object.ts";
import { type ActionHost, lowestEpoch, SiteActions } from "./group-actions.ts";
import { readOrigin, writeOrigin } from "./origin.ts";

/** What merging does for the actions of a group that runs at both sites. */
export interface MergedSide {
  readonly isSingle: (key: ObjectKey) => boolean;
  /** Brings what is single, and what a surge changes, to what it should be here now. */
  settle(options: ActionOptions & { readonly maxMs?: number }): Promise<void>;
  /** Keys that cannot be brought to that. */
  readonly failing: () => readonly ObjectKey[];
  /** Versions of all that is single; equal at both sites where they hold the same. */
  readonly singlesText: () => string;
  /** Both sites serve and pull; does nothing where that is so. */
  begin(): void;
  /** Everything that this site's API server holds at this moment is offered. */
  settleCapture(options: ActionOptions): Promise<void>;
  beginSurge(): Promise<void>;
  /** Whether what is single may be started here. */
  setMayStart(mayStart: boolean): void;
  /** The group's object here is shown as a mirror of the other site's. */
  readonly isMirror: () => boolean;
}

/**
 * Performs what the failover protocol decides for a group that runs at both sites: the epoch is of what is single, so
 * that nothing else is ever stopped or started by it, and serving and pulling go on whoever holds it.
 */
export class MergedActions implements GroupActions {
  readonly #host: ActionHost;
  readonly #side: MergedSide;
  /** The same actions over what is single alone. */
  readonly #singles: SiteActions;

  constructor(host: ActionHost, side: MergedSide) {
    this.#host = host;
    this.#side = side;
    this.#singles = new SiteActions(new SinglesHost(host, side));
  }

  async startRunning(goal: StartGoal, { signal }: ActionOptions): Promise<void> {
    const { journal, applier } = this.#host;
    const startedMs = this.#host.nowMs();
    const ageMs = this.#host.standbyAgeMs();
    const origin = readOrigin(journal);
    await this.#host.stopKeeping();
    await this.#host.openGate({ signal });
    // From here on merging brings up what is single, also after a crash.
    await writeOrigin(journal, "own");
    this.#side.setMayStart(true);
    if (lostKinds.has(goal.kind)) await this.#side.beginSurge();
    if (this.#side.isMirror()) await this.#host.showObject("original", { signal });
    this.#side.begin();
    // Also where an earlier attempt has not come to its end.
    if (origin === "held" || removedObjects(journal).length > 0) await this.#release(signal);
    else await applier.activate();
    await this.#side.settle({ signal, maxMs: startMaxMs });
    // Announced anew, under the new epoch.
    this.#side.begin();
    this.#host.started(goal, {
      failed: this.#side.failing().filter((key) => this.#side.isSingle(key)).length,
      late: undefined,
      tookMs: this.#host.nowMs() - startedMs,
      rpoMs: goal.kind === "commit" ? 0 : origin === "copy" ? ageMs : undefined,
    });
  }

  /** What the stop has deleted is created anew; the values that were held back are merging's to give back, too. */
  async #release(signal: AbortSignal): Promise<void> {
    const { journal, applier } = this.#host;
    const { failed } = await applier.release({ epoch: journal.epoch() ?? lowestEpoch, signal });
    const [first] = failed;
    if (first === undefined) return;
    const message = `${failed.length} objects could not be brought back, such as ${first.key}: ${first.failure.message}`;
    throw new LifeboatError("FailoverRefused", message, { op: "agent.role", retryable: true });
  }

  stopRunning(goal: { readonly reason: string }, options: ActionOptions): Promise<void> {
    this.#side.setMayStart(false);
    return this.#singles.stopRunning(goal, options);
  }

  async quiesce(goal: { readonly opId: string }, options: ActionOptions): Promise<void> {
    this.#side.setMayStart(false);
    // What merging was about to start is started by now, and will be stopped.
    await this.#side.settle(options);
    await this.#singles.quiesce(goal, options);
  }

  async unquiesce(_goal: { readonly opId: string; readonly reason: string }, { signal }: ActionOptions): Promise<void> {
    const { journal } = this.#host;
    const origin = readOrigin(journal);
    if (origin !== "held" && origin !== "own") return;
    await this.#host.stopKeeping();
    await this.#host.openGate({ signal });
    if (origin === "own") {
      this.#side.setMayStart(true);
      await this.#side.settle({ signal });
      return;
    }
    await writeOrigin(journal, "own");
    this.#side.setMayStart(true);
    await this.#release(signal);
    await this.#side.settle({ signal });
  }

  /** What runs at both sites goes on being written at both: sealed is what is single. */
  async prepareSeal(_goal: { readonly opId: string }, options: ActionOptions): Promise<SealContent> {
    await this.#side.settleCapture(options);
    await this.#side.settle(options);
    return { objectsRevision: "singles", objectsHash: hashOf(this.#side.singlesText()), volumes: {} };
  }

  async applySeal({ seal }: { readonly seal: Seal }, options: ActionOptions): Promise<AppliedContent> {
    await this.#host.whenCurrent(options);
    await this.#side.settle(options);
    const objectsHash = hashOf(this.#side.singlesText());
    if (objectsHash === seal.objectsHash) return { objectsHash, volumes: {} };
    throw new LifeboatError("FailoverRefused", "what is single here is not yet what the seal says", {
      op: "agent.applySeal",
      retryable: true,
    });
  }

  /** Nothing of either site is thrown away: each object's later write counts at both, and conflicts are listed. */
  async saveDivergence(_goal: { readonly cert: Cert }, _options: ActionOptions): Promise<void> {
    await this.#forgetKept();
  }

  async followPeer(goal: { readonly cert: Cert }, options: ActionOptions): Promise<void> {
    this.#side.setMayStart(false);
    await this.#singles.followPeer(goal, options);
    await this.#forgetKept();
    this.#side.begin();
    await this.#side.settle(options);
  }

  /** A stop keeps what it takes down verbatim, for a site that would be overwritten. This one is not. */
  async #forgetKept(): Promise<void> {
    const { journal } = this.#host;
    await journal.judgeDivergence(
      [],
      journal.divergentKeys().map(({ key }) => key),
    );
  }

  allowUnguarded(goal: { readonly allowed: boolean }): Promise<void> {
    return this.#singles.allowUnguarded(goal);
  }

  outcome(outcome: CommandOutcome): void {
    this.#host.outcome(outcome);
  }

  notice(notice: Notice): void {
    this.#host.notice(notice);
  }
}

/** What is slower is reported, and goes on being brought up. */
const startMaxMs = 30_000;

/** A start of these kinds comes after the loss of the other site. */
const lostKinds: ReadonlySet<StartGoal["kind"]> = new Set(["takeover", "manual", "forced"]);

/** The host as the actions over what is single see it: streams never end, and nothing else is the group's. */
class SinglesHost implements ActionHost {
  readonly #host: ActionHost;
  readonly #side: MergedSide;
  readonly journal: ActionHost["journal"];
  readonly applier: ActionHost["applier"];
  readonly nowMs: ActionHost["nowMs"];

  constructor(host: ActionHost, side: MergedSide) {
    this.#host = host;
    this.#side = side;
    this.journal = host.journal;
    this.applier = host.applier;
    this.nowMs = host.nowMs;
  }

  get group(): ActionHost["group"] {
    return this.#host.group;
  }

  async serve(): Promise<void> {
    this.#side.begin();
  }

  pull(): void {
    this.#side.begin();
  }

  async stopServing(): Promise<void> {}

  hasStandby(): boolean {
    return this.#host.hasStandby();
  }

  async stopCapture(): Promise<void> {}

  async stopPulling(): Promise<void> {}

  async unseal(): Promise<boolean> {
    return false;
  }

  async localObjects(options: ActionOptions): Promise<readonly LocalObject[]> {
    return (await this.#host.localObjects(options)).filter((one) => runs(one, this.#side));
  }

  openGate = (options: ActionOptions) => this.#host.openGate(options);
  closeGate = (options: ActionOptions) => this.#host.closeGate(options);
  allowUnguarded = (allowed: boolean) => this.#host.allowUnguarded(allowed);
  finalDigest = (options: ActionOptions) => this.#host.finalDigest(options);
  receivedCanary = () => this.#host.receivedCanary();
  whenCurrent = (options: ActionOptions) => this.#host.whenCurrent(options);
  outcome = (outcome: CommandOutcome) => this.#host.outcome(outcome);
  notice = (notice: Notice) => this.#host.notice(notice);
  stopped: ActionHost["stopped"] = (report, unread) => this.#host.stopped(report, unread);
  unreadKinds = () => this.#host.unreadKinds();
  keepDown: ActionHost["keepDown"] = (hold) => this.#host.keepDown(hold);
  stopKeeping = () => this.#host.stopKeeping();
  started: ActionHost["started"] = (goal, report) => this.#host.started(goal, report);
  standbyAgeMs = () => this.#host.standbyAgeMs();
  showObject: ActionHost["showObject"] = (as, options) => this.#host.showObject(as, options);
}

function runs({ key, object }: LocalObject, side: MergedSide): boolean {
  return side.isSingle(key) && versionIn(parseJson(object) as KubeObject)?.content !== "";
}

function hashOf(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

/** The actions of the mode that a group has, which is known with its first spec. */
export function actionsByMode(isMerged: () => boolean, merged: GroupActions, single: GroupActions): GroupActions {
  const now = (): GroupActions => (isMerged() ? merged : single);
  return {
    startRunning: (goal, options) => now().startRunning(goal, options),
    stopRunning: (goal, options) => now().stopRunning(goal, options),
    quiesce: (goal, options) => now().quiesce(goal, options),
    prepareSeal: (goal, options) => now().prepareSeal(goal, options),
    unquiesce: (goal, options) => now().unquiesce(goal, options),
    applySeal: (goal, options) => now().applySeal(goal, options),
    saveDivergence: (goal, options) => now().saveDivergence(goal, options),
    followPeer: (goal, options) => now().followPeer(goal, options),
    allowUnguarded: (goal, options) => now().allowUnguarded(goal, options),
    outcome: (outcome) => now().outcome(outcome),
    notice: (notice) => now().notice(notice),
  };
}
