import { randomUUID } from "node:crypto";
import { hostname } from "node:os";
import { linkedAbort, runTogether, type LinkedAbort } from "../abort.ts";
import type { Clock, Random } from "../clock.ts";
import type { AgentConfig } from "../config/agent.ts";
import { hasCode, LifeboatError } from "../errors.ts";
import type { DurableRecords } from "../failover/runner/records.ts";
import type { StateFile } from "../journal/state.ts";
import type { KubeClient } from "../kube/client.ts";
import { Discovery } from "../kube/discovery.ts";
import { LeaseElection } from "../kube/lease.ts";
import type { Certificates } from "../rpc/certificates.ts";
import { safeError, type Log } from "../telemetry/log.ts";
import { startTelemetryServer } from "../telemetry/server.ts";
import { bootIdsOfNodes } from "./guard-nodes.ts";
import { AgentMetrics } from "./metrics.ts";
import { electionRetryShare } from "./policy.ts";
import { Replica } from "./replica.ts";
import { SharedRecords } from "./shared-records.ts";

/** What an agent is given that leads its site for a while. */
export interface LeaderSetup {
  readonly records: DurableRecords;
  readonly shared: SharedRecords;
  /** An incarnation that somebody has heard; this leader is above it. */
  readonly above: number;
  readonly bootIds: readonly string[];
  /** Somebody has heard a later leader of this site. Must not throw. */
  readonly onDeposed: (incarnation: number) => void;
}

export interface ElectedAgentOptions {
  readonly config: AgentConfig;
  readonly election: NonNullable<AgentConfig["election"]>;
  readonly certificates: Certificates;
  readonly client: KubeClient;
  /** On this agent's own disk. */
  readonly local: StateFile;
  readonly journalKey: Uint8Array | undefined;
  /** Boot id of this machine's kernel. */
  readonly machine: string;
  /** Leads the site until the signal aborts. */
  readonly lead: (setup: LeaderSetup, options: { signal: AbortSignal }) => Promise<void>;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** Of the Lease's duration: after so long without a renewal a leader gives up. */
const renewShare = 2 / 3;
/** The leader's own records could not be taken over: its API server is busy or away. */
const againMs = 500;
/** How late a change of leader is noticed in this process: little beside what the election itself takes. */
const lookEveryMs = 100;
/** To give the Lease up at the end; after that the other agent waits for its duration. */
const releaseMs = 1500;

/**
 * One of several agents of a site. While it is elected it leads, else it keeps the journals. Losing the Lease because the
 * API server does not answer does not end that: only the word of a later leader does, in the Lease, in the site's
 * records, or heard from witness, peer or a guard.
 */
export class ElectedAgent {
  readonly #options: ElectedAgentOptions;
  readonly #election: LeaseElection;
  readonly #identity: string;
  /** Of an agent that stands by. */
  readonly #metrics: AgentMetrics;
  /** Highest incarnation of another agent of this site that was heard of. */
  #above = 0;

  constructor(options: ElectedAgentOptions) {
    this.#options = options;
    const { client, config, election, clock, random, log } = options;
    this.#identity = `${election.identity ?? hostname()}_${randomUUID()}`;
    this.#metrics = new AgentMetrics({ site: config.site, clock });
    const durationMs = election.durationSeconds * 1000;
    this.#election = new LeaseElection({
      client,
      namespace: config.namespace,
      name: election.lease,
      identity: this.#identity,
      timings: { durationMs, renewDeadlineMs: durationMs * renewShare, retryMs: durationMs * electionRetryShare },
      onElected: (term) => log.info({ term }, "elected to lead this site"),
      onLost: (reason) => log.warn({ reason }, "the Lease is lost"),
      clock,
      random,
      log,
    });
  }

  /** Until the signal aborts; then the Lease is given up, and this returns. */
  async run({ signal }: { signal: AbortSignal }): Promise<void> {
    try {
      await runTogether([(inner) => this.#election.run(inner), (inner) => this.#takeTurns(inner)], { signal });
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      await this.#election.release({ signal: AbortSignal.timeout(releaseMs) }).catch(() => undefined);
    }
  }

  async #takeTurns({ signal }: { signal: AbortSignal }): Promise<never> {
    for (;;) {
      using scope = linkedAbort(signal);
      const leads = this.#election.state().leading;
      const work = leads ? this.#lead(scope) : this.#follow(scope.signal);
      await Promise.race([work, this.#untilOver(leads, scope.signal)]).catch(() => undefined);
      scope.abort(new LifeboatError("PeerUnreachable", "another agent of this site leads", { retryable: true }));
      await work.catch((error: unknown) => this.#failed(error, scope.signal.reason));
      signal.throwIfAborted();
      this.#options.log.info(leads ? "this agent no longer leads the site" : "this agent no longer stands by");
      await this.#options.clock.sleep(leads ? againMs : 0, { signal });
    }
  }

  async #untilOver(leads: boolean, signal: AbortSignal): Promise<void> {
    while (leads ? !this.#isFollowed : !this.#election.state().leading) {
      await this.#options.clock.sleep(lookEveryMs, { signal });
    }
  }

  #failed(error: unknown, ended: unknown): void {
    if (error === ended) return;
    // No other turn mends these.
    if (hasCode(error, "ConfigInvalid") || hasCode(error, "JournalCorrupt")) throw error;
    this.#options.log.warn({ error: safeError(error) }, "this agent could not go on, and begins anew");
  }

  /** Another agent has taken the Lease. One that nobody renews is still its last holder's. */
  get #isFollowed(): boolean {
    const { holder } = this.#election.state();
    return holder !== undefined && holder !== "" && holder !== this.#identity;
  }

  async #lead(scope: LinkedAbort): Promise<void> {
    const { signal } = scope;
    const { client, config, local, machine, lead, clock, log } = this.#options;
    const onDeposed = (incarnation: number): void => {
      this.#above = Math.max(this.#above, incarnation);
      scope.abort(new LifeboatError("FailoverRefused", `incarnation ${incarnation} of this site has been heard`));
    };
    const { namespace, site } = config;
    const shared = await SharedRecords.open(
      { client, namespace, site, local, above: this.#above, onFollowed: onDeposed, clock, log },
      { signal },
    );
    const bootIds = [machine, ...(await bootIdsOfNodes(client, { signal }))];
    log.info({ term: shared.term, identity: this.#identity }, "leads this site");
    await lead({ records: shared, shared, above: Math.max(this.#above, shared.term), bootIds, onDeposed }, { signal });
  }

  async #follow(signal: AbortSignal): Promise<void> {
    const { client, config, certificates, journalKey, clock, random, log } = this.#options;
    const common = { clock, random, log };
    const { registry } = this.#metrics.metrics;
    const telemetry = await startTelemetryServer({ listen: config.metrics, registry, isReady: () => false, log });
    log.info("stands by: another agent of this site leads, or none does yet");
    try {
      const discovery = new Discovery({ client, ...common });
      await new Replica({ config, certificates, discovery, journalKey, ...common }).run({ signal });
    } finally {
      await telemetry.close();
    }
  }
}
