import type { Registry } from "prom-client";
import { errorCodes } from "../errors.ts";
import { metricTable, type MetricDefinition } from "./metrics.ts";

/** `docs/errors.md` as text. `findings`: codes of a status's findings, each with what it means. */
export function errorsPage(findings: Readonly<Record<string, string>>): string {
  const rows = (codes: Readonly<Record<string, string>>): string[] =>
    Object.entries(codes).map(([code, meaning]) => `| \`${code}\` | ${meaning} |`);
  return [
    "# Error codes",
    "",
    "Every error that Lifeboat prints, logs or writes to a status carries one of these codes. Most come with a hint",
    "that says what to do next. This page is generated from the code. Refusals of the failover protocol have codes of",
    "their own: [failover.md](failover.md#refusals).",
    "",
    "| code | meaning |",
    "| --- | --- |",
    ...rows(errorCodes),
    "",
    "## Findings",
    "",
    "What `status.findings` and `lifeboat status GROUP` say of single objects and kinds; the message says the rest.",
    "",
    "| code | meaning |",
    "| --- | --- |",
    ...rows(Object.fromEntries(Object.entries(findings).toSorted(([a], [b]) => (a < b ? -1 : 1)))),
    "",
  ].join("\n");
}

/** `docs/metrics.md` as text. `witness` is a registry with the witness's metrics. */
export function metricsPage(witness: Registry): string {
  const agentRows = Object.entries<MetricDefinition>(metricTable).map(([name, metric]) => row({ ...metric, name }));
  const witnessRows = witness.getMetricsAsArray().map((metric) => row(asDefinition(metric)));
  const head = ["| name | type | labels | meaning |", "| --- | --- | --- | --- |"];
  return [
    "# Metrics",
    "",
    "Agent and witness answer on `/metrics` in the Prometheus text format; a guard does where it is configured to, with",
    "what [node-guard.md](node-guard.md) lists. This page is generated from the code. Times are in seconds; ages are",
    "computed at the scrape, so they grow while nothing is heard. No label names an object.",
    "",
    "## Agent",
    "",
    "Every series also has the label `site`. Those of a group start at 0 when the group is first seen, and go when it is",
    "removed; ages are absent until there is something to be old. The runtime's own metrics (`nodejs_*`, `process_*`)",
    "are there too, among them the lag of the event loop, `nodejs_eventloop_lag_p99_seconds`: 0.1, the interval at which",
    "it is sampled, is no lag.",
    "",
    ...head,
    ...agentRows,
    "",
    "## Witness",
    "",
    ...head,
    ...witnessRows,
    "",
  ].join("\n");
}

type NamedMetric = Pick<MetricDefinition, "type" | "help" | "labels"> & { readonly name: string };

function row({ name, type, labels, help }: NamedMetric): string {
  return `| \`${name}\` | ${type} | ${labels.map((label) => `\`${label}\``).join(", ")} | ${help} |`;
}

/** prom-client keeps the label names and the type of a metric, and does not tell TypeScript. */
function asDefinition(metric: object): NamedMetric {
  const { name, help, labelNames } = metric as { name: string; help: string; labelNames?: string[] };
  const type = metric.constructor.name.toLowerCase() as MetricDefinition["type"];
  return { name, help, type, labels: labelNames ?? [] };
}
