import type { Clock } from "../../clock.ts";
import type { AgentEffect, AgentEvent, AgentState } from "../agent-state.ts";
import { formatCert } from "../epoch.ts";

/**
 * What led to a decision, with times on this site's clocks. Heartbeats are far too many to be listed: the last one
 * before something happened is.
 */
export interface TimelineEvent {
  readonly event: TimelineName;
  /** On this process's monotonic clock; compare only with others of the same process. */
  readonly monotonicMs: number;
  /** Milliseconds since 1970, for people; may jump. */
  readonly wallMs: number;
  /** What it was about, for people; an epoch, a reason. */
  readonly detail: string;
}

export type TimelineName =
  | "boot"
  /** The last heartbeat of the peer before this site asked to take over. */
  | "lastPeerHeartbeat"
  /** This site's promise to the peer has ended. */
  | "peerPromiseEnded"
  | "acquireSent"
  | "acquireRefused"
  | "grantReceived"
  | "commitReceived"
  | "forced"
  /** The last renewal that a grantor acknowledged, before this site's lease ended. */
  | "lastRenewAccepted"
  | "leaseEnded"
  | "startRequested"
  /** The last wave was ready, or reported. */
  | "started"
  | "stopRequested"
  | "stopped"
  | "following"
  | "disarmed"
  | "rearmed"
  | "sealed"
  | "blocked";

/** A failover is about a dozen events; this keeps the last several. */
const eventsMax = 200;

export class Timeline {
  readonly #clock: Clock;
  #events: TimelineEvent[] = [];

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get events(): readonly TimelineEvent[] {
    return this.#events;
  }

  /** `atMs` on the monotonic clock. @default now */
  add(event: TimelineName, detail = "", atMs: number = this.#clock.monotonicMs()): void {
    const wallMs = this.#clock.wallMs() - (this.#clock.monotonicMs() - atMs);
    this.#events = [...this.#events.slice(1 - eventsMax), { event, monotonicMs: atMs, wallMs, detail }];
  }

  /** Lists what one step of the reducer decided. */
  observe(
    before: AgentState,
    event: AgentEvent,
    after: AgentState,
    effects: readonly AgentEffect[],
    now: number,
  ): void {
    this.#observePhase(before, after, now);
    this.#observeMessage(before, event, now);
    this.#observeDisarm(before, after);
    for (const effect of effects) {
      if (effect.type === "startRunning") this.add("startRequested", `${formatCert(effect.cert)} (${effect.kind})`);
      if (effect.type === "stopRunning") this.add("stopRequested", effect.reason);
    }
  }

  #observePhase(before: AgentState, after: AgentState, now: number): void {
    const from = before.phase;
    const to = after.phase;
    if (to.type === "Acquiring" && (from.type !== "Acquiring" || from.nonce !== to.nonce)) {
      if (to.kind === "takeover" || to.kind === "manual") this.#leadToTakeover(after, now);
      this.add("acquireSent", to.kind);
    }
    if (to.type === from.type) return;
    if (to.type === "Fenced" && (from.type === "Active" || from.type === "Quiescing")) {
      const { witness, peerGrantor } = before;
      const last = witness.leaseEndMs > peerGrantor.leaseEndMs ? witness : peerGrantor;
      if (last.leaseEndMs > 0) this.add("lastRenewAccepted", "", last.leaseSentAtMs);
      if (last.leaseEndMs > 0 && last.leaseEndMs <= now) this.add("leaseEnded", to.reason, last.leaseEndMs);
    }
    if (to.type === "Sealed") this.add("sealed", to.opId);
    if (to.type === "Blocked") this.add("blocked", to.reason);
  }

  /** The same lead is not listed again for every further attempt. */
  #leadToTakeover(state: AgentState, now: number): void {
    const { peer, promiseUntilMs } = state;
    const listed = (event: TimelineName, atMs: number) =>
      this.#events.some((entry) => entry.event === event && entry.monotonicMs === atMs);
    if (peer !== null && !listed("lastPeerHeartbeat", peer.heardAtMs)) {
      this.add("lastPeerHeartbeat", `${state.config.peer} was ${peer.state}`, peer.heardAtMs);
    }
    if (promiseUntilMs > 0 && promiseUntilMs <= now && !listed("peerPromiseEnded", promiseUntilMs)) {
      this.add("peerPromiseEnded", "", promiseUntilMs);
    }
  }

  #observeMessage(before: AgentState, event: AgentEvent, now: number): void {
    if (event.type === "command" && event.command.verb === "force-fenced") this.add("forced", event.command.operator);
    if (event.type !== "fromWitness") return;
    const { message } = event;
    if (message.type === "Grant") this.add("grantReceived", formatCert(message.cert), now);
    if (message.type === "Commit") this.add("commitReceived", formatCert(message.cert), now);
    if (message.type === "AcquireRefused" && before.lastRefusal?.code !== message.refusal.code) {
      this.add("acquireRefused", message.refusal.reason, now);
    }
  }

  #observeDisarm(before: AgentState, after: AgentState): void {
    const was = before.record.disarm;
    const is = after.record.disarm;
    if (was === null && is !== null) this.add("disarmed", is.by);
    if (was !== null && is === null) this.add("rearmed");
  }
}
