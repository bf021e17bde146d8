import { describe, expect, it } from "vitest";
import { Readers } from "../../../src/agent/readers.ts";
import type { Clock } from "../../../src/clock.ts";
import { DigestTable } from "../../../src/objects/digest.ts";
import type { ChangeSource } from "../../../src/stream/doors.ts";

let nowMs = 0;
const clock: Clock = { monotonicMs: () => nowMs, wallMs: () => nowMs, sleep: async () => undefined };

function setting() {
  const heard: { durable: number; applied: number }[] = [];
  const source: ChangeSource = {
    ring: "r",
    head: 9,
    floor: 0,
    epoch: "1.1",
    digest: new DigestTable(),
    whenSynced: async () => undefined,
    read: () => [],
    whenBeyond: async () => undefined,
    entriesIn: () => [],
    current: (key) => ({ key, seq: 0, hash: "", object: undefined, managers: "" }),
    acknowledged: (position) => void heard.push(position),
  };
  return { heard, readers: new Readers(source, clock) };
}

describe("the streams of a standby with two agents", () => {
  it("hold a change as durable when both have it, and as applied when one has applied it", () => {
    const { heard, readers } = setting();
    using leader = readers.join();
    using other = readers.join();
    leader.source.acknowledged({ durable: 5, applied: 4 });
    other.source.acknowledged({ durable: 3, applied: 0 });
    expect(heard.at(-1)).toEqual({ durable: 5, applied: 4 });
    leader.source.acknowledged({ durable: 8, applied: 6 });
    expect(heard.at(-1)).toEqual({ durable: 5, applied: 5 });
    other.source.acknowledged({ durable: 7, applied: 0 });
    expect(heard.at(-1)).toEqual({ durable: 7, applied: 6 });
  });

  it("do not wait for one that is still being filled, that is silent, or that has ended", () => {
    const { heard, readers } = setting();
    using leader = readers.join();
    const other = readers.join();
    other.source.acknowledged({ durable: 0, applied: 0 });
    leader.source.acknowledged({ durable: 2, applied: 0 });
    expect(heard.at(-1)).toEqual({ durable: 2, applied: 0 });
    other.source.acknowledged({ durable: 2, applied: 0 });
    nowMs += 4000;
    leader.source.acknowledged({ durable: 4, applied: 0 });
    expect(heard.at(-1)).toEqual({ durable: 4, applied: 0 });
    other.source.acknowledged({ durable: 5, applied: 0 });
    leader.source.acknowledged({ durable: 7, applied: 0 });
    expect(heard.at(-1)).toEqual({ durable: 5, applied: 0 });
    expect(readers.count).toBe(2);
    other[Symbol.dispose]();
    expect(readers.count).toBe(1);
    expect(heard.at(-1)).toEqual({ durable: 7, applied: 0 });
  });
});
