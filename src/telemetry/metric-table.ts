/**
 * Every metric of an agent, in one table; `docs/metrics.md` is generated from it. Labels are bounded: no object, no
 * namespace and no kind is ever one; the worst offenders are in status and events.
 */

export interface MetricSpec {
  readonly name: string;
  readonly type: "counter" | "gauge" | "histogram";
  /** One sentence: what is counted, and what a large or growing value means. */
  readonly help: string;
  readonly labels: readonly LabelName[];
  /** Upper bounds of a histogram, in the metric's unit. */
  readonly buckets?: readonly number[];
}

export type LabelName = (typeof labelNames)[number];

/**
 * - `group`: name of the protection group
 * - `site`: the site that reports
 * - `peer`: the other end: a site, or `witness`
 * - the others have the few values that their metric's help names
 */
export const labelNames = ["group", "site", "peer", "state", "role", "phase", "reason", "grantor"] as const;

/** From a LAN's milliseconds to the objectives that people set; few, since each costs a series per group. */
const lagBuckets = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60];

/** From a fast switchover to one that waits for an operator. */
const phaseBuckets = [0.1, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 900];

const group = ["group", "site"] as const;
const stream = ["group", "site", "peer"] as const;

export const metricTable = {
  journalLag: {
    name: "lifeboat_journal_lag_seconds",
    type: "histogram",
    help: "Time from a change committed at the source to durable in the standby's journal, by canary on the source's clock.",
    labels: stream,
    buckets: lagBuckets,
  },
  applyLag: {
    name: "lifeboat_apply_lag_seconds",
    type: "histogram",
    help: "Time from a change committed at the source to visible in the standby's API server, by canary on the source's clock.",
    labels: stream,
    buckets: lagBuckets,
  },
  journalAge: {
    name: "lifeboat_journal_age_seconds",
    type: "gauge",
    help: "Age of the newest state known to be durable at the standby: what would be lost now. Grows while the peer is silent; absent while never synced.",
    labels: stream,
  },
  applyAge: {
    name: "lifeboat_apply_age_seconds",
    type: "gauge",
    help: "Age of the newest state known to be applied at the standby. Grows while the peer is silent; absent while never synced.",
    labels: stream,
  },
  neverSynced: {
    name: "lifeboat_never_synced",
    type: "gauge",
    help: "1 until the standby has held everything of the group once; until then nothing of it can be recovered there.",
    labels: group,
  },
  lastSyncTimestamp: {
    name: "lifeboat_last_sync_timestamp_seconds",
    type: "gauge",
    help: "Unix time at which the standby last held everything that the source had; 0 while never synced.",
    labels: group,
  },
  rpoObjective: {
    name: "lifeboat_rpo_objective_seconds",
    type: "gauge",
    help: "The group's objective for data that may be lost.",
    labels: group,
  },
  rtoObjective: {
    name: "lifeboat_rto_objective_seconds",
    type: "gauge",
    help: "The group's objective for the time until service is back.",
    labels: group,
  },
  rpoRatio: {
    name: "lifeboat_rpo_ratio",
    type: "gauge",
    help: "Journal age divided by the RPO objective; above 1 the objective is missed now.",
    labels: group,
  },
  rtoLast: {
    name: "lifeboat_rto_last_seconds",
    type: "gauge",
    help: "Time that the last failover or switchover took until all was ready; 0 before the first.",
    labels: group,
  },
  missedIntervals: {
    name: "lifeboat_rpo_missed_intervals_total",
    type: "counter",
    help: "Times that the journal age rose above the RPO objective.",
    labels: group,
  },
  objects: {
    name: "lifeboat_objects",
    type: "gauge",
    help: "Objects of the group at this site by state: synced, pending, failing, held.",
    labels: ["group", "site", "state"],
  },
  pending: {
    name: "lifeboat_pending_objects",
    type: "gauge",
    help: "Objects received and not yet applied.",
    labels: group,
  },
  failing: {
    name: "lifeboat_failing_objects",
    type: "gauge",
    help: "Objects that the standby's API server refuses; the condition Degraded names them.",
    labels: group,
  },
  conflicts: {
    name: "lifeboat_conflict_objects",
    type: "gauge",
    help: "Objects at the standby that existed before and are not Lifeboat's copies.",
    labels: group,
  },
  contested: {
    name: "lifeboat_contested_objects",
    type: "gauge",
    help: "Copies that something else at the standby keeps changing.",
    labels: group,
  },
  deletesPaused: {
    name: "lifeboat_deletes_paused",
    type: "gauge",
    help: "1 while replication of deletes waits for `lifeboat deletes confirm`.",
    labels: group,
  },
  fieldsDropped: {
    name: "lifeboat_fields_dropped_objects",
    type: "gauge",
    help: "Objects of which the standby cannot hold every field; the journal does.",
    labels: group,
  },
  streamSentBytes: {
    name: "lifeboat_stream_sent_bytes_total",
    type: "counter",
    help: "Payload bytes of batches, digests and comparisons sent to the peer.",
    labels: stream,
  },
  streamReceivedBytes: {
    name: "lifeboat_stream_received_bytes_total",
    type: "counter",
    help: "Payload bytes of batches, digests and comparisons received from the peer.",
    labels: stream,
  },
  streamRecords: {
    name: "lifeboat_stream_records_total",
    type: "counter",
    help: "Records made durable in the journal.",
    labels: stream,
  },
  streamResyncs: {
    name: "lifeboat_stream_resyncs_total",
    type: "counter",
    help: "Streams that could not go on where they were and compared digests instead.",
    labels: stream,
  },
  digestDifferences: {
    name: "lifeboat_digest_differences_total",
    type: "counter",
    help: "Regular digest comparisons that found a difference although nothing had been lost. Each is a defect or damage; it is repaired.",
    labels: stream,
  },
  reconnects: {
    name: "lifeboat_reconnects_total",
    type: "counter",
    help: "Connections to the peer or the witness that were lost and made again.",
    labels: ["site", "peer"],
  },
  connected: {
    name: "lifeboat_connected",
    type: "gauge",
    help: "1 while the connection to the peer or the witness stands.",
    labels: ["site", "peer"],
  },
  certificateExpiry: {
    name: "lifeboat_certificate_expiry_timestamp_seconds",
    type: "gauge",
    help: "Unix time at which this process's certificate expires.",
    labels: ["site"],
  },
  reflectorLastEventAge: {
    name: "lifeboat_reflector_last_event_age_seconds",
    type: "gauge",
    help: "Longest time since any watch of the group heard from its API server, bookmarks included.",
    labels: group,
  },
  witnessLastReplyAge: {
    name: "lifeboat_witness_last_reply_age_seconds",
    type: "gauge",
    help: "Time since the witness last answered this site for the group.",
    labels: group,
  },
  leaseRemaining: {
    name: "lifeboat_lease_remaining_seconds",
    type: "gauge",
    help: "Time for which the promise of each grantor (witness, peer) still holds at the active site.",
    labels: ["group", "site", "grantor"],
  },
  armed: {
    name: "lifeboat_automatic_failover_armed",
    type: "gauge",
    help: "1 while the witness would fail the group over by itself.",
    labels: group,
  },
  epoch: {
    name: "lifeboat_epoch_counter",
    type: "gauge",
    help: "Counter of the epoch that this site knows; it rises at every change of the active site.",
    labels: group,
  },
  epochGeneration: {
    name: "lifeboat_epoch_generation",
    type: "gauge",
    help: "Generation of the epoch that this site knows; it rises when a witness starts.",
    labels: group,
  },
  role: {
    name: "lifeboat_role",
    type: "gauge",
    help: "1 for the role that this site has for the group: active, standby, unknown; blocked beside it while a person must decide.",
    labels: ["group", "site", "role"],
  },
  failoverPhase: {
    name: "lifeboat_failover_phase_seconds",
    type: "histogram",
    help: "Duration of each phase of a failover or switchover: decide, render, apply, ready, seal, catchup.",
    labels: ["group", "site", "phase"],
    buckets: phaseBuckets,
  },
  failovers: {
    name: "lifeboat_failovers_total",
    type: "counter",
    help: "Changes of the active site in favour of this one, by reason: automatic, manual, switchover, forced.",
    labels: ["group", "site", "reason"],
  },
  eventLoopLag: {
    name: "lifeboat_event_loop_lag_seconds",
    type: "gauge",
    help: "99th percentile of the delay of timers in this process since the last scrape.",
    labels: [],
  },
  info: {
    name: "lifeboat_info",
    type: "gauge",
    help: "Always 1; names the site of this process.",
    labels: ["site"],
  },
} as const satisfies Record<string, MetricSpec>;

export type MetricKey = keyof typeof metricTable;
