import { runTogether } from "../abort.ts";
import type { Clock, Random } from "../clock.ts";
import type { AgentConfig } from "../config/agent.ts";
import type { Journal } from "../journal/journal.ts";
import type { Discovery } from "../kube/discovery.ts";
import type { ObjectKey } from "../objects/key.ts";
import type { Certificates } from "../rpc/certificates.ts";
import { Link } from "../rpc/link.ts";
import type { GroupsUpdate } from "../rpc/messages.ts";
import { keepPulling } from "../stream/puller.ts";
import { safeError, type Log } from "../telemetry/log.ts";
import { Background } from "./background.ts";
import { openJournal } from "./group-journal.ts";
import { followPeerGroups } from "./peer-groups.ts";
import { StandbyFreshness } from "./standby-data.ts";

export interface ReplicaOptions {
  readonly config: AgentConfig;
  readonly certificates: Certificates;
  readonly discovery: Discovery;
  readonly journalKey: Uint8Array | undefined;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

interface Followed {
  /** The peer that serves it. */
  readonly site: string;
  readonly journal: Journal;
  readonly pulling: Background;
  /** Tombstones seen at the last look, with their places. */
  tombstones: ReadonlyMap<ObjectKey, number>;
}

/** Time for the agent that leads to apply a delete; what is left undone by then is found by what no key asks for. */
const settleEveryMs = 10 * 60_000;

/**
 * An agent of which another one leads: it keeps the journal of each group that a peer serves, so that it can go on where
 * the leader ends. It applies nothing, answers nobody and has no part in the failover protocol.
 */
export class Replica {
  readonly #options: ReplicaOptions;
  readonly #groups = new Map<string, Followed>();

  constructor(options: ReplicaOptions) {
    this.#options = options;
  }

  /** Until the signal aborts; the journals are closed when it rejects with its reason. */
  async run({ signal }: { signal: AbortSignal }): Promise<void> {
    const { config, discovery } = this.#options;
    const peers = config.peers.flatMap(({ site, address }) => (address === undefined ? [] : [{ site, address }]));
    try {
      await runTogether(
        [
          (inner) => discovery.run(inner),
          (inner) => this.#settle(inner),
          ...peers.map((peer) => (inner: { signal: AbortSignal }) => this.#follow(peer, inner)),
        ],
        { signal },
      );
    } finally {
      for (const name of this.#groups.keys()) await this.#close(name);
    }
  }

  async #follow(
    peer: { readonly site: string; readonly address: string | readonly string[] },
    { signal }: { signal: AbortSignal },
  ): Promise<void> {
    const { config, certificates, clock, random, log } = this.#options;
    const expect = { pair: config.pair, roles: ["site"] as const, site: peer.site };
    const link = new Link({ address: peer.address, certificates, expect, clock, random, log });
    await runTogether([(inner) => link.run(inner), (inner) => this.#watch(peer.site, link, inner)], { signal });
  }

  /** Follows what a peer serves, for ever. */
  async #watch(site: string, link: Link, { signal }: { signal: AbortSignal }): Promise<never> {
    const { discovery, config, clock, log } = this.#options;
    const onUpdate = async ({ groups }: GroupsUpdate): Promise<void> => {
      const served = new Set(groups.map(({ name }) => name));
      for (const [name, followed] of this.#groups) {
        if (followed.site === site && !served.has(name)) await this.#close(name);
      }
      for (const name of served) this.#open(name, { site, link, signal });
    };
    return followPeerGroups({ link, peer: site, site: config.site, discovery, clock, log, signal, onUpdate });
  }

  #open(
    name: string,
    { site, link, signal }: { readonly site: string; readonly link: Link; readonly signal: AbortSignal },
  ): void {
    if (this.#groups.has(name)) return;
    const { config, clock, random } = this.#options;
    const log = this.#options.log.child({ group: name });
    let journal: Journal;
    try {
      journal = openJournal(name, this.#options);
    } catch (error) {
      log.error({ error: safeError(error) }, "cannot open the journal of a group");
      return;
    }
    const freshness = new StandbyFreshness(journal, clock);
    const pulling = new Background({ name: "pull", clock, random, log, signal }, (inner) =>
      keepPulling(journal, {
        site: config.site,
        group: name,
        connect: (options) => link.ready(options),
        clock,
        random,
        log,
        signal: inner.signal,
        onEvent: (event) => void freshness.observe(event),
      }),
    );
    this.#groups.set(name, { site, journal, pulling, tombstones: new Map() });
  }

  async #close(name: string): Promise<void> {
    const followed = this.#groups.get(name);
    this.#groups.delete(name);
    await followed?.pulling.stop();
    followed?.journal.close();
  }

  /** Forgets deletes that are long done, which the agent that leads does as it applies them. */
  async #settle({ signal }: { signal: AbortSignal }): Promise<never> {
    for (;;) {
      await this.#options.clock.sleep(settleEveryMs, { signal });
      for (const followed of this.#groups.values()) {
        const { journal, tombstones } = followed;
        const now = new Map(
          [...journal.entries()].flatMap(([key, { hash, seq }]) => (hash === "" ? [[key, seq] as const] : [])),
        );
        const due = [...now].filter(([key, seq]) => journal.current && tombstones.get(key) === seq);
        await journal.settle(due.map(([key, seq]) => ({ key, seq })));
        followed.tombstones = now;
      }
    }
  }
}
