import { heardWithin, holdsCert, siteState, startBoundMsOf } from "../agent-draft.ts";
import type { AgentState } from "../agent-state.ts";
import { formatEpoch } from "../epoch.ts";
import type { Refusal, RefusalCode, SiteState } from "../messages.ts";

/** Nothing goes on without a person, or without what is lost coming back. */
export interface Blocked {
  readonly code: RefusalCode | "Blocked";
  /** What is in the way, and the command of whoever knows that the other site is off. */
  readonly message: string;
}

/** Refusals that no waiting ends while the other site is silent. */
const forPeople: ReadonlySet<RefusalCode> = new Set([
  "NoFence",
  "Veto",
  "OtherNotHeard",
  "Recovering",
  "NoEcho",
  "NotArmed",
  "NotReady",
  "LagTooHigh",
  "Conflict",
]);

/** Of these the witness grants a failover that a person orders. */
const forWitness: ReadonlySet<RefusalCode> = new Set(["NotArmed", "NotReady", "LagTooHigh"]);

/** A site that says this of itself runs the group, or is about to know. */
const runs: ReadonlySet<SiteState> = new Set(["Active", "Quiescing", "Adopting", "Acquiring", "Unknown"]);

/** One that is stopped, or waits to be granted the group, is in none of these. */
const runsOrMay: ReadonlySet<SiteState> = new Set(["Active", "Quiescing", "Adopting", "Unknown", "Released"]);

/** What only a person can end, told once everything that could have ended it by itself has had its time. */
export function whatBlocks(state: AgentState, nowMs: number): Blocked | undefined {
  const { phase, record, config, policy } = state;
  if (phase.type === "Blocked") return { code: "Blocked", message: `${phase.reason}; ${phase.action}` };
  if (runsOrMay.has(siteState(state)) || record.cert === null || !seemsStopped(state, nowMs)) return undefined;
  const found = obstacle(state, nowMs);
  if (found === undefined) return undefined;
  const { group, site, peer: other } = config;
  const order = `lifeboat failover ${group} --to ${site}`;
  const isGranted = forWitness.has(found.code) && heardWithin(state, "witness", policy.timing.leaseMs, nowMs);
  const command = isGranted
    ? `\`${order}\` moves it`
    : `\`${order} --force-fenced ${formatEpoch(record.cert.epoch)}\`, asked at ${site}, starts it if ${other} is off`;
  return { code: found.code, message: `${found.reason}; ${command}` };
}

/** Since the process began, or since then if that is later, nothing was heard for as long as a takeover takes. */
function isSilent(state: AgentState, heardAtMs: number | undefined, nowMs: number): boolean {
  return nowMs - Math.max(state.bootedAtMs, heardAtMs ?? state.bootedAtMs) >= startBoundMsOf(state);
}

/** The other site is lost, as far as this one and the witness know; or it waits, and this one is not to be granted it. */
function seemsStopped(state: AgentState, nowMs: number): boolean {
  const { peer, witness, policy } = state;
  if (!isSilent(state, peer?.heardAtMs, nowMs)) {
    const waits = peer !== null && !runs.has(peer.state);
    return waits && holdsCert(state) && isSilent(state, witness.heardAtMs, nowMs);
  }
  // Heard by the witness it is alive, and may well run it: only the link to it is lost.
  return !(heardWithin(state, "witness", policy.timing.leaseMs, nowMs) && witness.hearsOther);
}

function obstacle(state: AgentState, nowMs: number): Pick<Refusal, "code" | "reason"> | undefined {
  const { phase, policy, record, config, lastRefusal, peer } = state;
  const silent = isSilent(state, peer?.heardAtMs, nowMs) ? `${config.peer} is silent and ` : "";
  if (phase.type === "Standby" && !policy.automatic) {
    return { code: "NotArmed", reason: `${silent}spec.failover.automatic is false` };
  }
  if (phase.type === "Standby" && record.paused) {
    return { code: "NotArmed", reason: `${silent}automatic failover is paused at ${config.site}` };
  }
  if (lastRefusal !== null && forPeople.has(lastRefusal.code)) {
    return { code: lastRefusal.code, reason: `${silent}${lastRefusal.reason}` };
  }
  if (!isSilent(state, state.witness.heardAtMs, nowMs)) return undefined;
  return { code: "NoEcho", reason: `${silent}the witness is not heard` };
}
