import type { Clock } from "../clock.ts";
import type { ChangeSource } from "../stream/doors.ts";

/** A standby says once a second how far it is; one that has missed three is not waited for. */
const readerSilentMs = 3500;

interface Reader {
  durable: number;
  applied: number;
  heardMs: number;
}

/**
 * The streams of one standby site that read the same source: one, or two where two agents of it keep a journal each.
 * A change counts as durable when all of them that are heard have it, as applied when the one that applies says so.
 */
export class Readers {
  readonly #source: ChangeSource;
  readonly #clock: Clock;
  readonly #readers = new Set<Reader>();
  /** What was durable stays so when another reader joins behind it. */
  #durable = 0;

  constructor(source: ChangeSource, clock: Clock) {
    this.#source = source;
    this.#clock = clock;
  }

  /** Readers that hold something and are heard: those that a change is waited for at. */
  get count(): number {
    return this.#begun().length;
  }

  /** The source as one more stream sees it, until disposed. */
  join(): { readonly source: ChangeSource } & Disposable {
    const reader: Reader = { durable: 0, applied: 0, heardMs: this.#clock.monotonicMs() };
    this.#readers.add(reader);
    return {
      source: withAcknowledged(this.#source, (position) => {
        Object.assign(reader, position, { heardMs: this.#clock.monotonicMs() });
        this.#tell();
      }),
      [Symbol.dispose]: () => {
        this.#readers.delete(reader);
        if (this.#readers.size > 0) this.#tell();
      },
    };
  }

  /** One that has not everything yet keeps nothing for sure, and would hold up what the other has. */
  #begun(): Reader[] {
    const nowMs = this.#clock.monotonicMs();
    return [...this.#readers].filter(({ durable, heardMs }) => durable > 0 && nowMs - heardMs <= readerSilentMs);
  }

  #tell(): void {
    const begun = this.#begun();
    if (begun.length > 0) this.#durable = Math.max(this.#durable, Math.min(...begun.map(({ durable }) => durable)));
    const applied = Math.max(0, ...begun.map((reader) => reader.applied));
    this.#source.acknowledged({ durable: this.#durable, applied: Math.min(applied, this.#durable) });
  }
}

/** The same source, with somebody else told of what a standby has made durable and applied. */
export function withAcknowledged(
  source: ChangeSource,
  onAcknowledged: (position: { readonly durable: number; readonly applied: number }) => void,
): ChangeSource {
  return {
    ring: source.ring,
    get head() {
      return source.head;
    },
    get floor() {
      return source.floor;
    },
    get epoch() {
      return source.epoch;
    },
    get digest() {
      return source.digest;
    },
    whenSynced: (options) => source.whenSynced(options),
    read: (seq, limits) => source.read(seq, limits),
    whenBeyond: (seq, options) => source.whenBeyond(seq, options),
    entriesIn: (buckets) => source.entriesIn(buckets),
    current: (key) => source.current(key),
    isKnown: (key) => source.isKnown?.(key) ?? true,
    acknowledged: onAcknowledged,
  };
}
