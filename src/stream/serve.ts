import { linkedAbort, orAborted, Pulse } from "../abort.ts";
import type { Clock } from "../clock.ts";
import { LifeboatError } from "../errors.ts";
import type { ObjectKey } from "../objects/key.ts";
import type { ChangeRecord } from "../objects/record.ts";
import type { MessageChannel } from "../rpc/channel.ts";
import type { Compression, PullRequest, PullResponse } from "../rpc/messages.ts";
import { compressRecords, encodeRecords } from "../rpc/records.ts";
import { differingKeys, entriesBytes, isOlderEpoch } from "./compare.ts";
import type { ChangeSource, StreamPosition } from "./doors.ts";
import {
  batchBytesMax,
  batchCountMax,
  batchOverheadBytes,
  batchSpacingMs,
  comparesAheadMax,
  compressBytesMin,
  fullBatchBytes,
  heartbeatMs,
  helloTimeoutMs,
} from "./limits.ts";
import { noMeter, runSession, SilenceWatch, type Loop, type StreamMeter } from "./session.ts";

export type SourceChannel = MessageChannel<PullResponse, PullRequest>;
type Hello = Extract<PullRequest, { kind: "hello" }>;
type Compare = Extract<PullRequest, { kind: "compare" }>;

/** A stream whose first message has been read: it says which group is wanted. */
export interface OpenedStream {
  readonly hello: Hello;
  readonly channel: SourceChannel;
  /** What follows the hello. */
  readonly requests: AsyncIterableIterator<PullRequest>;
}

export interface ServeOptions {
  /** Name of the serving site. */
  readonly site: string;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /**
   * Compression of batches, where the standby can read it. It halves the bytes or better and costs about as much
   * CPU again as the whole stream, so it pays on links below 100 Mbit/s only. @default "NONE"
   */
  readonly compression?: Compression;
  readonly meter?: StreamMeter;
  /** The standby has stored a newer epoch: this site is not active any more. */
  readonly onNewerEpoch?: (epoch: string) => void;
}

/** Reads the first message. Rejects with PeerVersion when it is not a hello, with Timeout when none comes. */
export async function readHello(
  channel: SourceChannel,
  { clock, signal }: { clock: Clock; signal: AbortSignal },
): Promise<OpenedStream> {
  const requests = channel.receive({ signal });
  using stop = linkedAbort(signal);
  const late = async (): Promise<never> => {
    await clock.sleep(helloTimeoutMs, { signal: stop.signal });
    throw new LifeboatError("Timeout", `no hello within ${helloTimeoutMs / 1000} s`, { retryable: true });
  };
  try {
    const first = await Promise.race([requests.next(), late()]);
    if (first.done === true || first.value.kind !== "hello") {
      throw new LifeboatError("PeerVersion", "the stream did not begin with a hello", {
        hint: "upgrade the older of the two agents",
      });
    }
    return { hello: first.value, channel, requests };
  } finally {
    stop.abort(new Error("hello was read"));
  }
}

/**
 * Serves one group to one standby until the standby ends the stream (resolves), or the stream, the signal or the
 * source fails (rejects). Rejects with FailoverRefused when the standby has stored a newer epoch than the source's.
 */
export async function serveStream(source: ChangeSource, stream: OpenedStream, options: ServeOptions): Promise<void> {
  await new SourceSession(source, stream, options).run();
}

/** A digest that was sent and whose Compares are not all answered. */
interface OpenDigest {
  readonly purpose: "CHECK" | "RESET";
  readonly seq: number;
}

class SourceSession {
  readonly #source: ChangeSource;
  readonly #stream: OpenedStream;
  readonly #options: ServeOptions;
  readonly #meter: StreamMeter;
  readonly #silence: SilenceWatch;
  /** Raised when there may be something to do for {@link #send}. */
  readonly #wake = new Pulse();
  readonly #compares: Compare[] = [];
  /** Oldest first: the standby answers them in order. */
  readonly #digests: OpenDigest[] = [];
  #checkWanted = false;
  #credit: number;
  /** Everything up to here has been sent. */
  #sent = 0;
  #lastBatch = { atMs: Number.NEGATIVE_INFINITY, full: true };

  constructor(source: ChangeSource, stream: OpenedStream, options: ServeOptions) {
    this.#source = source;
    this.#stream = stream;
    this.#options = options;
    this.#meter = options.meter ?? noMeter;
    this.#silence = new SilenceWatch(options.clock);
    this.#credit = stream.hello.creditBytes;
  }

  async run(): Promise<void> {
    const loops = [this.#send, this.#watchHead, this.#heartbeat, this.#silence.run];
    await runSession(this.#read, loops, { signal: this.#options.signal });
  }

  readonly #read: Loop = async ({ signal }) => {
    this.#refuseIfNewer(this.#stream.hello.epoch);
    for (;;) {
      const next = await orAborted(this.#stream.requests.next(), { signal });
      if (next.done === true) return;
      this.#silence.heard();
      this.#take(next.value);
    }
  };

  #take(request: PullRequest): void {
    switch (request.kind) {
      case "credit":
        this.#credit += request.bytes;
        break;
      case "ack":
        this.#source.acknowledged({ durable: request.durable, applied: request.applied });
        return;
      case "check":
        this.#checkWanted = true;
        break;
      case "compare":
        this.#meter.received(entriesBytes(request.entries) + request.buckets.length * 2);
        if (this.#compares.length >= comparesAheadMax) throw outOfTurn("too many comparisons at once");
        this.#compares.push(request);
        break;
      case "refuse":
        this.#refuseIfNewer(request.epoch);
        break;
      case "hello":
        throw outOfTurn("a second hello");
      case "heartbeat":
        return;
    }
    this.#wake.raise();
  }

  #refuseIfNewer(epoch: string): void {
    if (!isOlderEpoch(this.#source.epoch, epoch)) return;
    this.#options.onNewerEpoch?.(epoch);
    throw new LifeboatError(
      "FailoverRefused",
      `the standby has stored epoch ${epoch}; this site serves under the older ${this.#source.epoch}`,
      { hint: "another site took over; `lifeboat status GROUP` shows which" },
    );
  }

  readonly #heartbeat: Loop = async ({ signal }) => {
    for (;;) {
      await this.#stream.channel.send({ kind: "heartbeat", head: this.#source.head }, { signal });
      await this.#options.clock.sleep(heartbeatMs, { signal });
    }
  };

  /** Wakes the sender when the source moves. */
  readonly #watchHead: Loop = async ({ signal }) => {
    await this.#source.whenSynced({ signal });
    for (;;) {
      const { head } = this.#source;
      await this.#source.whenBeyond(head, { signal });
      this.#wake.raise();
    }
  };

  readonly #send: Loop = async ({ signal }) => {
    await this.#source.whenSynced({ signal });
    await this.#welcome(signal);
    for (;;) {
      const acted = await this.#step(signal);
      if (!acted) await this.#wake.wait({ signal });
    }
  };

  async #welcome(signal: AbortSignal): Promise<void> {
    const { ring, head, floor, epoch } = this.#source;
    const { position } = this.#stream.hello;
    const resumed = position !== undefined && position.ring === ring && position.seq >= floor && position.seq <= head;
    await this.#stream.channel.send(
      { kind: "welcome", site: this.#options.site, ring, epoch, resumed, head },
      { signal },
    );
    if (resumed) this.#sent = position.seq;
    else await this.#sendDigest("RESET", signal);
  }

  /** Does the next thing there is to do; `false` when there is none. */
  async #step(signal: AbortSignal): Promise<boolean> {
    const compare = this.#compares.shift();
    if (compare !== undefined) {
      await this.#answer(compare, signal);
      return true;
    }
    // Between a reset and its last answer the standby has no position from which anything could follow.
    if (this.#digests.some(({ purpose }) => purpose === "RESET")) return false;
    if (this.#sent < this.#source.floor) {
      await this.#sendDigest("RESET", signal);
      return true;
    }
    if (this.#source.head > this.#sent) {
      await this.#sendNext(signal);
      return true;
    }
    if (this.#checkWanted && this.#digests.length === 0) {
      await this.#sendDigest("CHECK", signal);
      return true;
    }
    return false;
  }

  /**
   * The digest belongs to the head at this very moment. For a check everything up to the head has been sent; after
   * a reset the records that follow start from here.
   */
  async #sendDigest(purpose: OpenDigest["purpose"], signal: AbortSignal): Promise<void> {
    const { head } = this.#source;
    const buckets = this.#source.digest.bytes();
    this.#checkWanted = false;
    this.#sent = head;
    this.#digests.push({ purpose, seq: head });
    this.#meter.sent(buckets.length);
    await this.#stream.channel.send({ kind: "digest", purpose, seq: head, buckets }, { signal });
  }

  async #sendNext(signal: AbortSignal): Promise<void> {
    await this.#gather(signal);
    await this.#waitForCredit(signal);
    const { head, ring } = this.#source;
    const records = this.#source.read(this.#sent, { maxCount: batchCountMax, maxBytes: batchBytesMax });
    // The ring may have passed over us while we waited; the next step compares digests.
    if (this.#sent < this.#source.floor) return;
    this.#sent = records.at(-1)?.seq ?? head;
    await this.#sendBatch(records, { position: { ring, seq: this.#sent }, complete: false, answered: false }, signal);
  }

  /** After a small batch waits a little, so that the changes of a burst travel together. */
  async #gather(signal: AbortSignal): Promise<void> {
    if (this.#lastBatch.full) return;
    const passedMs = this.#options.clock.monotonicMs() - this.#lastBatch.atMs;
    if (passedMs < batchSpacingMs) await this.#options.clock.sleep(batchSpacingMs - passedMs, { signal });
  }

  async #waitForCredit(signal: AbortSignal): Promise<void> {
    while (this.#credit <= 0) await this.#wake.wait({ signal });
  }

  /** Sends what the standby lacks in the buckets of one Compare. */
  async #answer(compare: Compare, signal: AbortSignal): Promise<void> {
    const [digest] = this.#digests;
    if (digest === undefined) throw outOfTurn("a comparison without a digest");
    const differing = differingKeys(compare.entries, this.#source.entriesIn(new Set(compare.buckets)));
    const keys = differing.filter((key) => this.#source.isKnown?.(key) ?? true);
    const { ring } = this.#source;
    const partial: StreamPosition = digest.purpose === "RESET" ? { ring: "", seq: 0 } : { ring, seq: this.#sent };
    if (compare.last) this.#digests.shift();
    for (let next = 0; ;) {
      await this.#waitForCredit(signal);
      const { records, end } = this.#currentOf(keys, next);
      next = end;
      const answered = next >= keys.length;
      const complete = answered && compare.last;
      // A reset's records follow from its digest; what a check repairs lies within what was sent.
      const position = complete ? { ring, seq: digest.purpose === "RESET" ? digest.seq : this.#sent } : partial;
      await this.#sendBatch(records, { position, complete, answered }, signal);
      if (answered) return;
    }
  }

  /** Present records of `keys` from index `start` on, as many as fit a batch; `end` is the first left out. */
  #currentOf(keys: readonly ObjectKey[], start: number): { records: ChangeRecord[]; end: number } {
    const records: ChangeRecord[] = [];
    let bytes = 0;
    let end = start;
    for (; end < keys.length && records.length < batchCountMax && bytes < batchBytesMax; end++) {
      const key = keys[end];
      if (key === undefined) break;
      const record = this.#source.current(key);
      records.push(record);
      bytes += key.length + (record.object?.length ?? 0) + record.managers.length;
    }
    return { records, end };
  }

  async #sendBatch(
    records: readonly ChangeRecord[],
    batch: { position: StreamPosition; complete: boolean; answered: boolean },
    signal: AbortSignal,
  ): Promise<void> {
    const encoded = encodeRecords(records);
    const compression = this.#compressionFor(encoded);
    const bytes = compression === "ZSTD" ? await compressRecords(encoded) : encoded;
    this.#credit -= bytes.length + batchOverheadBytes;
    this.#lastBatch = { atMs: this.#options.clock.monotonicMs(), full: encoded.length >= fullBatchBytes };
    this.#meter.sent(bytes.length);
    await this.#stream.channel.send(
      { kind: "batch", epoch: this.#source.epoch, ...batch, compression, records: bytes },
      { signal },
    );
  }

  #compressionFor(encoded: Buffer): Compression {
    const { compression = "NONE" } = this.#options;
    const usable = encoded.length >= compressBytesMin && this.#stream.hello.accepts.includes(compression);
    return usable ? compression : "NONE";
  }
}

function outOfTurn(what: string): LifeboatError {
  return new LifeboatError("PeerVersion", `the peer sent ${what}`, { hint: "upgrade the older of the two agents" });
}
