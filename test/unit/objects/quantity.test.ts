import { expect, test } from "vitest";
import { nanosOf } from "../../../src/objects/quantity.ts";

test.each([
  ["1000m", "1"],
  ["1Gi", "1024Mi"],
  ["1.5Gi", "1536Mi"],
  ["1e3", "1k"],
  ["1E", "1000P"],
  ["12E2", "1200"],
  [".5", "500m"],
  ["5.", "5"],
  ["0", "0m"],
  ["-1", "-1000m"],
  ["0.1n", "1n"],
])("%s is %s", (left, right) => {
  expect(nanosOf(left)).toBeDefined();
  expect(nanosOf(left)).toBe(nanosOf(right));
});

test("sizes that differ in their last byte differ", () => {
  expect(nanosOf("1125899906842625")).not.toBe(nanosOf("1Pi"));
  expect(nanosOf("1152921504606846977")).not.toBe(nanosOf("1Ei"));
});

test.each(["", "ten", "1Kib", "1Z", "1Gi2", "1e3Ki", "0x10", "1e999", "."])("%j is no quantity", (text) => {
  expect(nanosOf(text)).toBeUndefined();
});
