/**
 * The agent's side of the protocol for one group at one site: state, events, effects.
 *
 * The runner owns clock, network, disk and cluster. It calls `stepAgent(state, event, now)` with its own monotonic
 * clock, carries out the effects **in their order**, and feeds what comes of them back as events. Anything that must be
 * durable first is not in the same list as what depends on it: the reducer emits `persist`, waits for `persisted`, and
 * only then emits the rest.
 */
import type { Cert, SiteName } from "./epoch.ts";
import type {
  AcquireKind,
  FenceCap,
  FromWitness,
  GuardAnswer,
  GuardMode,
  GuardPoll,
  PeerMessage,
  Readiness,
  Refusal,
  Seal,
  SealedVolume,
  SiteState,
  Stamp,
  ToWitness,
} from "./messages.ts";
import type { Timing } from "./timing.ts";

/** The part of the group's spec that the protocol needs. May be edited at any time (`policy` event). */
export interface Policy {
  readonly timing: Timing;
  /** Automatic failover is wanted. */
  readonly automatic: boolean;
  /** `fencing.policy: Unproven`: automatic failover also where pods are stopped through the API only. */
  readonly unproven: boolean;
  readonly maxLagMs: number;
  readonly cooldownMs: number;
}

export interface AgentConfig {
  readonly group: string;
  readonly site: SiteName;
  readonly peer: SiteName;
  /** The site at which the group was created: the only one that may ask for the first grant. */
  readonly source: boolean;
  readonly policy: Policy;
}

/**
 * What a site must never forget. Written whole, by compare-and-swap on the incarnation: a store refuses a record with a
 * lower incarnation than the one it holds, so that a paused former leader cannot overwrite its successor.
 */
export interface SiteRecord {
  readonly incarnation: number;
  readonly cert: Cert | null;
  /** This site, as holder, runs without a lease on the record of `by` ("person" after force-fenced). */
  readonly disarm: { readonly by: "witness" | "peer" | "person" } | null;
  /** This site, as grantor, has recorded "no takeover" for the peer's incarnation. */
  readonly veto: { readonly incarnation: number } | null;
  /** Largest D + G this site ever promised; a boot waits for it before it joins a takeover. */
  readonly promiseMsMax: number;
  /** Highest incarnation of the peer that this site has promised to: what an older one had sealed counts no more. */
  readonly promisedTo: number;
  /** This site has stopped for good under the seal's certificate. Cleared by a newer certificate. */
  readonly seal: Seal | null;
  /** The seal that this site, as the target of a switchover, is bringing itself up to. */
  readonly incoming: Seal | null;
  /** Switchovers that were called off; their seals and commits are refused for ever. Newest last, bounded. */
  readonly voided: readonly string[];
  /** One-shot nonces of orders already obeyed. Newest last, bounded. */
  readonly usedNonces: readonly string[];
  /** `lifeboat pause`: no automatic failover away from here. */
  readonly paused: boolean;
  /**
   * This site ran under `cert` before the peer took over; until `saved`, nothing here may be deleted. The runner sets it
   * itself, unsaved, when the API server (and this record in it) went back in time: what ran here is then not known.
   */
  readonly divergence: { readonly cert: Cert; readonly saved: boolean } | null;
  /** An earlier group of this name ended under this certificate: it and older ones, whoever shows them, count nothing. */
  readonly released: Cert | null;
}

/** What the agent is doing. `Active` and `Quiescing` run the group; `Adopting` lets it run ungated. */
export type Phase =
  | { readonly type: "Adopting" }
  /** Booted as the holder and not yet known whether the guards held on. */
  | { readonly type: "Unknown"; readonly warm: boolean }
  | { readonly type: "Standby" }
  | {
      readonly type: "Acquiring";
      readonly kind: AcquireKind;
      readonly nonce: string;
      /** First send: the lease of the grant is counted from here. */
      readonly sentAtMs: number;
      readonly lastSentAtMs: number;
      /** Asked from `Adopting`: the group runs and is gated by nothing yet. */
      readonly ungated: boolean;
    }
  | { readonly type: "Active" }
  /** Holder by certificate, not running: lapsed, or booted cold. */
  | { readonly type: "Fenced"; readonly reason: string }
  /** Source of a switchover, still running until the runner says `quiesced`. */
  | {
      readonly type: "Quiescing";
      readonly opId: string;
      readonly stage: "preparing" | "stopping" | "sealing";
      /** Called off when it is not sealed by then. */
      readonly untilMs: number;
      /** Taken, and being written. */
      readonly seal: Seal | null;
    }
  /** Source of a switchover, stopped for good under its epoch; asks the witness to call it off after `untilMs`. */
  | { readonly type: "Sealed"; readonly opId: string; readonly untilMs: number }
  /** The witness has let go of the group: nothing is gated, nothing is said, nothing is remembered. */
  | { readonly type: "Released" }
  | { readonly type: "Blocked"; readonly reason: string; readonly action: string };

/** What is known about a grantor (or, at a standby, about whoever answers). */
export interface Grantor {
  /** End of its promise on this clock; 0 when none. */
  readonly leaseEndMs: number;
  /** When the Renew of that promise was sent. */
  readonly leaseSentAtMs: number;
  /** G of that promise. */
  readonly leaseGuardMs: number;
  /** Last acknowledgement of any kind. */
  readonly heardAtMs: number;
  /** Last acknowledgement with a promise. */
  readonly promisedAtMs: number;
  readonly stamp: Stamp | null;
  readonly refusal: Refusal | null;
  readonly fenceCap: FenceCap;
  readonly seesReadyPeer: boolean;
  readonly hearsOther: boolean;
  readonly seesWitness: boolean;
  /** Sequence number of the next message to it, and the last Renews sent: [seq, sent at]. */
  readonly seq: number;
  readonly sent: readonly (readonly [number, number])[];
}

/** What the peer says of itself in its Renews. */
export interface PeerView {
  readonly heardAtMs: number;
  readonly incarnation: number;
  readonly seq: number;
  readonly state: SiteState;
  readonly ready: Readiness;
  readonly lagMs: number | null;
  readonly obstacle: string;
  readonly paused: boolean;
  readonly cert: Cert | null;
}

export interface GuardReport {
  readonly mode: GuardMode;
  readonly cert: Cert | null;
  readonly incarnation: number;
  readonly applied: number;
  readonly atMs: number;
  readonly stopMs: number | null;
  /** It has obeyed an `open` of this process. */
  readonly known: boolean;
  /** Newest poll that this process answered with `free` or `open`; -1 when none. */
  readonly freeSeq: number;
  /** While it is `fenced`: when the last process that it stops is dead at the latest, on this agent's clock. */
  readonly deadAtMs: number;
  /** It is `fenced`, and that time has come. */
  readonly isDown: boolean;
}

/** What happens once the pending record is durable. */
export type Continuation =
  | { readonly type: "none" }
  | {
      readonly type: "granted";
      readonly leaseEndMs: number;
      readonly sentAtMs: number;
      readonly guardMs: number;
      readonly how: AcquireKind | "commit";
    }
  | { readonly type: "forced" }
  | { readonly type: "paused"; readonly nonce: string }
  | { readonly type: "divergenceSaved" }
  | { readonly type: "followed" }
  | { readonly type: "disarmed" }
  | { readonly type: "rearming" }
  | { readonly type: "sealed"; readonly opId: string }
  | { readonly type: "incoming" };

export interface Pending {
  readonly token: number;
  readonly record: SiteRecord;
  readonly next: Continuation;
}

/** An order by a person that goes on until it is carried out or refused. */
export type Order = {
  readonly nonce: string;
  /** Given up after this. */
  readonly untilMs: number;
} & (
  | { readonly verb: "failover" | "switchover" }
  /** The forced certificate, until it is durable. */
  | { readonly verb: "force-fenced"; readonly cert: Cert }
);

/** Switchover as seen by the target. */
export interface Incoming {
  /** What is named in the seal is applied here and equal in every hash. */
  readonly verified: boolean;
  /** Of the CaughtUp; the commit repeats it. */
  readonly nonce: string;
  /** What the witness has been told up to here asked about something else. */
  readonly sinceSeq: number;
}

export interface AgentState {
  readonly config: AgentConfig;
  readonly policy: Policy;
  readonly bootedAtMs: number;
  /** The record that is known to be durable. */
  readonly record: SiteRecord;
  /** Newest certificate heard from anyone, durable or not. */
  readonly seen: Cert | null;
  /** Highest generation of the witness that has answered. */
  readonly witnessGeneration: number;
  readonly pending: Pending | null;
  /** A write failed or is unanswered whose outcome is unknown; the next confirmed one settles it. */
  readonly uncertain: boolean;
  readonly retryPersistAtMs: number;
  readonly nextToken: number;
  readonly nextNonce: number;
  readonly phase: Phase;
  readonly witness: Grantor;
  readonly peerGrantor: Grantor;
  readonly peer: PeerView | null;
  /** As grantor: no takeover before this. */
  readonly promiseUntilMs: number;
  /**
   * As grantor: the peer's current incarnation said that it is bound by its lease. Volatile on purpose; null when this
   * process has not heard it yet: then the witness knows, and what this site recorded against a takeover is durable.
   */
  readonly armed: boolean | null;
  /** First seq of the running request for a disarm, per grantor. */
  readonly ask: { readonly to: "witness" | "peer"; readonly sinceSeq: number } | null;
  /** This process knows that the recorded disarm is in force; a record alone may have come back from a backup. */
  readonly leaseFree: boolean;
  /** This process has said whether the group is to run here. */
  readonly asked: boolean;
  /** Nothing recorded elsewhere may be lifted before every guard has been heard in lease mode (or fenced). */
  readonly keepVeto: boolean;
  readonly guards: Readonly<Record<string, GuardReport>>;
  /** Latest end of a lease that a guard was told of. */
  readonly heldUntilMs: number;
  /** Nodes with pods of the group, as the API server last said; null when it never did. */
  readonly nodesWithPods: readonly string[] | null;
  readonly fence: { readonly cap: FenceCap; readonly stopBoundMs: number };
  readonly data: {
    readonly readiness: Readiness;
    readonly lagMs: number | null;
    readonly recoveryPoint: string;
    readonly obstacle: string;
    /** When the data path last said so, on this clock. */
    readonly atMs: number;
  };
  readonly apiDownSinceMs: number | null;
  readonly nextRenewAtMs: number;
  readonly nextTryAtMs: number;
  /** Longest D + G that this process has asked for. */
  readonly longestMs: number;
  /**
   * The group was to be started here, and the runner has not said yet that it is: a switchover waits for that, until then
   * at most, since what cannot be brought up is tried for ever.
   */
  readonly startingUntilMs: number;
  readonly lastRefusal: Refusal | null;
  readonly order: Order | null;
  readonly incoming: Incoming | null;
  /** A switchover given up before its seal, until the witness has voided it. */
  readonly aborting: string;
  /** The switchover of this site's seal, once the witness has said that it is committed. */
  readonly committedOp: string;
  readonly deposedBy: number;
  /** The group was deleted: it moves no more, and its holder asks the witness to let go of it. */
  readonly ending: boolean;
  readonly unguardedAllowed: boolean;
  /** The divergence is being saved, or the peer is being followed, under this certificate. */
  readonly following: Cert | null;
}

export type Command =
  /** Move the group to `to`. `epoch` is what the person saw (`formatEpoch`); one that is no longer true is refused. */
  | { readonly verb: "failover"; readonly to: SiteName; readonly epoch: string; readonly nonce: string }
  | { readonly verb: "switchover"; readonly to: SiteName; readonly epoch: string; readonly nonce: string }
  /** A person attests that the other site is off. Runs here at once, under an epoch of its own. */
  | { readonly verb: "force-fenced"; readonly epoch: string; readonly operator: string; readonly nonce: string }
  | { readonly verb: "abort"; readonly nonce: string }
  | { readonly verb: "pause"; readonly nonce: string }
  | { readonly verb: "resume"; readonly nonce: string };

export type AgentEvent =
  /**
   * The group was deleted and the standby has that on its disk; or, with false, it was created again meanwhile. Fed at
   * both sites, and again after every boot for as long as it is so.
   */
  | { readonly type: "ending"; readonly ending: boolean }
  /** Due at `nextWakeAgent(state)` at the latest; harmless at any other time. */
  | { readonly type: "tick" }
  | { readonly type: "fromWitness"; readonly message: FromWitness }
  | { readonly type: "fromPeer"; readonly message: PeerMessage }
  | { readonly type: "guard"; readonly poll: GuardPoll }
  | { readonly type: "persisted"; readonly token: number }
  /** Also when the outcome is unknown (a timeout); it is retried. */
  | { readonly type: "persistFailed"; readonly token: number; readonly reason: string }
  | { readonly type: "policy"; readonly policy: Policy }
  /**
   * How good this site is as a standby, fed at every contact of the data path with the holder and **not** while there is
   * none: `lagMs` is the lag as measured at that contact, the age since then is the reducer's to judge. Ready is
   * reported only for data that follows the current certificate.
   */
  | {
      readonly type: "data";
      readonly readiness: Readiness;
      readonly lagMs: number | null;
      readonly recoveryPoint: string;
      /** What would not come up here, in words. @default "" */
      readonly obstacle?: string;
      /** The contact was so long ago, and another process had it. @default now */
      readonly contactAgoMs?: number;
    }
  /** From the API server: all nodes of the site, and those to which pods of the group are bound. */
  | { readonly type: "nodes"; readonly all: readonly string[]; readonly withPods: readonly string[] }
  | { readonly type: "fence"; readonly cap: FenceCap; readonly stopBoundMs: number }
  | { readonly type: "api"; readonly up: boolean }
  | { readonly type: "command"; readonly command: Command }
  /** What was to be started runs, as far as it can be waited for. */
  | { readonly type: "started" }
  /** Switchover at the source: pods and volume attachments are gone. */
  | { readonly type: "quiesced"; readonly opId: string }
  /** Switchover at the source: the final delta is taken. */
  | {
      readonly type: "sealReady";
      readonly opId: string;
      readonly objectsRevision: string;
      readonly objectsHash: string;
      readonly volumes: Readonly<Record<string, SealedVolume>>;
    }
  /** Switchover at the target: what was applied, to be compared with the seal. */
  | {
      readonly type: "verified";
      readonly opId: string;
      readonly objectsHash: string;
      readonly volumes: Readonly<Record<string, SealedVolume>>;
    }
  /** What this site wrote on its own is kept in a snapshot and listed. */
  | { readonly type: "divergenceSaved" };

export type AgentEffect =
  | { readonly type: "toWitness"; readonly message: ToWitness }
  | { readonly type: "toPeer"; readonly message: PeerMessage }
  | { readonly type: "answerGuard"; readonly answer: GuardAnswer }
  /** Make durable, then feed `persisted` (or `persistFailed`). At most one is outstanding. */
  | { readonly type: "persist"; readonly token: number; readonly record: SiteRecord }
  /** Run the group here under this certificate (idempotent; also after a warm restart). */
  | { readonly type: "startRunning"; readonly cert: Cert; readonly kind: AcquireKind | "commit" | "forced" | "warm" }
  /** Stop the group here now; the guards learn it by their next poll. */
  | { readonly type: "stopRunning"; readonly reason: string }
  /** Switchover at the source: pull ingress, freeze autoscalers, scale down, wait for pods and attachments. */
  | { readonly type: "quiesce"; readonly opId: string }
  /** Switchover at the source: take the final delta, then feed `sealReady`. */
  | { readonly type: "prepareSeal"; readonly opId: string }
  /** Switchover at the source: it is off; bring everything back (the group still runs under its epoch). */
  | { readonly type: "unquiesce"; readonly opId: string; readonly reason: string }
  /** Switchover at the target: apply up to the seal, then feed `verified`. */
  | { readonly type: "applySeal"; readonly seal: Seal }
  /** The peer holds the group: keep what was written here (then feed `divergenceSaved`). */
  | { readonly type: "saveDivergence"; readonly cert: Cert }
  /** The peer holds the group and nothing here is left to save: roll back to the common point and pull. */
  | { readonly type: "followPeer"; readonly cert: Cert }
  /** Whether pods of the group may be bound to nodes without a live guard. */
  | { readonly type: "allowUnguarded"; readonly allowed: boolean }
  /** Answer to a person's order: goes to status, an event and the waiting command. */
  | {
      readonly type: "outcome";
      readonly nonce: string;
      readonly ok: boolean;
      readonly code: string;
      readonly message: string;
    }
  /**
   * Someone obeys or has heard a higher incarnation than this one. If this process still leads at the site (its own
   * record was set back), it boots again with an incarnation above; otherwise it stops.
   */
  | { readonly type: "deposed"; readonly incarnation: number }
  /**
   * The witness has let go of the group, or never had it: what the holder ran goes on ungated. The last effect of this
   * state; `record` is all that is to be remembered, and what a group of this name that is created anew boots with.
   */
  | { readonly type: "released"; readonly record: SiteRecord }
  /** A change worth an event and a log line. */
  | { readonly type: "notice"; readonly code: string; readonly message: string };

export interface AgentStep {
  readonly state: AgentState;
  readonly effects: readonly AgentEffect[];
}

export const emptyRecord: SiteRecord = {
  incarnation: 0,
  cert: null,
  disarm: null,
  veto: null,
  promiseMsMax: 0,
  promisedTo: 0,
  seal: null,
  incoming: null,
  voided: [],
  usedNonces: [],
  paused: false,
  divergence: null,
  released: null,
};
