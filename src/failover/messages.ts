/**
 * What agents, witness and guards say to each other. Plain JSON-able objects, so that the wire format, the simulator
 * and a log line are the same thing. Times are milliseconds; a time without a clock named in its comment is a
 * duration. Nobody ever compares times of two clocks: a {@link Stamp} only goes back to the clock it came from.
 */
import type { Cert, SiteName } from "./epoch.ts";

/** A moment on the clock of one process, to be echoed back to that very process. */
export interface Stamp {
  /** Unique per process start (witness: generation and nonce; agent: site and incarnation). */
  readonly by: string;
  readonly timeMs: number;
}

/** How the group's processes can be stopped at a site without its API server. Ordered from best to worst. */
export type FenceCap = "guard" | "storage" | "api" | "none";

/** State of a site for one group, as it travels. */
export type SiteState =
  | "Adopting"
  | "Unknown"
  | "Standby"
  | "Acquiring"
  | "Active"
  | "Fenced"
  | "Quiescing"
  | "Sealed"
  | "Released"
  | "Blocked";

export type Readiness = "Syncing" | "Ready" | "Stale";

/**
 * What a Renew says about running without a lease:
 * - `no`: this site is bound by its lease; a recorded disarm is lifted
 * - `keep`: nothing is asked and nothing is lifted (a booted agent that has not heard from all its guards yet)
 * - `ask`: please record "no takeover"; this site goes on without a lease once that is acknowledged
 * - `held`: this site runs without a lease on a record made earlier; whoever hears it records it too
 */
export type DisarmClaim = "no" | "keep" | "ask" | "held";

/** Heartbeat of a site to witness and peer; asks for a promise when the site holds the group. */
export interface Renew {
  readonly type: "Renew";
  readonly group: string;
  readonly site: SiteName;
  /** The other site of the pair. */
  readonly peer: SiteName;
  /** Grows with every change of the agent that leads at the site; a lower one is refused by everyone. */
  readonly incarnation: number;
  /** Grows with every message of this incarnation to this receiver; an old one is dropped. */
  readonly seq: number;
  readonly cert: Cert | null;
  readonly state: SiteState;
  /** A process restart whose guards never stopped holding: the promise may be renewed without a new epoch. */
  readonly warm: boolean;
  readonly disarm: DisarmClaim;
  /** Automatic failover away from this site is wanted and this site is bound by its lease. */
  readonly armed: boolean;
  readonly ready: Readiness;
  /** Lag behind the holder as last measured at this standby; null when never synchronised. */
  readonly lagMs: number | null;
  /** What would not come up at this standby, in words; "" where nothing is known. No switchover goes there. */
  readonly obstacle: string;
  /** A person has paused automatic failover at this site: as the standby it takes nothing over by itself. */
  readonly paused: boolean;
  readonly fenceCap: FenceCap;
  /** Longest time from a lapse to the last process dead, as measured; part of the promise when above G. */
  readonly stopBoundMs: number;
  /** Longest D + G that this process has asked for or its site has promised: a witness that knows nothing waits for it. */
  readonly longestMs: number;
  /** Highest generation of the witness heard here: one that is below has lost its memory and starts again above it. */
  readonly generation: number;
  /** The last stamp of the receiver that reached this site; proves that it hears. */
  readonly echo: Stamp | null;
  /** Lease D that is asked for. */
  readonly leaseMs: number;
  /** Guard time G that is asked for. */
  readonly guardMs: number;
  /** The switchover this site takes part in, or "". */
  readonly opId: string;
}

/** Why a Renew brought no promise, or why an Acquire was refused. `retryable` ones go away by waiting. */
export type RefusalCode =
  | "Recovering"
  | "BootWait"
  | "NoEcho"
  | "PromiseRuns"
  | "Veto"
  | "Switching"
  | "NotArmed"
  | "NotReady"
  | "LagTooHigh"
  | "Cooldown"
  | "NoFence"
  | "OtherNotHeard"
  | "OlderEpoch"
  | "OlderIncarnation"
  | "NotHolder"
  | "NotRunning"
  | "Acquiring"
  | "Recording"
  | "Conflict"
  | "Voided"
  | "NotPrepared"
  | "Released";

export interface Refusal {
  readonly code: RefusalCode;
  /** For people; names the fact and what would change it. */
  readonly reason: string;
  /** When it may be worth asking again; null when only another event changes it. */
  readonly retryInMs: number | null;
}

export interface RenewAck {
  readonly type: "RenewAck";
  readonly group: string;
  /** The grantor: a site, or "witness". */
  readonly from: SiteName;
  /** Of the Renew. */
  readonly incarnation: number;
  readonly seq: number;
  /** A promise: no takeover for leaseMs + guardMs from the moment of this acknowledgement. */
  readonly ok: boolean;
  /** Why not ok. */
  readonly refusal: Refusal | null;
  /** The newest certificate the grantor knows; of a released group nothing to a site that knows nothing of it. */
  readonly cert: Cert | null;
  /** Generation of the witness; 0 from a peer. A site takes no grant from a generation below the highest it heard. */
  readonly generation: number;
  /** D and G of this promise. */
  readonly leaseMs: number;
  readonly guardMs: number;
  /** "No takeover" is durable at the grantor for this incarnation. */
  readonly disarmRecorded: boolean;
  /** Witness: the other site was heard within D and is Ready. Peer: always false. */
  readonly seesReadyPeer: boolean;
  /** Witness: the other site was heard within D. Peer: always false. */
  readonly hearsOther: boolean;
  /** Peer: the witness was heard within D. Witness: always true. */
  readonly seesWitness: boolean;
  /** The fence capability that the grantor has taken note of for this site. */
  readonly fenceCap: FenceCap;
  /** Highest incarnation of the asking site that the grantor has heard. */
  readonly incarnationSeen: number;
  /** The grantor's view of the switchover named in the Renew. */
  readonly op: "none" | "open" | "voided" | "committed";
  readonly stamp: Stamp;
}

/**
 * - `adopt`: first grant ever, to the site where the group runs
 * - `takeover`: automatic, by a standby
 * - `manual`: the same, ordered by a person (armed, lag and cooldown are waived)
 * - `resume`: the holder lapsed or booted, or its grant got lost on the way
 * - `unseal`: the source of a switchover takes the group back after its seal
 */
export type AcquireKind = "adopt" | "takeover" | "manual" | "resume" | "unseal";

export interface Acquire {
  readonly type: "Acquire";
  readonly group: string;
  readonly site: SiteName;
  readonly incarnation: number;
  readonly seq: number;
  readonly kind: AcquireKind;
  readonly cert: Cert | null;
  /** One per attempt; the grant repeats it. Sent again unchanged until it is answered. */
  readonly nonce: string;
  readonly echo: Stamp | null;
  readonly ready: Readiness;
  readonly lagMs: number | null;
  /** Time since that was measured. What the witness heard of the holder since then was never received here. */
  readonly silentMs: number;
  /** Limits of the group's policy as this site knows it. */
  readonly maxLagMs: number;
  readonly cooldownMs: number;
  readonly unproven: boolean;
  /** What would be started from. For people and records only. */
  readonly recoveryPoint: string;
  readonly leaseMs: number;
  readonly guardMs: number;
  /** The switchover of an `unseal`, or "". */
  readonly opId: string;
}

/** The new epoch, and a promise counted like that of a RenewAck. */
export interface Grant {
  readonly type: "Grant";
  readonly group: string;
  readonly nonce: string;
  /** Of the Acquire that is granted: the lease is counted from its send. */
  readonly seq: number;
  readonly kind: AcquireKind;
  readonly cert: Cert;
  readonly leaseMs: number;
  readonly guardMs: number;
  readonly stamp: Stamp;
}

export interface AcquireRefused {
  readonly type: "AcquireRefused";
  readonly group: string;
  readonly nonce: string;
  readonly refusal: Refusal;
  readonly cert: Cert | null;
  readonly stamp: Stamp;
}

/** What one volume must look like at the target. */
export interface SealedVolume {
  readonly generation: number;
  readonly hash: string;
}

/** The source's signed statement that it has stopped for good under this epoch, and what it left behind. */
export interface Seal {
  readonly opId: string;
  readonly cert: Cert;
  readonly objectsRevision: string;
  readonly objectsHash: string;
  readonly volumes: Readonly<Record<string, SealedVolume>>;
}

/** Target → source: a person asked the target for a switchover; the source leads it. */
export interface SwitchAsk {
  readonly type: "SwitchAsk";
  readonly group: string;
  readonly opId: string;
  readonly to: SiteName;
  readonly cert: Cert | null;
}

/** Source → witness. Repeated until answered. */
export interface SwitchPrepare {
  readonly type: "SwitchPrepare";
  readonly group: string;
  readonly site: SiteName;
  readonly incarnation: number;
  readonly seq: number;
  readonly opId: string;
  readonly to: SiteName;
  readonly cert: Cert | null;
  readonly echo: Stamp | null;
}

/** Witness → source: recorded; automatic failover waits until it is resolved. */
export interface SwitchPrepared {
  readonly type: "SwitchPrepared";
  readonly group: string;
  readonly opId: string;
  readonly stamp: Stamp;
}

/** Witness → source or target, source → target. */
export interface SwitchRefused {
  readonly type: "SwitchRefused";
  readonly group: string;
  readonly opId: string;
  readonly refusal: Refusal;
  readonly cert: Cert | null;
}

/** Source → target, repeated while sealed. */
export interface Sealed {
  readonly type: "Sealed";
  readonly group: string;
  readonly site: SiteName;
  readonly incarnation: number;
  readonly seal: Seal;
}

/** Target → witness: everything named in the seal is applied and verified here. Repeated until answered. */
export interface CaughtUp {
  readonly type: "CaughtUp";
  readonly group: string;
  readonly site: SiteName;
  readonly incarnation: number;
  readonly seq: number;
  readonly opId: string;
  readonly nonce: string;
  readonly cert: Cert | null;
  readonly echo: Stamp | null;
  readonly leaseMs: number;
  readonly guardMs: number;
}

/** Witness → target: the point of no return. A promise counted from the send of the CaughtUp with this nonce. */
export interface Commit {
  readonly type: "Commit";
  readonly group: string;
  readonly opId: string;
  readonly nonce: string;
  /** Of the CaughtUp that is answered: the lease is counted from its send. */
  readonly seq: number;
  readonly cert: Cert;
  readonly leaseMs: number;
  readonly guardMs: number;
  readonly stamp: Stamp;
}

/** Source → witness before the seal: the switchover is off. Answered by `op` in the next RenewAck. */
export interface Abort {
  readonly type: "Abort";
  readonly group: string;
  readonly site: SiteName;
  readonly incarnation: number;
  readonly seq: number;
  readonly opId: string;
  readonly reason: string;
}

/** Holder → witness: the group was deleted. Repeated until answered by a Released; a SwitchRefused says not yet. */
export interface Release {
  readonly type: "Release";
  readonly group: string;
  readonly site: SiteName;
  readonly incarnation: number;
  readonly seq: number;
  readonly cert: Cert | null;
}

/** Witness → holder: durable; nobody is granted the group any more until it is created anew. */
export interface Released {
  readonly type: "Released";
  readonly group: string;
  /** The certificate that was let go of. */
  readonly cert: Cert | null;
}

export type ToWitness = Renew | Acquire | SwitchPrepare | CaughtUp | Abort | Release;
export type FromWitness = RenewAck | Grant | AcquireRefused | SwitchPrepared | SwitchRefused | Commit | Released;
export type PeerMessage = Renew | RenewAck | SwitchAsk | SwitchRefused | Sealed;

/** What a guard does with the group's pods on its node. */
export type GuardMode =
  /** Never heard of a grant: nothing is gated. */
  | "open"
  /** Holding on a copy of the site's lease. */
  | "leased"
  /** Holding without a lease, because the site said so. */
  | "free"
  /** Stopped and kept down; also the state after every boot of the node. */
  | "fenced";

/** Guard → agent, every tick. One poll of a node carries one of these per group. */
export interface GuardPoll {
  readonly type: "GuardPoll";
  readonly group: string;
  readonly node: string;
  /** Kernel boot id of the node. */
  readonly bootId: string;
  /** Grows with every poll of one kernel boot. */
  readonly seq: number;
  /** The newest poll whose answer has been obeyed; what was answered to older ones can no longer take effect. */
  readonly applied: number;
  readonly mode: GuardMode;
  /** Certificate under which it holds, or the highest it has ever seen when it does not. */
  readonly cert: Cert | null;
  /** Highest incarnation of the site's agents it has obeyed. */
  readonly incarnation: number;
  /** Measured from expiry to the last process dead; null when never measured. */
  readonly stopMs: number | null;
}

/**
 * Agent → guard.
 * - `open`: never granted, gate nothing; but remember the group, so that a boot of the node waits for an answer
 * - `hold`: hold for `remainingMs`, counted from the send of the poll
 * - `free`: hold until told otherwise
 * - `wait`: nothing to say yet; a copy runs out by itself
 * - `deny`: stop now
 * - `released`: the group is no more: forget it, gate nothing
 */
export interface GuardAnswer {
  readonly type: "GuardAnswer";
  readonly group: string;
  readonly node: string;
  /** Of the poll. */
  readonly bootId: string;
  readonly seq: number;
  readonly verdict: "open" | "hold" | "free" | "wait" | "deny" | "released";
  readonly cert: Cert | null;
  readonly incarnation: number;
  readonly remainingMs: number;
  /** The agent's clock when it answered, and when it sent the renewal that this rests on. */
  readonly agentNowMs: number;
  readonly leaseSentAtMs: number;
  readonly reason: string;
}
