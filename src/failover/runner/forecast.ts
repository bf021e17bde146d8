import { isLeaseFree, isRunning, isWanted, readiness, startBoundMsOf } from "../agent-draft.ts";
import type { AgentState } from "../agent-state.ts";

/** What would happen if it died now, for people, as far as this site can know. */
export interface Forecasts {
  readonly site: string;
  readonly peer: string;
  readonly witness: string;
}

/** Seen from this site. "The active site" is the holder of the certificate in force here. */
export function forecast(state: AgentState, nowMs: number): Forecasts {
  const { config, record } = state;
  if (record.cert === null) {
    const nothing = "nothing: the group has never been granted to a site, and its workloads are not touched";
    return { site: nothing, peer: nothing, witness: nothing };
  }
  const holder = record.cert.holder;
  if (holder === config.site) {
    return { site: activeDies(state, nowMs), peer: standbyDies(state, nowMs), witness: witnessDies(state, nowMs) };
  }
  const by = (lease: string): string => (record.veto === null ? `by ${lease} lease` : "without a lease");
  return {
    site: `${config.peer} goes on ${by("the witness's")}`,
    peer: peerHolderDies(state),
    witness: `${config.peer} goes on ${by("this site's")}; this site cannot take over without the witness`,
  };
}

function seconds(ms: number): string {
  return `${Math.ceil(ms / 1000)} s`;
}

function leased(state: AgentState, from: "witness" | "peer", nowMs: number): boolean {
  return (from === "witness" ? state.witness : state.peerGrantor).leaseEndMs > nowMs;
}

function takesOver(state: AgentState, site: string): string {
  return `${site} takes over by itself within ${seconds(startBoundMsOf(state))}, plus the pods' own start`;
}

function byHand(site: string): string {
  return `nobody takes over by itself; a person moves the group to ${site}`;
}

function activeDies(state: AgentState, nowMs: number): string {
  const { config, policy } = state;
  if (!isRunning(state)) return `nothing: the group does not run at ${config.site}`;
  if (isLeaseFree(state)) return `${byHand(config.peer)} with force-fenced, since ${config.site} runs without a lease`;
  // By what the witness has heard of it, since that decides.
  const { fenceCap } = state.witness;
  const fenced = fenceCap === "guard" || fenceCap === "storage" || (fenceCap === "api" && policy.unproven);
  const automatic = isWanted(state) && fenced;
  const willing = leased(state, "witness", nowMs) && leased(state, "peer", nowMs) && state.witness.seesReadyPeer;
  const { lagMs } = state.peer ?? { lagMs: null };
  const fresh = lagMs !== null && lagMs <= policy.maxLagMs;
  return automatic && willing && fresh ? takesOver(state, config.peer) : byHand(config.peer);
}

function standbyDies(state: AgentState, nowMs: number): string {
  const { config } = state;
  if (!isRunning(state)) return `nothing: the group does not run at ${config.peer}`;
  if (isLeaseFree(state) || leased(state, "witness", nowMs)) return `${config.site} goes on; there is no standby then`;
  return `${config.site} stops within ${seconds(state.policy.timing.leaseMs)}: its only lease is that of ${config.peer}`;
}

function witnessDies(state: AgentState, nowMs: number): string {
  const { config } = state;
  if (!isRunning(state)) return `${config.site} cannot resume without the witness; a person may force it`;
  if (isLeaseFree(state) || leased(state, "peer", nowMs)) return `${config.site} goes on; no automatic failover then`;
  return `${config.site} stops within ${seconds(state.policy.timing.leaseMs)}: its only lease is the witness's`;
}

function peerHolderDies(state: AgentState): string {
  const { config, policy, record, data } = state;
  if (record.veto !== null)
    return `${byHand(config.site)} with force-fenced, since ${config.peer} runs without a lease`;
  const fit = readiness(state) === "Ready" && data.lagMs !== null && data.lagMs <= policy.maxLagMs;
  return isWanted(state) && state.armed && fit ? takesOver(state, config.site) : byHand(config.site);
}
