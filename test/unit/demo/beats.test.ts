import { expect, test } from "vitest";
import { overlapMs, stretches, union } from "../../demo/beats.ts";

test("beats without a gap are one stretch, a gap ends it", () => {
  expect(stretches([0, 20, 40, 500, 520])).toEqual([
    { fromMs: 0, toMs: 40 },
    { fromMs: 500, toMs: 520 },
  ]);
});

test("pods of one site that run at once count once", () => {
  const intervals = [
    { fromMs: 50, toMs: 90 },
    { fromMs: 0, toMs: 60 },
  ];
  expect(union(intervals)).toEqual([{ fromMs: 0, toMs: 90 }]);
});

test("only what both sites share is overlap", () => {
  const east = [
    { fromMs: 0, toMs: 100 },
    { fromMs: 300, toMs: 350 },
  ];
  const west = [{ fromMs: 80, toMs: 320 }];
  expect(overlapMs(east, west)).toBe(20 + 20);
});

test("a site that stops before the other starts shares nothing", () => {
  expect(overlapMs([{ fromMs: 0, toMs: 100 }], [{ fromMs: 100, toMs: 200 }])).toBe(0);
});
