/**
 * The node guard's side of the protocol, for one group on one node: hold the group's pods while a copy of the site's
 * lease lasts, stop them when it ends or on the first denial, and keep them down. It decides with its own clock alone;
 * agent, API server and kubelet may all be dead.
 */
import { compareCert } from "./epoch.ts";
import type { Cert } from "./epoch.ts";
import type { GuardAnswer, GuardMode, GuardPoll } from "./messages.ts";
import type { Timing } from "./timing.ts";

/** What a guard keeps on the node's disk per group. A group that is here stays gated whatever the API server says. */
export interface GuardRecord {
  readonly group: string;
  readonly namespaces: readonly string[];
  /** Highest certificate ever obeyed. */
  readonly cert: Cert | null;
  /** Highest incarnation of the site's agents ever obeyed. */
  readonly incarnation: number;
  /**
   * The site's agent has said that it is about to ask for the first grant: from here on a boot of the node waits for an
   * answer. Otherwise a site that is switched off right after its first grant would come back ungated.
   */
  readonly known: boolean;
}

/**
 * What the guard believes of the agent's clock. It follows what it sees at no more than 2ρ, so that a clock that stood
 * still shows as a slip instead of being followed.
 */
export interface ClockBaseline {
  /** Incarnation of the agent whose clock this is. */
  readonly incarnation: number;
  /** agent clock − guard clock. */
  readonly offsetMs: number;
  readonly atMs: number;
}

/**
 * JSON-able whole. The runner keeps it on a tmpfs after every step that changed it, and passes it to
 * {@link bootGuard} when only the guard's process was restarted (same kernel boot: the monotonic clock went on).
 */
export interface GuardState {
  readonly node: string;
  readonly bootId: string;
  readonly timing: Timing;
  readonly record: GuardRecord;
  readonly mode: GuardMode;
  /** End of the copy while `leased`. */
  readonly untilMs: number;
  /** Why it is `fenced`, for people. */
  readonly reason: string;
  readonly seq: number;
  /** Newest poll whose answer was obeyed; -1 when none. */
  readonly applied: number;
  /** Polls without an answer: [seq, sent at]. Bounded. */
  readonly polls: readonly (readonly [number, number])[];
  readonly baseline: ClockBaseline | null;
  /** The agent's clock stood still: nothing counts that rests on a renewal sent before this (agent's clock). */
  readonly distrustMs: number | null;
  /** S as measured here; null when never. */
  readonly stopMs: number | null;
  readonly killedAtMs: number | null;
  readonly nextPollAtMs: number;
}

export type GuardEvent =
  | { readonly type: "tick" }
  | { readonly type: "answer"; readonly answer: GuardAnswer }
  | { readonly type: "namespaces"; readonly namespaces: readonly string[] }
  /** The last process of the group on this node is gone after a kill. */
  | { readonly type: "allDead" }
  | { readonly type: "timing"; readonly timing: Timing };

export type GuardEffect =
  | { readonly type: "poll"; readonly poll: GuardPoll }
  /** Write to the node's disk (synced) before the effects that follow in this list. */
  | { readonly type: "persist"; readonly record: GuardRecord }
  /** Let the group's pods start and run: write the gate file, stop killing, thaw. */
  | { readonly type: "openGate" }
  /**
   * Refresh the kernel dead-man of the group's traffic: it must cut by itself this long from now, whatever becomes of
   * the guard. null lifts the cut entirely (never granted).
   */
  | { readonly type: "traffic"; readonly forMs: number | null }
  /** Remove the gate file, cut the traffic, kill the pods' cgroups and keep killing what comes back. */
  | { readonly type: "stop"; readonly reason: string };

export interface GuardStep {
  readonly state: GuardState;
  readonly effects: readonly GuardEffect[];
}

/** Unanswered polls that are remembered; older answers are useless anyway. */
const POLLS_MAX_COUNT = 8;

export interface GuardBoot {
  readonly node: string;
  readonly group: string;
  readonly bootId: string;
  readonly timing: Timing;
  /** From the node's disk; null when the group was never heard of. */
  readonly record: GuardRecord | null;
  /** From the tmpfs; null after a boot of the node. */
  readonly saved: GuardState | null;
}

/**
 * Start of the guard's process. After a boot of the node everything that was ever granted is fenced until the agent
 * answers; after a mere restart of the process it goes on where it was.
 */
export function bootGuard(boot: GuardBoot, now: number): GuardStep {
  if (boot.saved !== null && boot.saved.bootId === boot.bootId) {
    return stepGuard({ ...boot.saved, timing: boot.timing, nextPollAtMs: now }, { type: "tick" }, now);
  }
  const record = boot.record ?? { group: boot.group, namespaces: [], cert: null, incarnation: 0, known: false };
  const gated = record.known;
  const state: GuardState = {
    node: boot.node,
    bootId: boot.bootId,
    timing: boot.timing,
    record,
    mode: gated ? "fenced" : "open",
    untilMs: 0,
    reason: gated ? "the node booted; waiting for the site's agent" : "",
    seq: 0,
    applied: -1,
    polls: [],
    baseline: null,
    distrustMs: null,
    stopMs: null,
    killedAtMs: null,
    nextPollAtMs: now,
  };
  const gate: GuardEffect[] = gated
    ? [{ type: "stop", reason: state.reason }]
    : [{ type: "openGate" }, { type: "traffic", forMs: null }];
  const first = stepGuard(state, { type: "tick" }, now);
  return { state: first.state, effects: [...gate, ...first.effects] };
}

/** When the next `tick` is due, on the guard's clock. */
export function nextWakeGuard(state: GuardState): number {
  return state.mode === "leased" ? Math.min(state.nextPollAtMs, state.untilMs) : state.nextPollAtMs;
}

export function stepGuard(state: GuardState, event: GuardEvent, now: number): GuardStep {
  switch (event.type) {
    case "tick":
      return tick(state, now);
    case "answer":
      return answered(state, event.answer, now);
    case "allDead":
      return allDead(state, now);
    case "timing":
      return { state: { ...state, timing: event.timing }, effects: [] };
    case "namespaces": {
      const record = { ...state.record, namespaces: event.namespaces };
      return { state: { ...state, record }, effects: [{ type: "persist", record }] };
    }
  }
}

function tick(state: GuardState, now: number): GuardStep {
  const effects: GuardEffect[] = [];
  let next = state;
  if (next.mode === "leased" && now >= next.untilMs) {
    next = fence(next, "the site's lease ran out and its agent gave no newer one", now, effects);
  }
  if (now < next.nextPollAtMs) return { state: next, effects };
  if (next.mode === "free") effects.push({ type: "traffic", forMs: next.timing.leaseMs });
  const seq = next.seq + 1;
  const { record, timing } = next;
  effects.push({
    type: "poll",
    poll: {
      type: "GuardPoll",
      group: record.group,
      node: next.node,
      bootId: next.bootId,
      seq,
      applied: next.applied,
      mode: next.mode,
      cert: record.cert,
      incarnation: record.incarnation,
      stopMs: next.stopMs,
    },
  });
  const polls = [...next.polls.slice(1 - POLLS_MAX_COUNT), [seq, now] as const];
  return { state: { ...next, seq, polls, nextPollAtMs: now + timing.tickMs }, effects };
}

function answered(state: GuardState, answer: GuardAnswer, now: number): GuardStep {
  const poll = state.polls.find(([seq]) => seq === answer.seq);
  if (poll === undefined || answer.bootId !== state.bootId || answer.seq <= state.applied)
    return { state, effects: [] };
  const polls = state.polls.filter(([seq]) => seq > answer.seq);
  // A former leader of the site's agents knows nothing that counts, not even that the group must stop.
  if (answer.incarnation < state.record.incarnation) return { state: { ...state, polls }, effects: [] };
  const effects: GuardEffect[] = [];
  const next = obey({ ...state, polls, applied: answer.seq }, answer, poll[1], now, effects);
  return { state: next, effects };
}

function obey(state: GuardState, answer: GuardAnswer, sentAt: number, now: number, effects: GuardEffect[]): GuardState {
  const order = compareCert(answer.cert, state.record.cert);
  if (answer.verdict === "wait") return remember(state, state.record.cert, answer.incarnation, effects, false);
  if (answer.verdict === "deny" || order === "conflict") {
    const cert = order === "newer" ? answer.cert : state.record.cert;
    return fence(remember(state, cert, answer.incarnation, effects), answer.reason, now, effects);
  }
  // An older epoch is what a site set back in time believes: it may neither open nor extend anything here.
  if (order === "older") return remember(state, state.record.cert, answer.incarnation, effects);
  if (answer.verdict === "released") return forget(state, answer.incarnation, effects);
  const known = (): GuardState => remember(state, answer.cert, answer.incarnation, effects);
  if (answer.verdict === "open") return open(known(), effects);
  if (answer.verdict === "free") return hold(known(), "free", Infinity, now, effects);
  return extend(state, answer, sentAt, now, effects);
}

function extend(
  state: GuardState,
  answer: GuardAnswer,
  sentAt: number,
  now: number,
  effects: GuardEffect[],
): GuardState {
  const judged = judgeClock(state, answer, sentAt, now);
  const untilMs = sentAt + answer.remainingMs * judged.timing.factor;
  const isUsable = judged.distrustMs === null && judged.baseline !== null && untilMs > now;
  // One that gates nothing and cannot hold on yet goes on to know nothing: an agent that is followed closes it then.
  if (!isUsable && state.mode === "open") return judged;
  const known = remember(judged, answer.cert, answer.incarnation, effects);
  return isUsable ? hold(known, "leased", untilMs, now, effects) : known;
}

/** Highest certificate and incarnation, on disk before anything is opened under them. */
function remember(
  state: GuardState,
  cert: Cert | null,
  incarnation: number,
  effects: GuardEffect[],
  knows = true,
): GuardState {
  const { record } = state;
  const known = record.known || knows;
  if (incarnation === record.incarnation && known === record.known && compareCert(cert, record.cert) === "same") {
    return state;
  }
  const next = { ...record, cert, incarnation, known };
  effects.push({ type: "persist", record: next });
  return { ...state, record: next };
}

function open(state: GuardState, effects: GuardEffect[]): GuardState {
  if (state.mode === "open" || state.record.cert !== null) return state;
  effects.push({ type: "openGate" }, { type: "traffic", forMs: null });
  return { ...state, mode: "open", untilMs: 0, reason: "", killedAtMs: null };
}

/** The group is no more. The incarnation stays: a former agent must not bring anything of it back. */
function forget(state: GuardState, incarnation: number, effects: GuardEffect[]): GuardState {
  if (state.mode === "open" && state.record.cert === null) return state;
  const record = { ...state.record, cert: null, incarnation, known: false };
  effects.push({ type: "persist", record }, { type: "openGate" }, { type: "traffic", forMs: null });
  return { ...state, record, mode: "open", untilMs: 0, reason: "", killedAtMs: null, distrustMs: null };
}

function hold(
  state: GuardState,
  mode: "leased" | "free",
  end: number,
  now: number,
  effects: GuardEffect[],
): GuardState {
  const untilMs = mode === "free" ? 0 : state.mode === "leased" ? Math.max(end, state.untilMs) : end;
  if (state.mode === "fenced") effects.push({ type: "openGate" });
  effects.push({ type: "traffic", forMs: mode === "free" ? state.timing.leaseMs : untilMs - now });
  return { ...state, mode, untilMs, reason: "", killedAtMs: null };
}

function fence(state: GuardState, reason: string, now: number, effects: GuardEffect[]): GuardState {
  if (state.mode === "fenced") return reason === state.reason ? state : { ...state, reason };
  effects.push({ type: "stop", reason });
  return { ...state, mode: "fenced", untilMs: 0, reason, killedAtMs: now };
}

function allDead(state: GuardState, now: number): GuardStep {
  if (state.killedAtMs === null) return { state, effects: [] };
  const stopMs = Math.max(state.stopMs ?? 0, now - state.killedAtMs);
  return { state: { ...state, stopMs, killedAtMs: null }, effects: [] };
}

/**
 * The true offset of the agent's clock lies between what it would be had the answer taken no time back and no time
 * there. The belief moves into that interval at no more than 2ρ; an agent that is behind even the upper end by more
 * than the slip stood still, and what it says of its lease is late by that much, until it has renewed once more.
 */
function judgeClock(state: GuardState, answer: GuardAnswer, sentAt: number, now: number): GuardState {
  const { timing } = state;
  const low = answer.agentNowMs - now;
  const high = answer.agentNowMs - sentAt;
  const fresh = { incarnation: answer.incarnation, offsetMs: low, atMs: now };
  const { baseline } = state;
  if (baseline === null || baseline.incarnation !== answer.incarnation) {
    // Learnt from a slow answer the belief would be too low by its slowness, and blind by as much.
    return high - low > timing.slipMs
      ? { ...state, baseline: null, distrustMs: null }
      : { ...state, baseline: fresh, distrustMs: null };
  }
  if (state.distrustMs !== null) {
    const renewed = answer.leaseSentAtMs > state.distrustMs && high - low <= timing.slipMs;
    return renewed ? { ...state, baseline: fresh, distrustMs: null } : state;
  }
  if (baseline.offsetMs - high > timing.slipMs) return { ...state, distrustMs: answer.agentNowMs };
  // This clock stood still, or the agent's process changed machines: the answer itself is sound, the belief is not.
  // Its own copy, counted on a clock that lost time, would end too late: only the answer counts.
  if (low - baseline.offsetMs > timing.slipMs) return { ...state, baseline: fresh, untilMs: 0 };
  const step = 2 * timing.rho * (now - baseline.atMs);
  const target = Math.min(Math.max(baseline.offsetMs, low), high);
  const offsetMs = Math.min(Math.max(target, baseline.offsetMs - step), baseline.offsetMs + step);
  return { ...state, baseline: { ...baseline, offsetMs, atMs: now } };
}
