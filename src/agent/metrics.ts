import { collectDefaultMetrics } from "prom-client";
import type { LagKind } from "../capture/canary.ts";
import type { Clock } from "../clock.ts";
import { parseDuration } from "../config/duration.ts";
import type { GroupStatus } from "../config/group.ts";
import type { StartKind } from "../failover/runner/actions.ts";
import { parseEpoch } from "../objects/epoch.ts";
import type { StreamMeter } from "../stream/session.ts";
import { Metrics } from "../telemetry/registry.ts";
import type { TroubledKind } from "./kind-troubles.ts";
import type { StartReport } from "./happenings.ts";
import type { GroupView } from "./status.ts";

/** Asked at each scrape. */
export interface GroupAges {
  durableMs(): number | undefined;
  appliedMs(): number | undefined;
  /** Agents of the standby that keep the group's journal; none at a standby. */
  journalCount(): number | undefined;
  /** Longest time since any watch of the group heard from its API server; none at a standby. */
  eventMs(): number | undefined;
  /** Time since the witness last answered for the group. */
  witnessMs(): number | undefined;
}

/** How often the lag of the event loop is sampled. */
const loopDelayEveryMs = 100;

const reasons: Readonly<Partial<Record<StartKind, string>>> = {
  takeover: "automatic",
  manual: "manual",
  commit: "switchover",
  forced: "forced",
};

/** What the agent's rooms report as metrics. */
export class AgentMetrics {
  readonly metrics: Metrics;
  readonly #probes = new Map<string, Disposable[]>();
  readonly #missing = new Map<string, boolean>();
  /** Moves whose phases have been observed. */
  readonly #observed = new WeakSet<StartReport>();
  readonly #everLinked = new Set<string>();
  readonly #clock: Clock;

  constructor({ site, clock }: { readonly site: string; readonly clock: Clock }) {
    this.#clock = clock;
    this.metrics = new Metrics({ site });
    // Every 10 ms, which is what the library does by itself, was half of what an idle agent did.
    collectDefaultMetrics({ register: this.metrics.registry, eventLoopMonitoringPrecision: loopDelayEveryMs });
  }

  /** The connection for data to a peer has been made, or is not there. */
  linkChanged(peer: string, isUp: boolean): void {
    const isAgain = isUp && this.#everLinked.has(peer);
    if (isUp) this.#everLinked.add(peer);
    this.metrics.set("lifeboat_peer_connected", { peer }, isUp ? 1 : 0);
    this.metrics.add("lifeboat_reconnects_total", { peer }, isAgain ? 1 : 0);
  }

  /** When this process's certificate expires, in milliseconds since 1970. */
  certificate(expiresAtMs: () => number): void {
    this.metrics.probe("lifeboat_certificate_expiry_timestamp_seconds", {}, () => expiresAtMs() / 1000);
  }

  open(group: string, peer: string, ages: GroupAges): void {
    if (this.#probes.has(group)) return;
    const { metrics } = this;
    metrics.openGroup({ group, peer });
    this.#probes.set(group, [
      metrics.probe("lifeboat_age_seconds", { group }, () => inSeconds(ages.durableMs())),
      metrics.probe("lifeboat_last_sync_timestamp_seconds", { group }, () => {
        const ageMs = ages.durableMs();
        return ageMs === undefined ? undefined : (this.#clock.wallMs() - ageMs) / 1000;
      }),
      metrics.probe("lifeboat_standby_journals", { group }, () => ages.journalCount()),
      metrics.probe("lifeboat_reflector_last_event_age_seconds", { group }, () => inSeconds(ages.eventMs())),
      metrics.probe("lifeboat_apply_age_seconds", { group }, () => inSeconds(ages.appliedMs())),
      metrics.probe("lifeboat_witness_last_reply_age_seconds", { group }, () => inSeconds(ages.witnessMs())),
    ]);
  }

  async close(group: string): Promise<void> {
    for (const probe of this.#probes.get(group) ?? []) probe[Symbol.dispose]();
    this.#probes.delete(group);
    await this.metrics.closeGroup(group);
  }

  observeLag(group: string, kind: LagKind, ms: number): void {
    const name = kind === "journal" ? "lifeboat_journal_lag_seconds" : "lifeboat_apply_lag_seconds";
    this.metrics.observe(name, { group }, ms / 1000);
  }

  streamMeter(group: string): StreamMeter {
    return {
      sent: (bytes) => this.metrics.add("lifeboat_stream_sent_bytes_total", { group }, bytes),
      received: (bytes) => this.metrics.add("lifeboat_stream_received_bytes_total", { group }, bytes),
    };
  }

  resynced(group: string): void {
    this.metrics.add("lifeboat_stream_resyncs_total", { group });
  }

  /** The group has begun to run here. */
  started(group: string, kind: StartKind, tookMs: number): void {
    const reason = reasons[kind];
    if (reason === undefined) return;
    this.metrics.add("lifeboat_failovers_total", { group, reason });
    this.metrics.observe("lifeboat_failover_phase_seconds", { group, phase: "start" }, tookMs / 1000);
  }

  /** Told of a group's state whenever its status is made. */
  update(group: string, view: GroupView, status: GroupStatus, troubles: readonly TroubledKind[]): void {
    const { metrics } = this;
    const { applier, failover } = view;
    const labels = { group };
    metrics.set("lifeboat_objects", labels, status.counts?.objects ?? 0);
    metrics.set("lifeboat_pending_objects", labels, applier.pending);
    metrics.set("lifeboat_failing_objects", labels, applier.failingCount);
    metrics.set("lifeboat_withheld_objects", labels, status.counts?.withheld ?? 0);
    metrics.set("lifeboat_pods_left", labels, applier.podsLeft.length);
    metrics.set("lifeboat_conflicting_objects", labels, applier.conflictCount);
    metrics.set("lifeboat_contested_objects", labels, applier.contested.length);
    metrics.set("lifeboat_fields_dropped_objects", labels, applier.fieldsDroppedCount);
    metrics.set("lifeboat_divergent_objects", labels, view.divergent.length);
    metrics.set("lifeboat_deletes_paused", labels, applier.deletesPaused === undefined ? 0 : 1);
    if (view.merge !== undefined) {
      metrics.set("lifeboat_merge_clock_ahead_seconds", labels, view.merge.aheadMs / 1000);
      metrics.set("lifeboat_merge_tombstones", labels, view.merge.tombstones);
      metrics.set("lifeboat_surge_percent", labels, view.merge.surgePercent ?? 100);
    }
    metrics.set("lifeboat_never_synced", labels, status.lag?.summary === "never" ? 1 : 0);
    metrics.set("lifeboat_armed", labels, failover?.armed === true ? 1 : 0);
    metrics.set("lifeboat_blocked", labels, failover?.blocked === undefined ? 0 : 1);
    for (const role of ["active", "standby", "unknown"]) {
      metrics.set("lifeboat_role", { group, role }, status.role === role ? 1 : 0);
    }
    for (const cause of ["forbidden", "missing", "rewound", "unreadable", "uncommon"]) {
      const count = troubles.filter(({ what }) => what === cause).length;
      metrics.set("lifeboat_unfollowed_kinds", { group, cause }, count);
    }
    if (failover !== undefined) {
      const left = "lifeboat_lease_remaining_seconds";
      metrics.set(left, { group, grantor: "witness" }, failover.witness.leaseMs / 1000);
      metrics.set(left, { group, grantor: "peer" }, failover.peerGrantor.leaseMs / 1000);
    }
    if (status.epoch !== undefined) metrics.set("lifeboat_epoch_counter", labels, parseEpoch(status.epoch).counter);
    const rtoMs = status.lastFailover?.rtoMs;
    if (rtoMs !== undefined) metrics.set("lifeboat_rto_last_seconds", labels, rtoMs / 1000);
    this.#phases(group, view, status);
    this.#objectives(group, view, status.lag?.ageMs);
  }

  /** How long a move that ended here took, from the last sign of life of the old site. */
  #phases(group: string, { lastStart }: GroupView, { lastFailover }: GroupStatus): void {
    if (lastStart === undefined || lastFailover === undefined || this.#observed.has(lastStart)) return;
    if (reasons[lastStart.goal.kind] === undefined) return;
    this.#observed.add(lastStart);
    const { decisionMs, rtoMs } = lastFailover;
    for (const [phase, ms] of Object.entries({ decision: decisionMs, total: rtoMs })) {
      if (ms !== undefined) this.metrics.observe("lifeboat_failover_phase_seconds", { group, phase }, ms / 1000);
    }
  }

  #objectives(group: string, view: GroupView, ageMs: number | undefined): void {
    const { metrics } = this;
    const { rpo, rto } = view.group?.spec.objectives ?? {};
    if (rto !== undefined) metrics.set("lifeboat_rto_objective_seconds", { group }, parseDuration(rto) / 1000);
    if (rpo === undefined) return;
    const objectiveMs = parseDuration(rpo);
    metrics.set("lifeboat_rpo_objective_seconds", { group }, objectiveMs / 1000);
    if (ageMs === undefined) return;
    metrics.set("lifeboat_rpo_ratio", { group }, ageMs / objectiveMs);
    const missed = ageMs > objectiveMs;
    if (missed && this.#missing.get(group) !== true) metrics.add("lifeboat_rpo_missed_intervals_total", { group });
    this.#missing.set(group, missed);
  }
}

function inSeconds(ms: number | undefined): number | undefined {
  return ms === undefined ? undefined : ms / 1000;
}
