/** One simulated pair with its witness: real time, randomness, the parties and the oracle that watches them. */

import type { Timing } from "../../src/failover/timing.ts";
import type { Policy } from "../../src/failover/agent-state.ts";
import { siteKeys } from "./options.ts";
import type { SiteKey, WorldOptions } from "./options.ts";
import { Clock } from "./machine.ts";
import { Network } from "./network.ts";
import { Oracle } from "./oracle.ts";
import { Queue } from "./queue.ts";
import { Random } from "./random.ts";
import type { Reducers } from "./reducers.ts";
import { Site } from "./site.ts";
import { WitnessHost } from "./witness-host.ts";

/** Start of every local clock is drawn below this, so that no two ever agree. */
const CLOCK_START_MAX_MS = 1e6;

export class World {
  readonly options: WorldOptions;
  readonly reducers: Reducers;
  readonly random: Random;
  readonly queue = new Queue();
  readonly timing: Timing;
  readonly extremal: boolean;
  readonly network: Network;
  readonly sites: Readonly<Record<SiteKey, Site>>;
  readonly witness: WitnessHost;
  readonly oracle: Oracle;
  readonly groups: readonly number[];
  /** Whether people want the group: its object is where it runs. */
  readonly exists: boolean[];
  /** What happened, for people; filled only when asked for. */
  readonly log: string[] = [];
  logging = false;
  policy: Policy;
  /** Real time in milliseconds. */
  t = 0;
  events = 0;
  steps = 0;

  constructor(options: WorldOptions, reducers: Reducers) {
    this.options = options;
    this.reducers = reducers;
    this.random = new Random(options.seed);
    this.extremal = options.mode === "extremal" || (options.mode === "dense" && options.seed % 2 === 1);
    this.timing = reducers.profileTiming(options.profile);
    this.policy = {
      timing: this.timing,
      automatic: options.automatic,
      unproven: options.unproven,
      maxLagMs: options.maxLagMs,
      cooldownMs: options.cooldownMs,
    };
    this.groups = Array.from({ length: options.groups }, (_, i) => i);
    this.exists = this.groups.map(() => true);
    this.oracle = new Oracle(this);
    this.network = new Network(this);
    this.witness = new WitnessHost(this);
    this.sites = { east: new Site(this, "east"), west: new Site(this, "west") };
  }

  start(): void {
    this.witness.begin();
    for (const key of siteKeys) this.sites[key].begin();
  }

  /** S: what a pod takes to die, at most. */
  get stopMs(): number {
    return Math.max(this.timing.stopMs, this.options.measuredStopMs, this.options.slowNodeMs);
  }

  /** τ + P + S as the guards have measured it and the agents are told; 0 where they have not. */
  get stopBoundMs(): number {
    const { tickMs, latenessMs } = this.timing;
    const { measuredStopMs, measuredByGuards } = this.options;
    return measuredStopMs === 0 || measuredByGuards ? 0 : tickMs + latenessMs + measuredStopMs;
  }

  /** A clock as this mode has them. */
  clock(): Clock {
    const { random, timing } = this;
    const rate = this.extremal
      ? random.pick([1 - timing.rho, 1 + timing.rho])
      : random.between(1 - timing.rho, 1 + timing.rho);
    return new Clock(rate, random.between(0, CLOCK_START_MAX_MS));
  }

  after(ms: number, run: () => void): void {
    this.queue.push(this.t + ms, run);
  }

  at(ms: number, run: () => void): void {
    this.queue.push(Math.max(ms, this.t), run);
  }

  every(ms: number, run: () => void): void {
    const again = (): void => {
      run();
      this.after(ms, again);
    };
    this.after(this.random.between(0, ms), again);
  }

  /** Runs everything up to this real time. */
  runTo(ms: number): void {
    while (this.queue.nextAt() <= ms) {
      const entry = this.queue.pop();
      if (entry === undefined) break;
      this.t = entry.at;
      this.events += 1;
      entry.run();
      if (this.oracle.stopped) return;
    }
    this.t = ms;
  }

  peerOf(key: SiteKey): Site {
    return this.sites[key === "east" ? "west" : "east"];
  }

  note(who: string, what: string): void {
    if (this.logging) this.log.push(`${(this.t / 1000).toFixed(3).padStart(9)} ${who.padEnd(12)} ${what}`);
  }
}
