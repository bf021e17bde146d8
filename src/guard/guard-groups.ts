import type { Clock } from "../clock.ts";
import { compareCert, isNewer, sameCert } from "../failover/epoch.ts";
import {
  bootGuard,
  nextWakeGuard,
  stepGuard,
  type GuardEffect,
  type GuardEvent,
  type GuardState,
  type GuardRecord,
} from "../failover/guard.ts";
import type { GuardAnswer, GuardPoll } from "../failover/messages.ts";
import { deriveTiming, profileTiming, type Timing, type TimingInputs } from "../failover/timing.ts";
import type { GuardedGroup, ListProof } from "../rpc/guard-messages.ts";
import { safeError, type Log } from "../telemetry/log.ts";
import type { GuardDisk } from "./disk.ts";

export interface GuardGroupsOptions {
  readonly node: string;
  readonly disk: GuardDisk;
  readonly clock: Clock;
  readonly log: Log;
  /** A group must stop, or may run again: the node is to be looked at now. Called before the step returns. */
  readonly onTurn: () => void;
}

/** Until the agent has said otherwise. Its polls are the most frequent ones, its lease is never used. */
const firstTiming = profileTiming("fast");
/** A first sync of an agent with many objects included. */
const unlistedMinMs = 60_000;
/** What a full disk did not take is tried again this often. */
const rewriteEveryMs = 5000;

/** The reducer of every group that this node has heard of, with its record and state kept where they belong. */
export class GuardGroups {
  readonly #options: GuardGroupsOptions;
  readonly #states = new Map<string, GuardState>();
  #polls: GuardPoll[] = [];
  /** By group and namespace: since when the agent has not listed it. */
  readonly #unlistedSince = new Map<string, number>();
  /** By group: what is on the disk. */
  readonly #written = new Map<string, GuardRecord>();
  /** Groups whose record the disk did not take, each with when that is tried again. */
  readonly #unwritten = new Map<string, number>();

  /** Throws JournalCorrupt where a record cannot be read. */
  constructor(options: GuardGroupsOptions) {
    this.#options = options;
    for (const record of options.disk.records()) this.#written.set(record.group, record);
    for (const group of this.#written.keys()) this.#boot(group, firstTiming);
  }

  get states(): readonly GuardState[] {
    return [...this.#states.values()];
  }

  /** Polls that were made since this was last asked. */
  takePolls(): readonly GuardPoll[] {
    const polls = this.#polls;
    this.#polls = [];
    return polls;
  }

  /** When the next {@link tick} is due. */
  nextWakeMs(): number {
    return Math.min(...this.states.map(nextWakeGuard));
  }

  tick(): void {
    const nowMs = this.#options.clock.monotonicMs();
    for (const [group, state] of this.#states) {
      if (nextWakeGuard(state) <= nowMs) this.#step(group, { type: "tick" });
    }
    for (const [group, dueMs] of this.#unwritten) if (dueMs <= nowMs) this.#writeAgain(group);
  }

  /** The agent says which groups there are. One that is not among them stays as it is. */
  hear(groups: readonly GuardedGroup[]): void {
    for (const { name, namespaces, timing, complete } of groups) {
      const known = this.#states.get(name);
      if (known === undefined) {
        this.#boot(name, deriveTiming(timing));
        this.#setNamespaces(name, namespaces.toSorted());
        continue;
      }
      if (!sameInputs(known.timing, timing)) this.#step(name, { type: "timing", timing: deriveTiming(timing) });
      this.#setNamespaces(name, this.#namespacesOf(known, namespaces, complete));
    }
    for (const state of this.states) {
      const { group } = state.record;
      if (isForgotten(state) && !groups.some(({ name }) => name === group)) this.release(group);
    }
  }

  answer(answer: GuardAnswer): void {
    if (answer.node === this.#options.node) this.#step(answer.group, { type: "answer", answer });
  }

  /** The last process of the group is gone after a kill. */
  allDead(group: string): void {
    this.#step(group, { type: "allDead" });
  }

  /** The group has ended in order: it gates nothing here any more. */
  release(group: string): void {
    const state = this.#states.get(group);
    if (state === undefined) return;
    for (const namespace of state.record.namespaces) this.#unlistedSince.delete(`${group}/${namespace}`);
    this.#states.delete(group);
    this.#written.delete(group);
    this.#unwritten.delete(group);
    this.#options.disk.forget(group);
    this.#options.log.info({ group }, "the group was released; this node guards it no more");
    this.#options.onTurn();
  }

  #boot(group: string, timing: Timing): void {
    const { node, disk, clock } = this.#options;
    const record = this.#written.get(group) ?? null;
    const saved = disk.state(group);
    const boot = {
      node,
      group,
      bootId: disk.bootId,
      timing: saved?.timing ?? timing,
      record,
      saved: saved === undefined ? null : { ...saved, record: latestOf(record, saved.record) },
    };
    const { state, effects } = bootGuard(boot, clock.monotonicMs());
    this.#keep(state, effects);
  }

  /**
   * A namespace more counts at once. One less only after a while, since an agent that has just started has not seen them
   * all; and where the group is kept down only by proof: a site that does not run it may have been set back in time.
   */
  #namespacesOf(
    { mode, record }: GuardState,
    heard: readonly string[],
    complete: ListProof | undefined,
  ): readonly string[] {
    const nowMs = this.#options.clock.monotonicMs();
    const mayLose = mode !== "fenced" || isOfPresent(complete, record);
    const kept = record.namespaces.filter((namespace) => {
      const key = `${record.group}/${namespace}`;
      if (heard.includes(namespace) || !mayLose) {
        this.#unlistedSince.delete(key);
        return true;
      }
      const since = this.#unlistedSince.get(key) ?? nowMs;
      this.#unlistedSince.set(key, since);
      if (nowMs - since < unlistedMinMs) return true;
      this.#unlistedSince.delete(key);
      return false;
    });
    return [...new Set([...kept, ...heard])].toSorted();
  }

  #setNamespaces(group: string, namespaces: readonly string[]): void {
    const known = this.#states.get(group)?.record.namespaces ?? [];
    if (known.join() !== namespaces.join()) this.#step(group, { type: "namespaces", namespaces });
  }

  #step(group: string, event: GuardEvent): void {
    const before = this.#states.get(group);
    if (before === undefined) return;
    const { state, effects } = stepGuard(before, event, this.#options.clock.monotonicMs());
    if (state === before && effects.length === 0) return;
    this.#keep(state, effects);
    if (state.mode !== before.mode) {
      this.#options.log.info({ group, mode: state.mode, reason: state.reason }, "the group's gate has changed");
    }
  }

  #keep(state: GuardState, effects: readonly GuardEffect[]): void {
    const { onTurn } = this.#options;
    const { group } = state.record;
    const isStop = effects.some(({ type }) => type === "stop");
    if (isStop) {
      // Nothing that may fail, a full disk above all, comes before what stops.
      this.#states.set(group, state);
      onTurn();
    }
    const isOpening = effects.some(({ type }) => type === "openGate");
    for (const effect of effects) {
      if (effect.type === "persist") this.#persist(effect.record, isOpening ? "opening" : isStop ? "stop" : "other");
    }
    this.#states.set(group, state);
    this.#note(state);
    for (const effect of effects) if (effect.type === "poll") this.#polls.push(effect.poll);
    // Gate and traffic follow from the state, whatever came before (see Warden); a longer end can wait for the next look.
    if (effects.some(({ type }) => type === "openGate")) onTurn();
  }

  /**
   * What is opened under a certificate needs it on disk first: throws where it is not. What stops needs nothing. Nor
   * does what only goes on as before, by the word of a later agent or with other namespaces: a full disk must not stop
   * it. That is tried again, and known to the next process of this boot (see {@link latestOf}).
   */
  #persist(record: GuardRecord, when: "opening" | "stop" | "other"): void {
    try {
      this.#write(record);
    } catch (error) {
      if (when === "opening" || (when === "other" && !isSameGrant(record, this.#written.get(record.group))))
        throw error;
      this.#unwritten.set(record.group, this.#options.clock.monotonicMs() + rewriteEveryMs);
      this.#options.log.error(
        { group: record.group, error: safeError(error) },
        "the group's record could not be written",
      );
    }
  }

  #write(record: GuardRecord): void {
    this.#options.disk.putRecord(record);
    this.#written.set(record.group, record);
    this.#unwritten.delete(record.group);
  }

  #writeAgain(group: string): void {
    const state = this.#states.get(group);
    this.#unwritten.set(group, this.#options.clock.monotonicMs() + rewriteEveryMs);
    try {
      if (state !== undefined) this.#write(state.record);
    } catch {
      // Said when it failed first.
    }
  }

  /** What only spares a restarted guard a new question; without it that one begins closed. */
  #note(state: GuardState): void {
    try {
      this.#options.disk.putState(state);
    } catch (error) {
      const { group } = state.record;
      this.#options.log.warn({ group, error: safeError(error) }, "what the group's guard holds could not be noted");
    }
  }
}

/** Nothing is gated for it, and a boot would wait for nothing. */
function isForgotten({ mode, record }: GuardState): boolean {
  return mode === "open" && !record.known && record.cert === null;
}

/** The list is the present agent's, of the epoch that this node knows or a later one. */
function isOfPresent(proof: ListProof | undefined, { cert, incarnation }: GuardRecord): boolean {
  if (proof === undefined || proof.incarnation < incarnation) return false;
  const order = compareCert(proof.cert, cert);
  return order === "same" || order === "newer";
}

/** They allow the same to run. */
function isSameGrant(record: GuardRecord, written: GuardRecord | undefined): boolean {
  return sameCert(record.cert, written?.cert ?? null) && record.known === (written?.known ?? false);
}

/**
 * What the last process of this boot knew. A record is on disk before the state that follows from it, unless the disk
 * was full: then the state, which is kept elsewhere, knows more.
 */
function latestOf(written: GuardRecord | null, saved: GuardRecord): GuardRecord {
  if (written === null) return saved;
  return {
    ...written,
    namespaces: [...new Set([...written.namespaces, ...saved.namespaces])].toSorted(),
    cert: isNewer(saved.cert, written.cert) && written.known ? saved.cert : written.cert,
    incarnation: Math.max(written.incarnation, saved.incarnation),
  };
}

function sameInputs(timing: Timing, inputs: TimingInputs): boolean {
  return (Object.keys(inputs) as (keyof TimingInputs)[]).every((name) => timing[name] === inputs[name]);
}
