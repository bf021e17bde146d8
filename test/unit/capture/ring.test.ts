import fc from "fast-check";
import { expect, test } from "vitest";
import type { Normalised } from "../../../src/capture/normalise.ts";
import { ChangeRing, tombstonesMaxCount } from "../../../src/capture/ring.ts";
import { bucketOf, DigestTable } from "../../../src/objects/digest.ts";
import { hashOf } from "../../../src/objects/record.ts";

function state(value: string): Normalised {
  const object = `{"value":"${value}"}`;
  return { object, managers: "[]", hash: hashOf(object, "[]") };
}

const everything = { maxCount: 1_000_000, maxBytes: 1_000_000_000 };

const step = fc.oneof(
  fc.record({ op: fc.constant("put" as const), key: fc.nat(5), value: fc.nat(3) }),
  fc.record({ op: fc.constant("remove" as const), key: fc.nat(5) }),
  fc.record({ op: fc.constant("read" as const), maxCount: fc.integer({ min: 1, max: 4 }) }),
);

test("a reader at any pace ends with exactly what is live, and never sees an older state after a newer", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200, size: "max" }), (steps) => {
      const ring = new ChangeRing();
      const live = new Map<string, string>();
      const copy = new Map<string, string>();
      let seq = 0;
      const read = (maxCount: number): number => {
        const records = ring.read(seq, { maxCount, maxBytes: 1_000_000 });
        for (const record of records) {
          expect(record.seq).toBeGreaterThan(seq);
          seq = record.seq;
          if (record.object === undefined) copy.delete(record.key);
          else copy.set(record.key, record.object);
        }
        return records.length;
      };
      for (const one of steps) {
        if (one.op === "read") {
          read(one.maxCount);
          continue;
        }
        const key = `/ConfigMap/n/${one.key}`;
        const { head } = ring;
        if (one.op === "put") {
          const { object } = state(String(one.value));
          expect(ring.put(key, state(String(one.value)))).toBe(live.get(key) !== object);
          live.set(key, object);
        } else {
          expect(ring.remove(key)).toBe(live.delete(key));
        }
        expect(ring.head - head).toBeLessThanOrEqual(1);
      }
      while (read(3) > 0);
      expect(copy).toEqual(live);
      expect(ring.liveCount).toBe(live.size);
      expect(new Set(ring.liveKeys())).toEqual(new Set(live.keys()));
      const digest = new DigestTable();
      for (const [key, object] of live) digest.toggle(key, hashOf(object, "[]"));
      expect(ring.digest.bytes()).toEqual(digest.bytes());
      for (const key of live.keys()) {
        expect(ring.entriesIn(new Set([bucketOf(key)]))).toContainEqual({ key, hash: ring.current(key).hash });
      }
    }),
  );
});

test("a burst of changes to one key is one record", () => {
  const ring = new ChangeRing();
  for (let i = 0; i < 5_000; i++) ring.put("/ConfigMap/n/a", state(String(i)));
  expect(ring.read(0, everything)).toEqual([{ seq: 5_000, key: "/ConfigMap/n/a", ...state("4999") }]);
});

test("a record that is larger than the limit is read alone, and a batch stops before its limit", () => {
  const ring = new ChangeRing();
  ring.put("/ConfigMap/n/a", state("x".repeat(1_000)));
  for (const name of ["b", "c", "d"]) ring.put(`/ConfigMap/n/${name}`, state("x".repeat(300)));
  const limits = { maxCount: 10, maxBytes: 800 };
  expect(ring.read(0, limits).map((record) => record.seq)).toEqual([1]);
  expect(ring.read(1, limits).map((record) => record.seq)).toEqual([2, 3]);
  expect(ring.read(3, limits).map((record) => record.seq)).toEqual([4]);
  expect(ring.read(4, limits)).toEqual([]);
});

test("an absent key is a tombstone at the head, a deleted one at its own place", () => {
  const ring = new ChangeRing();
  ring.put("/ConfigMap/n/a", state("1"));
  ring.remove("/ConfigMap/n/a");
  ring.put("/ConfigMap/n/b", state("1"));
  const tombstone = { hash: "", object: undefined, managers: "[]" };
  expect(ring.current("/ConfigMap/n/a")).toEqual({ seq: 2, key: "/ConfigMap/n/a", ...tombstone });
  expect(ring.current("/ConfigMap/n/never")).toEqual({ seq: 3, key: "/ConfigMap/n/never", ...tombstone });
});

test("tombstones are bounded, and a reader below the floor has missed one", () => {
  const ring = new ChangeRing();
  for (let i = 0; i <= tombstonesMaxCount + 1; i++) ring.put(`/ConfigMap/n/${i}`, state("1"));
  const { head } = ring;
  for (let i = 0; i < tombstonesMaxCount; i++) ring.remove(`/ConfigMap/n/${i}`);
  expect(ring.floor).toBe(0);
  ring.remove(`/ConfigMap/n/${tombstonesMaxCount}`);
  expect(ring.floor).toBe(head + 1);
  expect(ring.read(head, everything)).toHaveLength(tombstonesMaxCount);
  expect(ring.current("/ConfigMap/n/0").seq).toBe(ring.head);
});

test("a sealed ring takes no change but that of one key", () => {
  const ring = new ChangeRing();
  ring.put("a", state("1"));
  ring.put("canary", state("1"));
  const { head } = ring;
  const digest = Buffer.from(ring.digest.bytes());
  ring.seal("canary");
  expect([ring.put("a", state("2")), ring.put("b", state("1")), ring.remove("a")]).toEqual([false, false, false]);
  expect({ head: ring.head, digest: Buffer.from(ring.digest.bytes()) }).toEqual({ head, digest });
  expect(ring.put("canary", state("2"))).toBe(true);
  expect(ring.read(head, everything).map(({ key }) => key)).toEqual(["canary"]);
});
