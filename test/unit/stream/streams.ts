import { LifeboatError } from "../../../src/errors.ts";
import { systemClock } from "../../../src/clock.ts";
import { Link } from "../../../src/rpc/link.ts";
import { replicationService, type ReplicationHandlers } from "../../../src/rpc/replication.ts";
import type { RpcServer } from "../../../src/rpc/server.ts";
import { keepPulling, type PullerOptions } from "../../../src/stream/puller.ts";
import type { PullEvent } from "../../../src/stream/pull.ts";
import { readHello, serveStream, type ServeOptions } from "../../../src/stream/serve.ts";
import { silentLog } from "../../../src/telemetry/log.ts";
import { anySite, createPair, eventually, serve, site } from "../rpc/pair.ts";
import { startProxy, type Proxy } from "../rpc/proxy.ts";
import type { ModelSink, ModelSource } from "./model.ts";

/** A source at `east`, a sink at `west`, and everything real between them: grpc, TLS, and a proxy for faults. */
export class StreamBench implements AsyncDisposable {
  readonly proxy: Proxy;
  readonly link: Link;
  readonly events: PullEvent[] = [];
  readonly ends: (LifeboatError | undefined)[] = [];
  readonly serveErrors: unknown[] = [];
  /** Served to whoever connects next. */
  source: ModelSource;
  sink: ModelSink;
  readonly #server: RpcServer;
  readonly #stop = new AbortController();
  #pulling: { stop: AbortController; done: Promise<unknown> } | undefined;
  readonly #options: BenchOptions;

  private constructor(parts: {
    proxy: Proxy;
    link: Link;
    server: RpcServer;
    state: BenchState;
    options: BenchOptions;
  }) {
    this.proxy = parts.proxy;
    this.link = parts.link;
    this.#server = parts.server;
    this.#options = parts.options;
    this.source = parts.options.source;
    this.sink = parts.options.sink;
    parts.state.bench = this;
    void this.link.run({ signal: this.#stop.signal }).catch(() => {});
  }

  static async start(options: BenchOptions): Promise<StreamBench> {
    const pair = await sharedPair;
    const state: BenchState = { bench: undefined };
    const pull: ReplicationHandlers["pull"] = async (channel, { signal }) => {
      const stream = await readHello(channel, { clock: systemClock, signal });
      const { bench } = state;
      if (bench === undefined) return;
      try {
        await serveStream(bench.source, stream, { site: "east", clock: systemClock, signal, ...options.serve });
      } catch (error) {
        bench.serveErrors.push(error);
        throw error;
      }
    };
    const handlers: ReplicationHandlers = { groups: async function* none() {}, pull };
    const server = await serve(await pair.certificatesFor(site("east")), [replicationService(anySite, handlers)]);
    const proxy = await startProxy(server.port);
    const link = new Link({
      address: `127.0.0.1:${proxy.port}`,
      certificates: await pair.certificatesFor(site("west")),
      expect: anySite,
      clock: systemClock,
      random: Math.random,
      log: silentLog,
    });
    return new StreamBench({ proxy, link, server, state, options });
  }

  /** Starts the standby's side. */
  pull(): void {
    const stop = new AbortController();
    const done = keepPulling(this.sink, {
      site: "west",
      group: "shop",
      clock: systemClock,
      random: Math.random,
      log: silentLog,
      signal: stop.signal,
      connect: (options) => this.link.ready(options),
      onEvent: (event) => this.events.push(event),
      onEnd: (error) => this.ends.push(error),
      ...this.#options.pull,
    }).catch(() => {});
    this.#pulling = { stop, done };
  }

  /** Stops the standby's side wherever it is. */
  async stopPulling(): Promise<void> {
    this.#pulling?.stop.abort(new Error("stopped by the test"));
    await this.#pulling?.done;
    this.#pulling = undefined;
  }

  /** Ends every stream from the source's side; those who pull come back by themselves. */
  breakStreams(): void {
    this.proxy.reset();
  }

  /** Resolves when the sink holds what the source holds and knows it. Returns the milliseconds it took. */
  async converged(limitMs = 10_000): Promise<number> {
    return eventually(
      () =>
        this.sink.complete &&
        this.sink.position()?.ring === this.source.ring &&
        this.sink.position()?.seq === this.source.head &&
        this.sink.digest.differing(this.source.digest.bytes()).length === 0,
      limitMs,
    );
  }

  countEvents(kind: PullEvent["kind"]): number {
    return this.events.filter((event) => event.kind === kind).length;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stopPulling();
    this.#stop.abort(new Error("test is over"));
    await this.#server.close({ deadlineMs: 100 });
    await this.proxy[Symbol.asyncDispose]();
  }
}

export interface BenchOptions {
  readonly source: ModelSource;
  readonly sink: ModelSink;
  readonly serve?: Partial<ServeOptions>;
  readonly pull?: Partial<PullerOptions>;
}

interface BenchState {
  bench: StreamBench | undefined;
}

const sharedPair = createPair();
