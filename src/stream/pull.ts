import { linkedAbort, Pulse } from "../abort.ts";
import type { Clock, Random } from "../clock.ts";
import { hasCode, LifeboatError } from "../errors.ts";
import type { ChangeRecord } from "../objects/record.ts";
import type { MessageChannel } from "../rpc/channel.ts";
import type { BatchMessage, DigestMessage, PullRequest, PullResponse } from "../rpc/messages.ts";
import { decodeRecords, expandRecords } from "../rpc/records.ts";
import { compareChunks, entriesBytes, isOlderEpoch, type CompareChunk } from "./compare.ts";
import type { ChangeSink, SinkBatch } from "./doors.ts";
import {
  ackSpacingMs,
  batchBytesMax,
  batchOverheadBytes,
  checkEveryMs,
  commitBytesMax,
  compareBytesMax,
  comparesAheadMax,
  digestsWaitingMax,
  heartbeatMs,
  overdraftBytesMax,
} from "./limits.ts";
import { noMeter, runSession, SilenceWatch, type Loop, type StreamMeter } from "./session.ts";
import { ReceiveWindow } from "./window.ts";

export type SinkChannel = MessageChannel<PullRequest, PullResponse>;

export interface PullOptions {
  /** Name of the standby's site. */
  readonly site: string;
  readonly group: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly signal: AbortSignal;
  readonly meter?: StreamMeter;
  /** Raise to have the digests compared now. */
  readonly check?: Pulse;
  /** Mean time between comparisons by themselves. @default 5 minutes */
  readonly checkEveryMs?: number;
  /** Told what happens on the stream; must not throw. */
  readonly onEvent?: (event: PullEvent) => void;
}

export type PullEvent =
  /** The source answered; `resumed` says whether it goes on where this standby was. */
  | { readonly kind: "welcome"; readonly ring: string; readonly epoch: string; readonly resumed: boolean }
  /** Anything arrived; `head` is the source's highest sequence number as far as known. */
  | { readonly kind: "heard"; readonly head: number }
  /** A batch is durable. */
  | { readonly kind: "committed"; readonly batch: SinkBatch }
  /** The digests were compared and this many buckets differed. */
  | { readonly kind: "compared"; readonly purpose: "CHECK" | "RESET"; readonly differing: number };

/**
 * Pulls one group into `sink` until the source ends the stream (resolves), or the stream, the signal or the sink
 * fails (rejects): FailoverRefused when the source serves under an older epoch than the stored one, else what the
 * channel or the sink threw. Everything committed stays; a new call goes on from there. The caller closes the channel.
 */
export async function pullStream(sink: ChangeSink, channel: SinkChannel, options: PullOptions): Promise<void> {
  await new SinkSession(sink, channel, options).run();
}

/** What waits to be worked on, in the order it came. */
type Received = BatchMessage | DigestMessage;

class SinkSession {
  readonly #sink: ChangeSink;
  readonly #channel: SinkChannel;
  readonly #options: PullOptions;
  readonly #meter: StreamMeter;
  readonly #silence: SilenceWatch;
  readonly #window = new ReceiveWindow();
  readonly #received: Received[] = [];
  readonly #arrived = new Pulse();
  /** Raised when an Ack is due. */
  readonly #ackDue = new Pulse();
  /** Raised when the sink's position first is one of this stream's ring. */
  readonly #ringEntered = new Pulse();
  readonly #checkDue: Pulse;
  /** Granted and not yet received. */
  #granted: number;
  /** Received and not yet committed. */
  #held = 0;
  #ring = "";
  #head = 0;
  #durable = 0;
  readonly #chunks: (CompareChunk & { readonly last: boolean })[] = [];
  #unanswered = 0;
  /** A check was taken up and is not finished. */
  #checking = false;

  constructor(sink: ChangeSink, channel: SinkChannel, options: PullOptions) {
    this.#sink = sink;
    this.#channel = channel;
    this.#options = options;
    this.#meter = options.meter ?? noMeter;
    this.#silence = new SilenceWatch(options.clock);
    this.#checkDue = options.check ?? new Pulse();
    this.#granted = this.#window.bytes;
  }

  async run(): Promise<void> {
    const { site, group, signal } = this.#options;
    const position = this.#sink.position();
    const hello: PullRequest = {
      kind: "hello",
      site,
      group,
      epoch: this.#sink.epoch() ?? "",
      position: position?.ring === "" ? undefined : position,
      creditBytes: this.#granted,
      accepts: ["NONE", "ZSTD"],
    };
    await this.#channel.send(hello, { signal });
    const loops = [this.#work, this.#acknowledge, this.#watchApplied, this.#heartbeat];
    const checks = [this.#checkRegularly, this.#requestChecks, this.#silence.run];
    try {
      await runSession(this.#read, [...loops, ...checks], { signal });
    } finally {
      // Whoever asked is owed a check: the next stream makes it.
      if (this.#checking) this.#checkDue.raise();
    }
  }

  /** Takes everything off the transport at once: credit bounds it, and other groups share the connection. */
  readonly #read: Loop = async ({ signal }) => {
    for await (const message of this.#channel.receive({ signal })) {
      this.#silence.heard();
      await this.#take(message, signal);
    }
    // What has arrived is still made durable.
    while (this.#received.length > 0) await this.#options.clock.sleep(1, { signal });
  };

  async #take(message: PullResponse, signal: AbortSignal): Promise<void> {
    switch (message.kind) {
      case "welcome":
        await this.#refuseIfOlder(message.epoch, signal);
        this.#ring = message.ring;
        this.#head = message.head;
        this.#durable = message.resumed ? (this.#sink.position()?.seq ?? 0) : 0;
        this.#options.onEvent?.({
          kind: "welcome",
          ring: message.ring,
          epoch: message.epoch,
          resumed: message.resumed,
        });
        this.#ackDue.raise();
        return;
      case "heartbeat":
        this.#head = message.head;
        break;
      case "batch":
        this.#account(message);
        this.#received.push(message);
        this.#arrived.raise();
        break;
      case "digest":
        this.#meter.received(message.buckets.length);
        if (this.#received.filter(({ kind }) => kind === "digest").length >= digestsWaitingMax) {
          throw new LifeboatError("PeerVersion", "the source sends digests that nobody asked for");
        }
        this.#received.push(message);
        this.#arrived.raise();
        break;
    }
    this.#options.onEvent?.({ kind: "heard", head: this.#head });
  }

  #account(message: BatchMessage): void {
    this.#meter.received(message.records.length);
    this.#granted -= costOf(message);
    this.#held += costOf(message);
    // The last batch may overdraw: it is built before its size is known, and one record may be larger than a batch.
    if (this.#granted < -overdraftBytesMax) {
      throw new LifeboatError("PeerVersion", "the source sends more than it was granted");
    }
  }

  readonly #work: Loop = async ({ signal }) => {
    for (;;) {
      const first = this.#received[0];
      if (first === undefined) {
        await this.#arrived.wait({ signal });
      } else if (first.kind === "digest") {
        await this.#compare(first, signal);
        this.#received.shift();
      } else {
        await this.#commitNext(signal);
      }
    }
  };

  /** Commits the batches that wait at the front of the queue, together. They leave the queue when durable. */
  async #commitNext(signal: AbortSignal): Promise<void> {
    const batches = this.#mergeable();
    const last = batches.at(-1);
    if (last === undefined) return;
    await this.#refuseIfOlder(last.epoch, signal);
    const batch: SinkBatch = {
      epoch: last.epoch,
      position: last.position,
      records: await recordsOf(batches),
      complete: batches.some(({ complete }) => complete),
    };
    try {
      await this.#sink.commit(batch, { signal });
    } catch (error) {
      if (hasCode(error, "FailoverRefused")) await this.#refuseIfOlder(last.epoch, signal);
      throw error;
    }
    this.#received.splice(0, batches.length);
    if (batch.position.ring === this.#ring) {
      if (this.#durable === 0) this.#ringEntered.raise();
      this.#durable = batch.position.seq;
    }
    this.#head = Math.max(this.#head, this.#durable);
    this.#options.onEvent?.({ kind: "committed", batch });
    this.#ackDue.raise();
    await this.#grant(batches, signal);
    this.#noteAnswers(batches.filter(({ answered }) => answered).length);
    await this.#sendChunks(signal);
  }

  /** Batches at the front of one epoch, up to the size of a commit. */
  #mergeable(): BatchMessage[] {
    const result: BatchMessage[] = [];
    let bytes = 0;
    for (const message of this.#received) {
      if (message.kind !== "batch" || message.epoch !== (result[0] ?? message).epoch) break;
      bytes += message.records.length;
      if (result.length > 0 && bytes > commitBytesMax) break;
      result.push(message);
    }
    return result;
  }

  async #grant(batches: readonly BatchMessage[], signal: AbortSignal): Promise<void> {
    const nowMs = this.#options.clock.monotonicMs();
    for (const batch of batches) {
      this.#held -= costOf(batch);
      this.#window.note(batch.records.length, nowMs);
    }
    const bytes = this.#window.bytes - this.#granted - this.#held;
    // A little is not worth a message while the source can still send.
    if (bytes <= 0 || (bytes < this.#window.bytes / 4 && this.#granted > batchBytesMax)) return;
    this.#granted += bytes;
    await this.#channel.send({ kind: "credit", bytes }, { signal });
  }

  async #compare({ purpose, buckets }: DigestMessage, signal: AbortSignal): Promise<void> {
    const differing = this.#sink.digest.differing(buckets);
    const entries = differing.length === 0 ? [] : this.#sink.entriesIn(new Set(differing));
    this.#options.onEvent?.({ kind: "compared", purpose, differing: differing.length });
    const chunks = compareChunks(differing, entries, compareBytesMax);
    this.#chunks.push(...chunks.map((chunk) => ({ ...chunk, last: chunk === chunks.at(-1) })));
    await this.#sendChunks(signal);
  }

  #noteAnswers(count: number): void {
    this.#unanswered -= count;
    if (count > 0 && this.#unanswered === 0 && this.#chunks.length === 0) this.#checking = false;
  }

  async #sendChunks(signal: AbortSignal): Promise<void> {
    while (this.#unanswered < comparesAheadMax) {
      const chunk = this.#chunks.shift();
      if (chunk === undefined) return;
      this.#unanswered++;
      this.#meter.sent(entriesBytes(chunk.entries) + chunk.buckets.length * 2);
      await this.#channel.send({ kind: "compare", ...chunk }, { signal });
    }
  }

  readonly #acknowledge: Loop = async ({ signal }) => {
    for (;;) {
      await this.#ackDue.wait({ signal });
      await this.#channel.send({ kind: "ack", durable: this.#durable, applied: this.#applied() }, { signal });
      await this.#options.clock.sleep(ackSpacingMs, { signal });
    }
  };

  /** Applied in the numbers of this stream's ring; nothing while the sink follows another one. */
  #applied(): number {
    return this.#ring !== "" && this.#sink.position()?.ring === this.#ring
      ? Math.min(this.#sink.applied(), this.#durable)
      : 0;
  }

  readonly #watchApplied: Loop = async ({ signal }) => {
    for (;;) {
      using scope = linkedAbort(signal);
      // Numbers start over with a new ring: then what is waited for is of the old one.
      const applied = this.#sink.whenAppliedBeyond(this.#sink.applied(), { signal: scope.signal });
      await Promise.race([applied, this.#ringEntered.wait({ signal: scope.signal })]);
      scope.abort(new Error("one of two was enough"));
      this.#ackDue.raise();
    }
  };

  /** Says something once a second in any case. */
  readonly #heartbeat: Loop = async ({ signal }) => {
    for (;;) {
      await this.#options.clock.sleep(heartbeatMs, { signal });
      this.#ackDue.raise();
    }
  };

  readonly #checkRegularly: Loop = async ({ signal }) => {
    const { clock, random } = this.#options;
    const meanMs = this.#options.checkEveryMs ?? checkEveryMs;
    for (;;) {
      await clock.sleep(meanMs * (0.5 + random()), { signal });
      this.#checkDue.raise();
    }
  };

  readonly #requestChecks: Loop = async ({ signal }) => {
    for (;;) {
      await this.#checkDue.wait({ signal });
      this.#checking = true;
      await this.#channel.send({ kind: "check" }, { signal });
    }
  };

  async #refuseIfOlder(epoch: string, signal: AbortSignal): Promise<void> {
    const stored = this.#sink.epoch();
    if (stored === undefined || !isOlderEpoch(epoch, stored)) return;
    await this.#channel.send({ kind: "refuse", epoch: stored }, { signal });
    throw new LifeboatError(
      "FailoverRefused",
      `the source serves under epoch ${epoch}, older than the stored ${stored}`,
      {
        op: "stream.pull",
        hint: "another site took over; `lifeboat status GROUP` shows which",
      },
    );
  }
}

/** Credit that a batch costs; the source counts alike. */
function costOf({ records }: BatchMessage): number {
  return records.length + batchOverheadBytes;
}

async function recordsOf(batches: readonly BatchMessage[]): Promise<ChangeRecord[]> {
  const parts: ChangeRecord[][] = [];
  for (const { records, compression } of batches) parts.push(decodeRecords(await expandRecords(records, compression)));
  return parts.flat();
}
