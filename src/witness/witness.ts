import { join } from "node:path";
import type { Registry } from "prom-client";
import { linkedAbort, runTogether } from "../abort.ts";
import type { Clock } from "../clock.ts";
import type { ToWitness } from "../failover/messages.ts";
import { decodeToWitness } from "../failover/runner/schema.ts";
import { EnvelopeSender } from "../failover/runner/sender.ts";
import { Certificates } from "../rpc/certificates.ts";
import { exchangeService, type ExchangeChannel } from "../rpc/exchange.ts";
import type { GroupMessage } from "../rpc/messages.ts";
import { startRpcServer, type RpcServer } from "../rpc/server.ts";
import { safeError, type Log } from "../telemetry/log.ts";
import { WitnessRun, type InstanceOptions, type ReplyPath } from "./generation.ts";
import { createWitnessMetrics, type WitnessMetrics } from "./metrics.ts";
import { PauseWatch } from "./pause.ts";
import { SqliteWitnessStore } from "./sqlite-store.ts";
import type { WitnessStore } from "./store.ts";

/** The part of the configuration file that matters here (`witnessConfigSchema`). */
export interface WitnessOptions {
  readonly pair: string;
  /** `host:port`; port 0 takes a free one. */
  readonly listen: string;
  readonly tls: { readonly cert: string; readonly key: string; readonly ca: string };
  /** Folder of the store, where none is given. */
  readonly dataDir?: string | undefined;
}

export interface WitnessEnvironment {
  readonly signal: AbortSignal;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Registry;
  /** @default SQLite in `dataDir` */
  readonly store?: WitnessStore;
  /** Told once the witness listens and has a generation. */
  readonly onReady?: (ready: { readonly port: number; readonly generation: number }) => void;
}

/** Streams that are open longer than this at the end are cut; shorter than any pod's grace period. */
const closeDeadlineMs = 2000;

/** A second stream of a site is its next agent or a reconnection; more are leftovers of dead connections. */
const streamsPerSiteMax = 4;

/**
 * `lifeboat witness`: hears the sites of one pair, each for itself only, and answers by the protocol's reducer.
 * Returns when the signal aborts, after closing. Rejects with WitnessStoreFull, WitnessStoreCorrupt, WitnessReplaced,
 * PeerCertificate or ConfigInvalid; whoever started it may start it again.
 */
export async function runWitness(options: WitnessOptions, environment: WitnessEnvironment): Promise<void> {
  const { signal, log } = environment;
  const { cert, key, ca } = options.tls;
  const certificates = await Certificates.load({ certFile: cert, keyFile: key, caFile: ca });
  const store = environment.store ?? SqliteWitnessStore.open({ path: join(options.dataDir ?? "", "witness.db") });
  const witness = new Witness(environment, store);
  let server: RpcServer | undefined;
  try {
    server = await startRpcServer({
      listen: options.listen,
      certificates,
      services: [exchangeService({ pair: options.pair, roles: ["site"] }, { connect: witness.connect })],
      log,
    });
    await witness.run(server);
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    await server?.close({ deadlineMs: closeDeadlineMs });
    await store.close();
    certificates.close();
  }
}

class Witness {
  readonly #environment: WitnessEnvironment;
  readonly #store: WitnessStore;
  readonly #metrics: WitnessMetrics;
  readonly #pause: PauseWatch;
  readonly #streams = new Map<string, Set<ExchangeChannel>>();
  #run: WitnessRun | undefined;

  constructor(environment: WitnessEnvironment, store: WitnessStore) {
    this.#environment = environment;
    this.#store = store;
    this.#metrics = createWitnessMetrics(environment.metrics);
    this.#pause = new PauseWatch(environment.clock);
  }

  async run(server: RpcServer): Promise<void> {
    const { signal } = this.#environment;
    server.setServing(false);
    await runTogether([(inner) => this.#pause.run(inner), (inner) => this.#generations(server, inner)], { signal });
  }

  /** One generation after the other; the next begins when a site shows a certificate that is ahead of this one. */
  async #generations(server: RpcServer, { signal }: { signal: AbortSignal }): Promise<never> {
    const { clock, log, onReady } = this.#environment;
    const common = { store: this.#store, clock, log, metrics: this.#metrics, pause: this.#pause };
    for (let heard = 0; ;) {
      const options: InstanceOptions = { ...common, heard };
      const run = await WitnessRun.boot(options, { signal });
      this.#run = run;
      server.setServing(true);
      onReady?.({ port: server.port, generation: run.generation });
      heard = Math.max(heard, await run.run({ signal }));
      log.warn({ generation: run.generation, heard }, "a site knows a later generation: starting above it");
    }
  }

  /** One site's stream. */
  readonly connect = async (channel: ExchangeChannel, { signal }: { signal: AbortSignal }): Promise<void> => {
    if (channel.peer.role !== "site") return;
    const { site } = channel.peer;
    using scope = linkedAbort(signal);
    const { clock } = this.#environment;
    const incarnation = () => this.#run?.generation ?? 0;
    const sender = new EnvelopeSender({ channel, from: "", incarnation, clock, signal: scope.signal });
    const path: ReplyPath = {
      site,
      reply: (message) => sender.add({ group: message.group, payload: JSON.stringify(message) }),
    };
    const release = this.#enter(site, channel);
    try {
      for await (const { messages } of channel.receive({ signal })) {
        for (const message of messages) this.#receive(site, message, path);
      }
    } finally {
      release();
      scope.abort();
    }
  };

  #enter(site: string, channel: ExchangeChannel): () => void {
    const streams = this.#streams.get(site) ?? new Set();
    this.#streams.set(site, streams);
    streams.add(channel);
    const [oldest] = streams;
    if (streams.size > streamsPerSiteMax) oldest?.close();
    this.#metrics.sitesConnected.inc();
    this.#environment.log.info({ site }, "site connected");
    return () => {
      streams.delete(channel);
      this.#metrics.sitesConnected.dec();
      this.#environment.log.info({ site }, "site disconnected");
    };
  }

  #receive(site: string, { group, payload }: GroupMessage, path: ReplyPath): void {
    let message: ToWitness;
    try {
      message = decodeToWitness(payload);
    } catch (error) {
      this.#metrics.dropped.inc({ reason: "malformed" });
      this.#environment.log.warn({ site, group, error: safeError(error) }, "message dropped");
      return;
    }
    if (message.site !== site || message.group !== group) {
      this.#metrics.dropped.inc({ reason: "site" });
      this.#environment.log.warn({ site, group, claimed: message.site }, "a site spoke for another one");
      return;
    }
    this.#run?.receive(message, path);
  }
}
