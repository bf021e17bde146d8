import { expect, test } from "vitest";
import {
  confirmDeletes,
  guardRecord,
  type GuardState,
  initialGuard,
  mayDelete,
  observeDeletes,
} from "../../../src/apply/delete-guard.ts";

const limits = { percent: 30, minObjects: 10, windowMs: 60_000 };

/** Deletes `counts` one after the other, `everyMs` apart, from a group of 100. */
function deletes(counts: readonly number[], everyMs: number, size = 100): GuardState {
  let state = initialGuard(undefined);
  let left = size;
  for (const [index, count] of counts.entries()) {
    left -= count;
    const nowMs = index * everyMs;
    state = observeDeletes(state, { count, size: left }, limits, { nowMs, wallMs: 1_000 + nowMs });
  }
  return state;
}

test("as many as the spec allows go, one more pauses, however they are spread over the window", () => {
  expect(deletes([30], 0).paused).toBeUndefined();
  expect(deletes([31], 0).paused).toEqual({ sinceWallMs: 1_000, count: 31, of: 100 });
  expect(
    deletes(
      Array.from({ length: 30 }, () => 1),
      1_000,
    ).paused,
  ).toBeUndefined();
  expect(
    deletes(
      Array.from({ length: 31 }, () => 1),
      1_000,
    ).paused,
  ).toMatchObject({ count: 31 });
});

test("deletes that are further apart than the window never pause", () => {
  expect(deletes([20, 20, 15], 60_001).paused).toBeUndefined();
});

test("a few deletes of a small group are never too many", () => {
  expect(deletes([10], 0, 12).paused).toBeUndefined();
  expect(deletes([11], 0, 12).paused).toBeDefined();
});

test("what a person confirms goes, what comes later is held back again", () => {
  const paused = deletes([31], 0);
  expect(mayDelete(paused, "a")).toBe(false);
  const confirmed = confirmDeletes(paused, ["a", "b"]);
  expect([mayDelete(confirmed, "a"), mayDelete(confirmed, "c")]).toEqual([true, true]);
  const again = observeDeletes(confirmed, { count: 50, size: 20 }, limits, { nowMs: 1, wallMs: 1 });
  expect([mayDelete(again, "a"), mayDelete(again, "c")]).toEqual([true, false]);
});

test("a pause and what was confirmed survive in the record, the window does not", () => {
  const paused = deletes([31], 0);
  expect(initialGuard(guardRecord(paused))).toEqual({ paused: paused.paused, recent: [] });
  expect(guardRecord(initialGuard(undefined))).toBeUndefined();
  expect(guardRecord(confirmDeletes(paused, ["a"]))).toEqual({ confirmed: ["a"] });
});
