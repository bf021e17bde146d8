import type { ChangeSource } from "../stream/doors.ts";

/** The same source, with somebody else told too of what a standby has made durable. */
export function withAcknowledged(source: ChangeSource, onDurable: (seq: number) => void): ChangeSource {
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
    acknowledged: (position) => {
      source.acknowledged(position);
      onDurable(position.durable);
    },
  };
}
