/** The agent's reducer for one group at one site: see agent-state.ts for events and effects. */
import {
  acquireRefused,
  acquireRules,
  afterFollow,
  afterGrant,
  divergenceRule,
  followRule,
  granted,
  lapseRule,
  wanted,
} from "./agent-acquire.ts";
import { afterForce, afterPause, commanded, forceRule } from "./agent-commands.ts";
import { Draft, holdsCert, isLeaseFree, isRunning, leaseEndMs, restPhase } from "./agent-draft.ts";
import { guardPolled, guardsAllDown, guardsHeldOn, guardsHoldFree, unguardedRule } from "./agent-guards.ts";
import { released, sendRelease, setEnding, stepReleased } from "./agent-release.ts";
import { acknowledged, disarmRules, peerRenewed, renewWhenDue, resumeWarm, settleGuards } from "./agent-renew.ts";
import {
  afterSeal,
  callOff,
  committed,
  incomingRule,
  opHeard,
  prepared,
  quiesced,
  resendSwitch,
  sealArrived,
  sealReady,
  sealRule,
  switchAsked,
  switchRefused,
  switchTimeouts,
  verified,
} from "./agent-switch.ts";
import type {
  AgentConfig,
  AgentEvent,
  AgentState,
  AgentStep,
  Continuation,
  Grantor,
  SiteRecord,
} from "./agent-state.ts";

const silentGrantor: Grantor = {
  leaseEndMs: 0,
  leaseSentAtMs: 0,
  leaseGuardMs: 0,
  heardAtMs: -Infinity,
  promisedAtMs: -Infinity,
  stamp: null,
  refusal: null,
  fenceCap: "guard",
  seesReadyPeer: false,
  hearsOther: false,
  seesWitness: false,
  seq: 0,
  sent: [],
};

/**
 * A process starts to lead the site for this group. `record` is what was durable with its incarnation raised by one,
 * **already written** by compare-and-swap. `heldOn`: the group was running here when the last process ended, and one of
 * the machines has not been booted since (R2): a holder is warm then, and may go on under its epoch.
 */
export function bootAgent(config: AgentConfig, record: SiteRecord, now: number, heldOn: boolean): AgentStep {
  const blank: AgentState = {
    config,
    policy: config.policy,
    bootedAtMs: now,
    record,
    seen: record.cert,
    // What was granted to a group of this name that has ended: a witness that is set back below it starts again above.
    witnessGeneration: record.released?.epoch.generation ?? 0,
    pending: null,
    uncertain: false,
    retryPersistAtMs: now,
    nextToken: 1,
    nextNonce: 1,
    phase: { type: "Standby" },
    witness: silentGrantor,
    peerGrantor: silentGrantor,
    peer: null,
    promiseUntilMs: 0,
    armed: null,
    ask: null,
    leaseFree: false,
    asked: false,
    keepVeto: true,
    guards: {},
    heldUntilMs: 0,
    nodesWithPods: null,
    fence: { cap: "none", stopBoundMs: 0 },
    data: { readiness: "Syncing", lagMs: null, recoveryPoint: "", obstacle: "", atMs: now },
    apiDownSinceMs: null,
    nextRenewAtMs: now,
    nextTryAtMs: now,
    longestMs: 0,
    startingUntilMs: 0,
    lastRefusal: null,
    order: null,
    incoming: null,
    aborting: "",
    committedOp: "",
    deposedBy: record.incarnation,
    ending: false,
    unguardedAllowed: false,
    following: null,
  };
  const rest = restPhase(blank, "");
  const phase = rest.type === "Fenced" ? ({ type: "Unknown", warm: heldOn } as const) : rest;
  return stepAgent({ ...blank, phase }, { type: "tick" }, now);
}

export function stepAgent(state: AgentState, event: AgentEvent, now: number): AgentStep {
  if (state.phase.type === "Released") return stepReleased(state, event, now);
  const d = new Draft(state, now);
  if (handle(d, event)) advance(d);
  return { state: d.s, effects: d.effects };
}

/** When the next `tick` is due, on the agent's clock. */
export function nextWakeAgent(s: AgentState): number {
  if (s.phase.type === "Released") return Infinity;
  let at = s.nextRenewAtMs;
  if (isRunning(s) && !isLeaseFree(s)) at = Math.min(at, leaseEndMs(s));
  if (s.phase.type === "Unknown") at = Math.min(at, s.bootedAtMs + s.policy.timing.leaseMs);
  if (s.phase.type !== "Acquiring" && s.pending === null && wanted(s) !== null) at = Math.min(at, s.nextTryAtMs);
  return at;
}

/** Takes in one event; false when no rule can have a new answer. */
function handle(d: Draft, event: AgentEvent): boolean {
  switch (event.type) {
    case "tick":
      return true;
    case "ending":
      setEnding(d, event.ending);
      // It would end at the other site, which has just started it, and where nobody has deleted it.
      if (event.ending && d.s.phase.type === "Quiescing") callOff(d, d.s.phase, "the group was deleted");
      return true;
    case "fromWitness":
      return fromWitness(d, event.message);
    case "fromPeer":
      return fromPeer(d, event.message);
    case "guard":
      return guardPolled(d, event.poll);
    case "persisted":
      return persisted(d, event.token);
    case "persistFailed":
      return persistFailed(d, event);
    case "policy":
      d.set({ policy: event.policy });
      return true;
    case "data":
      d.set({
        data: {
          readiness: event.readiness,
          lagMs: event.lagMs,
          recoveryPoint: event.recoveryPoint,
          obstacle: event.obstacle ?? "",
          atMs: d.now - (event.contactAgoMs ?? 0),
        },
      });
      return false;
    case "nodes":
      return nodes(d, event);
    case "fence":
      d.set({ fence: { cap: event.cap, stopBoundMs: event.stopBoundMs } });
      return true;
    case "api":
      d.set({ apiDownSinceMs: event.up ? null : (d.s.apiDownSinceMs ?? d.now) });
      return false;
    case "command":
      commanded(d, event.command);
      return true;
    case "started":
      d.set({ startingUntilMs: 0 });
      return false;
    case "quiesced":
      quiesced(d, event.opId);
      return true;
    case "sealReady":
      sealReady(d, event);
      return true;
    case "verified":
      verified(d, event);
      return true;
    case "divergenceSaved":
      divergenceSaved(d);
      return true;
  }
}

function fromWitness(d: Draft, message: Extract<AgentEvent, { type: "fromWitness" }>["message"]): boolean {
  switch (message.type) {
    case "RenewAck":
      acknowledged(d, "witness", message);
      opHeard(d, message);
      return d.s.phase.type !== "Released";
    case "Grant":
      granted(d, message);
      return true;
    case "AcquireRefused":
      acquireRefused(d, message);
      return d.s.phase.type !== "Released";
    case "SwitchPrepared":
      prepared(d, message.opId);
      return true;
    case "SwitchRefused":
      switchRefused(d, message);
      return true;
    case "Commit":
      committed(d, message);
      return true;
    case "Released":
      released(d, message.cert);
      return d.s.phase.type !== "Released";
  }
}

function fromPeer(d: Draft, message: Extract<AgentEvent, { type: "fromPeer" }>["message"]): boolean {
  switch (message.type) {
    case "Renew":
      peerRenewed(d, message);
      return true;
    case "RenewAck":
      acknowledged(d, "peer", message);
      return true;
    case "SwitchAsk":
      switchAsked(d, message);
      return true;
    case "SwitchRefused":
      switchRefused(d, message);
      return true;
    case "Sealed":
      sealArrived(d, message);
      return true;
  }
}

/** The rules that time or a new fact may have made true, in the order in which they must win. */
function advance(d: Draft): void {
  lapseRule(d);
  followRule(d);
  unknownRule(d);
  cancelRule(d);
  disarmRules(d);
  settleGuards(d);
  incomingRule(d);
  sealRule(d);
  forceRule(d);
  switchTimeouts(d);
  divergenceRule(d);
  acquireRules(d);
  unguardedRule(d);
  unaskedRule(d);
  if (d.now >= d.s.nextRenewAtMs) {
    renewWhenDue(d);
    resendSwitch(d);
    sendRelease(d);
  }
}

/**
 * Booted as the holder: warm when a guard held on, cold when all are known to be down or when every copy of a lease
 * that a former process can have given has run out.
 */
function unknownRule(d: Draft): void {
  const { s, now } = d;
  if (s.phase.type !== "Unknown") return;
  if (!s.phase.warm && guardsHeldOn(d)) {
    d.phase({ type: "Unknown", warm: true });
    d.set({ nextRenewAtMs: now });
    return;
  }
  // Guards that hold without a lease prove what the record says; one that came back from a backup proves nothing.
  if (s.record.disarm !== null && guardsHoldFree(d)) {
    d.set({ leaseFree: true });
    resumeWarm(d);
    return;
  }
  const over = now - s.bootedAtMs >= s.policy.timing.leaseMs;
  if (over || (!s.phase.warm && guardsAllDown(d))) {
    d.phase({ type: "Fenced", reason: "booted cold; a new epoch is needed" });
  }
}

/**
 * A site that may not run the group is told so once by every process: at its last end pods may have been left that
 * nobody gated, kubelets may have started what was bound, and the rules only stop what they know to run.
 */
function unaskedRule(d: Draft): void {
  const { asked, record, config, phase } = d.s;
  if (asked || record.cert === null || !mustNotRun(d.s)) return;
  d.emit({ type: "stopRunning", reason: `${config.site} is ${phase.type}` });
}

/** Cold, a site whose pods are stopped through the API only has nobody who could say that they never stopped. */
function mustNotRun({ phase, fence }: AgentState): boolean {
  switch (phase.type) {
    case "Adopting":
    case "Active":
    case "Quiescing":
    case "Released":
      return false;
    case "Unknown":
      return !phase.warm && fence.cap === "api";
    case "Acquiring":
      return !phase.ungated;
    case "Standby":
    case "Fenced":
    case "Sealed":
    case "Blocked":
      return true;
  }
}

/**
 * A cold boot or a lapse ends a run without a lease: the record goes first, the veto elsewhere after it. A write that
 * may have recorded one is settled by the next that is confirmed.
 */
function cancelRule(d: Draft): void {
  const { s } = d;
  const sealing = s.phase.type === "Quiescing" && s.phase.seal !== null;
  if (s.uncertain && s.ask === null && s.record.disarm === null && !sealing) d.persist({}, { type: "none" });
  if (s.record.disarm === null || isLeaseFree(s) || s.phase.type === "Unknown" || !holdsCert(s)) return;
  d.persist({ disarm: null }, { type: "none" });
}

function persisted(d: Draft, token: number): boolean {
  const { pending } = d.s;
  if (pending === null || pending.token !== token) return false;
  d.set({ record: pending.record, pending: null, uncertain: false });
  d.see(pending.record.cert);
  continueWith(d, pending.next);
  return true;
}

function continueWith(d: Draft, next: Continuation): void {
  switch (next.type) {
    case "none":
      return;
    case "incoming":
      // What was verified was another one.
      d.set({ incoming: null });
      return;
    case "granted":
      afterGrant(d, next);
      return;
    case "forced":
      afterForce(d);
      return;
    case "paused":
      afterPause(d, next.nonce);
      return;
    case "followed":
      afterFollow(d);
      return;
    case "divergenceSaved":
      d.set({ following: null });
      return;
    case "disarmed":
      d.set({ ask: null, keepVeto: true, leaseFree: isRunning(d.s) });
      d.notice("Disarmed", "runs without a lease: witness or peer is silent, the other has recorded no takeover");
      return;
    case "rearming":
      d.set({ keepVeto: true, leaseFree: false });
      return;
    case "sealed":
      afterSeal(d, next.opId);
      return;
  }
}

function persistFailed(d: Draft, event: Extract<AgentEvent, { type: "persistFailed" }>): boolean {
  const { s } = d;
  const { pending } = s;
  if (pending === null || pending.token !== event.token) return false;
  const risky = pending.record.disarm !== null || pending.record.seal !== s.record.seal;
  const uncertain = s.uncertain || risky;
  d.set({ pending: null, uncertain, retryPersistAtMs: d.now + s.policy.timing.heartbeatMs });
  d.notice("RecordFailed", `the site's record could not be written: ${event.reason}`);
  if (pending.next.type === "divergenceSaved") d.set({ following: null });
  if (pending.next.type === "paused") {
    d.outcome(pending.next.nonce, false, "Busy", "this could not be written down; order it again");
  }
  return true;
}

function nodes(d: Draft, event: Extract<AgentEvent, { type: "nodes" }>): boolean {
  const known = Object.entries(d.s.guards).filter(([node]) => event.all.includes(node));
  d.set({ nodesWithPods: event.withPods, guards: Object.fromEntries(known) });
  return true;
}

function divergenceSaved(d: Draft): void {
  const { divergence } = d.s.record;
  if (divergence === null || divergence.saved) return;
  // Not written now: it is saved again, which harms nothing.
  if (!d.persist({ divergence: { ...divergence, saved: true } }, { type: "divergenceSaved" }))
    d.set({ following: null });
}
