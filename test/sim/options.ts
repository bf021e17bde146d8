/** What a history is made of, before any fault. */
import type { FenceCap } from "../../src/failover/messages.ts";
import type { ProfileName } from "../../src/failover/timing.ts";

export const modes = ["uniform", "extremal", "frozen", "dense"] as const;
/**
 * - uniform: clock rates, delays and stops drawn evenly
 * - extremal: only the fastest and slowest clocks, the longest stops, the latest wake-ups
 * - frozen: machines stand still, their clocks with them
 * - dense: two to six faults within seconds of a move, see `dense.ts`; clocks by turns as in uniform and in extremal
 */
export type Mode = (typeof modes)[number];

export type SiteKey = "east" | "west";
export const siteKeys = ["east", "west"] as const;

export interface WorldOptions {
  readonly seed: number;
  readonly mode: Mode;
  readonly profile: ProfileName;
  readonly groups: number;
  readonly fenceCap: FenceCap;
  readonly unproven: boolean;
  readonly automatic: boolean;
  readonly cooldownMs: number;
  readonly maxLagMs: number;
  /** Pods take up to this long to die, as the guards have measured; 0 for what the profile has. */
  readonly measuredStopMs: number;
  /** The agents know of that only what each guard says; false: they are told of the whole site's as they begin. */
  readonly measuredByGuards: boolean;
  /** Pods of the last node of each site take this long to die, which nobody has measured; 0 for as long as others. */
  readonly slowNodeMs: number;
}

export const defaultOptions: WorldOptions = {
  seed: 1,
  mode: "uniform",
  profile: "test",
  groups: 1,
  fenceCap: "guard",
  unproven: false,
  automatic: true,
  cooldownMs: 0,
  maxLagMs: 30_000,
  measuredStopMs: 0,
  measuredByGuards: false,
  slowNodeMs: 0,
};

export const nodesPerSite = 3;
