import { orAborted } from "../abort.ts";
import { backoffMs } from "../clock.ts";
import { LifeboatError } from "../errors.ts";
import type { Connection } from "../rpc/connection.ts";
import { openPull } from "../rpc/replication.ts";
import { safeError, type Log } from "../telemetry/log.ts";
import type { ChangeSink } from "./doors.ts";
import { reopenFirstMs, reopenMaxMs } from "./limits.ts";
import { pullStream, type PullEvent, type PullOptions } from "./pull.ts";

export interface PullerOptions extends PullOptions {
  /** The peer's connection: `link.ready`. */
  readonly connect: (options: { signal: AbortSignal }) => Promise<Connection>;
  /** Says of which group its lines are. */
  readonly log: Log;
  /** Told when a stream has ended and why; `undefined` when the source ended it in good order. Must not throw. */
  readonly onEnd?: (error: LifeboatError | undefined) => void;
}

/**
 * Pulls one group for ever: waits for the connection, opens a stream, and after its end opens the next. A stream
 * that never got as far as a welcome is opened again with growing delays. Rejects with the signal's reason.
 */
export async function keepPulling(sink: ChangeSink, options: PullerOptions): Promise<never> {
  const { clock, random, signal } = options;
  for (let attempt = 0; ; attempt++) {
    const connection = await options.connect({ signal });
    const welcomed = await pullOnce(sink, connection, options);
    if (welcomed) attempt = 0;
    await clock.sleep(backoffMs(attempt, { firstMs: reopenFirstMs, maxMs: reopenMaxMs }, random), { signal });
  }
}

/** One stream from hello to its end; returns whether the source answered. Rejects only when the signal aborts. */
async function pullOnce(sink: ChangeSink, connection: Connection, options: PullerOptions): Promise<boolean> {
  const { log, signal } = options;
  let welcomed = false;
  const onEvent = (event: PullEvent) => {
    if (event.kind === "welcome") {
      welcomed = true;
      log.info({ ring: event.ring, epoch: event.epoch, resumed: event.resumed }, "stream opened");
    }
    options.onEvent?.(event);
  };
  const channel = openPull(connection);
  try {
    await orAborted(pullStream(sink, channel, { ...options, onEvent }), { signal });
    channel.close();
    options.onEnd?.(undefined);
  } catch (cause) {
    channel.close(cause);
    signal.throwIfAborted();
    const error =
      cause instanceof LifeboatError ? cause : new LifeboatError("Internal", "the stream failed", { cause });
    log.warn({ error: safeError(error) }, "stream ended");
    options.onEnd?.(error);
  }
  return welcomed;
}
