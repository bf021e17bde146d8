/**
 * Every metric of an agent, in one place: the code registers from this table and docs/metrics.md is written from it.
 * Labels name sites, groups and kinds of things, never an object: ten thousand objects must not become ten thousand
 * series. The label `site` is on every series besides.
 */

export interface MetricDefinition {
  readonly type: "gauge" | "counter" | "histogram";
  /** What is counted, and what a large or growing value means. */
  readonly help: string;
  readonly labels: readonly string[];
  /** Upper bounds of a histogram, in the metric's unit. */
  readonly buckets?: readonly number[];
  /** No series before there is something to tell: an age of 0 would be a lie. */
  readonly absent?: boolean;
}

/** From a good day on a local network to a link that needs attention; few, since each costs a series per group. */
const lagBuckets = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

/** From a fast switchover to one that waits for a person. */
const phaseBuckets = [0.1, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 900];

const gauge = (help: string) => ({ type: "gauge", help, labels: ["group"] }) as const;
const absentGauge = (help: string) => ({ ...gauge(help), absent: true }) as const;
const counter = (help: string) => ({ type: "counter", help, labels: ["group"] }) as const;
const lag = (help: string) => ({ type: "histogram", help, labels: ["group"], buckets: lagBuckets }) as const;

export const metricTable = {
  lifeboat_journal_lag_seconds: lag(
    "From a change at the source to durable at the standby, measured by canary on the source's clock.",
  ),
  lifeboat_apply_lag_seconds: lag(
    "From a change at the source to visible in the standby's API server, measured by canary on the source's clock.",
  ),
  lifeboat_age_seconds: absentGauge(
    "Age of the newest state known to be durable at the standby: what would be lost now. Grows while the other site is silent; absent while never synchronised.",
  ),
  lifeboat_apply_age_seconds: absentGauge(
    "Age of the newest state known to be applied at the standby. Grows while the other site is silent; absent while never synchronised.",
  ),
  lifeboat_standby_journals: absentGauge(
    "Agents of the standby that keep the group's journal and are heard, at the site that runs it: 1, or 2 where two take turns. Fewer than there should be: a change may be on one disk only.",
  ),
  lifeboat_never_synced: gauge(
    "1 while the standby has never held everything of the group; until then nothing of it can be recovered there.",
  ),
  lifeboat_last_sync_timestamp_seconds: absentGauge(
    "Unix time at which the standby last held everything that the source had.",
  ),
  lifeboat_rpo_objective_seconds: gauge("The group's objective for data that may be lost; 0 where none is set."),
  lifeboat_rto_objective_seconds: gauge(
    "The group's objective for the time until service is back; 0 where none is set.",
  ),
  lifeboat_rpo_ratio: absentGauge("Age divided by the objective for data that may be lost; above 1 it is missed now."),
  lifeboat_rpo_missed_intervals_total: counter("Times that the age rose above the objective."),
  lifeboat_rto_last_seconds: gauge(
    "Last move to this site: from the last sign of life of the other site to all workloads ready; 0 before the first.",
  ),
  lifeboat_role: {
    type: "gauge",
    help: "1 for the role of this site for the group: active, standby or unknown.",
    labels: ["group", "role"],
  },
  lifeboat_epoch_counter: gauge("Counter of the epoch that this site knows; it rises when the active site changes."),
  lifeboat_objects: gauge("Objects of the group."),
  lifeboat_pending_objects: gauge("Objects that are received and not yet applied."),
  lifeboat_failing_objects: gauge(
    "Objects that the site's API server refuses, at an active site those that it could not bring up; status names them.",
  ),
  lifeboat_withheld_objects: gauge(
    "Objects that are in the journal and by their kind or the group's spec not applied.",
  ),
  lifeboat_pods_left: gauge("Pods of the group that run at a site that must not run it."),
  lifeboat_conflicting_objects: gauge("Objects that exist at the standby and that Lifeboat has not made."),
  lifeboat_contested_objects: gauge("Objects that somebody else changes back again and again."),
  lifeboat_fields_dropped_objects: gauge("Objects with fields that the standby cannot hold; the journal holds them."),
  lifeboat_divergent_objects: gauge("Objects that differed here when the other site took over, and are kept."),
  lifeboat_merge_conflicts_total: counter(
    "ActiveActive: objects that both sites wrote without knowing of each other; the earlier write was lost. Status names them.",
  ),
  lifeboat_merge_writes_total: counter(
    "ActiveActive: objects that were written or deleted here because the other site did. Growing while nobody writes: two controllers disagree.",
  ),
  lifeboat_merge_clock_ahead_seconds: absentGauge(
    "ActiveActive: how far the other site's clock is ahead while that keeps its writes from being followed; 0 otherwise.",
  ),
  lifeboat_merge_tombstones: absentGauge("ActiveActive: deleted objects that are remembered."),
  lifeboat_surge_percent: absentGauge(
    "ActiveActive: replicas in percent of the usual ones; 100 while both sites are there.",
  ),
  lifeboat_deletes_paused: gauge("1 while the delete guard waits for `lifeboat deletes confirm`."),
  lifeboat_stream_sent_bytes_total: counter("Payload of batches, digests and comparisons sent on the group's stream."),
  lifeboat_stream_received_bytes_total: counter(
    "Payload of batches, digests and comparisons received on the group's stream.",
  ),
  lifeboat_stream_resyncs_total: counter("Streams that could not go on where they were and compared digests instead."),
  lifeboat_reflector_last_event_age_seconds: absentGauge(
    "Longest time since any watch of the group heard from its API server, bookmarks included.",
  ),
  lifeboat_unfollowed_kinds: {
    type: "gauge",
    help: "Kinds of which the group's objects cannot be followed, by cause: forbidden, missing, rewound (the API server was restored), unreadable, uncommon (no version that both sites serve).",
    labels: ["group", "cause"],
  },
  lifeboat_peer_connected: {
    type: "gauge",
    help: "1 while there is a data connection to the peer.",
    labels: ["peer"],
  },
  lifeboat_certificate_expiry_timestamp_seconds: {
    type: "gauge",
    help: "Unix time at which the certificate that this agent uses expires.",
    labels: [],
  },
  lifeboat_reconnects_total: {
    type: "counter",
    help: "Data connections to the peer that were lost and made again.",
    labels: ["peer"],
  },
  lifeboat_witness_last_reply_age_seconds: absentGauge("Time since the witness last answered this site for the group."),
  lifeboat_lease_remaining_seconds: {
    type: "gauge",
    help: "What is left of the promise of each grantor (witness, peer) to this site.",
    labels: ["group", "grantor"],
  },
  lifeboat_armed: gauge("1 while the witness would move the group if the active site were lost."),
  lifeboat_blocked: gauge("1 while a person has to decide."),
  lifeboat_failovers_total: {
    type: "counter",
    help: "Moves of the group to this site, by reason: automatic, manual, switchover, forced.",
    labels: ["group", "reason"],
  },
  lifeboat_failover_phase_seconds: {
    type: "histogram",
    help: "Duration of the phases of a move to this site: decision (last sign of life of the other site to the grant), start (bringing up everything), total (last sign of life to everything ready).",
    labels: ["group", "phase"],
    buckets: phaseBuckets,
  },
} as const satisfies Readonly<Record<string, MetricDefinition>>;

export type MetricName = keyof typeof metricTable;
