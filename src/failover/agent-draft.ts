/** One event while it is worked on: the agent's state so far, the effects in order, and the facts derived from both. */
import { compareCert, isNewer, sameCert } from "./epoch.ts";
import type { Cert } from "./epoch.ts";
import type { AgentEffect, AgentState, Continuation, Grantor, GuardReport, Phase, SiteRecord } from "./agent-state.ts";
import type { DisarmClaim, Readiness, Refusal, SiteState } from "./messages.ts";
import { guardMsFor } from "./timing.ts";

export type To = "witness" | "peer";

/** Sends that are remembered to date their acknowledgements; older ones are past any lease. */
const SENT_MAX_COUNT = 16;
/** One-shot nonces and voided switchovers that are remembered. */
const REMEMBERED_MAX_COUNT = 32;

export class Draft {
  s: AgentState;
  readonly now: number;
  readonly effects: AgentEffect[] = [];

  constructor(state: AgentState, now: number) {
    this.s = state;
    this.now = now;
  }

  set(patch: Partial<AgentState>): void {
    this.s = { ...this.s, ...patch };
  }

  emit(effect: AgentEffect): void {
    if (effect.type === "startRunning" || effect.type === "stopRunning") {
      const untilMs = effect.type === "startRunning" ? this.now + this.s.policy.timing.switchTimeoutMs : 0;
      this.set({ asked: true, startingUntilMs: untilMs });
    }
    this.effects.push(effect);
  }

  phase(phase: Phase): void {
    this.s = { ...this.s, phase };
  }

  grantor(to: To, patch: Partial<Grantor>): void {
    this.s =
      to === "witness"
        ? { ...this.s, witness: { ...this.s.witness, ...patch } }
        : { ...this.s, peerGrantor: { ...this.s.peerGrantor, ...patch } };
  }

  /** Next sequence number to this grantor; remembered with its time when an answer will be dated by it. */
  nextSeq(to: To, dated: boolean): number {
    const grantor = grantorOf(this.s, to);
    const seq = grantor.seq + 1;
    const sent = dated ? [...grantor.sent.slice(1 - SENT_MAX_COUNT), [seq, this.now] as const] : grantor.sent;
    this.grantor(to, { seq, sent });
    return seq;
  }

  /** Asks for a durable record; what depends on it happens in `next`. False when one is still outstanding. */
  persist(patch: Partial<SiteRecord>, next: Continuation): boolean {
    const { s } = this;
    if (s.pending !== null || this.now < s.retryPersistAtMs) return false;
    const record = { ...s.record, ...patch };
    this.set({ pending: { token: s.nextToken, record, next }, nextToken: s.nextToken + 1 });
    this.emit({ type: "persist", token: s.nextToken, record });
    return true;
  }

  notice(code: string, message: string): void {
    this.emit({ type: "notice", code, message });
  }

  outcome(nonce: string, ok: boolean, code: string, message: string): void {
    this.emit({ type: "outcome", nonce, ok, code, message });
  }

  /** Unique without randomness: an incarnation is written durably before it is used, once. */
  nonce(): string {
    const { s } = this;
    this.set({ nextNonce: s.nextNonce + 1 });
    return `${s.config.site}/${s.record.incarnation}/${s.nextNonce}`;
  }

  see(cert: Cert | null): void {
    const { released } = this.s.record;
    if (released !== null && !isNewer(cert, released)) return;
    const order = compareCert(cert, this.s.seen);
    if (order === "newer") this.set({ seen: cert });
    if (order === "conflict" && this.s.phase.type !== "Blocked") {
      this.stop("two certificates contradict each other");
      this.phase({
        type: "Blocked",
        reason: "two certificates carry the same number with different origins",
        action: "find out which site ran last, make sure the other is off, then force-fenced there",
      });
      this.notice("Blocked", "two certificates contradict each other; a person decides");
    }
  }

  /** Stops the group if it runs, keeping the phase; callers set the next one. */
  stop(reason: string): void {
    if (isRunning(this.s)) this.emit({ type: "stopRunning", reason });
  }
}

/** The group goes on here: whoever ordered it away is told so, at the target as well. */
export function endOrder(d: Draft, reason: string): void {
  const { order } = d.s;
  d.set({ order: null });
  if (order === null) return;
  d.outcome(order.nonce, false, "CalledOff", reason);
  tellTarget(d, order.nonce, { code: "Voided", reason, retryInMs: null });
}

/** An order that was given there stays open until it is answered, or times out. */
export function tellTarget(d: Draft, nonce: string, refusal: Refusal): void {
  const { config, record } = d.s;
  const { group } = config;
  d.emit({ type: "toPeer", message: { type: "SwitchRefused", group, opId: nonce, refusal, cert: record.cert } });
}

export function grantorOf(s: AgentState, to: To): Grantor {
  return to === "witness" ? s.witness : s.peerGrantor;
}

export function remembered(list: readonly string[], item: string): readonly string[] {
  return list.includes(item) ? list : [...list.slice(1 - REMEMBERED_MAX_COUNT), item];
}

export function isRunning(s: AgentState): boolean {
  return s.phase.type === "Active" || s.phase.type === "Quiescing";
}

export function holdsCert(s: AgentState): boolean {
  return s.record.cert !== null && s.record.cert.holder === s.config.site;
}

/** End of the better of the two promises, on this clock. */
export function leaseEndMs(s: AgentState): number {
  return Math.max(s.witness.leaseEndMs, s.peerGrantor.leaseEndMs);
}

/** Runs on a recorded disarm: durable here, and recorded there before. */
export function isLeaseFree(s: AgentState): boolean {
  return isRunning(s) && s.leaseFree && s.record.disarm !== null;
}

/** A record with a disarm may be on disk although it was never confirmed. */
function disarmMayBeDurable(s: AgentState): boolean {
  return (
    s.record.disarm !== null ||
    s.uncertain ||
    (s.pending?.record.disarm !== undefined && s.pending.record.disarm !== null)
  );
}

/** The highest known incarnation of the peer: what speaks for a lower one has been followed. */
export function knownIncarnation(s: AgentState): number {
  return Math.max(s.record.promisedTo, s.peer?.incarnation ?? 0, s.record.veto?.incarnation ?? 0);
}

/** What a Renew to this grantor says about running without a lease; see {@link DisarmClaim}. */
export function disarmClaim(s: AgentState, to: To): DisarmClaim {
  if (isLeaseFree(s)) return "held";
  if (s.ask !== null && s.ask.to === to) return "ask";
  if (s.keepVeto || disarmMayBeDurable(s)) return "keep";
  return "no";
}

/** Nodes whose guard has not been heard to be bound by the lease; null when the nodes are not known. */
export function unsettledNodes(s: AgentState): readonly string[] | null {
  if (s.fence.cap !== "guard") return [];
  if (s.nodesWithPods === null) return null;
  const missing = s.nodesWithPods.filter((node) => s.guards[node] === undefined);
  const unbound = Object.keys(s.guards).filter((node) => !isBound(s, s.guards[node]));
  return [...missing, ...unbound];
}

function isBound(s: AgentState, report: GuardReport | undefined): boolean {
  if (report === undefined) return true;
  const bound = report.mode === "leased" || report.isDown;
  return bound && report.incarnation === s.record.incarnation && report.applied > report.freeSeq;
}

/**
 * Every guard that may hold without a lease, or gate nothing, has been heard holding on a lease (or stopped) since.
 * Sites whose pods are stopped through the API have no such guards.
 */
export function guardsSettled(s: AgentState): boolean {
  if (s.fence.cap !== "guard") return true;
  if (s.nodesWithPods === null) return false;
  for (const node of s.nodesWithPods) if (s.guards[node] === undefined) return false;
  for (const node in s.guards) if (!isBound(s, s.guards[node])) return false;
  return true;
}

/** The spec wants automatic failover, and nobody has paused it at either site, as far as the other one was heard. */
export function isWanted({ policy, record, peer }: AgentState): boolean {
  return policy.automatic && !record.paused && peer?.paused !== true;
}

/** Automatic failover away from here is wanted and would be right: also after a lapse, which is what it is for. */
export function isArmed(s: AgentState): boolean {
  const { phase } = s;
  const bound = isRunning(s) || phase.type === "Fenced" || (phase.type === "Acquiring" && !phase.ungated);
  if (!bound || !holdsCert(s) || !isWanted(s)) return false;
  // While a disarm is only asked for it stays armed: whoever records it is bound by the record, not by this.
  return !s.keepVeto && !disarmMayBeDurable(s);
}

/** What this site can promise about stopping, with guards that have not been heard counted as none. */
export function effectiveFenceCap(s: AgentState): AgentState["fence"]["cap"] {
  return s.fence.cap === "guard" && (s.keepVeto || !guardsSettled(s)) && !isLeaseFree(s) ? "none" : s.fence.cap;
}

/** Whoever adopts goes on ungated while it asks: to the others nothing has changed. */
export function siteState({ phase }: AgentState): SiteState {
  return phase.type === "Acquiring" && phase.ungated ? "Adopting" : phase.type;
}

/**
 * G with the stop that was measured here, where that takes longer than the profile has it: by what the site was told of
 * all its guards, and by what each of them has said since, `saidMs` last.
 */
export function guardMsOf({ policy, fence, guards }: AgentState, saidMs: number | null = null): number {
  const { timing } = policy;
  let stopMs = saidMs ?? 0;
  for (const node in guards) stopMs = Math.max(stopMs, guards[node]?.stopMs ?? 0);
  const stopBoundMs = Math.max(fence.stopBoundMs, timing.tickMs + timing.latenessMs + stopMs);
  return Math.max(timing.guardMs, guardMsFor(timing, stopBoundMs));
}

/** {@link Timing.startBoundMs} with the longest promise that this site knows of. */
export function startBoundMsOf(s: AgentState): number {
  const { startBoundMs, promiseMs, leaseMs, rho } = s.policy.timing;
  const longestMs = Math.max(promiseMs, leaseMs + guardMsOf(s), s.record.promiseMsMax);
  return Math.ceil(startBoundMs + (longestMs - promiseMs) / (1 - rho));
}

/** A standby is only as good as its data, and never good while it holds writes of its own that are not saved. */
export function readiness(s: AgentState): Readiness {
  if (s.record.divergence !== null && !s.record.divergence.saved) return "Stale";
  return s.data.readiness;
}

/** Where a site without anything to do belongs, by what is durable. */
export function restPhase(s: AgentState, reason: string): Phase {
  const { cert, seal } = s.record;
  if (cert === null) return s.config.source ? { type: "Adopting" } : { type: "Standby" };
  if (cert.holder !== s.config.site) return { type: "Standby" };
  if (seal !== null && sameCert(seal.cert, cert)) {
    return { type: "Sealed", opId: seal.opId, untilMs: s.bootedAtMs + s.policy.timing.switchTimeoutMs };
  }
  return { type: "Fenced", reason };
}

/** The newest certificate this site knows is not the one it stands on. */
export function isBehind(s: AgentState): boolean {
  return isNewer(s.seen, s.record.cert);
}

export function heardWithin(s: AgentState, to: To, windowMs: number, now: number): boolean {
  return now - grantorOf(s, to).heardAtMs <= windowMs;
}
