import { expect, test } from "vitest";
import { DroppedRetries } from "../../../src/apply/dropped-retries.ts";

test("an object that lost a field is written again soon, then ever more seldom, until it is whole", () => {
  const retries = new DroppedRetries();
  const writtenAt: number[] = [];
  for (let second = 0; second <= 2_000; second++) {
    if (retries.due(["a"], second * 1000).length > 0) writtenAt.push(second);
  }
  expect(writtenAt).toEqual([2, 12, 72, 672, 1272, 1872]);
  expect(retries.due([], 2_001_000)).toEqual([]);
  expect(retries.due(["a"], 2_002_000)).toEqual([]);
  expect(retries.due(["a"], 2_004_000)).toEqual(["a"]);
});

test("of thousands only some are written at once", () => {
  const retries = new DroppedRetries();
  const keys = Array.from({ length: 120 }, (_, at) => `k${at}`);
  retries.due(keys, 0);
  expect([2_000, 2_001, 2_002].map((atMs) => retries.due(keys, atMs).length)).toEqual([50, 50, 20]);
});
