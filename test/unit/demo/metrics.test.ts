import { expect, test } from "vitest";
import { Metrics } from "../../pair/metrics.ts";

const text = `# HELP lag Lag.
# TYPE lag histogram
lag_bucket{le="0.1",kind="journal"} 50
lag_bucket{le="0.2",kind="journal"} 100
lag_bucket{le="+Inf",kind="journal"} 100
lag_bucket{le="0.1",kind="apply"} 0
lag_bucket{le="0.2",kind="apply"} 0
lag_bucket{le="+Inf",kind="apply"} 4
objects{group="a"} 3
objects{group="b \\"quoted\\""} 4
`;

test("values are summed over what matches", () => {
  const metrics = Metrics.parse(text);
  expect(metrics.value("objects")).toBe(7);
  expect(metrics.value("objects", { group: 'b "quoted"' })).toBe(4);
  expect(metrics.value("nothing")).toBeUndefined();
});

test("a quantile lies within its bucket", () => {
  const metrics = Metrics.parse(text);
  expect(metrics.quantile("lag", 0.5, { match: { kind: "journal" } })).toBeCloseTo(0.1);
  expect(metrics.quantile("lag", 0.75, { match: { kind: "journal" } })).toBeCloseTo(0.15);
});

test("what is beyond the last bucket counts as its end", () => {
  expect(Metrics.parse(text).quantile("lag", 0.5, { match: { kind: "apply" } })).toBe(0.2);
});

test("what was counted before does not count", () => {
  const before = Metrics.parse(text);
  expect(before.quantile("lag", 0.5, { match: { kind: "journal" }, since: before })).toBeUndefined();
});
