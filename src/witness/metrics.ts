import { Counter, Gauge, Histogram, type Registry } from "prom-client";

/** What a witness counts. No label names a group: there may be thousands. */
export interface WitnessMetrics {
  readonly messages: Counter<"type">;
  readonly grants: Counter<"kind">;
  readonly refusals: Counter<"code">;
  readonly dropped: Counter<"reason">;
  readonly commitSeconds: Histogram;
  readonly groups: Gauge;
  readonly generation: Gauge;
  readonly sitesConnected: Gauge;
}

export function createWitnessMetrics(registry: Registry): WitnessMetrics {
  const registers = [registry];
  return {
    messages: new Counter({
      name: "lifeboat_witness_messages_total",
      help: "Messages of sites that were decided on.",
      labelNames: ["type"],
      registers,
    }),
    grants: new Counter({
      name: "lifeboat_witness_grants_total",
      help: "Epochs granted, by how they were asked for.",
      labelNames: ["kind"],
      registers,
    }),
    refusals: new Counter({
      name: "lifeboat_witness_refusals_total",
      help: "Requests for an epoch that were refused, by the rule.",
      labelNames: ["code"],
      registers,
    }),
    dropped: new Counter({
      name: "lifeboat_witness_dropped_total",
      help: "Messages that were not looked at.",
      labelNames: ["reason"],
      registers,
    }),
    commitSeconds: new Histogram({
      name: "lifeboat_witness_commit_seconds",
      help: "Time for one batch to become durable, or for its term to be confirmed.",
      buckets: [0.0005, 0.002, 0.01, 0.05, 0.25, 1],
      registers,
    }),
    groups: new Gauge({ name: "lifeboat_witness_groups", help: "Groups that the witness knows.", registers }),
    generation: new Gauge({
      name: "lifeboat_witness_generation",
      help: "Generation of this start of the witness.",
      registers,
    }),
    sitesConnected: new Gauge({
      name: "lifeboat_witness_streams",
      help: "Open streams of sites.",
      registers,
    }),
  };
}
