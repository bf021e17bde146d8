import type { Clock } from "../../clock.ts";
import { LifeboatError } from "../../errors.ts";
import type { ExchangeChannel } from "../../rpc/exchange.ts";
import type { GroupMessage } from "../../rpc/messages.ts";

/**
 * Messages of all groups that become due within this go out as one envelope. It adds as much to each direction of a
 * round trip, which the protocol's shortest profile allows 100 ms.
 */
export const flushWindowMs = 10;

/** Groups served by one process may all speak at once; beyond this many messages an envelope is split. */
const messagesPerEnvelopeMax = 2000;

/**
 * Messages that wait while the transport is backed up. At the limit new ones are dropped, as a network would: the
 * protocol repeats what matters, and by its next beat the old ones are worth nothing.
 */
const queuedMax = 20_000;

export interface SenderOptions {
  readonly channel: ExchangeChannel;
  /** Site of the sender, `""` for the witness. */
  readonly from: string;
  /** Asked for each envelope: a witness that starts over in the same process speaks as another generation. */
  readonly incarnation: () => number;
  readonly clock: Clock;
  /** Ends the sending; nothing of what waits is sent. */
  readonly signal: AbortSignal;
}

/** Sends to one peer, batched: one envelope per {@link flushWindowMs}, one in flight at a time. */
export class EnvelopeSender {
  readonly #options: SenderOptions;
  #queue: GroupMessage[] = [];
  #flushing = false;
  #dropped = 0;

  constructor(options: SenderOptions) {
    this.#options = options;
  }

  /** Messages dropped since the start because the transport was backed up. */
  get dropped(): number {
    return this.#dropped;
  }

  add(message: GroupMessage): void {
    if (this.#queue.length >= queuedMax) {
      this.#dropped++;
      return;
    }
    this.#queue.push(message);
    if (this.#flushing) return;
    this.#flushing = true;
    void this.#flush();
  }

  /** Ends when the queue is empty; a failed send fails the channel, whose reader reports it. */
  async #flush(): Promise<void> {
    const { channel, from, incarnation, clock, signal } = this.#options;
    try {
      while (this.#queue.length > 0) {
        // The first message goes out with what the same turn of the event loop has to say; the window comes after.
        await new Promise((resolve) => setImmediate(resolve));
        const messages = this.#queue.splice(0, messagesPerEnvelopeMax);
        await channel.send({ from, incarnation: incarnation(), messages }, { signal });
        await clock.sleep(flushWindowMs, { signal });
      }
    } catch (error) {
      this.#queue = [];
      if (!signal.aborted) channel.close(error instanceof LifeboatError ? error : undefined);
    } finally {
      this.#flushing = false;
    }
  }
}
