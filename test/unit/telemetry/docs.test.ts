import { readFile, writeFile } from "node:fs/promises";
import { Registry } from "prom-client";
import { describe, expect, it } from "vitest";
import { findingMeanings } from "../../../src/agent/findings.ts";
import { metricTable, type MetricDefinition } from "../../../src/telemetry/metrics.ts";
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
    ["errors.md", () => errorsPage(findingMeanings)],
  ] as const)("docs/%s equals the code; else run this test with LIFEBOAT_WRITE_DOCS=1", async (name, page) => {
    const file = new URL(`../../../docs/${name}`, import.meta.url);
    if (write) await writeFile(file, page());
    expect(await readFile(file, "utf8")).toBe(page());
  });
});

it("the README's alerts name metrics that exist", async () => {
  const text = await readFile(new URL("../../../README.md", import.meta.url), "utf8");
  const named = [...new Set(text.match(/lifeboat_[a-z_]+/g))];
  expect(named.length).toBeGreaterThan(7);
  expect(named.filter((name) => !Object.hasOwn(metricTable, name))).toEqual([]);
});

describe("the table of metrics", () => {
  const entries = Object.entries<MetricDefinition>(metricTable);

  it("names metrics in the style of Prometheus and says what each means", () => {
    for (const [name, { type, help, buckets }] of entries) {
      expect(name).toMatch(/^lifeboat_[a-z_]+$/);
      expect(name.endsWith("_total")).toBe(type === "counter");
      expect(help).toMatch(/\.$/);
      expect(buckets !== undefined).toBe(type === "histogram");
    }
  });

  it("has no label that could grow with the number of objects", () => {
    const bounded = ["group", "peer", "role", "reason", "phase", "grantor", "cause"];
    for (const [, { labels }] of entries) for (const label of labels) expect(bounded).toContain(label);
  });
});
