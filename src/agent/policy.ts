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
