import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { bucketOf } from "../../../src/objects/digest.ts";
import { compareChunks, differingKeys, isOlderEpoch } from "../../../src/stream/compare.ts";
import { windowBytesMax, windowBytesMin } from "../../../src/stream/limits.ts";
import { ReceiveWindow } from "../../../src/stream/window.ts";

const entries = fc.dictionary(fc.stringMatching(/^[a-z]{1,3}$/), fc.constantFrom("1", "2", "3"));
const listed = (of: Record<string, string>) => Object.entries(of).map(([key, hash]) => ({ key, hash }));

describe("a comparison", () => {
  it("names exactly the keys that are missing, other or too many", () => {
    fc.assert(
      fc.property(entries, entries, (standby, source) => {
        const keys = new Set([...Object.keys(standby), ...Object.keys(source)]);
        const expected = [...keys].filter((key) => standby[key] !== source[key]);
        expect(new Set(differingKeys(listed(standby), listed(source)))).toEqual(new Set(expected));
      }),
    );
  });

  it("is cut into chunks that lose nothing and divide no bucket", () => {
    fc.assert(
      fc.property(entries, fc.integer({ min: 1, max: 200 }), (standby, bytesMax) => {
        const buckets = [...new Set(Object.keys(standby).map(bucketOf))];
        const chunks = compareChunks(buckets, listed(standby), bytesMax);
        expect(chunks.flatMap((chunk) => chunk.buckets)).toEqual(buckets);
        expect(chunks.flatMap((chunk) => chunk.entries)).toHaveLength(Object.keys(standby).length);
        for (const chunk of chunks) {
          for (const { key } of chunk.entries) expect(chunk.buckets).toContain(bucketOf(key));
        }
      }),
    );
  });

  it("is one empty chunk where nothing differs", () => {
    expect(compareChunks([], [], 100)).toEqual([{ buckets: [], entries: [] }]);
  });
});

describe("epochs", () => {
  it("are older only than a known newer one", () => {
    expect(isOlderEpoch("1.4", "1.5")).toBe(true);
    expect(isOlderEpoch("1.5", "1.5")).toBe(false);
    expect(isOlderEpoch("2.1", "1.5")).toBe(false);
    expect(isOlderEpoch("1.4", undefined)).toBe(false);
    expect(isOlderEpoch("1.4", "")).toBe(false);
    expect(isOlderEpoch("", "1.1")).toBe(true);
    expect(isOlderEpoch("", "")).toBe(false);
  });
});

describe("the receive window", () => {
  /** Feeds full batches at a rate for a while; returns the window. */
  function after(bytesPerS: number, window = new ReceiveWindow()): ReceiveWindow {
    const batch = 128 * 1024;
    for (let ms = 0; ms < 10_000; ms += (batch / bytesPerS) * 1000) window.note(batch, ms);
    return window;
  }

  it("grows to its limit on a fast path and stays at what 250 ms carry on a slower one", () => {
    expect(after(100e6).bytes).toBe(windowBytesMax);
    expect(after(4e6).bytes).toBeGreaterThan(0.9e6);
    expect(after(4e6).bytes).toBeLessThan(1.1e6);
    expect(after(0.1e6).bytes).toBe(windowBytesMin);
  });

  it("shrinks when the path becomes slow", () => {
    const window = after(100e6);
    expect(after(1e6, window).bytes).toBeLessThan(300_000);
  });

  it("is not judged by a quiet source", () => {
    const window = after(100e6);
    for (let ms = 20_000; ms < 60_000; ms += 500) window.note(300, ms);
    expect(window.bytes).toBe(windowBytesMax);
  });
});
