import type { AgentConfig } from "../config/agent.ts";
import { parseDuration } from "../config/duration.ts";
import type { GroupSpec } from "../config/group.ts";
import type { Policy } from "../failover/agent-state.ts";
import { profileTiming, type ProfileName } from "../failover/timing.ts";

const profileOf: Readonly<Record<GroupSpec["failover"]["profile"], ProfileName>> = {
  fast: "fast",
  standard: "standard",
  api: "api",
  test: "test",
};

/** The part of a group's spec that the failover protocol works with. */
export function policyOf(spec: GroupSpec): Policy {
  const { automatic, profile, fencing, maxLag, cooldown } = spec.failover;
  return {
    timing: profileTiming(profileOf[profile]),
    automatic,
    unproven: fencing.policy === "Unproven",
    maxLagMs: parseDuration(maxLag),
    cooldownMs: parseDuration(cooldown),
  };
}

/** Of the Lease's duration: so often it is looked at; who stands by sees it a retry late, and takes it with the next. */
export const electionRetryShare = 1 / 6;

/** What a newly elected agent needs until it renews: the records, the journals, the first heartbeat. */
const takeUpMs = 2000;

/** A change of the leading agent that takes longer than a lease stops the group: `D ≥ election + h + RTT`. */
export function electionWarnings(spec: GroupSpec, election: AgentConfig["election"]): string[] {
  if (election === undefined) return [];
  const { holderMs, heartbeatMs, roundTripMs } = policyOf(spec).timing;
  const mostMs = (holderMs - heartbeatMs - roundTripMs - takeUpMs) / (1 + 2 * electionRetryShare);
  const { durationSeconds } = election;
  if (durationSeconds * 1000 <= mostMs) return [];
  return [
    `election.durationSeconds ${durationSeconds} is too long for the profile ${spec.failover.profile}: the group stops ` +
      `when the leading agent is lost; at most ${Math.floor(mostMs / 1000)}, or a slower profile`,
  ];
}
