import { compareCert, formatEpoch, type Cert, type SiteName } from "../epoch.ts";
import type { AgentState, Grantor } from "../agent-state.ts";
import {
  disarmClaim,
  effectiveFenceCap,
  isArmed,
  isLeaseFree,
  isRunning,
  isWanted,
  readiness,
  siteState,
} from "../agent-draft.ts";
import type { FenceCap, Readiness, Refusal, SiteState } from "../messages.ts";
import type { ActionStatus } from "./action-queue.ts";
import type { CommandOutcome } from "./actions.ts";
import { whatBlocks, type Blocked } from "./blocked.ts";
import { forecast, type Forecasts } from "./forecast.ts";
import type { LinkStatus } from "./links.ts";
import type { TimelineEvent } from "./timeline.ts";

/** What a person wants to know about one group's failover at one site. JSON-able; durations in milliseconds. */
export interface FailoverSnapshot {
  readonly group: string;
  readonly site: SiteName;
  readonly peer: SiteName;
  readonly state: SiteState;
  /** Why it is in that state, and what a person must or can do. Empty when there is nothing to add. */
  readonly reason: string;
  /** Set while nothing goes on without a person. */
  readonly blocked: Blocked | undefined;
  /** `formatEpoch` of the certificate in force here; undefined before the first grant. */
  readonly epoch: string | undefined;
  readonly holder: SiteName | undefined;
  readonly incarnation: number;
  /** Runs under a lease, without one by a recorded disarm, or not at all. */
  readonly running: "leased" | "leaseFree" | "no";
  readonly witness: GrantorSnapshot;
  readonly peerGrantor: GrantorSnapshot;
  /** By its last acknowledgement, the witness hears the other site, which would be able to take over. */
  readonly witnessSeesPeer: boolean;
  /** What is left of this site's own promise to the peer not to take over; 0 when none. */
  readonly promisedToPeerMs: number;
  /** This site has recorded that it takes over under no circumstances, since the peer runs without a lease. */
  readonly veto: boolean;
  readonly armed: boolean;
  /** Why automatic failover away from the active site is not armed, one sentence each; empty when it is. */
  readonly notArmed: readonly string[];
  readonly fenceCap: FenceCap;
  readonly stopBoundMs: number;
  readonly readiness: Readiness;
  readonly lagMs: number | null;
  readonly apiDownMs: number | null;
  readonly lastRefusal: Refusal | null;
  /** The order of a person that is being carried out, and the switchover that is open. */
  readonly order: string | undefined;
  readonly opId: string | undefined;
  readonly divergence: { readonly epoch: string; readonly saved: boolean } | undefined;
  /** What would happen if each died now. */
  readonly ifDied: Forecasts;
  readonly action: ActionStatus | undefined;
  readonly outcomes: readonly CommandOutcome[];
  readonly timeline: readonly TimelineEvent[];
}

export interface GrantorSnapshot {
  readonly connected: boolean;
  /** Why it is not connected. */
  readonly error: string | undefined;
  /** Age of its last message of any kind for any group; null when none came. */
  readonly linkHeardAgoMs: number | null;
  /** Age of its last acknowledgement for this group; null when none came. */
  readonly heardAgoMs: number | null;
  /** What is left of its promise to this site; 0 when none. */
  readonly leaseMs: number;
  /** Why its last acknowledgement held no promise. */
  readonly refusal: Refusal | null;
}

export interface SnapshotInput {
  readonly state: AgentState;
  readonly nowMs: number;
  readonly links: { readonly witness: LinkStatus; readonly peer: LinkStatus };
  readonly action: ActionStatus | undefined;
  readonly timeline: readonly TimelineEvent[];
  readonly outcomes: readonly CommandOutcome[];
}

export function takeSnapshot(input: SnapshotInput): FailoverSnapshot {
  const { state, nowMs, links } = input;
  const { config, record } = state;
  const notArmed = whyNotArmed(state, nowMs);
  const blocked = whatBlocks(state, nowMs);
  return {
    group: config.group,
    site: config.site,
    peer: config.peer,
    state: siteState(state),
    reason: reasonOf(state, blocked),
    blocked,
    epoch: record.cert === null ? undefined : formatEpoch(record.cert.epoch),
    holder: record.cert?.holder,
    incarnation: record.incarnation,
    running: isLeaseFree(state) ? "leaseFree" : isRunning(state) ? "leased" : "no",
    witness: grantorSnapshot(state.witness, links.witness, nowMs),
    peerGrantor: grantorSnapshot(state.peerGrantor, links.peer, nowMs),
    witnessSeesPeer: state.witness.seesReadyPeer,
    promisedToPeerMs: Math.max(0, state.promiseUntilMs - nowMs),
    veto: record.veto !== null,
    armed: notArmed.length === 0,
    notArmed,
    fenceCap: effectiveFenceCap(state),
    stopBoundMs: state.fence.stopBoundMs,
    readiness: readiness(state),
    lagMs: state.data.lagMs,
    apiDownMs: state.apiDownSinceMs === null ? null : nowMs - state.apiDownSinceMs,
    lastRefusal: state.lastRefusal,
    order: state.order === null ? undefined : `${state.order.verb} ${state.order.nonce}`,
    opId: openSwitchover(state),
    divergence: divergenceOf(record.divergence),
    ifDied: forecast(state, nowMs),
    action: input.action,
    outcomes: input.outcomes,
    timeline: input.timeline,
  };
}

function reasonOf({ phase, config, aborting }: AgentState, blocked: Blocked | undefined): string {
  const abort = `\`lifeboat abort ${config.group}\`, asked here,`;
  switch (phase.type) {
    case "Fenced":
      return phase.reason;
    case "Blocked":
      return blocked?.message ?? "";
    case "Quiescing":
      return `switchover to ${config.peer}: ${stages[phase.stage]}; ${abort} calls it off`;
    case "Sealed":
      if (aborting !== "") return `the witness is asked to call the switchover to ${config.peer} off`;
      return `switchover to ${config.peer}: stopped here, ${config.peer} catches up; ${abort} has the witness call it off`;
    default:
      return "";
  }
}

/** What a source that is not sealed yet waits for. */
const stages: Readonly<Record<Extract<AgentState["phase"], { type: "Quiescing" }>["stage"], string>> = {
  preparing: "the witness is asked to record it",
  stopping: "it goes on when everything of the group has stopped here",
  sealing: "stopped here, the last changes are being sealed",
};

function grantorSnapshot(grantor: Grantor, link: LinkStatus, nowMs: number): GrantorSnapshot {
  const heard = grantor.heardAtMs > Number.NEGATIVE_INFINITY && grantor.stamp !== null;
  return {
    connected: link.connected,
    error: link.error?.message,
    linkHeardAgoMs: link.heardAgoMs,
    heardAgoMs: heard ? nowMs - grantor.heardAtMs : null,
    leaseMs: Math.max(0, grantor.leaseEndMs - nowMs),
    refusal: grantor.refusal,
  };
}

function openSwitchover({ phase, record }: AgentState): string | undefined {
  return phase.type === "Quiescing" || phase.type === "Sealed" ? phase.opId : record.incoming?.opId;
}

function divergenceOf(divergence: { readonly cert: Cert; readonly saved: boolean } | null) {
  return divergence === null ? undefined : { epoch: formatEpoch(divergence.cert.epoch), saved: divergence.saved };
}

/** Seen from either site; empty when the standby would take over by itself. */
function whyNotArmed(state: AgentState, nowMs: number): readonly string[] {
  const { policy, record, config } = state;
  const reasons: string[] = [];
  if (record.cert === null) reasons.push("the group has never been granted");
  if (!policy.automatic) reasons.push("spec.failover.automatic is false");
  if (record.paused) reasons.push(pausedAt(config.site));
  if (state.peer?.paused === true) reasons.push(pausedAt(config.peer));
  if (record.cert?.holder === config.site) reasons.push(...whyHolderNotArmed(state, nowMs));
  else if (record.cert !== null) reasons.push(...whyStandbyNotArmed(state));
  return reasons;
}

function whyHolderNotArmed(state: AgentState, nowMs: number): string[] {
  const { config, policy, witness, peerGrantor, phase } = state;
  const reasons: string[] = [];
  if (phase.type !== "Active") reasons.push(`${config.site} is ${phase.type}`);
  else if (isLeaseFree(state)) reasons.push(`${config.site} runs without a lease, since a grantor is unreachable`);
  else if (isWanted(state) && !isArmed(state)) reasons.push(stillHolding(state));
  if (witness.leaseEndMs <= nowMs) reasons.push("the witness does not renew the lease");
  if (peerGrantor.leaseEndMs <= nowMs) reasons.push(`${config.peer} does not renew the lease`);
  const { lagMs } = state.peer ?? { lagMs: null };
  if (!witness.seesReadyPeer) reasons.push(`${config.peer} is not Ready`);
  else if (lagMs === null || lagMs > policy.maxLagMs) reasons.push(tooLate(config.peer, policy));
  const cap = effectiveFenceCap(state);
  if (cap === "none") reasons.push("nothing can stop the group's processes here without the API server");
  // The witness decides by what it heard last.
  else if (witness.fenceCap !== cap) reasons.push("the witness has not heard yet how the group is stopped here");
  if (cap === "api" && !policy.unproven) {
    reasons.push("the group is stopped through the API server only, and fencing.policy is not Unproven");
  }
  return reasons;
}

function pausedAt(site: string): string {
  return `automatic failover is paused at ${site}; \`lifeboat resume\`, asked there, lifts it`;
}

/** Without the lag itself, which is another one at every look. */
function tooLate(standby: string, { maxLagMs }: AgentState["policy"]): string {
  return `${standby} lags by more than the ${maxLagMs} ms allowed`;
}

function stillHolding(state: AgentState): string {
  return disarmClaim(state, "witness") === "ask" || state.ask !== null
    ? "a grantor is unreachable and the other is being asked for a disarm"
    : "not every node guard has confirmed that it is bound by the lease";
}

function whyStandbyNotArmed(state: AgentState): string[] {
  const { config, data, policy, peer, record } = state;
  const reasons: string[] = [];
  if (!state.armed) {
    const same = peer !== null && compareCert(peer.cert, record.cert) === "same";
    reasons.push(same ? `${config.peer} has not armed it` : `${config.peer} has not been heard under this epoch`);
  }
  const ready = readiness(state);
  if (ready !== "Ready") reasons.push(`${config.site} is ${ready}`);
  else if (data.lagMs === null || data.lagMs > policy.maxLagMs) {
    reasons.push(tooLate(config.site, policy));
  }
  if (record.veto !== null) reasons.push(`${config.peer} runs without a lease`);
  return reasons;
}
