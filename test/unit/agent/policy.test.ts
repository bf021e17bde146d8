import { expect, test } from "vitest";
import { electionWarnings } from "../../../src/agent/policy.ts";
import type { GroupSpec } from "../../../src/config/group.ts";
import { specWith } from "../render/helpers.ts";

const specOf = (profile: GroupSpec["failover"]["profile"]) => specWith({ failover: { profile } });

const election = (durationSeconds: number) => ({ lease: "lifeboat-agent", durationSeconds });

test("an election that takes longer than the lease of a group's profile is told of", () => {
  expect(electionWarnings(specOf("fast"), undefined)).toEqual([]);
  expect(electionWarnings(specOf("fast"), election(6))).toEqual([]);
  expect(electionWarnings(specOf("fast"), election(7))).toEqual([]);
  expect(electionWarnings(specOf("fast"), election(8))).toEqual([
    "election.durationSeconds 8 is too long for the profile fast: the group stops when the leading agent is lost; " +
      "at most 7, or a slower profile",
  ]);
  expect(electionWarnings(specOf("standard"), election(17))).toEqual([]);
  expect(electionWarnings(specOf("standard"), election(60))).toHaveLength(1);
});
