/**
 * The witness: grants epochs, promises to the holder, records disarms and switchovers. Pure; see witness-state.ts for
 * what its runner owes it (commit before reply, under the instance's term).
 */
import { compareCert, formatCert, isNewer, sameCert } from "./epoch.ts";
import type { Cert, SiteName } from "./epoch.ts";
import type { Acquire, Refusal, Renew, RenewAck } from "./messages.ts";
import { echoMaxMs } from "./timing.ts";
import {
  knownIncarnation,
  Draft,
  grantTo,
  hearEcho,
  provenEcho,
  withoutSwitching,
  withoutSwitchingPatch,
} from "./witness-draft.ts";
import { decideGrant, hearsOther, recovering, refusal, seesReady } from "./witness-grant.ts";
import { isOver, release, releasedRefusal, shownCert } from "./witness-release.ts";
import type {
  Heard,
  WitnessEvent,
  WitnessGroup,
  WitnessGroupRecord,
  WitnessInstance,
  WitnessStep,
  WitnessTerm,
} from "./witness-state.ts";
import { abort, caughtUp, prepare } from "./witness-switch.ts";

export interface WitnessBoot {
  /** From the store; null when it is empty or lost. */
  readonly stored: WitnessTerm | null;
  readonly unixSeconds: number;
  /** Highest generation that was heard of (a `regenerate` effect), or 0. */
  readonly heard: number;
  /** Random, unique per start. */
  readonly nonce: string;
}

/** A new instance. Its term must be durable, by compare-and-swap on the stored one, before the first reply. */
export function bootWitness(boot: WitnessBoot, now: number): { instance: WitnessInstance; term: WitnessTerm } {
  const generation = Math.max((boot.stored?.generation ?? 0) + 1, Math.floor(boot.unixSeconds), boot.heard + 1);
  const term = { generation, nonce: boot.nonce };
  const unixOffsetMs = boot.unixSeconds * 1000 - now;
  return { instance: { ...term, by: `witness/${generation}/${boot.nonce}`, bootedAtMs: now, unixOffsetMs }, term };
}

/** A group as the store holds it, in a new instance. A switchover that was open is void: nobody remembers its seal. */
export function bootWitnessGroup(record: WitnessGroupRecord): WitnessStep {
  const state = groupState(record);
  if (record.switching === null) return { state, effects: [] };
  const voided = withoutSwitching(record);
  return { state: { ...state, record: voided }, effects: [{ type: "persist", record: voided }] };
}

/** A group that the store does not know, from the first message about it. */
export function newWitnessGroup(group: string, site: SiteName, peer: SiteName): WitnessGroup {
  return groupState({
    group,
    sites: site < peer ? [site, peer] : [peer, site],
    cert: null,
    veto: null,
    switching: null,
    voided: [],
    committed: null,
    promiseMsMax: 0,
    automaticAtUnixMs: null,
    released: false,
  });
}

function groupState(record: WitnessGroupRecord): WitnessGroup {
  return {
    record,
    heard: {},
    promiseUntilMs: 0,
    armed: false,
    asked: null,
    unclaimed: null,
    lastOp: null,
    blocked: null,
  };
}

export function stepWitness(
  instance: WitnessInstance,
  state: WitnessGroup,
  event: WitnessEvent,
  now: number,
): WitnessStep {
  const { message } = event;
  const draft = new Draft(instance, state, now);
  if (!state.record.sites.includes(message.site)) return { state, effects: [] };
  const last = state.heard[message.site];
  // Only heartbeats replace one another; a question is answered by what is true now, in whatever order it comes.
  if (
    message.type === "Renew" &&
    last !== undefined &&
    message.incarnation === last.incarnation &&
    message.seq <= last.seq
  ) {
    return { state, effects: [] };
  }
  const outdated = message.incarnation < knownIncarnation(state, message.site);
  if (message.type === "Renew" && message.generation > instance.generation) {
    draft.effects.push({ type: "regenerate", above: message.generation });
  }
  if (!outdated && message.type !== "Abort") learn(draft, message.cert, message.type);
  switch (message.type) {
    case "Renew":
      renew(draft, message, outdated);
      break;
    case "Acquire":
      acquire(draft, message, outdated);
      break;
    case "SwitchPrepare":
      prepare(draft, message, outdated);
      break;
    case "CaughtUp":
      caughtUp(draft, message, outdated);
      break;
    case "Abort":
      abort(draft, message, outdated);
      break;
    case "Release":
      release(draft, message, outdated);
      break;
  }
  return draft.done();
}

/** The newest certificate anyone shows is the truth: this store may have been lost or set back. */
function learn(draft: Draft, cert: Cert | null, from: string): void {
  if (cert === null) return;
  const { instance, state } = draft;
  const { generation, nonce } = cert.epoch;
  if (generation > instance.generation || (generation === instance.generation && nonce !== instance.nonce)) {
    draft.effects.push({ type: "regenerate", above: generation });
  }
  const order = compareCert(cert, state.record.cert);
  if (order === "conflict") {
    const reason = `${formatCert(cert)} and ${formatCert(state.record.cert)} contradict each other (${from})`;
    draft.set({ blocked: reason });
  }
  if (order !== "newer") return;
  // What a person has forced runs without a lease, until its holder itself says otherwise.
  const veto = cert.epoch.forcedBy === "" ? null : { site: cert.holder, incarnation: 0 };
  draft.record({ cert, veto, released: false, ...withoutSwitchingPatch(state.record) });
  draft.set({ promiseUntilMs: 0, armed: false, asked: null, unclaimed: null });
}

function hear(draft: Draft, message: Renew): Heard {
  const last = draft.state.heard[message.site];
  const echoMs = provenEcho(draft, message, last?.incarnation === message.incarnation ? last : undefined);
  // An agent that is older says G without the stop that it has measured.
  const promiseMs = message.leaseMs + Math.max(message.guardMs, message.stopBoundMs);
  const heard: Heard = {
    atMs: draft.now,
    incarnation: message.incarnation,
    seq: message.seq,
    state: message.state,
    cert: message.cert,
    ready: message.ready,
    lagMs: message.lagMs,
    fenceCap: message.fenceCap,
    promiseMs,
    longestMs: Math.max(promiseMs, message.longestMs),
    sinceMs: last !== undefined && draft.now - last.atMs <= message.leaseMs ? last.sinceMs : draft.now,
    // A new incarnation has to prove by itself that it hears; that its site was heard in this generation stays true.
    echoMs,
    proven: last?.proven === true || echoMs !== null,
  };
  draft.set({ heard: { ...draft.state.heard, [message.site]: heard } });
  return heard;
}

function renew(draft: Draft, message: Renew, outdated: boolean): void {
  if (outdated) {
    const seen = knownIncarnation(draft.state, message.site);
    const reason = `incarnation ${message.incarnation} of ${message.site} has been followed by ${seen}`;
    draft.reply(message.site, renewAck(draft, message, refusal("OlderIncarnation", reason)));
    return;
  }
  if (isOver(draft, message)) {
    draft.reply(message.site, renewAck(draft, message, releasedRefusal(draft)));
    return;
  }
  const heard = hear(draft, message);
  const { record } = draft.state;
  const isHolder = record.cert !== null && record.cert.holder === message.site && sameCert(record.cert, message.cert);
  if (isHolder && !record.released) {
    holderSays(draft, message);
    draft.set({ armed: message.armed });
    voidByHolder(draft, message);
  }
  const refused = releasedRefusal(draft) ?? promiseRefusal(draft, message, heard, isHolder);
  if (refused === null) promise(draft, heard);
  draft.reply(message.site, renewAck(draft, message, refused));
}

/** Disarm: recorded, kept or lifted, and the grant is known to have arrived. */
function holderSays(draft: Draft, message: Renew): void {
  const { record, unclaimed } = draft.state;
  const runs = message.state === "Active" || message.state === "Quiescing";
  if (unclaimed !== null && unclaimed.site === message.site && runs) draft.set({ unclaimed: null });
  const { veto } = record;
  const newVeto = { site: message.site, incarnation: message.incarnation };
  if (message.disarm === "no") {
    if (veto !== null && message.incarnation >= veto.incarnation) {
      draft.record({ veto: null });
      // What ran without a lease may have been stopped this very moment, and takes G until its last process is dead.
      draft.set({ promiseUntilMs: Math.max(draft.state.promiseUntilMs, draft.now + message.guardMs) });
    }
  } else if (message.disarm === "held") {
    if (veto === null || veto.incarnation !== message.incarnation) draft.record({ veto: newVeto });
  } else if (message.disarm === "ask" && !recovering(draft.state)) {
    const refuses = seesReady(draft.state, message.site, draft.now, message.leaseMs);
    const known = veto !== null && veto.incarnation === message.incarnation;
    if (!refuses && !known) draft.record({ veto: newVeto });
  }
}

/** A source that runs again, or has forgotten its switchover, has no seal: the operation is void. */
function voidByHolder(draft: Draft, message: Renew): void {
  const { switching } = draft.state.record;
  if (switching === null || switching.from !== message.site) return;
  const sameRun = message.incarnation === switching.incarnation;
  const goesOn = message.state === "Sealed" || message.state === "Quiescing";
  const early = sameRun && message.seq < switching.seq;
  const forgot = !sameRun && message.state !== "Sealed";
  if (early || (goesOn && !forgot) || (message.state === "Active" && sameRun && message.opId === switching.opId))
    return;
  draft.record(withoutSwitchingPatch(draft.state.record));
}

function promiseRefusal(draft: Draft, message: Renew, heard: Heard, isHolder: boolean): Refusal | null {
  const { state, now } = draft;
  if (state.blocked !== null) return refusal("Conflict", state.blocked);
  if (!isHolder) {
    return isNewer(state.record.cert, message.cert)
      ? refusal("OlderEpoch", `the group has moved on to ${formatCert(state.record.cert)}`)
      : refusal("NotHolder", "this site does not hold the group");
  }
  if (recovering(state)) return refusal("Recovering", "the witness has not heard from both sites yet");
  if (!(message.state === "Active" || message.state === "Quiescing" || (message.state === "Unknown" && message.warm))) {
    return refusal("NotRunning", `${message.site} is ${message.state} and needs a new epoch to run`);
  }
  const echoMax = echoMaxMs(message.leaseMs);
  if (heard.echoMs === null || now - heard.echoMs > echoMax) {
    return refusal("NoEcho", `${message.site} has not shown that it hears the witness for ${Math.round(echoMax)} ms`);
  }
  return null;
}

function promise(draft: Draft, heard: Heard): void {
  const { state, now } = draft;
  if (heard.promiseMs > state.record.promiseMsMax) draft.record({ promiseMsMax: heard.promiseMs });
  draft.set({ promiseUntilMs: Math.max(state.promiseUntilMs, now + heard.promiseMs) });
}

function renewAck(draft: Draft, message: Renew, refused: Refusal | null): RenewAck {
  const { state, instance, now } = draft;
  const { record } = state;
  const { veto } = record;
  return {
    type: "RenewAck",
    group: message.group,
    from: "witness",
    incarnation: message.incarnation,
    seq: message.seq,
    ok: refused === null,
    refusal: refused,
    cert: shownCert(draft, message.cert),
    generation: instance.generation,
    leaseMs: message.leaseMs,
    guardMs: Math.max(message.guardMs, message.stopBoundMs),
    disarmRecorded: veto !== null && veto.site === message.site && veto.incarnation === message.incarnation,
    seesReadyPeer: seesReady(state, message.site, now, message.leaseMs),
    hearsOther: hearsOther(state, message.site, now, message.leaseMs),
    seesWitness: true,
    fenceCap: message.fenceCap,
    incarnationSeen: Math.max(knownIncarnation(state, message.site), message.incarnation),
    op: opState(draft, message.opId),
    stamp: draft.stamp(),
  };
}

function opState(draft: Draft, opId: string): RenewAck["op"] {
  const { record } = draft.state;
  if (opId === "") return "none";
  if (record.switching?.opId === opId) return "open";
  return record.committed?.opId === opId ? "committed" : "voided";
}

function acquire(draft: Draft, message: Acquire, outdated: boolean): void {
  const { site, nonce, group } = message;
  if (outdated) {
    answerRefused(draft, message, refusal("OlderIncarnation", `a newer incarnation of ${site} has been heard`));
    return;
  }
  hearEcho(draft, message);
  if (grantedBefore(draft, message)) return;
  const decision = decideGrant(draft.state, draft.instance, message, draft.now);
  if (decision.asked !== null) draft.set({ asked: decision.asked });
  if (decision.voids) draft.record(withoutSwitchingPatch(draft.state.record));
  if (decision.refused !== null) {
    answerRefused(draft, message, decision.refused);
    return;
  }
  const cert = grantTo(draft, message);
  if (message.kind === "takeover") {
    draft.record({ automaticAtUnixMs: draft.now + draft.instance.unixOffsetMs });
  }
  const { leaseMs, guardMs, seq, kind } = message;
  draft.reply(site, { type: "Grant", group, nonce, seq, kind, cert, leaseMs, guardMs, stamp: draft.stamp() });
}

/** The same question again: its grant was lost on the way, or could not be written down. It is the same grant. */
function grantedBefore(draft: Draft, message: Acquire): boolean {
  const { unclaimed, record, promiseUntilMs } = draft.state;
  const { site, nonce, group, leaseMs, guardMs, seq, kind } = message;
  if (unclaimed === null || unclaimed.nonce !== nonce || unclaimed.site !== site || record.cert === null) return false;
  if (record.switching !== null || record.veto !== null || draft.state.blocked !== null) return false;
  draft.set({ promiseUntilMs: Math.max(promiseUntilMs, draft.now + leaseMs + guardMs) });
  const { cert } = record;
  draft.reply(site, { type: "Grant", group, nonce, seq, kind, cert, leaseMs, guardMs, stamp: draft.stamp() });
  return true;
}

function answerRefused(draft: Draft, message: Acquire, refused: Refusal): void {
  const { group, nonce, site } = message;
  const cert = shownCert(draft, message.cert);
  draft.reply(site, { type: "AcquireRefused", group, nonce, refusal: refused, cert, stamp: draft.stamp() });
}
