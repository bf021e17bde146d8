import { runTogether } from "../abort.ts";
import { systemClock, type Clock, type Random } from "../clock.ts";
import { hasCode, messageOf } from "../errors.ts";
import type { Certificates } from "../rpc/certificates.ts";
import type { MessageChannel } from "../rpc/channel.ts";
import { openGuard } from "../rpc/guard.ts";
import type { GuardOrders, GuardReport } from "../rpc/guard-messages.ts";
import { reconnectMaxMs } from "../rpc/limits.ts";
import { Link } from "../rpc/link.ts";
import { safeError, type Log } from "../telemetry/log.ts";

export interface UplinkOptions {
  readonly pair: string;
  readonly site: string;
  /** Of the site's agent; with several of them, one answers at a time. */
  readonly address: string | readonly string[];
  readonly certificates: Certificates;
  readonly random: Random;
  readonly log: Log;
  /** Must not throw. */
  readonly onOrders: (orders: GuardOrders) => void;
}

/** The stream to the site's agent, for ever made anew. */
export class Uplink {
  readonly #options: UplinkOptions;
  readonly #link: Link;
  /** Timers of the connection need no clock that goes on over a restart. */
  readonly #clock: Clock = systemClock;
  #channel: MessageChannel<GuardReport, GuardOrders> | undefined;
  #sending = false;
  #said = "";

  constructor(options: UplinkOptions) {
    this.#options = options;
    const { pair, site, address, certificates, random, log } = options;
    const expect = { pair, roles: ["site"] as const, site };
    this.#link = new Link({ address, certificates, expect, clock: this.#clock, random, log });
  }

  get connected(): boolean {
    return this.#channel !== undefined;
  }

  /** Lost while there is no stream, or while the last report waits for it: the next one says all that counts. */
  send(report: GuardReport, { signal }: { signal: AbortSignal }): void {
    const channel = this.#channel;
    if (channel === undefined || this.#sending) return;
    this.#sending = true;
    channel
      .send(report, { signal })
      .catch(() => channel.close())
      .finally(() => {
        this.#sending = false;
      });
  }

  async run({ signal }: { signal: AbortSignal }): Promise<void> {
    await runTogether([(inner) => this.#link.run(inner), (inner) => this.#talk(inner)], { signal });
  }

  async #talk({ signal }: { signal: AbortSignal }): Promise<never> {
    for (;;) {
      const connection = await this.#link.ready({ signal });
      const channel = openGuard(connection);
      this.#channel = channel;
      try {
        for await (const orders of channel.receive({ signal })) {
          this.#said = "";
          this.#options.onOrders(orders);
        }
      } catch (error) {
        signal.throwIfAborted();
        this.#say(error);
      } finally {
        this.#channel = undefined;
        channel.close();
      }
      await this.#clock.sleep(reconnectMaxMs, { signal });
    }
  }

  /** Once per reason: it is tried every second. */
  #say(error: unknown): void {
    const { log } = this.#options;
    if (messageOf(error) === this.#said) return;
    this.#said = messageOf(error);
    const fields = { error: safeError(error) };
    if (hasCode(error, "PeerVersion") || hasCode(error, "PeerCertificate"))
      log.error(fields, "the agent refuses this guard");
    else log.warn(fields, "the stream to the agent ended");
  }
}
