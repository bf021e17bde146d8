import { linkedAbort, runTogether } from "../../abort.ts";
import type { Clock, Random } from "../../clock.ts";
import { LifeboatError } from "../../errors.ts";
import type { Certificates } from "../../rpc/certificates.ts";
import { openExchange, type ExchangeChannel } from "../../rpc/exchange.ts";
import { reconnectFirstMs } from "../../rpc/limits.ts";
import { Link } from "../../rpc/link.ts";
import type { Envelope, GroupMessage } from "../../rpc/messages.ts";
import { safeError, type Log } from "../../telemetry/log.ts";
import type { SiteName } from "../epoch.ts";
import type { FromWitness, PeerMessage, ToWitness } from "../messages.ts";
import { decodeFromWitness, decodePeerMessage } from "./schema.ts";
import { EnvelopeSender } from "./sender.ts";

export interface ExchangeLinksOptions {
  readonly pair: string;
  readonly site: SiteName;
  /** Of this agent's leadership; fixed for the life of the links. */
  readonly incarnation: number;
  readonly certificates: Certificates;
  /** `host:port`; undefined for a pair without a witness. */
  readonly witness: string | undefined;
  /** Peers by site; one without an address dials us. */
  readonly peers: readonly { readonly site: SiteName; readonly address: string | readonly string[] | undefined }[];
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** Who is told what arrives for one group. Neither may throw. */
export interface GroupListener {
  fromWitness(message: FromWitness): void;
  fromPeer(message: PeerMessage): void;
}

/** What a runner needs of the links; messages may be lost, and are while nobody is connected. */
export interface GroupLinks {
  register(group: string, peer: SiteName, listener: GroupListener): Disposable;
  toWitness(message: ToWitness): void;
  toPeer(peer: SiteName, message: PeerMessage): void;
  status(peer: SiteName): { readonly witness: LinkStatus; readonly peer: LinkStatus };
}

export interface LinkStatus {
  readonly connected: boolean;
  /** Age of the last envelope; null when none came since the start. */
  readonly heardAgoMs: number | null;
  /** Why the last attempt to connect failed; undefined when connected or when there is no address to dial. */
  readonly error: LifeboatError | undefined;
}

interface Registration {
  readonly peer: SiteName;
  readonly listener: GroupListener;
}

/**
 * An agent's streams for the failover protocol: one to the witness and one with each peer, for all groups together.
 * Both sides of a pair dial, so there may be two streams with a peer; what goes out takes the one on which something
 * came in last. Apart from the connections of the bulk data on purpose: a lease must not queue behind a first sync.
 *
 * A certificate (who holds which epoch) carries no signature of its own: the right to run comes only in a Grant or
 * Commit on the witness's own authenticated stream. What a peer passes on can only take that right away, which the
 * peer can bring about in any case by being forced; `sig` stays empty.
 */
export class ExchangeLinks implements GroupLinks {
  readonly #groups = new Map<string, Registration>();
  readonly #witness: Route;
  readonly #peers: ReadonlyMap<SiteName, Route>;

  constructor(options: ExchangeLinksOptions) {
    this.#witness = new Route(options, { role: "witness", site: undefined, address: options.witness }, (message) =>
      this.#fromWitness(message),
    );
    this.#peers = new Map(
      options.peers.map(({ site, address }) => [
        site,
        new Route(options, { role: "site", site, address }, (message) => this.#fromPeer(site, message)),
      ]),
    );
  }

  /** Keeps dialling the witness and every peer with an address until the signal aborts; rejects with its reason. */
  async run({ signal }: { signal: AbortSignal }): Promise<void> {
    const routes = [this.#witness, ...this.#peers.values()];
    await runTogether(
      routes.map((route) => (inner: { signal: AbortSignal }) => route.run(inner)),
      { signal },
    );
  }

  /** The handler of this agent's Exchange service: `exchangeService(expect, {connect: links.accept})`. */
  readonly accept = async (channel: ExchangeChannel, { signal }: { signal: AbortSignal }): Promise<void> => {
    const route = channel.peer.role === "site" ? this.#peers.get(channel.peer.site) : undefined;
    if (route === undefined) {
      throw new LifeboatError("PeerCertificate", "this agent exchanges failover messages with its peers only", {
        op: "failover.exchange",
        hint: "the certificate must name a site that is a peer here",
      });
    }
    await route.serve(channel, "accepted", { signal });
  };

  register(group: string, peer: SiteName, listener: GroupListener): Disposable {
    const registration = { peer, listener };
    this.#groups.set(group, registration);
    return {
      [Symbol.dispose]: () => {
        if (this.#groups.get(group) === registration) this.#groups.delete(group);
      },
    };
  }

  toWitness(message: ToWitness): void {
    this.#witness.send({ group: message.group, payload: JSON.stringify(message) });
  }

  toPeer(peer: SiteName, message: PeerMessage): void {
    this.#peers.get(peer)?.send({ group: message.group, payload: JSON.stringify(message) });
  }

  status(peer: SiteName): { readonly witness: LinkStatus; readonly peer: LinkStatus } {
    const none: LinkStatus = { connected: false, heardAgoMs: null, error: undefined };
    return { witness: this.#witness.status(), peer: this.#peers.get(peer)?.status() ?? none };
  }

  #fromWitness({ group, payload }: GroupMessage): void {
    const registration = this.#groups.get(group);
    if (registration === undefined) return;
    const message = decodeFromWitness(payload);
    if (message.group !== group) throw misaddressed(group);
    registration.listener.fromWitness(message);
  }

  #fromPeer(site: SiteName, { group, payload }: GroupMessage): void {
    const registration = this.#groups.get(group);
    // The sites create a group one after the other, so a message for an unknown one is nothing unusual.
    if (registration === undefined || registration.peer !== site) return;
    const message = decodePeerMessage(payload);
    const claimed = "site" in message ? message.site : "from" in message ? message.from : site;
    if (message.group !== group || claimed !== site) throw misaddressed(group);
    registration.listener.fromPeer(message);
  }
}

function misaddressed(group: string): LifeboatError {
  return new LifeboatError("PeerCertificate", `a message for group ${group} names another group or site`, {
    op: "failover.exchange",
  });
}

/** Stands for the witness in logs; no site may be called so. */
const witnessName = "witness";

interface RouteTarget {
  readonly role: "witness" | "site";
  readonly site: SiteName | undefined;
  readonly address: string | readonly string[] | undefined;
}

interface OpenChannel {
  readonly channel: ExchangeChannel;
  readonly origin: "dialled" | "accepted";
  readonly sender: EnvelopeSender;
  heardAtMs: number;
  isHeard: boolean;
}

/** The streams with one counterpart: at most one that we dialled and one that it dialled. */
class Route {
  readonly #options: ExchangeLinksOptions;
  readonly #link: Link | undefined;
  readonly #deliver: (message: GroupMessage) => void;
  readonly #name: string;
  readonly #open = new Set<OpenChannel>();
  #heardAtMs: number | null = null;
  #incarnationSeen = 0;

  constructor(options: ExchangeLinksOptions, target: RouteTarget, deliver: (message: GroupMessage) => void) {
    this.#options = options;
    this.#deliver = deliver;
    this.#name = target.site ?? witnessName;
    const { pair, certificates, clock, random, log } = options;
    const { role, site, address } = target;
    if (address === undefined) return;
    this.#link = new Link({
      address,
      certificates,
      expect: { pair, roles: [role], ...(site === undefined ? {} : { site }) },
      unreachable: role === "witness" ? "WitnessUnreachable" : "PeerUnreachable",
      clock,
      random,
      log,
    });
  }

  status(): LinkStatus {
    const state = this.#link?.state;
    return {
      connected: this.#open.size > 0,
      heardAgoMs: this.#heardAtMs === null ? null : this.#options.clock.monotonicMs() - this.#heardAtMs,
      error: this.#open.size === 0 && state?.kind === "connecting" ? state.error : undefined,
    };
  }

  send(message: GroupMessage): void {
    let best: OpenChannel | undefined;
    for (const open of this.#open) if (best === undefined || open.heardAtMs > best.heardAtMs) best = open;
    best?.sender.add(message);
  }

  async run({ signal }: { signal: AbortSignal }): Promise<void> {
    const link = this.#link;
    if (link === undefined) return;
    await runTogether([(inner) => link.run(inner), (inner) => this.#dial(link, inner)], { signal });
  }

  async #dial(link: Link, { signal }: { signal: AbortSignal }): Promise<never> {
    for (;;) {
      const connection = await link.ready({ signal });
      try {
        await this.serve(openExchange(connection), "dialled", { signal });
      } catch (error) {
        signal.throwIfAborted();
        this.#options.log.debug({ with: this.#name, error: safeError(error) }, "failover stream ended");
      }
      await this.#options.clock.sleep(reconnectFirstMs, { signal });
    }
  }

  /** Reads one stream to its end. */
  async serve(
    channel: ExchangeChannel,
    origin: OpenChannel["origin"],
    { signal }: { signal: AbortSignal },
  ): Promise<void> {
    using scope = linkedAbort(signal);
    const { site, incarnation, clock } = this.#options;
    const sender = new EnvelopeSender({
      channel,
      from: site,
      incarnation: () => incarnation,
      clock,
      signal: scope.signal,
    });
    const open: OpenChannel = { channel, origin, sender, heardAtMs: clock.monotonicMs(), isHeard: false };
    this.#open.add(open);
    try {
      for await (const envelope of channel.receive({ signal })) this.#receive(open, envelope);
    } finally {
      this.#open.delete(open);
      scope.abort();
      channel.close();
    }
  }

  /** Not before it has spoken: a former agent of that site, which dials once more, must not cut off its successor. */
  #replaceOlder(open: OpenChannel): void {
    open.isHeard = true;
    for (const older of this.#open) if (older !== open && older.origin === open.origin) older.channel.close();
  }

  #receive(open: OpenChannel, envelope: Envelope): void {
    // A witness that lost its disk may start lower, and learns better from what it is told.
    if (this.#name !== witnessName && envelope.incarnation < this.#incarnationSeen) {
      throw new LifeboatError(
        "FailoverRefused",
        `${this.#name} speaks as incarnation ${envelope.incarnation}, ${this.#incarnationSeen} was heard already`,
        { op: "failover.exchange", hint: "an older agent of that site is still running" },
      );
    }
    this.#incarnationSeen = envelope.incarnation;
    if (!open.isHeard) this.#replaceOlder(open);
    open.heardAtMs = this.#heardAtMs = this.#options.clock.monotonicMs();
    for (const message of envelope.messages) {
      try {
        this.#deliver(message);
      } catch (error) {
        const { group } = message;
        this.#options.log.warn({ with: this.#name, group, error: safeError(error) }, "failover message dropped");
      }
    }
  }
}
