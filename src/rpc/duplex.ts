import { linkedAbort, onAbort, Pulse } from "../abort.ts";
import { LifeboatError } from "../errors.ts";
import type { MessageChannel } from "./channel.ts";
import type { PeerIdentity } from "./identity.ts";
import { receivedMessagesMax } from "./limits.ts";
import { fromStatus } from "./status.ts";

/** What client and server calls of grpc-js have in common. */
export interface WireDuplex<WireOut> {
  write(message: WireOut): boolean;
  pause(): unknown;
  resume(): unknown;
  on(event: string, listener: (...args: never[]) => void): unknown;
}

export interface DuplexOptions<Out, In, WireOut, WireIn> {
  readonly call: WireDuplex<WireOut>;
  readonly peer: PeerIdentity;
  /** Name of the call in errors, e.g. `replication.pull`. */
  readonly op: string;
  readonly encode: (message: Out) => WireOut;
  /** May throw; the stream then fails with that error. */
  readonly decode: (message: WireIn, peer: PeerIdentity) => In;
  /** Ends the call as the side at hand does: without an error in good order. */
  readonly finish: (error?: unknown) => void;
}

/** A MessageChannel over one bidirectional call of grpc-js, at either end. */
export class DuplexChannel<Out, In, WireOut, WireIn> implements MessageChannel<Out, In> {
  readonly peer: PeerIdentity;
  readonly #options: DuplexOptions<Out, In, WireOut, WireIn>;
  readonly #received: In[] = [];
  readonly #arrived = new Pulse();
  /** Aborted when the stream has failed or is closed: wakes whoever waits to send. */
  readonly #ended = linkedAbort();
  #drained = Promise.withResolvers<void>();
  #paused = false;
  #finished = false;
  #failure: LifeboatError | undefined;

  constructor(options: DuplexOptions<Out, In, WireOut, WireIn>) {
    this.peer = options.peer;
    this.#options = options;
    const { call, op } = options;
    call.on("data", (message: WireIn) => this.#accept(message));
    call.on("drain", () => {
      this.#drained.resolve();
      this.#drained = Promise.withResolvers<void>();
    });
    call.on("end", () => {
      this.#finished = true;
      this.#arrived.raise();
    });
    call.on("error", (error: Error) => this.#fail(fromStatus(error, { op })));
    call.on("cancelled", () =>
      this.#fail(new LifeboatError("PeerUnreachable", "the peer ended the stream", { op, retryable: true })),
    );
  }

  #accept(message: WireIn): void {
    let decoded: In;
    try {
      decoded = this.#options.decode(message, this.peer);
    } catch (error) {
      this.close(error);
      return;
    }
    this.#received.push(decoded);
    if (this.#received.length >= receivedMessagesMax && !this.#paused) {
      this.#paused = true;
      this.#options.call.pause();
    }
    this.#arrived.raise();
  }

  #fail(error: LifeboatError): void {
    this.#failure ??= error;
    this.#ended.abort(this.#failure);
    this.#arrived.raise();
  }

  async send(message: Out, { signal }: { signal: AbortSignal }): Promise<void> {
    signal.throwIfAborted();
    this.#ended.signal.throwIfAborted();
    if (this.#options.call.write(this.#options.encode(message))) return;
    const drained = this.#drained.promise;
    const stopped = Promise.withResolvers<never>();
    using _stop = onAbort(signal, stopped.reject);
    using _end = onAbort(this.#ended.signal, stopped.reject);
    await Promise.race([drained, stopped.promise]);
  }

  async *receive({ signal }: { signal: AbortSignal }): AsyncGenerator<In, void, undefined> {
    for (;;) {
      const message = this.#received.shift();
      if (message !== undefined) {
        yield message;
        continue;
      }
      if (this.#paused) {
        this.#paused = false;
        this.#options.call.resume();
      }
      // What had arrived before a failure was delivered above; the failure comes after it.
      if (this.#failure !== undefined) throw this.#failure;
      if (this.#finished) return;
      await this.#arrived.wait({ signal });
    }
  }

  close(error?: unknown): void {
    if (this.#ended.signal.aborted) return;
    this.#options.finish(error);
    const closed = new LifeboatError("PeerUnreachable", "the stream is closed", { op: this.#options.op });
    this.#fail(error === undefined ? closed : fromStatus(error, { op: this.#options.op }));
  }
}
