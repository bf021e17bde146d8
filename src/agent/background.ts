import { linkedAbort } from "../abort.ts";
import { backoffMs, type Clock, type Random } from "../clock.ts";
import { safeError, type Log } from "../telemetry/log.ts";

export interface BackgroundOptions {
  readonly name: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Ends the task with the agent. */
  readonly signal: AbortSignal;
}

const restartLimits = { firstMs: 200, maxMs: 15_000 };

/** A task that runs beside others until it is stopped; one that fails is logged and started again with backoff. */
export class Background {
  readonly name: string;
  readonly #stop: () => void;
  readonly #ended: Promise<void>;

  constructor(options: BackgroundOptions, task: (options: { signal: AbortSignal }) => Promise<void>) {
    this.name = options.name;
    const scope = linkedAbort(options.signal);
    this.#stop = () => scope.abort(new Error(`${options.name} was stopped`));
    this.#ended = keepRunning(options, task, scope.signal).finally(() => scope[Symbol.dispose]());
  }

  /** Resolves when the task has ended. */
  async stop(): Promise<void> {
    this.#stop();
    await this.#ended;
  }
}

async function keepRunning(
  { name, clock, random, log }: BackgroundOptions,
  task: (options: { signal: AbortSignal }) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  for (let attempt = 0; !signal.aborted; attempt++) {
    try {
      await task({ signal });
    } catch (error) {
      if (signal.aborted) return;
      log.error({ task: name, error: safeError(error) }, "a task of the group failed; it is started again");
    }
    if (signal.aborted) return;
    await clock.sleep(backoffMs(attempt, restartLimits, random), { signal }).catch(() => undefined);
  }
}
