import { linkedAbort } from "../abort.ts";
import type { Clock, Random } from "../clock.ts";
import { LifeboatError, messageOf } from "../errors.ts";
import type { KubeObject } from "../objects/object.ts";
import type { Log } from "../telemetry/log.ts";
import type { KubeClient } from "./client.ts";
import { resources } from "./resource.ts";
import { hasReason } from "./status.ts";

/** Annotation of the Lease: how many leaders there have been, the present one included. */
export const incarnationAnnotation = "lifeboat.dev/incarnation";

/**
 * Timings of an election. A leader that cannot renew for `renewDeadlineMs` counts itself out; the others take over
 * `durationMs` after its last renewal, so that the former must be less than the latter.
 */
export interface LeaseTimings {
  readonly durationMs: number;
  readonly renewDeadlineMs: number;
  readonly retryMs: number;
}

/** Faster than the 15/10/2 s of Kubernetes clients, which do not fit into the lease of a failover profile. */
export const defaultLeaseTimings: LeaseTimings = { durationMs: 6_000, renewDeadlineMs: 4_000, retryMs: 1_000 };

export interface LeaseElectionOptions {
  readonly client: KubeClient;
  readonly namespace: string;
  readonly name: string;
  /** Unique per process: the pod's name and a random part. */
  readonly identity: string;
  /** @default {@link defaultLeaseTimings} */
  readonly timings?: LeaseTimings;
  /**
   * This process leads from now on. `incarnation` is higher than that of every leader before, is stored in the Lease
   * before this call, and is what tells an old leader's messages from a new one's. Must not throw.
   */
  readonly onElected: (incarnation: number) => void;
  /** The election is lost or unknown. Only told: what the former leader stops is not decided here. Must not throw. */
  readonly onLost: (reason: string) => void;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

export interface LeaseState {
  readonly leading: boolean;
  /** Of the present leader, as last read. */
  readonly incarnation: number | undefined;
  readonly holder: string | undefined;
}

interface LeaseSpec {
  readonly holderIdentity?: string | null;
  readonly leaseDurationSeconds?: number;
  readonly acquireTime?: string | null;
  readonly renewTime?: string | null;
  readonly leaseTransitions?: number;
}

/** What was last read of the Lease, and when by our own clock it was first seen so (clocks of processes differ). */
export interface LeaseView {
  readonly holder: string;
  readonly renewTime: string;
  readonly durationMs: number;
  readonly seenMs: number;
}

/**
 * Whether the lease may be taken: nobody holds it, we do, or its holder has not renewed for its duration since we
 * first saw its last renewal.
 */
export function mayTake(view: LeaseView | undefined, identity: string, nowMs: number): boolean {
  return view === undefined || view.holder === "" || view.holder === identity || nowMs - view.seenMs > view.durationMs;
}

/** Above every number given before, also when the Lease was deleted meanwhile: then time stands in for its counter. */
export function nextIncarnation(stored: number | undefined, highestSeen: number, wallMs: number): number {
  return Math.max((stored ?? 0) + 1, highestSeen + 1, stored === undefined ? Math.floor(wallMs / 1000) : 0);
}

/**
 * Elects one leader among processes over a `coordination.k8s.io` Lease. The client package has no leader election, and
 * none that is known hands out the incarnation that tells a former leader's messages from those of the present one.
 */
export class LeaseElection {
  readonly #options: LeaseElectionOptions;
  readonly #timings: LeaseTimings;
  #view: LeaseView | undefined;
  #leadingSince: number | undefined;
  #renewedMs = 0;
  #incarnation: number | undefined;
  #highest = 0;

  constructor(options: LeaseElectionOptions) {
    this.#options = options;
    this.#timings = options.timings ?? defaultLeaseTimings;
  }

  state(): LeaseState {
    return {
      leading: this.#leadingSince !== undefined,
      incarnation: this.#incarnation,
      holder: this.#view?.holder,
    };
  }

  /** Takes part until `signal` aborts, then rejects with its reason; {@link release} gives the lease up. */
  async run({ signal }: { signal: AbortSignal }): Promise<void> {
    const { clock, random, log } = this.#options;
    for (;;) {
      try {
        await this.#roundInTime(signal);
      } catch (error) {
        signal.throwIfAborted();
        // Of two that write at once one meets a conflict: that is the election, not a failure.
        if (!hasReason(error, "Conflict") && !hasReason(error, "AlreadyExists")) {
          log.debug({ err: error }, "leader election round failed");
        }
        this.#checkDeadline(messageOf(error));
      }
      await clock.sleep(this.#timings.retryMs * (0.9 + random() * 0.2), { signal });
    }
  }

  /** Lets the next leader take over at once. To be called after {@link run} has ended. */
  async release({ signal }: { signal: AbortSignal }): Promise<void> {
    const { client, namespace, name, identity } = this.#options;
    this.#lose("released");
    const lease = await client.find(resources.leases, { namespace, name }, { signal });
    if (lease === undefined || specOf(lease).holderIdentity !== identity) return;
    await client.put(
      resources.leases,
      { ...lease, spec: { ...specOf(lease), holderIdentity: "", leaseDurationSeconds: 1 } },
      { fieldManager: "lifeboat", signal },
    );
  }

  /** A leader's round ends when its time to renew does, so that a silent API server cannot delay the news that it is lost. */
  async #roundInTime(signal: AbortSignal): Promise<void> {
    const { renewDeadlineMs, retryMs } = this.#timings;
    const sinceMs = this.#options.clock.monotonicMs() - this.#renewedMs;
    const leftMs =
      this.#leadingSince === undefined ? renewDeadlineMs : Math.max(retryMs / 10, renewDeadlineMs - sinceMs);
    using scope = linkedAbort(signal);
    const timer = setTimeout(() => {
      scope.abort(new LifeboatError("Timeout", "the API server did not answer in time", { op: "kube.lease" }));
    }, leftMs);
    try {
      await this.#round(scope.signal);
    } finally {
      clearTimeout(timer);
    }
  }

  async #round(signal: AbortSignal): Promise<void> {
    const { client, namespace, name, identity, clock } = this.#options;
    const lease = await client.find(resources.leases, { namespace, name }, { signal });
    this.#look(lease);
    if (!mayTake(this.#view, identity, clock.monotonicMs())) {
      this.#lose(`held by ${this.#view?.holder ?? ""}`);
      return;
    }
    await this.#write(lease, signal);
  }

  #look(lease: KubeObject | undefined): void {
    if (lease === undefined) {
      this.#view = undefined;
      return;
    }
    const spec = specOf(lease);
    const holder = spec.holderIdentity ?? "";
    const renewTime = spec.renewTime ?? "";
    const stored = incarnationOf(lease);
    if (stored !== undefined) this.#highest = Math.max(this.#highest, stored);
    if (holder !== this.#options.identity) this.#incarnation = stored;
    if (this.#view?.holder === holder && this.#view.renewTime === renewTime) return;
    const durationMs = (spec.leaseDurationSeconds ?? 0) * 1000;
    this.#view = { holder, renewTime, durationMs, seenMs: this.#options.clock.monotonicMs() };
  }

  /** Takes or renews the lease. The incarnation is handed over by this write, or not at all. */
  async #write(lease: KubeObject | undefined, signal: AbortSignal): Promise<void> {
    const { client, namespace, name, identity, clock } = this.#options;
    const startedMs = clock.monotonicMs();
    const now = `${new Date(clock.wallMs()).toISOString().slice(0, -1)}000Z`;
    const old = lease === undefined ? undefined : specOf(lease);
    // A lease that carries our name from before we led (a restart under the same name) is taken, not renewed.
    const renewing = this.#leadingSince !== undefined && old?.holderIdentity === identity;
    const stored = lease === undefined ? undefined : incarnationOf(lease);
    const incarnation =
      renewing && this.#incarnation !== undefined
        ? this.#incarnation
        : nextIncarnation(stored, this.#highest, clock.wallMs());
    const object: KubeObject = {
      apiVersion: "coordination.k8s.io/v1",
      kind: "Lease",
      metadata: {
        ...(lease?.metadata ?? { name, namespace }),
        annotations: { ...lease?.metadata.annotations, [incarnationAnnotation]: String(incarnation) },
      },
      spec: {
        holderIdentity: identity,
        leaseDurationSeconds: Math.max(1, Math.round(this.#timings.durationMs / 1000)),
        acquireTime: renewing ? old.acquireTime : now,
        renewTime: now,
        leaseTransitions: renewing ? old.leaseTransitions : (old?.leaseTransitions ?? 0) + 1,
      },
    };
    const options = { fieldManager: "lifeboat", signal };
    const written =
      lease === undefined
        ? await client.create(resources.leases, object, options)
        : await client.put(resources.leases, object, options);
    this.#renewedMs = startedMs;
    this.#incarnation = incarnation;
    this.#look(written);
    if (renewing) return;
    this.#lose("another incarnation of this process led");
    this.#leadingSince = startedMs;
    this.#options.onElected(incarnation);
  }

  #checkDeadline(reason: string): void {
    const sinceMs = this.#options.clock.monotonicMs() - this.#renewedMs;
    if (sinceMs >= this.#timings.renewDeadlineMs) this.#lose(`not renewed for ${Math.round(sinceMs)} ms: ${reason}`);
  }

  #lose(reason: string): void {
    if (this.#leadingSince === undefined) return;
    this.#leadingSince = undefined;
    this.#options.onLost(reason);
  }
}

function specOf(lease: KubeObject): LeaseSpec {
  return lease["spec"] ?? {};
}

function incarnationOf(lease: KubeObject): number | undefined {
  const value = Number(lease.metadata.annotations?.[incarnationAnnotation]);
  return Number.isSafeInteger(value) && value > 0 ? value : undefined;
}
