/**
 * Every duration of the protocol, derived in one place from what can be measured or chosen:
 * ρ (clock rate error), h (heartbeat), D (lease), τ (guard tick), P (guard lateness), S (kill to last process dead),
 * ε (freeze detection threshold). All clocks are monotonic and local; no two are ever compared.
 */
import { LifeboatError } from "../errors.ts";
import type { Stamp } from "./messages.ts";

export interface TimingInputs {
  /** ρ: largest relative rate error of any clock taking part; 0.01 = 1 %. */
  readonly rho: number;
  /** h: a Renew is sent this often, to each grantor. */
  readonly heartbeatMs: number;
  /** D: what a grantor promises, on its clock, from its acknowledgement. */
  readonly leaseMs: number;
  /** τ: a guard polls and checks this often. */
  readonly tickMs: number;
  /** P: how late a guard may wake up, measured on the node. */
  readonly latenessMs: number;
  /** S: kill to last process dead (or traffic cut), measured on the node. */
  readonly stopMs: number;
  /** ε: a clock that stood still longer than this is noticed by the guards. */
  readonly epsilonMs: number;
  /** T_req: an Acquire without an answer is given up after this. */
  readonly requestMs: number;
  /** Longest round trip that is still called healthy. */
  readonly roundTripMs: number;
  /** A change of the site's leading agent takes at most this. */
  readonly electionMs: number;
  /** G, when chosen larger than what follows from the above. */
  readonly guardMs?: number;
}

export interface Timing extends Required<TimingInputs> {
  /** (1−ρ)/(1+ρ): shortens a duration measured on one clock so that it is safe on another. */
  readonly factor: number;
  /** What the holder may use of a lease, on its own clock, from the send of the acknowledged Renew. */
  readonly holderMs: number;
  /** D + G: a grantor joins no takeover for this long after its last promise. */
  readonly promiseMs: number;
  /** T: a grantor that has been silent for this long makes the holder ask the other for a disarm. */
  readonly disarmAfterMs: number;
  /** A Renew or Acquire whose echo is older than this (on the grantor's clock) proves nothing. */
  readonly echoMaxMs: number;
  /**
   * Half of what ε leaves above the drift of two clocks over a lease: how far the agent's clock may fall behind before
   * a guard distrusts it, and how slow the answer may be from which a guard first learns that clock.
   */
  readonly slipMs: number;
  /** τ + P + S: from expiry at a guard to the last process dead. */
  readonly stopBoundMs: number;
  /** From the last accepted Renew to the first workload start at the other site. */
  readonly startBoundMs: number;
  /** A switchover that is not resolved after this may be voided by the witness. */
  readonly switchTimeoutMs: number;
}

export const profileNames = ["fast", "standard", "api", "test"] as const;
export type ProfileName = (typeof profileNames)[number];

/** `api` is for sites whose pods are stopped through the API server only: unproven, and slow. */
export const profiles: Readonly<Record<ProfileName, TimingInputs>> = {
  fast: {
    rho: 0.01,
    heartbeatMs: 2000,
    leaseMs: 15_000,
    tickMs: 500,
    latenessMs: 2000,
    stopMs: 6000,
    epsilonMs: 1000,
    requestMs: 4000,
    roundTripMs: 200,
    electionMs: 8000,
  },
  standard: {
    rho: 0.01,
    heartbeatMs: 3000,
    leaseMs: 30_000,
    tickMs: 500,
    latenessMs: 2000,
    stopMs: 11_000,
    epsilonMs: 1000,
    requestMs: 4000,
    roundTripMs: 500,
    electionMs: 20_000,
    guardMs: 15_000,
  },
  api: {
    rho: 0.01,
    heartbeatMs: 3000,
    leaseMs: 30_000,
    tickMs: 500,
    latenessMs: 2000,
    stopMs: 60_000,
    epsilonMs: 1000,
    requestMs: 4000,
    roundTripMs: 500,
    electionMs: 20_000,
    guardMs: 65_000,
  },
  test: {
    rho: 0.01,
    heartbeatMs: 500,
    leaseMs: 5000,
    tickMs: 250,
    latenessMs: 500,
    stopMs: 2000,
    epsilonMs: 500,
    requestMs: 1000,
    roundTripMs: 100,
    electionMs: 3000,
  },
};

/** A rate error above this is no clock. */
const RHO_MAX = 0.1;
/** A lease must outlive this many heartbeats, or one lost packet stops a healthy group. */
const HEARTBEATS_PER_LEASE_MIN = 3;
/** Share of a lease that an echo may be old: lost acknowledgements fit in, a site that is deaf does not. */
const ECHO_SHARE = 1 / 3;
/** T in leases: long enough that a lapse has been lived through, short enough to be before the next fault. */
const DISARM_LEASES = 4 / 3;
/** Scale-down with grace periods and a final delta; only then may the witness call a switchover off by itself. */
const SWITCH_TIMEOUT_LEASES = 20;

/** How old an echo may be for a lease of this length, on the grantor's clock. */
export function echoMaxMs(leaseMs: number): number {
  return leaseMs * ECHO_SHARE;
}

/** Whoever sends a message now has shown that it heard the grantor `by` a moment ago. */
export function isFreshEcho(echo: Stamp | null, by: string, now: number, leaseMs: number): boolean {
  return echo !== null && echo.by === by && now - echo.timeMs <= echoMaxMs(leaseMs);
}

/** The smallest G that the inputs allow: (1+ρ)(τ/(1−ρ) + P + S + ε), rounded up to a millisecond. */
export function smallestGuardMs(inputs: TimingInputs): number {
  const { rho, tickMs, latenessMs, stopMs, epsilonMs } = inputs;
  return Math.ceil((1 + rho) * (tickMs / (1 - rho) + latenessMs + stopMs + epsilonMs) - 1e-6);
}

/** The same for a measured τ + P + S. */
export function guardMsFor(inputs: TimingInputs, stopBoundMs: number): number {
  return smallestGuardMs({ ...inputs, latenessMs: 0, stopMs: stopBoundMs - inputs.tickMs });
}

/** What is wrong with these inputs, one sentence each; empty when they can be used. */
export function timingProblems(inputs: TimingInputs): string[] {
  const problems: string[] = [];
  const positive = ["heartbeatMs", "leaseMs", "tickMs", "requestMs"] as const;
  const nonNegative = ["latenessMs", "stopMs", "epsilonMs", "roundTripMs", "electionMs"] as const;
  for (const name of positive) {
    if (!(Number.isFinite(inputs[name]) && inputs[name] > 0)) problems.push(`${name} must be a positive number`);
  }
  for (const name of nonNegative) {
    if (!(Number.isFinite(inputs[name]) && inputs[name] >= 0)) problems.push(`${name} must be a number of 0 or more`);
  }
  if (!(inputs.rho >= 0 && inputs.rho < RHO_MAX)) problems.push(`rho must be at least 0 and below ${RHO_MAX}`);
  return problems.length > 0 ? problems : ruleProblems(inputs);
}

function ruleProblems(inputs: TimingInputs): string[] {
  const problems: string[] = [];
  const { rho, heartbeatMs, leaseMs, tickMs, roundTripMs, electionMs, guardMs } = inputs;
  const factor = (1 - rho) / (1 + rho);
  const holderMin = HEARTBEATS_PER_LEASE_MIN * heartbeatMs + roundTripMs;
  if (leaseMs * factor < holderMin) {
    problems.push(
      `leaseMs ${leaseMs} is too short for heartbeatMs ${heartbeatMs}: at least ${Math.ceil(holderMin / factor)}`,
    );
  }
  const electionMin = electionMs + heartbeatMs + roundTripMs;
  if (leaseMs < electionMin) {
    problems.push(`leaseMs ${leaseMs} is shorter than a change of the leading agent: at least ${electionMin}`);
  }
  if (tickMs * 4 > leaseMs) problems.push(`tickMs ${tickMs} is too long for leaseMs ${leaseMs}: at most a quarter`);
  if (inputs.requestMs < roundTripMs)
    problems.push(`requestMs ${inputs.requestMs} is shorter than roundTripMs ${roundTripMs}`);
  const drift = 2 * rho * leaseMs;
  if (inputs.epsilonMs <= drift) {
    problems.push(`epsilonMs ${inputs.epsilonMs} cannot be told from clock drift over a lease: more than ${drift}`);
  }
  const guardMin = smallestGuardMs(inputs);
  if (guardMs !== undefined && !(guardMs >= guardMin)) {
    problems.push(
      `guardMs ${guardMs} is below what tick, lateness, stop and freeze detection need: at least ${guardMin}`,
    );
  }
  return problems;
}

/**
 * All durations of the protocol.
 * @throws LifeboatError `ConfigInvalid` naming every rule that the inputs break
 */
export function deriveTiming(inputs: TimingInputs): Timing {
  const problems = timingProblems(inputs);
  if (problems.length > 0) {
    throw new LifeboatError("ConfigInvalid", `timing: ${problems.join("; ")}`, { op: "failover.timing" });
  }
  const { rho, heartbeatMs, leaseMs, tickMs, latenessMs, stopMs, requestMs, roundTripMs } = inputs;
  const guardMs = inputs.guardMs ?? smallestGuardMs(inputs);
  const factor = (1 - rho) / (1 + rho);
  const promiseMs = leaseMs + guardMs;
  return {
    ...inputs,
    guardMs,
    factor,
    promiseMs,
    holderMs: leaseMs * factor,
    disarmAfterMs: Math.round(leaseMs * DISARM_LEASES),
    echoMaxMs: echoMaxMs(leaseMs),
    slipMs: (inputs.epsilonMs - 2 * rho * leaseMs) / 2,
    stopBoundMs: tickMs + latenessMs + stopMs,
    startBoundMs: Math.ceil(promiseMs / (1 - rho) + heartbeatMs + requestMs + roundTripMs),
    switchTimeoutMs: SWITCH_TIMEOUT_LEASES * leaseMs,
  };
}

/** A named profile, with single inputs replaced (a measured P or S, say). */
export function profileTiming(name: ProfileName, overrides: Partial<TimingInputs> = {}): Timing {
  return deriveTiming({ ...profiles[name], ...overrides });
}
