import fc from "fast-check";
import { expect, test } from "vitest";
import { Watermark } from "../../../src/apply/watermark.ts";

test("the mark is below the first state that is not applied, and never above the position", () => {
  const mark = new Watermark();
  mark.received("a", 1);
  mark.received("b", 2);
  mark.received("c", 3);
  mark.reached(3);
  expect(mark.value()).toBe(0);
  mark.applied("b");
  expect(mark.value()).toBe(0);
  mark.applied("a");
  expect(mark.value()).toBe(2);
  mark.applied("c");
  expect(mark.value()).toBe(3);
  expect(mark.pendingCount).toBe(0);
});

test("a key that changes faster than it is applied holds the mark at its oldest unapplied state", () => {
  const mark = new Watermark();
  mark.received("hot", 1);
  mark.reached(1);
  mark.started("hot");
  mark.received("hot", 2);
  mark.received("hot", 3);
  mark.reached(3);
  expect(mark.value()).toBe(0);
  mark.overtaken("hot");
  expect(mark.value()).toBe(1);
  mark.started("hot");
  mark.applied("hot");
  expect(mark.value()).toBe(3);
});

test("a key that fails for good does not hold the mark, and holds it again with its next state once applied", () => {
  const mark = new Watermark();
  mark.received("bad", 1);
  mark.received("good", 2);
  mark.reached(2);
  mark.applied("good");
  expect(mark.value()).toBe(0);
  mark.excuse("bad");
  expect(mark.value()).toBe(2);
  expect(mark.pendingCount).toBe(1);
  mark.applied("bad");
  mark.received("bad", 3);
  mark.reached(3);
  expect(mark.value()).toBe(2);
});

test("with a new ring, what still waits counts as older than anything", () => {
  const mark = new Watermark();
  mark.received("old", 500);
  mark.reached(500);
  mark.newRing();
  mark.received("new", 3);
  mark.reached(7);
  expect(mark.value()).toBe(0);
  mark.applied("old");
  expect(mark.value()).toBe(2);
  mark.applied("new");
  expect(mark.value()).toBe(7);
});

test("whatever happens, no state at or below the mark is unapplied, and in the end the mark is the position", () => {
  const event = fc.record({
    key: fc.constantFrom("a", "b", "c"),
    act: fc.constantFrom("change", "change", "start", "finish"),
  });
  fc.assert(
    fc.property(fc.array(event, { maxLength: 80 }), (events) => {
      const mark = new Watermark();
      /** Sequence numbers of states that are at neither side yet, by key. */
      const unapplied = new Map<string, number[]>();
      const running = new Map<string, number[]>();
      let seq = 0;
      const finish = (key: string): void => {
        const covered = running.get(key);
        if (covered === undefined) return;
        running.delete(key);
        const left = (unapplied.get(key) ?? []).filter((number) => !covered.includes(number));
        unapplied.set(key, left);
        if (left.length === 0) mark.applied(key);
        else mark.overtaken(key);
      };
      const start = (key: string): void => {
        if (running.has(key)) return;
        mark.started(key);
        running.set(key, [...(unapplied.get(key) ?? [])]);
      };
      for (const { key, act } of events) {
        if (act === "change") {
          seq++;
          unapplied.set(key, [...(unapplied.get(key) ?? []), seq]);
          mark.received(key, seq);
          mark.reached(seq);
        } else if (act === "start") start(key);
        else finish(key);
        const lowest = Math.min(...[...unapplied.values()].flat(), seq + 1);
        expect(mark.value()).toBe(lowest - 1);
      }
      for (const key of ["a", "b", "c"]) {
        finish(key);
        start(key);
        finish(key);
      }
      expect(mark.value()).toBe(seq);
      expect(mark.pendingCount).toBe(0);
    }),
    { numRuns: 500 },
  );
});
