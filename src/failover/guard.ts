/**
 * The node guard's side of the protocol, for one group on one node: hold the group's pods while a copy of the site's
 * lease lasts, stop them when it ends or on the first denial, and keep them down. It decides with its own clock alone;
 * agent, API server and kubelet may all be dead.
 */
import { compareCert } from "./epoch.ts";
import type { Cert } from "./epoch.ts";
import type { GuardAnswer, GuardMode, GuardPoll } from "./messages.ts";
import type { Timing } from "./timing.ts";

/** What a guard keeps on the node's disk per group. A group that is here stays gated whatever the API server says. */
export interface GuardRecord {
  readonly group: string;
  readonly namespaces: readonly string[];
  /** Highest certificate ever obeyed. */
  readonly cert: Cert | null;
  /** Highest incarnation of the site's agents ever obeyed. */
  readonly incarnation: number;
}

/** Baseline of the agent's clock against this one; `slope` is bounded by 2ρ, so a jump shows as a slip. */
export interface ClockBaseline {
  /** Incarnation of the agent whose clock this is. */
  readonly incarnation: number;
  /** agent clock − guard clock, as believed. */
  readonly offsetMs: number;
  readonly atMs: number;
}

export interface GuardState {
  readonly node: string;
  readonly bootId: string;
  readonly timing: Timing;
  readonly record: GuardRecord;
  readonly mode: GuardMode;
  /** End of the copy while `leased`. */
  readonly untilMs: number;
  readonly reason: string;
  readonly seq: number;
  readonly pollSentAtMs: number;
  /** When the poll that is waiting for its answer was sent; null when none is. */
  readonly polls: readonly (readonly [number, number])[];
  readonly baseline: ClockBaseline | null;
  /** The agent's clock stood still: nothing counts that rests on a renewal sent before this (agent's clock). */
  readonly distrustBeforeMs: number | null;
  readonly stopMs: number | null;
  readonly nextPollAtMs: number;
  /** Stopping: when the kill was ordered, to measure S. */
  readonly killedAtMs: number | null;
}

export type GuardEvent =
  | { readonly type: "tick" }
  | { readonly type: "answer"; readonly answer: GuardAnswer }
  | { readonly type: "namespaces"; readonly namespaces: readonly string[] }
  /** The last process of the group on this node is gone after a kill. */
  | { readonly type: "allDead" }
  | { readonly type: "timing"; readonly timing: Timing };

export type GuardEffect =
  | { readonly type: "poll"; readonly poll: GuardPoll }
  /** Write to the node's disk before the effects that follow in this list. */
  | { readonly type: "persist"; readonly record: GuardRecord }
  /** Let the group's pods start and run: write the gate file, thaw. */
  | { readonly type: "openGate" }
  /**
   * Refresh the kernel dead-man of the group's traffic: it must cut by itself this long from now.
   * Repeated at every poll; null lifts the cut entirely (never granted).
   */
  | { readonly type: "traffic"; readonly forMs: number | null }
  /** Remove the gate file, cut the traffic, kill the pods' cgroups and keep killing what comes back. */
  | { readonly type: "stop"; readonly reason: string };

export interface GuardStep {
  readonly state: GuardState;
  readonly effects: readonly GuardEffect[];
}

export function guardHighest(a: Cert | null, b: Cert | null): Cert | null {
  return compareCert(b, a) === "newer" ? b : a;
}
