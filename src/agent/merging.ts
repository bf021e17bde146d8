import { hash } from "node:crypto";
import { runTogether } from "../abort.ts";
import type { ObjectVersions } from "../capture/group.ts";
import { type ProtectionGroup, peerOf } from "../config/group.ts";
import type { FailoverSnapshot } from "../failover/runner/snapshot.ts";
import type { Journal } from "../journal/journal.ts";
import { Merger, type MergeStatus } from "../merge/merger.ts";
import type { SinglesPlace } from "../merge/local.ts";
import { KubeObjects } from "../merge/objects.ts";
import { canonicalJson } from "../objects/json.ts";
import type { Log } from "../telemetry/log.ts";
import { Background } from "./background.ts";
import type { GroupSpecs } from "./group-spec.ts";
import { readOrigin } from "./origin.ts";
import type { AgentParts } from "./parts.ts";
import { policyOf } from "./policy.ts";
import type { GroupPulling } from "./pulling.ts";
import { isRewound } from "./rewind.ts";
import type { GroupServing } from "./serving.ts";
import { noSurge, surgeAfter, type SurgeState } from "./surge.ts";

export interface MergingOptions {
  readonly name: string;
  readonly parts: AgentParts;
  readonly journal: Journal;
  readonly specs: GroupSpecs;
  readonly serving: GroupServing;
  readonly pulling: GroupPulling;
  readonly epoch: () => string;
  /** Namespaces of this site that belong to other groups, with their names. */
  readonly taken: () => ReadonlyMap<string, string>;
  readonly snapshot: () => FailoverSnapshot | undefined;
  readonly log: Log;
  readonly signal: AbortSignal;
  /** Must not throw. */
  readonly onChange: () => void;
}

/** What status shows of a group that runs at both sites. */
export interface MergingView extends MergeStatus {
  /** What is single runs at this site. */
  readonly singlesHere: boolean;
  /** Replicas in percent while this site carries both loads; undefined while it does not. */
  readonly surgePercent: number | undefined;
}

/** Hash of the spec that everything here was rendered by. */
const renderedName = "merge/rendered";
/** The surge outlives the process: its replicas do. */
const surgeName = "merge/surge";
/** A look at whether the other site is there. */
const lookEveryMs = 1000;
/** Objects of kinds that could not be read at the start are compared within this. */
const compareEveryMs = 60_000;
/** It may come and go while it starts; its own replicas are not ready at once. */
const returnedAfterMs = 10_000;

/** What a site does for a group that runs at both (`spec.mode: ActiveActive`): follows the peer, and is followed. */
export class GroupMerging {
  readonly #options: MergingOptions;
  #merger: Merger | undefined;
  #running: Background | undefined;
  /** Of the spec that is in force. */
  #specHash = "";
  /** Hash of the spec that everything was rendered anew by in this process, or is being. */
  #renderedAnew = "";
  #surge: SurgeState;
  #mayStart = false;

  constructor(options: MergingOptions) {
    this.#options = options;
    this.#surge = options.journal.getOwnState(surgeName) === true ? { on: true, sinceMs: undefined } : noSurge;
  }

  /** By the spec that is in force. */
  get isOn(): boolean {
    return this.#options.specs.group?.spec.mode === "ActiveActive";
  }

  /** What capture asks for each object; undefined for a group that runs at one site. */
  get versions(): ObjectVersions | undefined {
    return this.isOn ? this.merger : undefined;
  }

  /** Of this group. Throws JournalCorrupt. */
  get merger(): Merger {
    this.#merger ??= this.#newMerger();
    return this.#merger;
  }

  #newMerger(): Merger {
    const { name, parts, journal, specs, serving, epoch, log, onChange } = this.#options;
    const { client, discovery, pool, config, clock, random, metrics } = parts;
    return new Merger({
      journal,
      objects: new KubeObjects({ client, discovery, pool, group: name }),
      group: name,
      site: config.site,
      spec: () => specs.group?.spec,
      epoch,
      singles: () => this.#singles(),
      isPaused: () => isRewound(pool),
      surgePercent: () => this.surgePercent,
      taken: this.#options.taken,
      offer: (key, state) => serving.offerObject(key, state),
      isGroups: (key) => serving.isGroups(key),
      clock,
      random,
      log,
      onChange,
      onConflict: () => metrics.metrics.add("lifeboat_merge_conflicts_total", { group: name }),
      onWrite: () => metrics.metrics.add("lifeboat_merge_writes_total", { group: name }),
    });
  }

  /** This site holds the group's epoch, or created the group and nobody was granted it yet. */
  get singlesHere(): boolean {
    const { journal, specs } = this.#options;
    const origin = readOrigin(journal);
    return origin === "own" || (origin === "none" && specs.isSource);
  }

  /** Of an epoch that an earlier process knew of, this one waits until the protocol says that it still holds. */
  #singles(): SinglesPlace {
    if (!this.singlesHere) return "elsewhere";
    return this.#mayStart ? "here" : "unknown";
  }

  /** Whether the protocol, or the group's adoption, has said that what is single may be started here. */
  setMayStart(mayStart: boolean): void {
    this.#mayStart = mayStart;
  }

  get surgePercent(): number | undefined {
    return this.#surge.on ? this.#options.specs.group?.spec.failover.surge?.percent : undefined;
  }

  view(): MergingView | undefined {
    if (!this.isOn) return undefined;
    return { ...this.merger.status(), singlesHere: this.singlesHere, surgePercent: this.surgePercent };
  }

  /** A spec has come into force: from the first on both sites serve and pull. */
  take(group: ProtectionGroup): void {
    if (!this.isOn) return;
    this.begin();
    const now = hash("sha256", canonicalJson(group.spec));
    const before = this.#specHash;
    this.#specHash = now;
    if (before !== "" && before !== now) this.#reconsider();
  }

  #reconsider(): void {
    this.#renderedAnew = this.#specHash;
    this.merger.reconsider();
  }

  /** A spec that was edited while no agent was here is made up for; what is there is as the spec says when all is done. */
  async #makeUp(): Promise<void> {
    const { journal } = this.#options;
    const now = this.#specHash;
    if (now === "" || journal.getOwnState(renderedName) === now) return;
    if (this.#renderedAnew !== now) this.#reconsider();
    else if (this.merger.status().pending === 0) await journal.putOwnState(renderedName, now);
  }

  /** Serves, pulls and merges, where that is not done already. */
  begin(): void {
    const { parts, serving, pulling, log, signal } = this.#options;
    const { clock, random } = parts;
    const { merger } = this;
    serving.serve();
    pulling.start();
    this.#running ??= new Background({ name: "merge", clock, random, log, signal }, async (inner) => {
      using _kinds = parts.discovery.onChange(({ added, changed }) => {
        for (const { group, kind } of [...added, ...changed]) merger.kindCame(group, kind);
      });
      await runTogether([(own) => merger.run(own), (own) => this.#compare(own), (own) => this.#watchPeer(own)], inner);
    });
  }

  async stop(): Promise<void> {
    const running = this.#running;
    this.#running = undefined;
    await running?.stop();
  }

  /** What is known and not here any more was deleted while this agent was away. */
  async #compare({ signal }: { signal: AbortSignal }): Promise<void> {
    const { serving, parts } = this.#options;
    const { capture } = serving;
    if (capture === undefined) return;
    await capture.whenSynced({ signal });
    for (;;) {
      const here = new Set(capture.keys());
      this.merger.compare({ has: (key) => here.has(key), isKnown: (key) => capture.isKnown(key) });
      await this.#makeUp();
      await parts.clock.sleep(compareEveryMs, { signal });
    }
  }

  async #watchPeer({ signal }: { signal: AbortSignal }): Promise<never> {
    const { clock, pool } = this.#options.parts;
    for (let wasRewound = false; ;) {
      await clock.sleep(lookEveryMs, { signal });
      const isNow = isRewound(pool);
      if (isNow && !wasRewound) this.merger.restored();
      if (!isNow && wasRewound) this.merger.bringBack();
      wasRewound = isNow;
      await this.#look();
    }
  }

  async #look(): Promise<void> {
    const { parts, specs, snapshot, pulling } = this.#options;
    const group = specs.group;
    const failover = snapshot();
    if (group === undefined || failover === undefined || failover.holder === undefined) return;
    const { clock, config } = parts;
    const signs = {
      isHolder: failover.holder === config.site && this.singlesHere,
      heardAgoMs: failover.peerGrantor.linkHeardAgoMs,
      isSeenByWitness: failover.witness.connected && failover.witnessSeesPeer,
      isCurrent: pulling.isCurrent,
    };
    const lostAfterMs = policyOf(group.spec).timing.disarmAfterMs;
    await this.#setSurge(surgeAfter(this.#surge, signs, { lostAfterMs, returnedAfterMs }, clock.monotonicMs()));
  }

  /** The other site is lost, by the witness's word or a person's: its load comes here. */
  async beginSurge(): Promise<void> {
    await this.#setSurge({ on: true, sinceMs: undefined });
  }

  async #setSurge(next: SurgeState): Promise<void> {
    const { journal, specs, log, parts } = this.#options;
    const before = this.#surge;
    if (before.on === next.on) {
      this.#surge = next;
      return;
    }
    await journal.putOwnState(surgeName, next.on ? true : undefined);
    this.#surge = next;
    const percent = specs.group?.spec.failover.surge?.percent;
    if (percent === undefined) return;
    const peer = specs.group === undefined ? "the other site" : peerOf(specs.group.spec, parts.config.site);
    const said = next.on ? `${peer} is lost: replicas are raised` : `${peer} is back: replicas are as before`;
    log.info({ percent }, said);
    this.merger.lookAtSurge();
  }
}
