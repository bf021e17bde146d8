import { linkedAbort, type LinkedAbort, Pulse } from "../abort.ts";
import type { EpochText } from "../objects/epoch.ts";
import { LifeboatError } from "../errors.ts";
import type { ProfileSpec } from "../config/group.ts";
import { type ObjectKey, parseKey } from "../objects/key.ts";
import type { KubeObject } from "../objects/object.ts";
import type { Finding } from "../render/types.ts";
import { demote, type DemoteOptions, type DemoteReport } from "./demotion.ts";
import { settleDivergence } from "./divergence.ts";
import { diffGroup, type ObjectDifference } from "./diff.ts";
import { Follower } from "./follower.ts";
import type { Failure } from "./failures.ts";
import { shown } from "./notes.ts";
import { PodsWatch } from "./pods-watch.ts";
import { bringLate, promote, type PromoteOptions, type PromotionReport } from "./promotion.ts";
import { purge, type PurgeOptions, type PurgeReport } from "./purge.ts";
import { release, type ReleaseOptions, type ReleaseReport } from "./release.ts";
import { GroupSite, type SiteOptions } from "./site.ts";
import type { ApplierStatus } from "./status.ts";
import { keepTrying, Unpromoted } from "./unpromoted.ts";

/**
 * The standby side of one group: applies what its journal receives, and brings the group up or down when the site
 * becomes active or standby. One applier per group runs at a site, in the elected agent.
 */

/**
 * `standby`: the journal is followed. `active`: the site runs the group. `held`: it ran the group and was taken down;
 * its objects are still the truth, so that nothing of the journal is applied over them.
 */
export type Mode = "standby" | "active" | "held";

/** Status changes are passed on at most this often: a burst changes it thousands of times. */
const statusDelayMs = 100;

export class Applier {
  readonly #site: GroupSite;
  readonly #listeners = new Set<(status: ApplierStatus) => void>();
  readonly #modeChanged = new Pulse();
  #mode: Mode;
  #phase: ApplierStatus["phase"] = "stopped";
  #follower: Follower;
  #life: AbortSignal | undefined;
  #working: { readonly scope: LinkedAbort; readonly ended: Promise<void> } | undefined;
  readonly #unpromoted: Unpromoted;
  /** The site was told in this process that the group runs here: only then may anything more of it be started. */
  #mayStart = false;
  #statusTimer: NodeJS.Timeout | undefined;
  #pods: PodsWatch | undefined;
  #podsLeft: readonly ObjectKey[] = [];
  /** Of what this site ran, and the profiles that were in force then. */
  #ownNamespaces: readonly string[];
  #ownProfiles: readonly ProfileSpec[] = [];
  #busy = false;

  readonly #isMerged: () => boolean;

  /**
   * `mode` is what the site is at the start. `isMerged`: the group runs at both sites, so that nothing is followed in
   * whatever mode; told anew by {@link reconsider}. @default never
   */
  constructor(options: SiteOptions & { readonly mode: Mode; readonly isMerged?: () => boolean }) {
    this.#site = new GroupSite(options);
    this.#unpromoted = new Unpromoted(this.#site);
    this.#mode = options.mode;
    this.#isMerged = options.isMerged ?? (() => false);
    this.#follower = this.#newFollower();
    const own = options.journal.getState(ownRecordName) as readonly string[] | undefined;
    this.#site.own = new Set(own);
    this.#ownNamespaces = (options.journal.getState(namespacesRecordName) ?? []) as readonly string[];
  }

  #newFollower(): Follower {
    return new Follower(this.#site, () => this.#changed());
  }

  /** Works until `signal` aborts, then ends what is under way and resolves. Rejects on a defect only. */
  async run(options: { signal: AbortSignal }): Promise<void> {
    const { signal } = options;
    this.#life = signal;
    using scope = linkedAbort(signal);
    this.#pods = this.#newPodsWatch(scope.signal);
    // It ends only by its signal.
    const watching = this.#pods.run().catch(() => undefined);
    try {
      while (!signal.aborted) {
        if (this.#mode === "standby" && !this.#busy && !this.#isMerged()) await this.#follow(signal);
        else if (this.#mode === "active" && this.#mayStart && !this.#busy && this.#unpromoted.entries.size > 0)
          await this.#keepTrying(signal);
        else await this.#modeChanged.wait({ signal });
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      this.#life = undefined;
      this.#enter("stopped");
      scope.abort(new Error("the applier ends"));
      await watching;
      await this.#site.close();
      clearTimeout(this.#statusTimer);
    }
  }

  #newPodsWatch(signal: AbortSignal): PodsWatch {
    const { view } = this.#site;
    return new PodsWatch(this.#site, {
      namespaces: () => {
        if (this.#mode === "active" || this.#busy || this.#isMerged()) return undefined;
        return new Set([...this.#ownNamespaces, ...(view.hasSpec ? view.namespacesHere() : [])]);
      },
      profiles: () => (view.hasSpec ? (view.spec.profiles ?? []) : this.#ownProfiles),
      onFound: (pods) => {
        this.#podsLeft = pods;
        this.#changed();
      },
      signal,
    });
  }

  async #follow(life: AbortSignal): Promise<void> {
    using scope = linkedAbort(life);
    await this.#unpromoted.forget(this.#unpromoted.entries.keys());
    this.#follower = this.#newFollower();
    this.#enter("starting");
    await this.#work(scope, this.#follower.follow({ signal: scope.signal, siteSignal: life }));
  }

  async #keepTrying(life: AbortSignal): Promise<void> {
    using scope = linkedAbort(life);
    const bring = (key: ObjectKey, signal: AbortSignal) => bringLate(this.#site, key, signal);
    const onRound = (): void => this.#changed();
    await this.#work(scope, keepTrying(this.#site, this.#unpromoted, { bring, onRound, signal: scope.signal }));
  }

  /** Notes work that a change of role has to stop first. */
  async #work(scope: LinkedAbort, ended: Promise<void>): Promise<void> {
    this.#working = { scope, ended };
    try {
      await ended;
    } finally {
      this.#working = undefined;
    }
  }

  async #stopWorking(): Promise<void> {
    const working = this.#working;
    working?.scope.abort(new Error("the site changes its role"));
    await working?.ended;
  }

  /**
   * What a promotion could not bring up here, as it would be, by key at this site: `undefined` where that cannot be
   * said. It belongs to the group, and is no object that was deleted. The same map until something changes.
   */
  get absent(): ReadonlyMap<ObjectKey, KubeObject | undefined> {
    return this.#mode === "active" ? this.#unpromoted.objects : none;
  }

  status(): ApplierStatus {
    const { journal, copies, notes, contests, view } = this.#site;
    const { watermark, deletes, proof, opened, pendingCount } = this.#follower;
    const withheld: Record<string, number> = {};
    for (const { reason } of notes.withheld.values()) withheld[reason] = (withheld[reason] ?? 0) + 1;
    const isActive = this.#mode === "active";
    const failing = isActive ? this.#unpromoted.entries : notes.failing;
    const paused = isActive ? undefined : deletes.paused;
    return {
      phase: this.#phase === "starting" ? this.#followingPhase() : this.#phase,
      synced: journal.synced && opened && watermark.holdingCount === 0,
      suspended: view.hasSpec && view.spec.suspend,
      objects: journal.size,
      copies: copies.count,
      pending: isActive ? 0 : pendingCount,
      appliedSeq: journal.applied(),
      failingCount: failing.size,
      failing: shown(failing),
      conflictCount: notes.conflicts.size,
      conflicts: shown(notes.conflicts),
      contested: contests.contested().slice(0, shownContestedMaxCount),
      fieldsDroppedCount: notes.dropped.size,
      fieldsDropped: shown(notes.dropped),
      withheld,
      findings: [...this.#podsLeft.slice(0, shownPodsMaxCount).map(podLeft), ...shown(notes.findings).flat()],
      podsLeft: this.#podsLeft,
      deletesPaused:
        paused === undefined
          ? undefined
          : { sinceMs: paused.sinceWallMs, count: paused.count, of: paused.of, pending: journal.pendingDeletes },
      promotable: this.#mode === "standby" ? proof.result() : undefined,
    };
  }

  #followingPhase(): ApplierStatus["phase"] {
    if (!this.#site.view.hasSpec) return "waiting";
    return this.#follower.opened ? "following" : "starting";
  }

  /** Calls `listener` with the status after it changed, at most ten times a second, until disposed. */
  onStatus(listener: (status: ApplierStatus) => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => this.#listeners.delete(listener) };
  }

  #changed(): void {
    if (this.#listeners.size === 0) return;
    this.#statusTimer ??= setTimeout(() => {
      this.#statusTimer = undefined;
      const status = this.status();
      for (const listener of this.#listeners) listener(status);
    }, statusDelayMs).unref();
  }

  #enter(phase: ApplierStatus["phase"]): void {
    this.#phase = phase;
    this.#changed();
  }

  /** Carries out the deletes that the guard holds back. Returns their number. */
  confirmDeletes(): Promise<number> {
    return this.#follower.confirmDeletes();
  }

  /**
   * Brings the group up at this site from what the journal holds, under `epoch`. May be called again after a crash:
   * what is done is found done. Resolves when everything is started and what can be ready is; objects that could not
   * be brought up are in the report. Rejects with FailoverRefused on an older epoch than the journal has.
   */
  async promote(options: { epoch: EpochText } & PromoteOptions): Promise<PromotionReport> {
    return this.#exclusively(options.signal, async (signal) => {
      await this.#site.journal.raiseEpoch(options.epoch);
      this.#mode = "active";
      await this.#stopWorking();
      this.#enter("promoting");
      const { deletes } = this.#follower;
      const mayDelete = (key: ObjectKey): boolean => deletes.may(key);
      const onUp = async (failures: ReadonlyMap<ObjectKey, Failure>): Promise<void> => {
        await this.#unpromoted.replace(failures);
        await options.onUp?.(failures);
      };
      const report = await promote(this.#site, { ...options, mayDelete, onUp, signal });
      await this.#site.close();
      this.#mayStart = true;
      this.#enter("active");
      return report;
    });
  }

  /**
   * Takes the group down at this site, which ran it: nothing of it runs when this resolves, as far as the API server
   * can bring that about. Nothing is followed until {@link follow}.
   */
  async demote(options: { epoch: EpochText } & DemoteOptions): Promise<DemoteReport> {
    this.#mayStart = false;
    return this.#exclusively(options.signal, async (signal) => {
      await this.#stopWorking();
      await this.#site.journal.raiseEpoch(options.epoch);
      const local = [...options.local];
      this.#ownNamespaces = [...new Set(local.map(({ key }) => parseKey(key).namespace))].filter((name) => name !== "");
      this.#ownProfiles = options.spec?.profiles ?? this.#ownProfiles;
      const report = await demote(this.#site, { ...options, local, signal });
      await this.#site.journal.putState(ownRecordName, [...report.uids]);
      await this.#site.journal.putState(namespacesRecordName, this.#ownNamespaces);
      this.#site.own = new Set(report.uids);
      this.#mode = "held";
      return report;
    });
  }

  /** Brings up what {@link demote} took down, from the site's own objects. Returns the keys that were brought back. */
  async release(options: { epoch: EpochText } & ReleaseOptions): Promise<ReleaseReport> {
    return this.#exclusively(options.signal, async (signal) => {
      await this.#site.journal.raiseEpoch(options.epoch);
      await this.#stopWorking();
      const report = await release(this.#site, { ...options, signal });
      this.#mode = "active";
      this.#mayStart = true;
      this.#enter("active");
      return report;
    });
  }

  /** The site runs the group as it is: from now on its objects are no copies, and nothing is applied over them. */
  async activate(): Promise<void> {
    this.#mode = "active";
    await this.#pods?.pause();
    await this.#stopWorking();
    this.#pods?.resume();
    this.#mayStart = true;
    this.#enter("active");
    this.#modeChanged.raise();
  }

  /** From now on the journal is followed: what this site ran may be overwritten. */
  follow(): void {
    this.#mayStart = false;
    this.#mode = "standby";
    this.#modeChanged.raise();
  }

  /** Whether the group runs at both sites has become known. */
  reconsider(): void {
    if (!this.#isMerged() || this.#busy) return;
    this.#working?.scope.abort(new Error("the group runs at both sites"));
    this.#modeChanged.raise();
  }

  /** Namespaces have gone to another group, or come from it: what is followed is looked at anew. */
  restart(): void {
    if (this.#mode === "standby" && !this.#busy) this.#working?.scope.abort(new Error("namespaces have changed hands"));
  }

  /** Says how what {@link demote} kept differs from what took over, which the journal must hold all of. */
  settleDivergence(): Promise<ObjectKey[]> {
    return settleDivergence(this.#site);
  }

  /**
   * Removes the group's objects from this site: a standby's, once the group was deleted, and only what Lifeboat has put
   * there. What would go can be listed before.
   */
  async purge(options: PurgeOptions): Promise<PurgeReport> {
    if (this.#mode !== "standby" || this.#isMerged()) {
      throw new LifeboatError("FailoverRefused", "this site runs the group; its objects are not copies", {
        op: "apply.purge",
        hint: "run `lifeboat purge` with the site that is standby",
      });
    }
    if (options.dryRun === true) return purge(this.#site, options);
    if (this.#site.view.hasSpec) {
      throw new LifeboatError("FailoverRefused", "the group is not deleted: its copies would come back at once", {
        op: "apply.purge",
        hint: "delete the group at the site that runs it; `--dry-run` lists what a purge would remove",
      });
    }
    return this.#exclusively(options.signal, async (signal) => {
      await this.#stopWorking();
      return purge(this.#site, { ...options, signal });
    });
  }

  /** What differs between what the journal says and what is at this site. */
  diff(options: { signal: AbortSignal }): Promise<ObjectDifference[]> {
    return diffGroup(this.#site, this.#mode === "active" ? "active" : "standby", options.signal);
  }

  /** Objects that a person has excluded from the group are tried no more. Never rejects. */
  giveUp(isExcluded: (object: KubeObject) => boolean): void {
    this.#unpromoted
      .giveUp(isExcluded)
      .then(() => this.#changed())
      .catch((error: unknown) => {
        this.#site.options.log.warn({ err: error }, "what is excluded could not be given up");
      });
  }

  async #exclusively<T>(signal: AbortSignal, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const life = this.#life;
    if (life === undefined || this.#busy) {
      const message = life === undefined ? "the applier does not run" : "another change of role is under way";
      throw new LifeboatError("FailoverRefused", message, { op: "apply", retryable: true });
    }
    this.#busy = true;
    using scope = linkedAbort(life, signal);
    try {
      await this.#pods?.pause();
      return await work(scope.signal);
    } finally {
      this.#busy = false;
      this.#pods?.resume();
      this.#modeChanged.raise();
    }
  }
}

const shownContestedMaxCount = 100;
const shownPodsMaxCount = 10;

function podLeft(key: ObjectKey): Finding {
  const message = "runs here though this site must not run the group: it is still ending, or its operator starts it";
  return { code: "PodsLeft", key, message };
}

const none: ReadonlyMap<ObjectKey, KubeObject | undefined> = new Map();

/** Record of the UIDs of objects that this site ran under an earlier epoch. */
const ownRecordName = "apply/own";
/** Record of the namespaces that those were in. */
const namespacesRecordName = "apply/own-namespaces";
