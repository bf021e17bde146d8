/**
 * The witness's side of the protocol: one instance (a process start, with its generation) and, per group, a state of
 * its own. The runner steps groups one by one with the witness's monotonic clock, collects the effects of a batch,
 * commits every `persist` in **one transaction that also checks the instance's term** (the stored generation and
 * nonce are still this instance's), and only then sends the replies. A transaction that fails ends the process: what
 * it holds in memory is no longer what is durable.
 */
import type { Cert, SiteName } from "./epoch.ts";
import type { FenceCap, FromWitness, Readiness, SiteState, ToWitness } from "./messages.ts";

/** One start of a witness process. Durable before anything is answered. */
export interface WitnessInstance {
  readonly generation: number;
  readonly nonce: string;
  /** Source of this instance's stamps: unique per start. */
  readonly by: string;
  readonly bootedAtMs: number;
  /** Unix time minus monotonic time at the start; only for the cooldown. */
  readonly unixOffsetMs: number;
}

/** What the store holds for the witness as a whole: the term. */
export interface WitnessTerm {
  readonly generation: number;
  readonly nonce: string;
}

export interface Switching {
  readonly opId: string;
  readonly from: SiteName;
  readonly to: SiteName;
  readonly incarnation: number;
  readonly seq: number;
}

/** What the witness must never forget about a group; all of it can be relearned from the two agents. */
export interface WitnessGroupRecord {
  readonly group: string;
  /** The pair; fixed by the first Renew. */
  readonly sites: readonly [SiteName, SiteName];
  readonly cert: Cert | null;
  /** "No takeover": the holder runs without a lease. */
  readonly veto: { readonly site: SiteName; readonly incarnation: number } | null;
  readonly switching: Switching | null;
  /** Switchovers called off. Newest last, bounded. */
  readonly voided: readonly string[];
  readonly committed: { readonly opId: string; readonly cert: Cert } | null;
  /** Largest D + G ever promised. */
  readonly promiseMsMax: number;
  /** Unix time of the last automatic takeover, for the cooldown. */
  readonly automaticAtUnixMs: number | null;
  /**
   * The holder let go of the group, and nobody is granted it until it is adopted anew; the certificate is kept so that
   * numbers only grow.
   */
  readonly released: boolean;
}

/** What one site said last, in this generation. */
export interface Heard {
  readonly atMs: number;
  readonly incarnation: number;
  readonly seq: number;
  readonly state: SiteState;
  readonly cert: Cert | null;
  readonly ready: Readiness;
  readonly lagMs: number | null;
  readonly fenceCap: FenceCap;
  readonly promiseMs: number;
  /** Longest promise that it knows of. */
  readonly longestMs: number;
  /** Since when it has been heard without a gap of a lease. */
  readonly sinceMs: number;
  /** Newest stamp of this instance that this incarnation has proven to have received; null when none. */
  readonly echoMs: number | null;
  /** Any incarnation of the site has done so. */
  readonly proven: boolean;
}

export interface WitnessGroup {
  readonly record: WitnessGroupRecord;
  readonly heard: Readonly<Record<SiteName, Heard>>;
  /** No takeover from the holder before this. */
  readonly promiseUntilMs: number;
  /** The holder's current incarnation said that it is bound by its lease. Volatile on purpose. */
  readonly armed: boolean;
  /** A resume that waits to hear the other site after it was asked. */
  readonly asked: { readonly nonce: string; readonly atMs: number } | null;
  /** Granted and not yet seen running. */
  readonly unclaimed: { readonly site: SiteName; readonly incarnation: number; readonly nonce: string } | null;
  /** Source incarnation of the last switchover of this generation. */
  readonly lastOp: { readonly opId: string; readonly incarnation: number; readonly atMs: number } | null;
  /** Two witness generations with one number, or one epoch with two holders: a person decides. */
  readonly blocked: string | null;
}

export type WitnessEvent = { readonly type: "message"; readonly message: ToWitness };

export type WitnessEffect =
  | { readonly type: "persist"; readonly record: WitnessGroupRecord }
  | { readonly type: "reply"; readonly to: SiteName; readonly message: FromWitness }
  /** A certificate from a generation at or above this one was heard: start again above it. */
  | { readonly type: "regenerate"; readonly above: number }
  | { readonly type: "notice"; readonly code: string; readonly message: string };

export interface WitnessStep {
  readonly state: WitnessGroup;
  readonly effects: readonly WitnessEffect[];
}
