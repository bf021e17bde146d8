/** Switchovers at the witness: recorded, committed or called off. */
import { formatCert, sameCert } from "./epoch.ts";
import type { Abort, CaughtUp, Refusal, Release, SwitchPrepare } from "./messages.ts";
import { grantTo, hearEcho, withoutSwitchingPatch } from "./witness-draft.ts";
import type { Draft } from "./witness-draft.ts";
import { isFreshEcho } from "./timing.ts";
import { recovering, refusal, seesReady, wasAway } from "./witness-grant.ts";

export function switchRefused(draft: Draft, message: SwitchPrepare | CaughtUp | Release, refused: Refusal): void {
  const opId = message.type === "Release" ? "" : message.opId;
  const { cert } = draft.state.record;
  draft.reply(message.site, { type: "SwitchRefused", group: message.group, opId, refusal: refused, cert });
}

export function prepare(draft: Draft, message: SwitchPrepare, outdated: boolean): void {
  if (!outdated) hearEcho(draft, message);
  const refused = prepareRefusal(draft, message, outdated);
  if (refused !== null) {
    switchRefused(draft, message, refused);
    return;
  }
  const { opId, site, to, incarnation, seq, group } = message;
  if (draft.state.record.switching === null) {
    draft.record({ switching: { opId, from: site, to, incarnation, seq } });
    draft.set({ lastOp: { opId, incarnation, atMs: draft.now } });
  }
  draft.reply(site, { type: "SwitchPrepared", group, opId, stamp: draft.stamp() });
}

function prepareRefusal(draft: Draft, message: SwitchPrepare, outdated: boolean): Refusal | null {
  const { state, now } = draft;
  const { record } = state;
  if (outdated) return refusal("OlderIncarnation", `a newer incarnation of ${message.site} has been heard`);
  if (state.blocked !== null) return refusal("Conflict", state.blocked);
  if (recovering(state)) return refusal("Recovering", "the witness has not heard from both sites yet");
  if (record.released) return refusal("Released", "the group was deleted");
  if (record.cert === null || record.cert.holder !== message.site || !sameCert(record.cert, message.cert)) {
    return refusal("NotHolder", `${message.site} does not hold the group; ${formatCert(record.cert)}`);
  }
  if (record.voided.includes(message.opId)) return refusal("Voided", "this switchover has been called off");
  if (record.switching !== null && record.switching.opId !== message.opId) {
    return refusal("Switching", `switchover ${record.switching.opId} is still open`);
  }
  if (record.veto !== null) return refusal("Veto", `${record.veto.site} runs without a lease`);
  if (record.switching === null && now > state.promiseUntilMs) {
    return refusal("NotRunning", `${message.site} holds no promise of the witness`);
  }
  if (!seesReady(state, message.site, now, state.record.promiseMsMax)) {
    return refusal("NotReady", `${message.to} has not been heard as Ready`);
  }
  return null;
}

export function caughtUp(draft: Draft, message: CaughtUp, outdated: boolean): void {
  if (!outdated) hearEcho(draft, message);
  const { state } = draft;
  const { record } = state;
  const { opId, nonce, seq, group, site, leaseMs, guardMs, echo } = message;
  if (outdated || state.blocked !== null || recovering(state)) {
    switchRefused(draft, message, refusal("Recovering", "the witness cannot decide now", message.leaseMs / 4));
    return;
  }
  // What has lain here says nothing of the target now, which may have been set back and promised to the source since.
  if (!isFreshEcho(echo, draft.instance.by, draft.now, leaseMs)) {
    switchRefused(draft, message, refusal("NoEcho", `${site} has not shown that it hears the witness now`));
    return;
  }
  const again =
    record.committed?.opId === opId && sameCert(record.committed.cert, record.cert) && state.unclaimed !== null;
  const first = record.switching?.opId === opId && record.switching.to === site && sameCert(message.cert, record.cert);
  if (!again && !first) {
    switchRefused(draft, message, refusal("Voided", `switchover ${opId} has been called off`));
    return;
  }
  if (first && wasAway(state, site)) {
    const reason = `${record.switching?.from} may have been forced while ${site} was not heard`;
    switchRefused(draft, message, refusal("Veto", reason));
    return;
  }
  if (first) {
    const cert = grantTo(draft, message);
    draft.record({ switching: null, committed: { opId, cert } });
  }
  const cert = draft.state.record.cert;
  if (cert === null || cert.holder !== site) return;
  const stamp = draft.stamp();
  draft.set({ promiseUntilMs: Math.max(draft.state.promiseUntilMs, draft.now + leaseMs + guardMs) });
  draft.reply(site, { type: "Commit", group, opId, nonce, seq, cert, leaseMs, guardMs, stamp });
}

export function abort(draft: Draft, message: Abort, outdated: boolean): void {
  if (outdated) return;
  hearEcho(draft, message);
  const { switching } = draft.state.record;
  if (switching?.opId === message.opId && switching.from === message.site) {
    draft.record(withoutSwitchingPatch(draft.state.record));
  }
}
