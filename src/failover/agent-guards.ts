/** The site's node guards: what they report, what they are told, and where unguarded nodes may be used. */
import { sameCert } from "./epoch.ts";
import type { AgentState, Grantor, GuardReport } from "./agent-state.ts";
import { guardMsOf, heardWithin, holdsCert, isLeaseFree, leaseEndMs, siteState } from "./agent-draft.ts";
import type { Draft } from "./agent-draft.ts";
import { echoMaxMs } from "./timing.ts";
import { depose } from "./agent-renew.ts";
import type { GuardAnswer, GuardPoll } from "./messages.ts";

/** A new incarnation is renewed with its second heartbeat, when it can echo what it was told with the first. */
const ASKING_HEARTBEATS = 3;

/** True when the report changed something that rules look at. */
export function guardPolled(d: Draft, poll: GuardPoll): boolean {
  const { s } = d;
  if (poll.incarnation > s.record.incarnation) depose(d, poll.incarnation);
  d.see(poll.cert);
  const last = s.guards[poll.node];
  const answer = answerTo(d, poll);
  const deadAtMs = deadAt(s, last, poll.stopMs, d.now);
  const report: GuardReport = {
    mode: poll.mode,
    cert: poll.cert,
    incarnation: poll.incarnation,
    applied: poll.applied,
    atMs: d.now,
    stopMs: poll.stopMs,
    // Obeyed since: the answer to an earlier poll was `open`, and what is obeyed is on disk.
    known: (last?.known ?? false) || (last !== undefined && last.freeSeq >= 0 && poll.applied >= last.freeSeq),
    // A rebooted node counts its polls anew, fenced: nothing that was answered before can reach it.
    freeSeq:
      answer.verdict === "free" || answer.verdict === "open" ? poll.seq : Math.min(last?.freeSeq ?? -1, poll.seq),
    deadAtMs,
    isDown: poll.mode === "fenced" && d.now >= deadAtMs,
  };
  d.set({ guards: { ...s.guards, [poll.node]: report } });
  if (answer.verdict === "hold") d.set({ heldUntilMs: Math.max(s.heldUntilMs, d.now + answer.remainingMs) });
  d.emit({ type: "answerGuard", answer });
  return (
    last === undefined ||
    last.mode !== report.mode ||
    last.known !== report.known ||
    last.isDown !== report.isDown ||
    last.incarnation !== report.incarnation ||
    last.applied <= last.freeSeq !== report.applied <= report.freeSeq ||
    d.s.phase.type === "Unknown"
  );
}

/**
 * A copy of the lease that runs out has the stop in it: whoever promised waits for both. What held without a lease, or
 * gated nothing, begins to stop when it says so, and nobody else waits for that.
 */
function deadAt(s: AgentState, last: GuardReport | undefined, stopMs: number | null, now: number): number {
  // Between two reports it may have obeyed a word that let it hold without a lease.
  const isKnown = last !== undefined && last.applied >= last.freeSeq;
  if (isKnown && last.mode === "fenced") return last.deadAtMs;
  if (isKnown && last.mode === "leased") return now;
  return now + guardMsOf(s, stopMs);
}

function answerTo(d: Draft, poll: GuardPoll): GuardAnswer {
  const { s, now } = d;
  const copy = copyFor(s, poll.stopMs);
  const verdict = verdictOf(d, poll, copy.endMs);
  return {
    type: "GuardAnswer",
    group: poll.group,
    node: poll.node,
    bootId: poll.bootId,
    seq: poll.seq,
    verdict,
    // What gates nothing yet leaves no certificate behind.
    cert: verdict === "open" ? null : s.record.cert,
    // One that only waits for a moment goes on to be new.
    incarnation: verdict === "wait" && isNewTo(s, poll) ? poll.incarnation : s.record.incarnation,
    remainingMs: verdict === "hold" ? copy.endMs - now : 0,
    agentNowMs: now,
    leaseSentAtMs: copy.sentAtMs,
    reason: verdict === "deny" ? denial(d) : "",
  };
}

/**
 * Until when a guard may hold, and when the renewal was sent that this rests on. Where stopping takes longer than it was
 * promised for, it begins earlier by that.
 */
function copyFor(s: AgentState, stopMs: number | null): { readonly endMs: number; readonly sentAtMs: number } {
  const guardMs = guardMsOf(s, stopMs);
  const endOf = (grantor: Grantor): number => grantor.leaseEndMs - Math.max(0, guardMs - grantor.leaseGuardMs);
  const better = endOf(s.witness) >= endOf(s.peerGrantor) ? s.witness : s.peerGrantor;
  return { endMs: endOf(better), sentAtMs: better.leaseSentAtMs };
}

function verdictOf(d: Draft, poll: GuardPoll, copyEndMs: number): GuardAnswer["verdict"] {
  const { s, now } = d;
  const { type } = s.phase;
  if (type === "Unknown") return isNewTo(s, poll) && !isAsking(s, now) ? "deny" : "wait";
  // Adopted, and the grant that got lost is being asked for again: nothing is gated and nothing is stopped.
  const ungated = siteState(s) === "Adopting";
  // Adopted a second time, or its first grant got lost: guards learn of it as before a first one.
  if (ungated && s.record.cert !== null) return "open";
  if (s.record.cert === null) return neverGranted(d, poll);
  if (type !== "Active" && type !== "Quiescing") return "deny";
  if (s.phase.type === "Quiescing" && s.phase.stage === "sealing") return "deny";
  if (isLeaseFree(s)) return "free";
  if (copyEndMs > now) return "hold";
  // What holds on a copy goes on with it; the next renewal is promised with the longer stop.
  return leaseEndMs(s) > now ? "wait" : "deny";
}

/** A warm process most likely goes on in a moment: its grantors are asked with its first heartbeats. */
function isAsking({ phase, bootedAtMs, policy }: AgentState, now: number): boolean {
  const { heartbeatMs } = policy.timing;
  return phase.type === "Unknown" && phase.warm && now - bootedAtMs < ASKING_HEARTBEATS * heartbeatMs;
}

/** A guard that has never heard of a granted group gates nothing of it, and holds on by no lease: it cannot just wait. */
function isNewTo(s: AgentState, poll: GuardPoll): boolean {
  return s.record.cert !== null && poll.mode === "open" && poll.incarnation === 0;
}

/**
 * Guards are told of the group only when the first grant is near: before that, installing this changes nothing. A node
 * that booted since then stays gated until witness and peer both say that nobody was granted anything meanwhile.
 */
function neverGranted(d: Draft, poll: GuardPoll): GuardAnswer["verdict"] {
  const { s, now } = d;
  if (s.phase.type === "Blocked" || s.seen !== null) return "wait";
  const windowMs = echoMaxMs(s.policy.timing.leaseMs);
  const near = heardWithin(s, "witness", windowMs, now);
  if (poll.mode !== "fenced") return near ? "open" : "wait";
  return near && s.peer !== null && now - s.peer.heardAtMs <= windowMs ? "open" : "wait";
}

/**
 * Whether pods of the group may be placed on a node whose guard works. Where one that has just been installed still
 * gates nothing of a group that was granted, and the agent has no verdict for it, whatever started would stop with no
 * lease.
 */
export function mayPlace(s: AgentState, node: string): boolean {
  if (s.record.cert === null) return true;
  const report = s.guards[node];
  return report !== undefined && (report.mode !== "open" || report.known);
}

/** All guards with pods have been told of the group by this process, and have it on disk. */
export function guardsKnow(s: AgentState): boolean {
  if (s.fence.cap !== "guard") return true;
  if (s.nodesWithPods === null) return false;
  return s.nodesWithPods.every((node) => s.guards[node]?.known === true);
}

function denial(d: Draft): string {
  const { phase, config } = d.s;
  if (phase.type === "Fenced" || phase.type === "Blocked") return phase.reason;
  return `${config.site} is ${phase.type} for this group`;
}

/** A booted holder: at least one guard that held on under this certificate proves that the site never stopped. */
export function guardsHeldOn(d: Draft): boolean {
  const { s } = d;
  for (const node in s.guards) {
    const report = s.guards[node];
    if (report === undefined || (report.mode !== "leased" && report.mode !== "free")) continue;
    if (sameCert(report.cert, s.record.cert)) return true;
  }
  return false;
}

/**
 * No gate of this site is open any more: every guard is down, or the last copy of a lease that was handed out here (or
 * by a former process) has run out.
 */
export function gatesClosed(s: AgentState, now: number): boolean {
  if (s.fence.cap !== "guard") return true;
  if (now >= Math.max(s.heldUntilMs, s.bootedAtMs + s.policy.timing.leaseMs)) return true;
  return Object.values(s.guards).every((report) => report.mode === "fenced");
}

/**
 * A guard still holds without a lease under this certificate. Since every guard is bound again before a recorded disarm
 * is lifted, this proves that it is not.
 */
export function guardsHoldFree(d: Draft): boolean {
  const { s } = d;
  return Object.values(s.guards).some((report) => report.mode === "free" && sameCert(report.cert, s.record.cert));
}

/** No guard can have held on: all that have pods were heard, and are down. */
export function guardsAllDown(d: Draft): boolean {
  const { s } = d;
  if (s.nodesWithPods === null) return false;
  return s.nodesWithPods.every((node) => s.guards[node]?.mode === "fenced") && s.nodesWithPods.length > 0;
}

/**
 * Unguarded nodes may be used only after the witness has taken note that guards are not what stops this group, or where
 * no takeover counts on anything; and no longer as soon as guards are to be relied upon again.
 */
export function unguardedRule(d: Draft): void {
  const { s } = d;
  const allowed = s.fence.cap !== "guard" && (!holdsCert(s) || isLeaseFree(s) || s.witness.fenceCap !== "guard");
  if (allowed === s.unguardedAllowed) return;
  d.set({ unguardedAllowed: allowed });
  d.emit({ type: "allowUnguarded", allowed });
}
