/** Heartbeats: what this site sends, what acknowledgements give it, and what it promises as a grantor. */
import { compareCert, formatCert, isNewer, sameCert } from "./epoch.ts";
import type { AgentState } from "./agent-state.ts";
import type { Renew, RenewAck, Refusal } from "./messages.ts";
import { isFreshEcho } from "./timing.ts";
import {
  disarmClaim,
  effectiveFenceCap,
  grantorOf,
  guardMsOf,
  guardsSettled,
  heardWithin,
  holdsCert,
  isArmed,
  isLeaseFree,
  isRunning,
  knownIncarnation,
  readiness,
  siteState,
} from "./agent-draft.ts";
import type { Draft, To } from "./agent-draft.ts";
import { releasedByRefusal } from "./agent-release.ts";
import { refusal } from "./witness-grant.ts";

/** Sends both heartbeats when they are due. */
export function renewWhenDue(d: Draft): void {
  if (d.now < d.s.nextRenewAtMs) return;
  d.set({ nextRenewAtMs: d.now + d.s.policy.timing.heartbeatMs });
  d.emit({ type: "toWitness", message: renewTo(d, "witness") });
  d.emit({ type: "toPeer", message: renewTo(d, "peer") });
}

function renewTo(d: Draft, to: To): Renew {
  const seq = d.nextSeq(to, true);
  const { timing } = d.s.policy;
  const guardMs = guardMsOf(d.s);
  d.set({ longestMs: Math.max(d.s.longestMs, timing.leaseMs + guardMs) });
  const { s } = d;
  const { phase, config } = s;
  return {
    type: "Renew",
    group: config.group,
    site: config.site,
    peer: config.peer,
    incarnation: s.record.incarnation,
    seq,
    cert: s.record.cert,
    state: siteState(s),
    warm: phase.type === "Unknown" && phase.warm,
    disarm: disarmClaim(s, to),
    armed: isArmed(s),
    ready: readiness(s),
    lagMs: s.data.lagMs,
    obstacle: s.data.obstacle,
    paused: s.record.paused,
    fenceCap: effectiveFenceCap(s),
    stopBoundMs: s.fence.stopBoundMs,
    longestMs: Math.max(s.longestMs, s.record.promiseMsMax),
    generation: s.witnessGeneration,
    echo: grantorOf(s, to).stamp,
    leaseMs: timing.leaseMs,
    guardMs,
    opId: openOp(s),
  };
}

/** The switchover of which the witness is asked what has become of it; "" for none. */
function openOp({ phase, aborting, record }: AgentState): string {
  if ((phase.type === "Quiescing" && phase.stage !== "preparing") || phase.type === "Sealed") return phase.opId;
  return phase.type === "Standby" ? (record.incoming?.opId ?? "") : aborting;
}

/** An acknowledgement of witness or peer. */
export function acknowledged(d: Draft, to: To, ack: RenewAck): void {
  const { s } = d;
  if (ack.incarnationSeen > s.record.incarnation) depose(d, ack.incarnationSeen);
  if (ack.incarnation !== s.record.incarnation) return;
  const sent = grantorOf(s, to).sent.find(([seq]) => seq === ack.seq);
  if (sent === undefined) return;
  d.see(ack.cert);
  if (to === "witness") {
    hearGeneration(d, ack);
    releasedByRefusal(d, ack.refusal, ack.cert);
    if (d.s.phase.type === "Released") return;
  }
  const before = grantorOf(d.s, to);
  const newerStamp =
    before.stamp === null || before.stamp.by !== ack.stamp.by || ack.stamp.timeMs > before.stamp.timeMs;
  d.grantor(to, {
    heardAtMs: d.now,
    stamp: newerStamp ? ack.stamp : before.stamp,
    refusal: ack.refusal,
    fenceCap: ack.fenceCap,
    seesReadyPeer: ack.seesReadyPeer,
    hearsOther: ack.hearsOther,
    seesWitness: ack.seesWitness,
  });
  if (ack.ok) promised(d, to, ack, sent[1]);
  if (ack.disarmRecorded) disarmRecorded(d, to, ack);
}

/**
 * Two starts of the witness with one number cannot be told apart by their grants: the next heartbeat asks for a number
 * above, and until then nothing is taken from either.
 */
function hearGeneration(d: Draft, ack: RenewAck): void {
  const { witnessGeneration, witness, record } = d.s;
  // A group of this name that has ended was granted by another start of this number.
  const last = record.released?.epoch;
  const former = last !== undefined && last.generation === ack.generation && !ack.stamp.by.endsWith(`/${last.nonce}`);
  const twin =
    former || (ack.generation === witnessGeneration && witness.stamp !== null && witness.stamp.by !== ack.stamp.by);
  if (twin) d.set({ witnessGeneration: ack.generation + 1 });
  else if (ack.generation > witnessGeneration) d.set({ witnessGeneration: ack.generation });
}

/** The lease counts from the send of what was acknowledged, shortened so that it ends here before it does there. */
function promised(d: Draft, to: To, ack: RenewAck, sentAtMs: number): void {
  const { s } = d;
  if (!sameCert(ack.cert, s.record.cert) || !holdsCert(s)) return;
  const warm = s.phase.type === "Unknown" && s.phase.warm;
  if (!isRunning(s) && !warm) return;
  const { timing } = s.policy;
  const endMs = sentAtMs + Math.min(ack.leaseMs, timing.leaseMs) * timing.factor;
  const before = grantorOf(s, to);
  if (endMs > before.leaseEndMs) {
    d.grantor(to, { leaseEndMs: endMs, leaseSentAtMs: sentAtMs, leaseGuardMs: ack.guardMs });
  }
  d.grantor(to, { promisedAtMs: d.now });
  if (warm && endMs > d.now) resumeWarm(d);
}

/** The process was restarted and the guards held on: the group never stopped, and goes on under its epoch. */
export function resumeWarm(d: Draft): void {
  const { cert } = d.s.record;
  if (cert === null) return;
  d.phase({ type: "Active" });
  startSilenceClocks(d);
  d.emit({ type: "startRunning", cert, kind: "warm" });
}

/** From here on a grantor's silence counts. */
export function startSilenceClocks(d: Draft): void {
  d.grantor("witness", { promisedAtMs: d.now });
  d.grantor("peer", { promisedAtMs: d.now });
}

function disarmRecorded(d: Draft, to: To, ack: RenewAck): void {
  const { s } = d;
  const { ask } = s;
  if (ask === null || ask.to !== to || ack.seq < ask.sinceSeq || s.phase.type !== "Active") return;
  if (!sameCert(ack.cert, s.record.cert)) return;
  d.persist({ disarm: { by: to } }, { type: "disarmed" });
}

export function depose(d: Draft, incarnation: number): void {
  if (incarnation <= d.s.deposedBy) return;
  d.set({ deposedBy: incarnation });
  d.emit({ type: "deposed", incarnation });
}

/** Asks one grantor for a disarm when the other has been silent for T, and stops asking when it is back. */
export function disarmRules(d: Draft): void {
  const { s, now } = d;
  const { timing } = s.policy;
  if (s.phase.type !== "Active") {
    if (s.ask !== null) d.set({ ask: null, keepVeto: true });
    return;
  }
  if (isLeaseFree(s)) {
    rearm(d);
    return;
  }
  const silent = (to: To): boolean => now - grantorOf(s, to).promisedAtMs >= timing.disarmAfterMs;
  const witnessSilent = silent("witness");
  const peerSilent = silent("peer");
  const to: To | null = witnessSilent === peerSilent ? null : witnessSilent ? "peer" : "witness";
  if (to === (s.ask?.to ?? null)) return;
  // Whoever was asked may have recorded it: it is lifted only once nothing here can be holding on it.
  const ask = to === null ? null : { to, sinceSeq: grantorOf(s, to).seq + 1 };
  d.set({ ask, keepVeto: s.keepVeto || s.ask !== null });
}

/** Both grantors promise again: back under the lease. The record is cleared first, then every guard, then the veto. */
function rearm(d: Draft): void {
  const { s, now } = d;
  const recent = 2 * s.policy.timing.heartbeatMs + s.policy.timing.roundTripMs;
  const promises = (to: To): boolean => {
    const grantor = grantorOf(s, to);
    return now - grantor.promisedAtMs <= recent && grantor.leaseEndMs > now && grantor.refusal === null;
  };
  if (!promises("witness") || !promises("peer")) return;
  d.persist({ disarm: null }, { type: "rearming" });
}

/** Nothing here can hold without a lease any more: vetoes may be lifted, and automatic failover armed. */
export function settleGuards(d: Draft): void {
  const { s } = d;
  if (!s.keepVeto || s.record.disarm !== null || s.pending !== null || s.uncertain) return;
  if (s.phase.type === "Unknown" || !guardsSettled(s)) return;
  d.set({ keepVeto: false });
}

/** A heartbeat of the peer: what it says of itself, and what this site promises it as a grantor. */
export function peerRenewed(d: Draft, renew: Renew): void {
  const last = d.s.peer;
  if (last !== null && renew.incarnation === last.incarnation && renew.seq <= last.seq) return;
  const known = knownIncarnation(d.s);
  const outdated = renew.incarnation < known;
  if (!outdated) hearPeer(d, renew);
  const refused = outdated
    ? refusal("OlderIncarnation", `incarnation ${renew.incarnation} has been followed by ${known}`)
    : grantorRules(d, renew);
  const { s } = d;
  const { veto } = s.record;
  const ack: RenewAck = {
    type: "RenewAck",
    group: renew.group,
    from: s.config.site,
    incarnation: renew.incarnation,
    seq: renew.seq,
    ok: refused === null,
    refusal: refused,
    cert: s.record.cert,
    generation: 0,
    leaseMs: renew.leaseMs,
    guardMs: promisedGuardMs(d, renew),
    disarmRecorded: veto !== null && veto.incarnation === renew.incarnation,
    seesReadyPeer: false,
    hearsOther: false,
    seesWitness: heardWithin(s, "witness", s.policy.timing.leaseMs, d.now),
    fenceCap: renew.fenceCap,
    incarnationSeen: Math.max(known, renew.incarnation),
    op: "none",
    stamp: { by: stampSource(d), timeMs: d.now },
  };
  d.emit({ type: "toPeer", message: ack });
}

function stampSource(d: Draft): string {
  return `${d.s.config.site}/${d.s.record.incarnation}`;
}

function promisedGuardMs(d: Draft, renew: Renew): number {
  return Math.max(renew.guardMs, renew.stopBoundMs, d.s.policy.timing.guardMs);
}

function hearPeer(d: Draft, renew: Renew): void {
  d.see(renew.cert);
  d.set({
    peer: {
      heardAtMs: d.now,
      incarnation: renew.incarnation,
      seq: renew.seq,
      state: renew.state,
      ready: renew.ready,
      lagMs: renew.lagMs,
      obstacle: renew.obstacle,
      paused: renew.paused,
      cert: renew.cert,
    },
  });
}

/** The grantor's rules; null means a promise, which then runs from now. */
function grantorRules(d: Draft, renew: Renew): Refusal | null {
  const { s, now } = d;
  const { cert } = s.record;
  if (isNewer(cert, renew.cert)) return refusal("OlderEpoch", `the group has moved on to ${formatCert(cert)}`);
  if (compareCert(cert, renew.cert) !== "same" || s.pending !== null) {
    return refusal("Recording", `${s.config.site} is recording ${formatCert(renew.cert)}`);
  }
  if (cert === null || cert.holder !== s.config.peer) return refusal("NotHolder", "the peer does not hold the group");
  if (s.phase.type !== "Standby") {
    return refusal(s.phase.type === "Acquiring" ? "Acquiring" : "NotRunning", `${s.config.site} is ${s.phase.type}`);
  }
  if (vetoRules(d, renew)) return refusal("Recording", "the disarm is being recorded");
  const running = renew.state === "Active" || renew.state === "Quiescing" || (renew.state === "Unknown" && renew.warm);
  d.set({ armed: renew.armed });
  if (!running) {
    return refusal("NotRunning", `${renew.site} is ${renew.state} and needs a new epoch to run`);
  }
  // It has forgotten its seal, with a backup: the witness may have committed it, or has called it off and said so here.
  if (s.record.incoming !== null && sameCert(s.record.incoming.cert, renew.cert)) {
    return refusal("Switching", `${renew.site} has sealed ${formatCert(renew.cert)} for a switchover`);
  }
  if (!isFreshEcho(renew.echo, stampSource(d), now, renew.leaseMs)) {
    return refusal("NoEcho", `${renew.site} has not shown that it hears ${s.config.site}`);
  }
  const promiseMs = Math.max(renew.leaseMs, s.policy.timing.leaseMs) + promisedGuardMs(d, renew);
  const { promiseMsMax, promisedTo } = s.record;
  if (promiseMs > promiseMsMax || renew.incarnation > promisedTo) {
    const patch = { promiseMsMax: Math.max(promiseMs, promiseMsMax), promisedTo: renew.incarnation };
    d.persist(patch, { type: "none" });
    return refusal("Recording", "a promise that is longer, or to another process, is being recorded");
  }
  d.set({ promiseUntilMs: Math.max(s.promiseUntilMs, now + promiseMs) });
  return null;
}

/** True while a change of the veto is being made durable: nothing is promised in the same breath. */
function vetoRules(d: Draft, renew: Renew): boolean {
  const { s } = d;
  const { veto } = s.record;
  if (renew.disarm === "keep") return false;
  if (renew.disarm === "no") {
    if (veto === null || renew.incarnation < veto.incarnation) return false;
    // What ran without a lease may have been stopped this very moment, and takes G until its last process is dead.
    d.set({ promiseUntilMs: Math.max(s.promiseUntilMs, d.now + renew.guardMs) });
    return d.persist({ veto: null }, { type: "none" }) || d.s.pending !== null;
  }
  if (veto !== null && veto.incarnation === renew.incarnation) return false;
  const { leaseMs } = s.policy.timing;
  if (renew.disarm === "ask" && heardWithin(s, "witness", leaseMs, d.now)) return false;
  d.set({ armed: false });
  return d.persist({ veto: { incarnation: renew.incarnation } }, { type: "none" }) || d.s.pending !== null;
}
