/**
 * The end of a group: deleted at the site that runs it, known to the standby, let go of by the witness. Nothing is ever
 * stopped by it: what runs goes on, from then on ungated.
 */
import { isNewer, sameCert } from "./epoch.ts";
import type { Cert } from "./epoch.ts";
import { emptyRecord } from "./agent-state.ts";
import type { AgentEvent, AgentState, AgentStep } from "./agent-state.ts";
import type { GuardAnswer, GuardPoll, Refusal, Release } from "./messages.ts";
import { Draft, holdsCert, restPhase, siteState } from "./agent-draft.ts";

/** The group was deleted, or is there again. */
export function setEnding(d: Draft, ending: boolean): void {
  if (ending === d.s.ending) return;
  d.set({ ending });
  const { order, phase } = d.s;
  const takes = phase.type === "Acquiring" && (phase.kind === "takeover" || phase.kind === "manual");
  // A grant that is on its way finds nobody who asked.
  if (ending && takes) d.phase(restPhase(d.s, ""));
  if (!ending || order === null) return;
  d.outcome(order.nonce, false, "Ending", "the group was deleted");
  d.set({ order: null });
}

/** With every heartbeat until it is answered; a move that is sealed comes first. */
export function sendRelease(d: Draft): void {
  const { s } = d;
  const runs = s.phase.type === "Active" || s.phase.type === "Adopting";
  if (!s.ending || !runs || s.pending !== null) return;
  const seq = d.nextSeq("witness", false);
  const { config, record } = d.s;
  const message: Release = {
    type: "Release",
    group: config.group,
    site: config.site,
    incarnation: record.incarnation,
    seq,
    cert: record.cert,
  };
  d.emit({ type: "toWitness", message });
}

/** The witness has let go of the group under this certificate; of one that was never granted under none. */
export function released(d: Draft, cert: Cert | null): void {
  const { s } = d;
  const { record, phase } = s;
  if (s.pending !== null || phase.type === "Blocked") return;
  const adopts = siteState(s) === "Adopting";
  // One that begins anew hears of its former life; its own grant ends that.
  const mine = adopts ? s.ending : sameCert(cert, record.cert) && (cert !== null || s.ending);
  if (mine) finish(d, cert);
}

/** The same as a refusal, where its own message was lost or another site asked for it. */
export function releasedByRefusal(d: Draft, refusal: Refusal | null, cert: Cert | null): void {
  if (refusal?.code === "Released") released(d, cert);
}

function finish(d: Draft, cert: Cert | null): void {
  d.phase({ type: "Released" });
  d.notice("Released", "the group has ended: the witness grants it to nobody, and nothing of it is gated any more");
  const { record } = d.s;
  const last = isNewer(cert, record.released) ? cert : record.released;
  d.emit({ type: "released", record: { ...emptyRecord, incarnation: record.incarnation, released: last } });
}

/** All that is left to do: tell guards of the site that ran it, whenever they ask. */
export function stepReleased(s: AgentState, event: AgentEvent, now: number): AgentStep {
  if (event.type !== "guard" || !holdsCert(s)) return { state: s, effects: [] };
  return { state: s, effects: [{ type: "answerGuard", answer: answerTo(s, event.poll, now) }] };
}

function answerTo(s: AgentState, poll: GuardPoll, now: number): GuardAnswer {
  return {
    type: "GuardAnswer",
    group: poll.group,
    node: poll.node,
    bootId: poll.bootId,
    seq: poll.seq,
    verdict: "released",
    cert: s.record.cert,
    incarnation: s.record.incarnation,
    remainingMs: 0,
    agentNowMs: now,
    leaseSentAtMs: 0,
    reason: "",
  };
}
