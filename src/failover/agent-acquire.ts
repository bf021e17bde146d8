/** Getting an epoch: when to ask the witness, what to do with its answer, and what a newer epoch elsewhere means. */
import { compareCert, formatCert, isNewer, sameCert } from "./epoch.ts";
import type { AgentState, Continuation, Phase } from "./agent-state.ts";
import type { Acquire, AcquireKind, AcquireRefused, Commit, Grant, Refusal } from "./messages.ts";
import { echoMaxMs } from "./timing.ts";
import {
  endOrder,
  guardMsOf,
  heardWithin,
  holdsCert,
  isBehind,
  isLeaseFree,
  isRunning,
  leaseEndMs,
  readiness,
  restPhase,
  siteState,
  unsettledNodes,
} from "./agent-draft.ts";
import type { Draft } from "./agent-draft.ts";
import { guardsKnow } from "./agent-guards.ts";
import { startSilenceClocks } from "./agent-renew.ts";
import { releasedByRefusal } from "./agent-release.ts";
import { refusal } from "./witness-grant.ts";

type Granted = Extract<Continuation, { type: "granted" }>;

/** A resume waits until the other site has heard the witness twice after it was asked. */
const RESUME_HEARTBEATS = 4;

/** Asks the witness when there is something to ask for and nothing speaks against it here. */
export function acquireRules(d: Draft): void {
  const { s, now } = d;
  if (s.phase.type === "Acquiring") {
    keepAsking(d, s.phase);
    return;
  }
  if (now < s.nextTryAtMs || s.pending !== null || isBehind(s)) return;
  const kind = wanted(s);
  if (kind === null) return;
  const refused = localRefusal(s, kind, now);
  if (refused !== null) {
    d.set({ lastRefusal: refused, nextTryAtMs: now + (refused.retryInMs ?? s.policy.timing.heartbeatMs) });
    return;
  }
  const ungated = s.phase.type === "Adopting";
  d.phase({ type: "Acquiring", kind, nonce: d.nonce(), sentAtMs: now, lastSentAtMs: now, ungated });
  send(d);
}

/** What this site would ask the witness for now; null when nothing. */
export function wanted(s: AgentState): AcquireKind | null {
  switch (s.phase.type) {
    case "Adopting":
      if (s.ending && s.record.cert === null) return null;
      return s.record.cert === null && !isEndForgotten(s) ? "adopt" : "resume";
    case "Fenced":
      return s.record.disarm === null ? "resume" : null;
    case "Sealed":
      return s.record.voided.includes(s.phase.opId) ? "unseal" : null;
    case "Standby":
      if (s.record.cert === null || s.ending) return null;
      // A seal of which not everything came is for the witness to call off, once its source is silent.
      if (s.order?.verb === "failover" && (s.record.incoming === null || s.incoming?.verified === false))
        return "manual";
      return s.policy.automatic && !s.record.paused ? "takeover" : null;
    default:
      return null;
  }
}

/**
 * The witness, set back, still holds the group's former life for this site, which it let go of: to that it is a holder
 * which begins anew, and it grants what it would grant to one, when it has heard that the other site does not run.
 */
function isEndForgotten({ lastRefusal, record, config }: AgentState): boolean {
  return lastRefusal?.code === "OlderEpoch" && record.released?.holder === config.site;
}

/** This site's own vote: it is a grantor of the peer's lease, and knows best how good its data is. */
function localRefusal(s: AgentState, kind: AcquireKind, now: number): Refusal | null {
  const { timing } = s.policy;
  if (kind !== "adopt" && kind !== "unseal") {
    // A holder that resumes promised nobody before it booted: only what this process promised counts.
    // A record that came from a backup knows less than was promised since.
    const longestMs = Math.max(s.record.promiseMsMax, timing.promiseMs);
    const bootedMs = kind === "resume" ? 0 : s.bootedAtMs + longestMs;
    const leftMs = Math.max(s.promiseUntilMs, bootedMs) - now;
    if (leftMs > 0) return promiseRuns(s, leftMs);
    if (s.record.veto !== null && kind !== "resume") return vetoed(s);
  }
  if (kind === "manual" && s.record.incoming !== null && s.peer !== null && now - s.peer.heardAtMs <= timing.leaseMs) {
    return refusal("Switching", `${s.config.peer} has sealed and is heard: the rest is on its way`);
  }
  if (s.phase.type === "Adopting" && !guardsKnow(s))
    return refusal("NoFence", "not all guards have been told of the group yet");
  if (kind === "takeover") {
    if (s.armed === false) return refusal("NotArmed", `automatic failover away from ${s.config.peer} is not armed`);
    const ready = readiness(s);
    if (ready !== "Ready") return refusal("NotReady", `${s.config.site} is ${ready}`);
    const { lagMs } = s.data;
    if (lagMs === null || lagMs > s.policy.maxLagMs) {
      return refusal("LagTooHigh", `${s.config.site} lags by more than the ${s.policy.maxLagMs} ms allowed`);
    }
  }
  const { stamp } = s.witness;
  if (stamp === null || !heardWithin(s, "witness", echoMaxMs(timing.leaseMs), now)) {
    return refusal("NoEcho", "the witness is not heard");
  }
  // What it grants now would not be taken; the next heartbeat makes it start again above.
  if (generationOf(stamp) < s.witnessGeneration)
    return refusal("NoEcho", "the witness has to start a newer generation");
  return null;
}

/** A witness signs its stamps `witness/GENERATION/NONCE`. */
function generationOf({ by }: { readonly by: string }): number {
  return Number(by.split("/")[1]);
}

function promiseRuns(s: AgentState, leftMs: number): Refusal {
  const { site, peer } = s.config;
  return refusal("PromiseRuns", `${site} has promised ${peer} ${Math.ceil(leftMs)} ms more`, leftMs);
}

export function vetoed(s: AgentState): Refusal {
  return refusal("Veto", `${s.config.peer} runs without a lease; if it is off, use force-fenced`);
}

function patienceMs(s: AgentState, kind: AcquireKind): number {
  const { timing } = s.policy;
  return timing.requestMs + (kind === "resume" || kind === "unseal" ? RESUME_HEARTBEATS * timing.heartbeatMs : 0);
}

function keepAsking(d: Draft, phase: Extract<Phase, { type: "Acquiring" }>): void {
  const { s, now } = d;
  if (s.pending !== null) return;
  if (now >= phase.sentAtMs + patienceMs(s, phase.kind) || (isBehind(s) && !isOwnGrant(s))) {
    // From here on a grant for this nonce is void: the site may promise to the peer again.
    d.phase(rest(d, phase, "the witness did not answer"));
    d.set({ nextTryAtMs: now + s.policy.timing.heartbeatMs });
    return;
  }
  if (now < phase.lastSentAtMs + s.policy.timing.heartbeatMs) return;
  d.phase({ ...phase, lastSentAtMs: now });
  send(d);
}

/** Back to where it asked from. */
function rest(d: Draft, phase: Extract<Phase, { type: "Acquiring" }>, reason: string): Phase {
  return phase.ungated ? { type: "Adopting" } : restPhase(d.s, reason);
}

function send(d: Draft): void {
  if (d.s.phase.type !== "Acquiring") return;
  const { kind, nonce } = d.s.phase;
  const seq = d.nextSeq("witness", true);
  const { s } = d;
  const { timing } = s.policy;
  const message: Acquire = {
    type: "Acquire",
    group: s.config.group,
    site: s.config.site,
    incarnation: s.record.incarnation,
    seq,
    kind,
    cert: s.record.cert ?? (kind === "resume" ? s.record.released : null),
    nonce,
    echo: s.witness.stamp,
    ready: readiness(s),
    lagMs: s.data.lagMs,
    silentMs: d.now - s.data.atMs,
    maxLagMs: s.policy.maxLagMs,
    cooldownMs: s.policy.cooldownMs,
    unproven: s.policy.unproven,
    recoveryPoint: s.data.recoveryPoint,
    leaseMs: timing.leaseMs,
    guardMs: guardMsOf(s),
    opId: kind === "unseal" && s.record.seal !== null ? s.record.seal.opId : "",
  };
  d.emit({ type: "toWitness", message });
}

export function granted(d: Draft, grant: Grant): void {
  const { s } = d;
  const { phase } = s;
  if (phase.type !== "Acquiring" || phase.nonce !== grant.nonce || s.pending !== null) return;
  if (grant.cert.epoch.generation < s.witnessGeneration || !isNewer(grant.cert, s.record.cert)) return;
  if (grant.cert.holder !== s.config.site) return;
  const sent = s.witness.sent.find(([seq]) => seq === grant.seq);
  if (sent === undefined) return;
  accept(d, grant, sent[1], grant.kind);
}

/** Durable first; it runs once that is confirmed, if the lease has not run out meanwhile. */
export function accept(d: Draft, grant: Grant | Commit, sentAtMs: number, how: AcquireKind | "commit"): void {
  const { timing } = d.s.policy;
  const { cert, leaseMs, guardMs } = grant;
  const leaseEnd = sentAtMs + Math.min(leaseMs, timing.leaseMs) * timing.factor;
  d.see(cert);
  const patch = { cert, disarm: null, veto: null, seal: null, incoming: null, divergence: null };
  d.persist(patch, { type: "granted", leaseEndMs: leaseEnd, sentAtMs, guardMs, how });
}

export function afterGrant(d: Draft, { leaseEndMs, sentAtMs, guardMs, how }: Granted): void {
  const { cert } = d.s.record;
  if (cert === null || isBehind(d.s)) return;
  d.set({ lastRefusal: null, armed: false, incoming: null, following: null, keepVeto: true, leaseFree: false });
  if (leaseEndMs <= d.now) {
    d.phase({ type: "Fenced", reason: "the grant came too late to be used" });
    return;
  }
  d.phase({ type: "Active" });
  d.grantor("peer", { leaseEndMs: 0, leaseSentAtMs: 0 });
  d.grantor("witness", { leaseEndMs, leaseSentAtMs: sentAtMs, leaseGuardMs: guardMs });
  startSilenceClocks(d);
  d.emit({ type: "startRunning", cert, kind: how });
  d.notice("Active", `runs here under epoch ${formatCert(cert)} (${how})`);
  const { order } = d.s;
  if (order === null) return;
  const done = `${d.s.config.site} runs the group under epoch ${formatCert(cert)}`;
  if (how === "unseal") {
    endOrder(d, `called off after the seal: ${done}`);
    return;
  }
  d.outcome(order.nonce, true, "Done", done);
  d.set({ order: null });
}

export function acquireRefused(d: Draft, message: AcquireRefused): void {
  const { s, now } = d;
  const { phase } = s;
  d.see(message.cert);
  releasedByRefusal(d, message.refusal, message.cert);
  if (d.s.phase.type === "Released") return;
  if (phase.type !== "Acquiring" || phase.nonce !== message.nonce || s.pending !== null) return;
  const { refusal: refused } = message;
  if (refused.code !== s.lastRefusal?.code) d.notice("Refused", refused.reason);
  d.set({ lastRefusal: refused });
  // The question stays open under its nonce: the witness now listens for the other site.
  if (refused.code === "OtherNotHeard") return;
  const waitMs = Math.min(refused.retryInMs ?? s.policy.timing.heartbeatMs, s.policy.timing.leaseMs);
  d.phase(rest(d, phase, refused.reason));
  d.set({ nextTryAtMs: now + waitMs });
  const { order } = d.s;
  if (order !== null && order.verb === "failover" && isFinal(refused)) {
    d.outcome(order.nonce, false, refused.code, refused.reason);
    d.set({ order: null });
  }
}

/** Refusals that no waiting changes; the person who ordered it must do something else. */
function isFinal(refused: Refusal): boolean {
  return refused.code === "Veto" || refused.code === "NoFence" || refused.code === "Conflict";
}

/** The lease ran out: stop, and ask for a new epoch. */
export function lapseRule(d: Draft): void {
  const { s, now } = d;
  if (!isRunning(s) || isLeaseFree(s) || leaseEndMs(s) > now) return;
  const reason = "its lease ran out: neither witness nor peer has promised again";
  d.stop(reason);
  if (s.phase.type === "Quiescing") {
    d.set({ aborting: s.phase.opId });
    endOrder(d, reason);
  }
  d.phase({ type: "Fenced", reason });
  d.notice("Fenced", reason);
}

/** Someone holds a newer epoch: stop at once, then write it down, then follow. */
export function followRule(d: Draft): void {
  const { s } = d;
  if (!isBehind(s) || s.seen === null) return;
  const { seen } = s;
  // The grant itself is behind, or is asked for again: it carries the lease that this sighting does not.
  if (isOwnGrant(s) && (s.phase.type === "Acquiring" || s.incoming?.verified === true)) return;
  if (isAdopted(s)) d.phase({ type: "Adopting" });
  else if (s.phase.type !== "Standby" && s.phase.type !== "Blocked" && s.pending?.next.type !== "granted") {
    const reason = `superseded by epoch ${formatCert(seen)}`;
    d.stop(reason);
    d.phase({ type: "Fenced", reason });
  }
  if (s.pending !== null) return;
  const mine = seen.holder === s.config.site;
  // A source that was never granted anything ran ungated, or has forgotten.
  const former = s.record.cert ?? (s.config.source ? seen : null);
  const ran = former !== null && (holdsCert(s) || s.record.cert === null) && !isCommitted(s) ? former : null;
  const divergence = mine ? s.record.divergence : ran === null ? s.record.divergence : { cert: ran, saved: false };
  // What a person has forced there runs without a lease, until that site itself says otherwise.
  const veto = seen.epoch.forcedBy === s.config.peer ? { incarnation: 0 } : null;
  d.persist({ cert: seen, disarm: null, seal: null, incoming: null, veto, divergence }, { type: "followed" });
}

function isOwnGrant(s: AgentState): boolean {
  return s.seen !== null && s.seen.holder === s.config.site;
}

/** The first grant got lost on its way here: what runs was never gated, and is not stopped now. */
function isAdopted(s: AgentState): boolean {
  if (s.seen?.holder !== s.config.site || s.pending?.next.type === "granted") return false;
  return siteState(s) === "Adopting";
}

/** The witness has said that the target goes on from this site's seal: nothing here is missing there. */
function isCommitted(s: AgentState): boolean {
  const { seal, cert } = s.record;
  return seal !== null && sameCert(seal.cert, cert) && s.committedOp === seal.opId;
}

export function afterFollow(d: Draft): void {
  const { s } = d;
  // With the epoch that it was to give away, a switchover that was being called off is over.
  d.set({ armed: false, ask: null, incoming: null, aborting: "", lastRefusal: null, nextTryAtMs: d.now });
  if (s.phase.type === "Adopting" && holdsCert(s)) return;
  d.phase(restPhase(s, "the witness holds an epoch for this site that never arrived"));
  const { order } = s;
  if (order !== null && s.record.cert?.holder === s.config.peer) {
    d.outcome(order.nonce, true, "Done", `${s.config.peer} runs the group under epoch ${formatCert(s.record.cert)}`);
    d.set({ order: null });
  }
  if (s.record.cert !== null && s.phase.type === "Standby") {
    d.notice("Standby", `follows epoch ${formatCert(s.record.cert)}`);
  }
}

/** At a standby: keep what was written here under an older epoch, then follow the holder. */
export function divergenceRule(d: Draft): void {
  const { s } = d;
  const { cert, divergence } = s.record;
  if (s.phase.type !== "Standby" || cert === null || compareCert(s.following, cert) === "same") return;
  d.set({ following: cert });
  if (divergence !== null && !divergence.saved) d.emit({ type: "saveDivergence", cert: divergence.cert });
  else d.emit({ type: "followPeer", cert });
}

/** Why a cold holder cannot lift what was recorded for its former run, or null. */
export function settleReason(s: AgentState): string | null {
  const nodes = unsettledNodes(s);
  if (nodes === null) return "the API server has not yet said where pods of the group run";
  return nodes.length === 0 ? null : `guards of ${nodes.join(", ")} have not been heard; delete nodes that are gone`;
}
