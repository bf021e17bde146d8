import { expect, test } from "vitest";
import { mixedObjects, namespaceNames } from "../../bench/objects.ts";
import { median, medians, percentile } from "../../bench/statistics.ts";

test("the median of an even number lies in the middle", () => {
  expect(median([4, 1, 3, 2])).toBe(2.5);
  expect(median([3, 1, 2])).toBe(2);
});

test("a percentile is a value that was seen", () => {
  const values = Array.from({ length: 100 }, (_, at) => at + 1);
  expect(percentile(values, 0.99)).toBe(99);
  expect(percentile(values, 0.5)).toBe(50);
  expect(percentile([7], 0.99)).toBe(7);
});

test("medians go figure by figure", () => {
  expect(
    medians([
      { a: 1, b: 9 },
      { a: 2, b: 8 },
      { a: 3, b: 7 },
    ]),
  ).toEqual({ a: 2, b: 8 });
});

test("the bench's objects are of many kinds, about 1 KB each and the same every time", () => {
  const made = mixedObjects({ count: 1_000, namespaces: namespaceNames("n", 20) });
  const sizes = made.map(({ object }) => JSON.stringify(object).length);
  expect(new Set(made.map(({ resource }) => resource.kind)).size).toBe(12);
  expect(new Set(made.map(({ object }) => object.metadata.namespace)).size).toBe(20);
  expect(sizes.reduce((sum, size) => sum + size, 0) / sizes.length).toBeGreaterThan(950);
  expect(Math.max(...sizes)).toBeLessThan(1_500);
  expect(mixedObjects({ count: 1_000, namespaces: namespaceNames("n", 20) })).toEqual(made);
});
