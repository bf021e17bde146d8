import { linkedAbort, Pulse } from "../abort.ts";
import type { Clock } from "../clock.ts";
import { LifeboatError } from "../errors.ts";
import type { PeerIdentity } from "../rpc/identity.ts";
import type { GroupsRequest, GroupsUpdate } from "../rpc/messages.ts";
import type { ReplicationHandlers } from "../rpc/replication.ts";
import type { ChangeSource } from "../stream/doors.ts";
import { readHello, serveStream, type SourceChannel } from "../stream/serve.ts";
import type { StreamMeter } from "../stream/session.ts";
import { Readers } from "./readers.ts";

/** A group that this site offers to its peer at present. */
export interface ServedGroup {
  readonly name: string;
  /** Site that may pull it. */
  readonly peer: string;
  /** `metadata.generation` of its ProtectionGroup. */
  readonly revision: number;
  readonly source: ChangeSource;
  readonly meter?: StreamMeter;
  /** The standby has stored a newer epoch than this site serves under. Must not throw. */
  readonly onNewerEpoch: (epoch: string) => void;
  /** Ends the streams of the group when this site stops serving it. */
  readonly signal: AbortSignal;
}

/** What a peer's API server serves, and which groups it keeps; that is undefined while it does not know yet. */
export type PeerSays = Pick<GroupsRequest, "kinds" | "kept">;

export interface ServedGroupsOptions {
  readonly site: string;
  readonly clock: Clock;
  /** What a peer says of itself when it asks for the groups. Must not throw. */
  readonly onPeerAsks?: (site: string, said: PeerSays) => void;
}

/** The groups for which this site is active: what its peers are told of, and where their streams begin. */
export class ServedGroups implements ReplicationHandlers {
  readonly #site: string;
  readonly #clock: Clock;
  readonly #onPeerAsks: ServedGroupsOptions["onPeerAsks"];
  readonly #groups = new Map<string, ServedGroup>();
  readonly #readers = new WeakMap<ServedGroup, Readers>();
  readonly #watchers = new Set<Pulse>();

  constructor(options: ServedGroupsOptions) {
    this.#site = options.site;
    this.#clock = options.clock;
    this.#onPeerAsks = options.onPeerAsks;
  }

  /** Offers the group until disposed. */
  offer(group: ServedGroup): Disposable {
    this.#groups.set(group.name, group);
    this.#readers.set(group, new Readers(group.source, this.#clock));
    this.announce();
    return {
      [Symbol.dispose]: () => {
        if (this.#groups.get(group.name) !== group) return;
        this.#groups.delete(group.name);
        this.announce();
      },
    };
  }

  /** Streams of the group that have something of it on a disk and are heard. */
  readerCount(name: string): number {
    const group = this.#groups.get(name);
    return (group === undefined ? undefined : this.#readers.get(group))?.count ?? 0;
  }

  /** An epoch or revision has changed: peers are told anew. */
  announce(): void {
    for (const watcher of this.#watchers) watcher.raise();
  }

  async *groups(peer: PeerIdentity, said: PeerSays, { signal }: { signal: AbortSignal }): AsyncIterable<GroupsUpdate> {
    const site = siteOf(peer);
    this.#onPeerAsks?.(site, said);
    const changed = new Pulse();
    this.#watchers.add(changed);
    try {
      for (;;) {
        const groups = [...this.#groups.values()].filter((group) => group.peer === site);
        yield {
          site: this.#site,
          groups: groups.map(({ name, source, revision }) => ({ name, epoch: source.epoch, revision })),
        };
        await changed.wait({ signal });
      }
    } finally {
      this.#watchers.delete(changed);
    }
  }

  async pull(channel: SourceChannel, { signal }: { signal: AbortSignal }): Promise<void> {
    const opened = await readHello(channel, { clock: this.#clock, signal });
    const group = this.#groups.get(opened.hello.group);
    if (group === undefined || group.peer !== siteOf(channel.peer)) {
      throw new LifeboatError("NotFound", `${this.#site} does not serve group ${opened.hello.group} to this site`, {
        op: "replication.pull",
        retryable: true,
        hint: "it may have stopped being active a moment ago",
      });
    }
    using scope = linkedAbort(signal, group.signal);
    using reader = this.#readers.get(group)?.join();
    await serveStream(reader?.source ?? group.source, opened, {
      site: this.#site,
      clock: this.#clock,
      signal: scope.signal,
      onNewerEpoch: group.onNewerEpoch,
      ...(group.meter === undefined ? {} : { meter: group.meter }),
    });
  }
}

function siteOf(peer: PeerIdentity): string {
  return peer.role === "site" ? peer.site : "";
}
