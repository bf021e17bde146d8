/** Switchover: the source stops and seals, the target catches up and is committed by the witness. */
import { formatCert, sameCert, type SiteName } from "./epoch.ts";
import type { AgentEvent, Phase } from "./agent-state.ts";
import type { CaughtUp, Commit, RenewAck, Seal, Sealed, SwitchAsk, SwitchPrepare, SwitchRefused } from "./messages.ts";
import { echoMaxMs } from "./timing.ts";
import { accept } from "./agent-acquire.ts";
import { gatesClosed } from "./agent-guards.ts";
import {
  disarmClaim,
  endOrder,
  guardMsOf,
  heardWithin,
  holdsCert,
  isLeaseFree,
  knownIncarnation,
  remembered,
  tellTarget,
} from "./agent-draft.ts";
import type { Draft } from "./agent-draft.ts";

type Quiescing = Extract<Phase, { type: "Quiescing" }>;

/** Every reason not to begin, so that a person can mend them all before anything is touched. */
export function preflight(d: Pick<Draft, "s" | "now">): string[] {
  const { s, now } = d;
  const { peer, timing } = { peer: s.peer, timing: s.policy.timing };
  const found: string[] = [];
  if (s.phase.type !== "Active") found.push(`${s.config.site} is ${s.phase.type}, not Active`);
  if (now < s.startingUntilMs) found.push(`${s.config.site} is still starting it`);
  if (isLeaseFree(s)) found.push("the group runs without a lease, since witness or peer were not reached");
  else if (disarmClaim(s, "witness") !== "no") found.push("guards have not all confirmed the lease yet");
  if (!heardWithin(s, "witness", echoMaxMs(timing.leaseMs), now)) found.push("the witness is not reached");
  if (peer === null || now - peer.heardAtMs > timing.leaseMs) found.push(`${s.config.peer} is not reached`);
  else if (peer.ready !== "Ready") found.push(`${s.config.peer} is ${peer.ready}`);
  else if (peer.lagMs === null || peer.lagMs > s.policy.maxLagMs) {
    found.push(`${s.config.peer} lags by ${peer.lagMs ?? "?"} ms, at most ${s.policy.maxLagMs} allowed`);
  }
  if (s.ending) found.push("the group was deleted");
  if (s.aborting !== "") found.push("an earlier switchover is still being called off");
  if (s.apiDownSinceMs !== null) found.push(`the API server of ${s.config.site} does not answer`);
  return found;
}

/** What the target says would not come up there. A failover that a person wants goes on all the same. */
export function obstacles({ s }: Pick<Draft, "s">, to: SiteName): string[] {
  const said = to === s.config.site ? s.data.obstacle : (s.peer?.obstacle ?? "");
  return said === "" ? [] : [`at ${to}: ${said}`];
}

/** At the source, after a clean preflight. */
export function beginSwitchover(d: Draft, nonce: string): void {
  const opId = d.nonce();
  const untilMs = d.now + d.s.policy.timing.switchTimeoutMs;
  d.phase({ type: "Quiescing", opId, stage: "preparing", untilMs, seal: null });
  d.set({ order: { verb: "switchover", nonce, untilMs } });
  sendPrepare(d, opId);
}

function sendPrepare(d: Draft, opId: string): void {
  const seq = d.nextSeq("witness", false);
  const { config, record, witness } = d.s;
  const message: SwitchPrepare = {
    type: "SwitchPrepare",
    group: config.group,
    site: config.site,
    incarnation: record.incarnation,
    seq,
    opId,
    to: config.peer,
    cert: record.cert,
    echo: witness.stamp,
  };
  d.emit({ type: "toWitness", message });
}

/** Sent with every heartbeat while something is unanswered. */
export function resendSwitch(d: Draft): void {
  const { s } = d;
  if (s.phase.type === "Quiescing" && s.phase.stage === "preparing") sendPrepare(d, s.phase.opId);
  if (s.aborting !== "") sendAbort(d, s.aborting);
  const { seal } = s.record;
  if (s.phase.type === "Sealed" && seal !== null) {
    const { group, site } = s.config;
    const message: Sealed = { type: "Sealed", group, site, incarnation: s.record.incarnation, seal };
    d.emit({ type: "toPeer", message });
  }
  if (s.incoming?.verified === true) sendCaughtUp(d);
}

function sendAbort(d: Draft, opId: string): void {
  const seq = d.nextSeq("witness", false);
  const { config, record } = d.s;
  d.emit({
    type: "toWitness",
    message: {
      type: "Abort",
      group: config.group,
      site: config.site,
      incarnation: record.incarnation,
      seq,
      opId,
      reason: "called off at the source before its seal",
    },
  });
}

function sendCaughtUp(d: Draft): void {
  const { incoming } = d.s;
  const seal = d.s.record.incoming;
  if (incoming === null || seal === null) return;
  const seq = d.nextSeq("witness", true);
  const { config, record, witness, policy } = d.s;
  const message: CaughtUp = {
    type: "CaughtUp",
    group: config.group,
    site: config.site,
    incarnation: record.incarnation,
    seq,
    opId: seal.opId,
    nonce: incoming.nonce,
    cert: record.cert,
    echo: witness.stamp,
    leaseMs: policy.timing.leaseMs,
    guardMs: guardMsOf(d.s),
  };
  d.emit({ type: "toWitness", message });
}

/** The witness has recorded the switchover: now the group may be stopped. */
export function prepared(d: Draft, opId: string): void {
  const { phase } = d.s;
  if (phase.type !== "Quiescing" || phase.opId !== opId || phase.stage !== "preparing") return;
  d.phase({ ...phase, stage: "stopping" });
  d.emit({ type: "quiesce", opId });
}

export function switchRefused(d: Draft, message: SwitchRefused): void {
  const { s } = d;
  d.see(message.cert);
  const { phase, order } = s;
  if (phase.type === "Quiescing" && phase.opId === message.opId) {
    callOff(d, phase, message.refusal.reason);
    return;
  }
  if (message.refusal.code === "Voided" && s.record.incoming?.opId === message.opId) dropIncoming(d);
  if (order !== null && order.nonce === message.opId) {
    d.outcome(order.nonce, false, message.refusal.code, message.refusal.reason);
    d.set({ order: null });
  }
}

/** Before the seal nothing can have been committed: the group goes on where it is. */
export function callOff(d: Draft, phase: Quiescing, reason: string): void {
  if (!isUnsealed(d)) {
    d.phase({ ...phase, untilMs: d.now });
    return;
  }
  const { opId } = phase;
  d.phase({ type: "Active" });
  d.set({ aborting: opId });
  d.emit({ type: "unquiesce", opId, reason });
  d.notice("SwitchoverCalledOff", reason);
  endOrder(d, reason);
}

/**
 * A seal that may be on disk must be known not to be before the group runs again: read back after a crash it would
 * let the target go on without what is written from here on.
 */
function isUnsealed(d: Draft): boolean {
  if (d.s.pending !== null) return d.s.pending.record.seal === d.s.record.seal;
  return !d.s.uncertain || !d.persist({}, { type: "none" });
}

export function quiesced(d: Draft, opId: string): void {
  const { phase } = d.s;
  if (phase.type !== "Quiescing" || phase.opId !== opId || phase.stage !== "stopping") return;
  d.phase({ ...phase, stage: "sealing" });
  d.emit({ type: "prepareSeal", opId });
}

export function sealReady(d: Draft, event: Extract<AgentEvent, { type: "sealReady" }>): void {
  const { s } = d;
  const { phase } = s;
  const { cert } = s.record;
  if (phase.type !== "Quiescing" || phase.opId !== event.opId || phase.stage !== "sealing" || cert === null) return;
  const { opId, objectsRevision, objectsHash, volumes } = event;
  const seal: Seal = { opId, cert, objectsRevision, objectsHash, volumes };
  d.phase({ ...phase, seal });
}

/**
 * Writes the seal until it is known to be durable; not before every gate is closed: a commit may follow at once, and a
 * gate that is still open on a copy of the lease would let in whatever the API server starts.
 */
export function sealRule(d: Draft): void {
  const { phase } = d.s;
  if (phase.type !== "Quiescing" || phase.seal === null || d.now >= phase.untilMs || !gatesClosed(d.s, d.now)) return;
  d.persist({ seal: phase.seal }, { type: "sealed", opId: phase.opId });
}

export function afterSeal(d: Draft, opId: string): void {
  const { phase } = d.s;
  d.stop("sealed for the switchover");
  d.phase({ type: "Sealed", opId, untilMs: d.now + d.s.policy.timing.switchTimeoutMs });
  d.notice("Sealed", "stopped for good under this epoch; the target catches up");
  // Called off while the seal was being written.
  if (phase.type === "Quiescing" && d.now >= phase.untilMs) unsealRequest(d, opId);
  resendSwitch(d);
}

/** Target: the source has stopped. Durable, so that a restart goes on. */
export function sealArrived(d: Draft, message: Sealed): void {
  const { s } = d;
  const { seal } = message;
  if (s.phase.type !== "Standby" || !sameCert(seal.cert, s.record.cert) || s.record.voided.includes(seal.opId)) return;
  if (seal.cert.holder !== s.config.peer || s.record.incoming?.opId === seal.opId) return;
  // What has followed it may run under a promise of this site.
  if (message.incarnation < knownIncarnation(s)) return;
  d.persist({ incoming: seal }, { type: "incoming" });
}

export function incomingRule(d: Draft): void {
  const { s } = d;
  const seal = s.record.incoming;
  if (seal === null || s.incoming !== null || s.phase.type !== "Standby" || s.pending !== null) return;
  d.set({ incoming: { verified: false, nonce: d.nonce(), sinceSeq: s.witness.seq } });
  d.emit({ type: "applySeal", seal });
}

/** Only what is equal in every hash is a switchover without loss; anything else is not committed. */
export function verified(d: Draft, event: Extract<AgentEvent, { type: "verified" }>): void {
  const { s } = d;
  const seal = s.record.incoming;
  if (seal === null || seal.opId !== event.opId || s.incoming === null) return;
  const wrong = differences(seal, event);
  if (wrong.length > 0) {
    d.notice("SealMismatch", `not equal to the seal: ${wrong.join(", ")}`);
    d.emit({ type: "applySeal", seal });
    d.set({ incoming: { ...s.incoming, verified: false, nonce: d.nonce() } });
    return;
  }
  d.set({ incoming: { ...s.incoming, verified: true } });
  sendCaughtUp(d);
}

function differences(seal: Seal, event: Extract<AgentEvent, { type: "verified" }>): string[] {
  const wrong = seal.objectsHash === event.objectsHash ? [] : ["objects"];
  const names = new Set([...Object.keys(seal.volumes), ...Object.keys(event.volumes)]);
  for (const name of names) {
    const want = seal.volumes[name];
    const got = event.volumes[name];
    if (want?.hash !== got?.hash || want?.generation !== got?.generation) wrong.push(`volume ${name}`);
  }
  return wrong;
}

export function committed(d: Draft, message: Commit): void {
  const { s } = d;
  const seal = s.record.incoming;
  if (s.phase.type !== "Standby" || s.incoming === null || seal === null || s.pending !== null) return;
  if (seal.opId !== message.opId || s.incoming.nonce !== message.nonce || s.record.voided.includes(message.opId))
    return;
  if (message.cert.epoch.generation < s.witnessGeneration || message.cert.holder !== s.config.site) return;
  const sent = s.witness.sent.find(([seq]) => seq === message.seq);
  if (sent === undefined) return;
  accept(d, message, sent[1], "commit");
}

function dropIncoming(d: Draft): void {
  const seal = d.s.record.incoming;
  if (seal === null) return;
  if (d.persist({ incoming: null, voided: remembered(d.s.record.voided, seal.opId) }, { type: "none" })) {
    // Without it the peer is followed again as if nothing had come.
    d.set({ incoming: null, following: null });
  }
}

/** What the witness says of the switchover that it was asked about. */
export function opHeard(d: Draft, { op, seq, incarnation }: Pick<RenewAck, "op" | "seq" | "incarnation">): void {
  const { s } = d;
  if (op === "committed" && s.phase.type === "Sealed") d.set({ committedOp: s.phase.opId });
  if (op !== "voided") return;
  const { phase, incoming } = s;
  if (phase.type === "Standby" && incoming !== null) {
    if (incarnation === s.record.incarnation && seq > incoming.sinceSeq) dropIncoming(d);
    return;
  }
  if (s.aborting !== "") d.set({ aborting: "" });
  if (phase.type === "Quiescing" && phase.stage !== "preparing") callOff(d, phase, "the witness has voided it");
  if (phase.type === "Sealed" && !s.record.voided.includes(phase.opId)) {
    d.persist({ voided: remembered(s.record.voided, phase.opId) }, { type: "none" });
  }
}

/** Gives up what takes too long; after the seal only the witness can. */
export function switchTimeouts(d: Draft): void {
  const { phase, order } = d.s;
  if (phase.type === "Quiescing" && d.now >= phase.untilMs) callOff(d, phase, "it took too long");
  if (phase.type === "Sealed" && d.now >= phase.untilMs && d.s.aborting === "") unsealRequest(d, phase.opId);
  // Forced, once it is on disk, is carried out: until that is known nothing else can be said.
  if (order !== null && d.now >= order.untilMs && d.s.pending?.next.type !== "forced") {
    const isSealed = phase.type === "Sealed" || d.s.record.incoming !== null;
    const unwritten = "the site's record could not be written, and may be on disk all the same";
    const reason = order.verb === "force-fenced" ? unwritten : (d.s.lastRefusal?.reason ?? "no answer");
    const message = isSealed ? "waited for no longer: it is sealed, and may still go through" : `given up: ${reason}`;
    d.outcome(order.nonce, false, "Timeout", message);
    d.set({ order: null });
  }
}

/** After the seal only the witness can call it off: it may have committed already. */
export function unsealRequest(d: Draft, opId: string): void {
  if (d.s.record.voided.includes(opId)) return;
  d.set({ aborting: opId });
  d.notice("SwitchoverAborting", "the witness is asked to call the sealed switchover off");
}

/** Source: the target's person asked for it. */
export function switchAsked(d: Draft, ask: SwitchAsk): void {
  const { s } = d;
  const found = ask.to === s.config.peer ? preflight(d) : [`${ask.to} is not the peer of ${s.config.site}`];
  if (!holdsCert(s) || !sameCert(ask.cert, s.record.cert)) {
    found.push(`the group is at epoch ${formatCert(s.record.cert)} now`);
  }
  if (s.phase.type === "Quiescing" && s.order?.nonce === ask.opId) return;
  if (found.length === 0) {
    beginSwitchover(d, ask.opId);
    return;
  }
  tellTarget(d, ask.opId, { code: "NotPrepared", reason: found.join("; "), retryInMs: null });
}
