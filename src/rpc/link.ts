import { onAbort, Pulse } from "../abort.ts";
import { backoffMs, type Clock, type Random } from "../clock.ts";
import { LifeboatError } from "../errors.ts";
import { safeError, type Log } from "../telemetry/log.ts";
import { connect, type Connection, type ConnectOptions } from "./connection.ts";
import { formatIdentity } from "./identity.ts";
import { reconnectFirstMs, reconnectMaxMs } from "./limits.ts";

export interface LinkOptions extends Omit<ConnectOptions, "address"> {
  /** `host:port`; several where one of several processes answers at a time: they are tried in turn. */
  readonly address: string | readonly string[];
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Told of every change; must not throw. */
  readonly onChange?: (state: LinkState) => void;
}

export type LinkState =
  | { readonly kind: "connecting"; readonly sinceMs: number; readonly error: LifeboatError | undefined }
  | { readonly kind: "up"; readonly sinceMs: number; readonly connection: Connection };

/**
 * The lasting connection to one peer: {@link run} makes it, notices its loss and makes it again, for ever; calls wait
 * for it with {@link ready}. Use a link of its own for what must not queue behind bulk data (the failover protocol).
 */
export class Link {
  readonly #options: LinkOptions;
  readonly #up = new Set<Pulse>();
  readonly #addresses: readonly string[];
  /** Of the address that is tried next: the one that answered last, until it does no more. */
  #next = 0;
  #state: LinkState;

  constructor(options: LinkOptions) {
    this.#options = options;
    this.#addresses = [options.address].flat();
    this.#state = { kind: "connecting", sinceMs: options.clock.monotonicMs(), error: undefined };
  }

  /** Present state; `error` is why the last attempt failed. */
  get state(): LinkState {
    return this.#state;
  }

  /** Keeps the connection until the signal aborts, then closes it and rejects with the signal's reason. */
  async run({ signal }: { signal: AbortSignal }): Promise<never> {
    const { clock, random } = this.#options;
    for (let attempt = 0; ; attempt++) {
      const connection = await this.#attemptEach(signal);
      if (connection !== undefined) {
        attempt = 0;
        await this.#hold(connection, signal);
      }
      await clock.sleep(backoffMs(attempt, { firstMs: reconnectFirstMs, maxMs: reconnectMaxMs }, random), { signal });
    }
  }

  /** The connection, as soon as there is one. Rejects with the signal's reason. */
  async ready({ signal }: { signal: AbortSignal }): Promise<Connection> {
    const pulse = new Pulse();
    this.#up.add(pulse);
    try {
      for (;;) {
        if (this.#state.kind === "up") return this.#state.connection;
        await pulse.wait({ signal });
      }
    } finally {
      this.#up.delete(pulse);
    }
  }

  /** One round over all addresses, without a pause: another process answers as soon as the last one is gone. */
  async #attemptEach(signal: AbortSignal): Promise<Connection | undefined> {
    for (const _each of this.#addresses) {
      const connection = await this.#attempt(signal);
      if (connection !== undefined) return connection;
      this.#next = (this.#next + 1) % this.#addresses.length;
    }
    return undefined;
  }

  get #address(): string {
    return this.#addresses[this.#next] ?? "";
  }

  async #attempt(signal: AbortSignal): Promise<Connection | undefined> {
    const { clock, log } = this.#options;
    const address = this.#address;
    try {
      return await connect({ ...this.#options, address }, { signal });
    } catch (cause) {
      signal.throwIfAborted();
      const error = cause instanceof LifeboatError ? cause : new LifeboatError("Internal", "cannot connect", { cause });
      const before = this.#state.kind === "connecting" ? this.#state : undefined;
      // Once per reason: an unreachable peer is tried every second.
      if (before?.error?.code !== error.code) log.warn({ address, error: safeError(error) }, "cannot connect to peer");
      this.#enter({ kind: "connecting", sinceMs: before?.sinceMs ?? clock.monotonicMs(), error });
      return undefined;
    }
  }

  async #hold(connection: Connection, signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#options;
    const address = this.#address;
    const peer = formatIdentity(connection.peer);
    try {
      using _close = onAbort(signal, () => connection.close());
      this.#enter({ kind: "up", sinceMs: clock.monotonicMs(), connection });
      log.info({ address, peer }, "connected to peer");
      await connection.whenDown({ signal });
      log.info({ address, peer }, "connection to peer lost");
    } finally {
      connection.close();
      this.#enter({ kind: "connecting", sinceMs: clock.monotonicMs(), error: undefined });
    }
  }

  #enter(state: LinkState): void {
    this.#state = state;
    this.#options.onChange?.(state);
    if (state.kind === "up") for (const pulse of this.#up) pulse.raise();
  }
}
