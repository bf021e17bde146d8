import { readFile, writeFile } from "node:fs/promises";
import { Registry } from "prom-client";
import { describe, expect, it } from "vitest";
import { labelNames, metricTable, type MetricSpec } from "../../../src/telemetry/metric-table.ts";
import { errorsPage, metricsPage } from "../../../src/telemetry/pages.ts";
import { createWitnessMetrics } from "../../../src/witness/metrics.ts";

/** With LIFEBOAT_WRITE_DOCS=1 the pages are written instead of compared. */
const write = process.env["LIFEBOAT_WRITE_DOCS"] === "1";

function witnessRegistry(): Registry {
  const registry = new Registry();
  createWitnessMetrics(registry);
  return registry;
}

describe("generated pages", () => {
  it.each([
    ["metrics.md", () => metricsPage(witnessRegistry())],
    ["errors.md", errorsPage],
  ] as const)("docs/%s equals the code; else run this test with LIFEBOAT_WRITE_DOCS=1", async (name, page) => {
    const file = new URL(`../../../docs/${name}`, import.meta.url);
    if (write) await writeFile(file, page());
    expect(await readFile(file, "utf8")).toBe(page());
  });
});

describe("the table of metrics", () => {
  const specs = Object.values<MetricSpec>(metricTable);

  it("names each metric once, in the style of Prometheus, and says what it means", () => {
    expect(new Set(specs.map(({ name }) => name)).size).toBe(specs.length);
    for (const { name, type, help, buckets } of specs) {
      expect(name).toMatch(/^lifeboat_[a-z_]+$/);
      expect(name.endsWith("_total")).toBe(type === "counter");
      expect(help).toMatch(/\.$/);
      expect(buckets !== undefined).toBe(type === "histogram");
    }
  });

  it("has no label that could grow with the number of objects", () => {
    for (const unbounded of ["namespace", "name", "kind", "key", "object"]) expect(labelNames).not.toContain(unbounded);
  });
});
