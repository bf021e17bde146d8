/** One history: a world, its faults at their times, the mending, and what must be true at the end. */
import { heal, inject } from "./faults.ts";
import type { Entry, Plan } from "./faults.ts";
import type { Violation } from "./oracle.ts";
import type { Reducers } from "./reducers.ts";
import { siteKeys } from "./options.ts";
import type { SiteKey } from "./options.ts";
import { World } from "./world.ts";

export interface Outcome {
  readonly violation: Violation | null;
  readonly samples: number;
  readonly exactlyOne: number;
  readonly takeovers: number;
  readonly switchovers: number;
  readonly excusedOverlaps: number;
  readonly steps: number;
  readonly events: number;
  readonly phases: ReadonlySet<string>;
  /** Fault × state of the first group at each site when it struck. */
  readonly met: ReadonlySet<string>;
  readonly log: readonly string[];
}

/** After the mending exactly one site must run each group within this many promises, plus the cooldown. */
const LIVENESS_PROMISES = 5;
const LOOK_MS = 1000;
/** Exactly one site has run for this long: the history may end. */
const STABLE_MS = 3000;

export interface HistoryOptions {
  readonly logging?: boolean;
  /** Breaks something outside the reducers. */
  readonly world?: ((world: World) => void) | undefined;
}

export function runPlan(plan: Plan, reducers: Reducers, how: HistoryOptions = {}): Outcome {
  const world = new World(plan.options, reducers);
  world.logging = how.logging ?? false;
  how.world?.(world);
  world.start();
  world.oracle.begin();
  const met = new Set<string>();
  for (const entry of plan.entries) world.at(entry.atMs, () => strike(world, entry, met));
  world.runTo(plan.healAtMs);
  if (!world.oracle.stopped) {
    heal(world);
    settle(world);
  }
  const { oracle } = world;
  return {
    violation: oracle.violations[0] ?? null,
    samples: oracle.samples,
    exactlyOne: oracle.exactlyOne,
    takeovers: oracle.takeovers,
    switchovers: oracle.switchovers,
    excusedOverlaps: oracle.excusedOverlaps,
    steps: world.steps,
    events: world.events,
    phases: oracle.phases,
    met,
    log: world.log,
  };
}

function strike(world: World, entry: Entry, met: Set<string>): void {
  for (const key of siteKeys) {
    const phase = world.sites[key].leader()?.states[0]?.phase.type ?? "none";
    met.add(`${entry.fault.kind}×${key}:${phase}`);
  }
  inject(world, entry.fault);
}

/** L1, and L4 where only a person can go on. */
function settle(world: World): void {
  // A policy edit may have left long promises behind.
  const promiseMs = Math.max(world.policy.timing.promiseMs, world.timing.promiseMs, 25_000);
  const deadline = world.t + LIVENESS_PROMISES * promiseMs + world.options.cooldownMs;
  let stableSince = Infinity;
  while (world.t < deadline && !world.oracle.stopped) {
    world.runTo(world.t + LOOK_MS);
    if (!oneEach(world)) stableSince = Infinity;
    else if (stableSince === Infinity) stableSince = world.t;
    if (world.t - stableSince >= STABLE_MS) return;
  }
  if (!world.oracle.stopped) world.oracle.fail("L1", `not exactly one site runs: ${describe(world)}`);
}

function oneEach(world: World): boolean {
  return world.groups.every((g) => {
    const running = siteKeys.filter((key) => world.sites[key].isRunning(g));
    // Nobody looks after what was deleted: it runs where it ran, if anything still wants it to.
    if (world.exists[g] !== true) return running.length <= 1 && isForgotten(world, g);
    return running.length === 1 || siteKeys.some((key) => isBlocked(world, key, g));
  });
}

/** Stuck on purpose: that it says why, and what to do, is seen to by the oracle (L4). */
function isBlocked(world: World, key: SiteKey, g: number): boolean {
  return world.sites[key].leader()?.states[g]?.phase.type === "Blocked";
}

/** A deleted group must not be remembered for ever, or one of its name could not begin again. */
function isForgotten(world: World, g: number): boolean {
  return siteKeys.every((key) => {
    const site = world.sites[key];
    return site.present[g] !== true || isBlocked(world, key, g);
  });
}

function describe(world: World): string {
  const parts = siteKeys.map((key) => {
    const state = world.sites[key].leader()?.states[0];
    return `${key} ${state?.phase.type ?? "no leader"} (${state?.lastRefusal?.reason ?? ""})`;
  });
  return parts.join(", ");
}
