import { Pulse } from "../abort.ts";
import { LifeboatError } from "../errors.ts";
import type { StandbyData } from "../failover/runner/runner.ts";
import type { Journal } from "../journal/journal.ts";
import type { PullEvent } from "../stream/pull.ts";
import { keepPulling } from "../stream/puller.ts";
import type { Log } from "../telemetry/log.ts";
import { Background } from "./background.ts";
import type { AgentParts } from "./parts.ts";
import { StandbyFreshness } from "./standby-data.ts";

export interface PullingOptions {
  readonly name: string;
  readonly parts: AgentParts;
  readonly journal: Journal;
  /** The other site of the group, as far as it is known. */
  readonly peer: () => string | undefined;
  readonly log: Log;
  readonly signal: AbortSignal;
  /** How good this site is as a standby, after each contact with the source. Must not throw. */
  readonly onData: (data: StandbyData) => void;
  /** Must not throw. */
  readonly onChange: () => void;
}

/** The standby side of a group at this site: the stream from the peer into the journal. */
export class GroupPulling {
  readonly #options: PullingOptions;
  readonly #freshness: StandbyFreshness;
  readonly #current = new Pulse();
  #pulling: Background | undefined;
  #error: LifeboatError | undefined;
  #wasCurrent = false;

  constructor(options: PullingOptions) {
    this.#options = options;
    this.#freshness = new StandbyFreshness(options.journal, options.parts.clock);
  }

  get active(): boolean {
    return this.#pulling !== undefined;
  }

  /** Why there is no stream; undefined again once the source is heard. */
  get error(): LifeboatError | undefined {
    const peer = this.#options.peer();
    const link = peer === undefined ? undefined : this.#options.parts.dataLinks.get(peer)?.state;
    // A peer that was never reached by this process has ended no stream.
    if (this.active && link?.kind === "connecting" && link.error !== undefined) return link.error;
    return this.#error;
  }

  /** The journal holds everything of its source, by what this process has heard from it. */
  get isCurrent(): boolean {
    return this.active && this.#wasCurrent && this.#options.journal.current;
  }

  /** Time since the journal was last known to be complete, silence of the source included. */
  ageMs(): number | undefined {
    return this.#freshness.ageMs();
  }

  /** What an earlier process knew of the source of that epoch; see {@link StandbyFreshness.keptFor}. */
  keptFor(epoch: string): StandbyData | undefined {
    return this.#freshness.keptFor(epoch);
  }

  /** Begins to pull from the peer, where that is not done already. */
  start(): void {
    if (this.#pulling !== undefined) return;
    const { parts, journal, name, log, signal } = this.#options;
    const { config, dataLinks, clock, random, metrics } = parts;
    const peer = this.#options.peer();
    const link = peer === undefined ? undefined : dataLinks.get(peer);
    if (link === undefined) {
      this.#error = new LifeboatError("PeerUnreachable", `no address is configured for ${peer ?? "the peer"}`, {
        hint: "give peers[].address in this agent's configuration, so that it can pull",
      });
      return;
    }
    this.#pulling = new Background({ name: "pull", clock, random, log, signal }, (inner) =>
      keepPulling(journal, {
        site: config.site,
        group: name,
        connect: (options) => link.ready(options),
        clock,
        random,
        log,
        signal: inner.signal,
        meter: metrics.streamMeter(name),
        onEvent: (event) => this.#heard(event),
        onEnd: (error) => {
          this.#error = error;
          this.#options.onChange();
        },
      }),
    );
  }

  async stop(): Promise<void> {
    const pulling = this.#pulling;
    this.#pulling = undefined;
    this.#wasCurrent = false;
    await pulling?.stop();
  }

  /** Resolves when the journal holds everything of the peer. */
  async whenCurrent({ signal }: { signal: AbortSignal }): Promise<void> {
    while (!this.#options.journal.current) await this.#current.wait({ signal });
  }

  #heard(event: PullEvent): void {
    const { parts, name, journal, onData } = this.#options;
    this.#error = undefined;
    if (event.kind === "compared" && event.purpose === "RESET") parts.metrics.resynced(name);
    const data = this.#freshness.observe(event);
    if (data !== undefined) onData(data);
    // Also of what a journal from a backup lacks the source has said how much it is.
    if (data?.readiness === "Ready" && data.lagMs === 0) this.#wasCurrent = true;
    if (journal.current) this.#current.raise();
  }
}
