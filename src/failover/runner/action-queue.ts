import { linkedAbort, onAbort, Pulse, type LinkedAbort } from "../../abort.ts";
import { backoffMs, type Clock, type Random } from "../../clock.ts";
import { messageOf } from "../../errors.ts";
import { safeError, type Log } from "../../telemetry/log.ts";
import type { AgentEvent } from "../agent-state.ts";
import { settleMaxMs, type GroupActions } from "./actions.ts";
import { followsAfter, replaces, sameGoal, type Goal } from "./goals.ts";

/** A failed action is tried again soon: a stop that waits is a group that runs where it should not. */
const retryFirstMs = 250;
/** … and often enough that a healed API server is used within the heartbeat of the slowest profile. */
const retryMaxMs = 3000;

/** Log messages at either end of an action, with its type: the points at which a process may be lost in a move. */
export const actionBegun = "action begun";
export const actionDone = "action done";

export interface ActionQueueOptions {
  readonly actions: GroupActions;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** A goal was reached; `event` is what the reducer is to be told of it. Must not throw. */
  readonly onDone: (goal: Goal, event: AgentEvent | undefined) => void;
}

/** What is being done, for status. */
export interface ActionStatus {
  readonly type: Goal["type"];
  readonly sinceMs: number;
  /** Failed attempts so far. */
  readonly failures: number;
  /** Of the last failed attempt. */
  readonly error: string | undefined;
}

interface Running {
  readonly goal: Goal;
  readonly scope: LinkedAbort;
  readonly sinceMs: number;
  failures: number;
  error: string | undefined;
  /** Done, and whoever waits for it is being told. */
  told: boolean;
  /** Told of it, they asked for the very same once more. */
  again: boolean;
}

/** Carries out goals one at a time; {@link GroupActions} has the rules. */
export class ActionQueue {
  readonly #options: ActionQueueOptions;
  readonly #changed = new Pulse();
  #waiting: Goal[] = [];
  #running: Running | undefined;
  /** The last wish about running at all, for what settles late. */
  #wish: Goal | undefined;

  constructor(options: ActionQueueOptions) {
    this.#options = options;
  }

  get status(): ActionStatus | undefined {
    if (this.#running === undefined) return undefined;
    const { goal, sinceMs, failures, error } = this.#running;
    return { type: goal.type, sinceMs, failures, error };
  }

  /** Takes a new goal; what it replaces is aborted before this returns. */
  request(goal: Goal): void {
    if (goal.type === "startRunning" || goal.type === "stopRunning") this.#wish = goal;
    const running = this.#running;
    const live = running !== undefined && !running.scope.signal.aborted;
    if (live && sameGoal(running.goal, goal)) {
      running.again = running.told;
      return;
    }
    this.#waiting = this.#waiting.filter((older) => !replaces(goal, older) && !sameGoal(older, goal));
    this.#place(goal);
    if (live && replaces(goal, running.goal)) running.scope.abort();
    else if (live && followsAfter(running.goal, goal)) {
      // What has to come first was begun too early: it starts anew after the goal.
      running.scope.abort();
      this.#place(running.goal);
    }
    this.#changed.raise();
  }

  /** Works until the signal aborts; rejects with its reason. */
  async run({ signal }: { signal: AbortSignal }): Promise<never> {
    for (;;) {
      signal.throwIfAborted();
      const goal = this.#waiting.shift();
      if (goal === undefined) await this.#changed.wait({ signal });
      else await this.#pursue(goal, signal);
    }
  }

  /** Before everything that has to follow it, after everything else. */
  #place(goal: Goal): void {
    const at = this.#waiting.findIndex((other) => followsAfter(other, goal));
    this.#waiting.splice(at === -1 ? this.#waiting.length : at, 0, goal);
  }

  async #pursue(goal: Goal, signal: AbortSignal): Promise<void> {
    const { clock, random, log } = this.#options;
    using scope = linkedAbort(signal);
    const sinceMs = clock.monotonicMs();
    const running: Running = { goal, scope, sinceMs, failures: 0, error: undefined, told: false, again: false };
    this.#running = running;
    log.info({ action: goal.type }, actionBegun);
    try {
      for (;;) {
        try {
          const event = await this.#settled(goal, scope.signal);
          if (scope.signal.aborted) return;
          log.info({ action: goal.type }, actionDone);
          this.#tell(running, event);
          if (!running.again || scope.signal.aborted) return;
          // What differs from a seal, say. Not at once: it may well differ the next time, too.
          running.error = "what came of it was not enough";
        } catch (error) {
          if (scope.signal.aborted) return;
          running.error = messageOf(error);
          log.warn({ action: goal.type, failures: running.failures + 1, error: safeError(error) }, "action failed");
        }
        const waitMs = backoffMs(running.failures++, { firstMs: retryFirstMs, maxMs: retryMaxMs }, random);
        await clock.sleep(waitMs, { signal: scope.signal }).catch(() => {});
        if (scope.signal.aborted) return;
      }
    } finally {
      this.#running = undefined;
    }
  }

  #tell(running: Running, event: AgentEvent | undefined): void {
    running.told = true;
    running.again = false;
    this.#options.onDone(running.goal, event);
    running.told = false;
  }

  /** What the action came to; rejects as well when it was aborted and has not settled in time. */
  async #settled(goal: Goal, signal: AbortSignal): Promise<AgentEvent | undefined> {
    const work = perform(this.#options.actions, goal, signal);
    const tooLate = Promise.withResolvers<never>();
    using watch = linkedAbort();
    const giveUp = () => {
      void this.#options.clock.sleep(settleMaxMs, { signal: watch.signal }).then(
        () => {
          this.#repeatStopAfter(goal, work);
          tooLate.reject(new Error("still busy after it was aborted"));
        },
        () => {},
      );
    };
    using _giveUp = onAbort(signal, giveUp);
    try {
      return await Promise.race([work, tooLate.promise]);
    } finally {
      watch.abort();
    }
  }

  #repeatStopAfter(goal: Goal, work: Promise<unknown>): void {
    this.#options.log.warn({ action: goal.type }, "action goes on after it was aborted");
    const repeat = () => {
      if (this.#wish?.type !== "stopRunning") return;
      this.#waiting.unshift(this.#wish);
      this.#changed.raise();
    };
    work.then(repeat, repeat);
  }
}

async function perform(actions: GroupActions, goal: Goal, signal: AbortSignal): Promise<AgentEvent | undefined> {
  const options = { signal };
  switch (goal.type) {
    case "startRunning":
      await actions.startRunning(goal, options);
      return { type: "started" };
    case "stopRunning":
      await actions.stopRunning(goal, options);
      return undefined;
    case "quiesce":
      await actions.quiesce(goal, options);
      return { type: "quiesced", opId: goal.opId };
    case "prepareSeal":
      return { type: "sealReady", opId: goal.opId, ...(await actions.prepareSeal(goal, options)) };
    case "unquiesce":
      await actions.unquiesce(goal, options);
      return undefined;
    case "applySeal":
      return { type: "verified", opId: goal.seal.opId, ...(await actions.applySeal(goal, options)) };
    case "saveDivergence":
      await actions.saveDivergence(goal, options);
      return { type: "divergenceSaved" };
    case "followPeer":
      await actions.followPeer(goal, options);
      return undefined;
    case "allowUnguarded":
      await actions.allowUnguarded(goal, options);
      return undefined;
  }
}
