import type { Cert } from "../epoch.ts";
import type { AcquireKind, Seal, SealedVolume } from "../messages.ts";

/**
 * What the protocol asks of the site, for one group. The agent's wiring implements it; the runner calls it.
 *
 * **Every action is idempotent and states a goal**, e.g. "this group runs here under this certificate". A promise that
 * resolves says that the goal was reached once. One that rejects is called again with backoff, for as long as it is
 * still the goal; so an action reports what it could not do by throwing, and never gives up by returning.
 *
 * **One at a time, and the newest goal wins.** For one group at most one action is in progress, with this exception:
 * an action that has been told to stop (its `signal` aborted) and has not settled within
 * {@link settleMaxMs} no longer holds up the next; when it settles at last, a stop that came after it is done once
 * more, since its last writes may have landed after it. What replaces what:
 *
 * | asked for | aborts and drops | waits for |
 * | --- | --- | --- |
 * | `startRunning` | everything, but the same certificate's start goes on undisturbed | – |
 * | `stopRunning` | start, quiesce, prepareSeal, unquiesce; a stop in progress goes on | – |
 * | `quiesce` | start, unquiesce, an older switchover's quiesce and prepareSeal | stop |
 * | `prepareSeal` | another switchover's prepareSeal | quiesce |
 * | `unquiesce` | quiesce, prepareSeal | start, stop |
 * | `saveDivergence` | an older one | stop |
 * | `followPeer` | an older one, applySeal | stop, saveDivergence |
 * | `applySeal` | another switchover's | stop, saveDivergence, followPeer |
 *
 * The last three wait for what they wait for also when it is asked for later: then they are aborted and begin anew
 * after it.
 *
 * So nothing of the peer is ever rolled onto this site before a stop has resolved, nor before what this site wrote by
 * itself has been saved. When the agent process ends, whatever is in progress is aborted and **nothing is stopped at
 * the site**: a restart is not a lapse.
 */
export interface GroupActions {
  /**
   * Run the group here under this certificate: promote (render the journal with role=active, in waves), or after a
   * restart simply go on. Resolves when every wave is ready or has been reported.
   */
  startRunning(goal: StartGoal, options: ActionOptions): Promise<void>;
  /** Stop the group here; resolves when nothing of it runs any more. The guards learn it by their next poll. */
  stopRunning(goal: { readonly reason: string }, options: ActionOptions): Promise<void>;
  /** Switchover, source: pull ingress, freeze autoscalers, scale down; resolves when pods and attachments are gone. */
  quiesce(goal: { readonly opId: string }, options: ActionOptions): Promise<void>;
  /** Switchover, source: the final delta; resolves with what the seal is to say. */
  prepareSeal(goal: { readonly opId: string }, options: ActionOptions): Promise<SealContent>;
  /** Switchover, source: it is off; bring everything back. */
  unquiesce(goal: { readonly opId: string; readonly reason: string }, options: ActionOptions): Promise<void>;
  /** Switchover, target: apply up to the seal; resolves with what is here now. */
  applySeal(goal: { readonly seal: Seal }, options: ActionOptions): Promise<AppliedContent>;
  /** Keep what was written here under `cert`, in a snapshot and a list. Deletes nothing. */
  saveDivergence(goal: { readonly cert: Cert }, options: ActionOptions): Promise<void>;
  /** Roll back to the last common point and start to pull from the holder of `cert`; resolves when pulling. */
  followPeer(goal: { readonly cert: Cert }, options: ActionOptions): Promise<void>;
  /** Whether pods of the group may be bound to nodes without a live guard. Beside the others; the newest wins. */
  allowUnguarded(goal: { readonly allowed: boolean }, options: ActionOptions): Promise<void>;
  /** Answer to a person's order: status, an event, the waiting command. Must not throw; queues what takes time. */
  outcome(outcome: CommandOutcome): void;
  /** A change worth an event. It is already logged. Must not throw; queues what takes time. */
  notice(notice: Notice): void;
}

export interface StartGoal {
  readonly cert: Cert;
  /** How the right to run came about; `warm` after a restart of the agent under which the group went on running. */
  readonly kind: StartKind;
}

export type StartKind = AcquireKind | "commit" | "forced" | "warm";

export interface ActionOptions {
  /** Aborted when the goal has been replaced, or the process ends. */
  readonly signal: AbortSignal;
}

export interface SealContent {
  readonly objectsRevision: string;
  readonly objectsHash: string;
  readonly volumes: Readonly<Record<string, SealedVolume>>;
}

export interface AppliedContent {
  readonly objectsHash: string;
  readonly volumes: Readonly<Record<string, SealedVolume>>;
}

export interface CommandOutcome {
  /** Of the command. */
  readonly nonce: string;
  readonly ok: boolean;
  /** `Done`, or the code of a refusal. */
  readonly code: string;
  /** One sentence for people. */
  readonly message: string;
}

export interface Notice {
  readonly code: string;
  readonly message: string;
}

/**
 * 2 s: an aborted request to an API server settles in far less; a stop that waits longer eats into the time that the
 * other site allows for it.
 */
export const settleMaxMs = 2000;
