/** Orders by a person. Each is obeyed once, against the epoch the person saw, and answered. */
import { forcedEpoch, formatCert, formatEpoch } from "./epoch.ts";
import type { Command } from "./agent-state.ts";
import { holdsCert, isRunning, remembered, restPhase } from "./agent-draft.ts";
import type { Draft } from "./agent-draft.ts";
import { vetoed } from "./agent-acquire.ts";
import { beginSwitchover, callOff, obstacles, preflight, unsealRequest } from "./agent-switch.ts";

export function commanded(d: Draft, command: Command): void {
  const { s } = d;
  const { nonce } = command;
  if (s.order?.nonce === nonce) return;
  if (s.record.usedNonces.includes(nonce)) {
    d.outcome(nonce, false, "Replayed", "this order was already carried out or refused");
    return;
  }
  if (s.ending && command.verb !== "abort") {
    d.outcome(nonce, false, "Ending", "the group was deleted; create it again to move it");
    return;
  }
  switch (command.verb) {
    case "failover":
    case "switchover":
      move(d, command);
      return;
    case "force-fenced":
      force(d, command);
      return;
    case "abort":
      abort(d, nonce);
      return;
    case "pause":
    case "resume":
      pause(d, command.verb === "pause", nonce);
      return;
  }
}

function stale(d: Draft, epoch: string): string | null {
  const { cert } = d.s.record;
  if (cert === null) return "the group has never been granted to any site";
  return formatEpoch(cert.epoch) === epoch ? null : `the group is at epoch ${formatCert(cert)} now, not at ${epoch}`;
}

function move(d: Draft, command: Extract<Command, { verb: "failover" | "switchover" }>): void {
  const { s, now } = d;
  const { nonce, to, verb } = command;
  const { config } = s;
  const refuse = (code: string, message: string): void => d.outcome(nonce, false, code, message);
  if (to !== config.site && to !== config.peer) {
    refuse("UnknownSite", `${to} is not a site of this group; choose ${config.site} or ${config.peer}`);
    return;
  }
  const old = stale(d, command.epoch);
  if (old !== null) {
    refuse("StaleEpoch", old);
    return;
  }
  const holder = s.record.cert?.holder;
  if (holder === to) {
    refuse("AlreadyThere", `${to} holds the group already`);
    return;
  }
  if (s.order !== null || s.phase.type === "Acquiring" || s.phase.type === "Quiescing") {
    refuse("Busy", "another move of this group is under way");
    return;
  }
  const found = [...(holder === config.site ? preflight(d) : []), ...(verb === "switchover" ? obstacles(d, to) : [])];
  if (found.length > 0) {
    refuse("NotPrepared", found.join("; "));
    return;
  }
  const usedNonces = remembered(s.record.usedNonces, nonce);
  if (!d.persist({ usedNonces }, { type: "none" })) refuse("Busy", "a record is being written; order it again");
  else if (holder === config.site) beginSwitchover(d, nonce);
  else moveHere(d, verb, nonce, now);
}

function moveHere(d: Draft, verb: "failover" | "switchover", nonce: string, now: number): void {
  const { s } = d;
  const { timing } = s.policy;
  const answers = s.peer !== null && now - s.peer.heardAtMs <= timing.leaseMs && s.peer.state === "Active";
  if (!answers && s.record.veto !== null) {
    d.outcome(nonce, false, "Veto", vetoed(s).reason);
    return;
  }
  if (answers || verb === "switchover") {
    const { group, site } = s.config;
    d.emit({ type: "toPeer", message: { type: "SwitchAsk", group, opId: nonce, to: site, cert: s.record.cert } });
  }
  // A holder that answered a moment ago and is dead now does not take up the switchover: the failover goes on.
  const longestMs = Math.max(timing.promiseMs, s.record.promiseMsMax);
  const patienceMs = answers || verb === "switchover" ? timing.switchTimeoutMs : 2 * longestMs + timing.requestMs;
  d.set({ order: { verb, nonce, untilMs: now + patienceMs }, nextTryAtMs: now });
}

/**
 * A person attests that the other site is off. No promise is waited for and no lease is needed: the epoch names this
 * site, and the other one cannot come back without the witness hearing this one.
 */
function force(d: Draft, command: Extract<Command, { verb: "force-fenced" }>): void {
  const { s, now } = d;
  const { nonce } = command;
  const { cert } = s.record;
  const old = stale(d, command.epoch);
  if (old !== null || cert === null) {
    d.outcome(nonce, false, "StaleEpoch", old ?? "the group has never been granted");
    return;
  }
  if (isRunning(s)) {
    d.outcome(nonce, false, "AlreadyThere", `${s.config.site} runs the group already`);
    return;
  }
  const { peer } = s;
  const answers = peer !== null && now - peer.heardAtMs <= s.policy.timing.leaseMs;
  if (answers && !holdsCert(s) && (peer.state === "Active" || peer.state === "Quiescing")) {
    d.outcome(nonce, false, "PeerAnswers", `${s.config.peer} answers and runs the group; use switchover`);
    return;
  }
  const next = { epoch: forcedEpoch(cert.epoch, s.config.site), holder: s.config.site, sig: "" };
  d.set({ order: { verb: "force-fenced", nonce, untilMs: now + s.policy.timing.promiseMs, cert: next } });
  forceRule(d);
}

/** Writes the forced epoch until it is known to be durable. */
export function forceRule(d: Draft): void {
  const { order, record } = d.s;
  if (order === null || order.verb !== "force-fenced" || isRunning(d.s)) return;
  const patch = {
    cert: order.cert,
    disarm: { by: "person" as const },
    veto: null,
    seal: null,
    incoming: null,
    usedNonces: remembered(record.usedNonces, order.nonce),
  };
  d.persist(patch, { type: "forced" });
}

export function afterForce(d: Draft): void {
  const { s } = d;
  const { cert } = s.record;
  if (cert === null) return;
  d.see(cert);
  d.set({ armed: false, incoming: null, following: null, aborting: "", keepVeto: true, leaseFree: true });
  d.phase({ type: "Active" });
  d.grantor("witness", { leaseEndMs: 0, leaseSentAtMs: 0, promisedAtMs: d.now });
  d.grantor("peer", { leaseEndMs: 0, leaseSentAtMs: 0, promisedAtMs: d.now });
  d.emit({ type: "startRunning", cert, kind: "forced" });
  d.notice("Active", `runs here under forced epoch ${formatCert(cert)}`);
  if (s.order !== null) d.outcome(s.order.nonce, true, "Done", `runs under forced epoch ${formatCert(cert)}`);
  d.set({ order: null });
}

function abort(d: Draft, nonce: string): void {
  const { phase } = d.s;
  if (phase.type === "Quiescing") {
    callOff(d, phase, "called off by a person");
    if (d.s.phase.type === "Quiescing")
      d.outcome(nonce, true, "Asked", "the seal is being written; it is called off next");
    else d.outcome(nonce, true, "Done", "the switchover is called off; the group goes on where it was");
    return;
  }
  if (phase.type === "Sealed") {
    unsealRequest(d, phase.opId);
    d.outcome(nonce, true, "Asked", "the group is sealed; the witness is asked to call the switchover off");
    return;
  }
  d.outcome(nonce, false, "NothingToAbort", "there is no switchover to call off here");
}

function pause(d: Draft, paused: boolean, nonce: string): void {
  const usedNonces = remembered(d.s.record.usedNonces, nonce);
  if (!d.persist({ paused, usedNonces }, { type: "paused", nonce })) {
    d.outcome(nonce, false, "Busy", "a record is being written; order it again");
    return;
  }
  // A grant that is on its way finds nobody who asked.
  const { phase } = d.s;
  if (paused && phase.type === "Acquiring" && phase.kind === "takeover") d.phase(restPhase(d.s, ""));
}

/** What was asked for holds once it is durable, and not before. */
export function afterPause(d: Draft, nonce: string): void {
  const { config, record } = d.s;
  const message = record.paused
    ? `automatic failover is paused, until ${config.site} is asked to resume it`
    : `nothing at ${config.site} stands against automatic failover any more`;
  d.outcome(nonce, true, "Done", message);
}
