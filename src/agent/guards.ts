import type { Clock } from "../clock.ts";
import { LifeboatError } from "../errors.ts";
import { compareCert, type Cert } from "../failover/epoch.ts";
import type { FenceCap, GuardAnswer, GuardPoll } from "../failover/messages.ts";
import type { DurableRecords } from "../failover/runner/records.ts";
import type { GuardHandlers } from "../rpc/guard.ts";
import type { GuardedGroup, GuardOrders, GuardReport } from "../rpc/guard-messages.ts";
import type { MessageChannel } from "../rpc/channel.ts";
import { safeError, type Log } from "../telemetry/log.ts";
import {
  measuredStopBoundMs,
  unguardedNodes,
  type HeardGuard,
  type SiteNode,
  type UnguardedNode,
} from "./guard-fence.ts";

/** A group of this site as its guards are concerned with it. */
export interface GuardedSide {
  readonly name: string;
  /**
   * What guards are told of it; undefined while it has no valid spec. Without namespaces it is not theirs to stop: they
   * cannot tell its pods from others.
   */
  guarded(): GuardedGroup | undefined;
  /** The failover protocol's answer; undefined while it has none. */
  poll(poll: GuardPoll): GuardAnswer | undefined;
  /** Whether pods of it may be placed on a node whose guard works, which it may not know of the group yet. */
  mayPlace(node: string): boolean;
  setNodes(nodes: SiteNodes): void;
  setFence(fence: Fence): void;
}

/** Names of nodes of the site. */
export interface SiteNodes {
  readonly all: readonly string[];
  /** Those that may have pods of a group. */
  readonly withPods: readonly string[];
  /** Of these, the ones whose guard works and keeps the group's pods. */
  readonly guarded: readonly string[];
}

export interface Fence {
  readonly cap: FenceCap;
  readonly stopBoundMs: number;
}

export interface GuardDeskOptions {
  readonly records: DurableRecords;
  /** Groups that this site has to do with at present. */
  readonly groups: () => readonly GuardedSide[];
  readonly clock: Clock;
  readonly log: Log;
}

/** Names of durable records: which groups have ended here, and which relied on guards when this was last told. */
const releasedRecord = "guards/released";
const reliedRecord = "guards/relied";
/** Ended groups that are remembered; a guard that was away for more than so many ends needs `lifeboat guard --remove`. */
const releasedMaxCount = 1000;
/**
 * Guards of a site whose agent was restarted are back within a second or two; until then it goes on as before, since
 * what is stopped through the API server alone would be stopped now.
 */
const hearingMs = 10_000;

/**
 * The agent's side of the guard protocol: answers the site's node guards, and says from what they report how far each
 * group's pods can be stopped without the API server.
 */
export class GuardDesk implements GuardHandlers {
  readonly #options: GuardDeskOptions;
  readonly #guards = new Map<string, HeardGuard>();
  /** S as measured, by group, then by node; null where nothing had to be stopped yet. */
  readonly #stops = new Map<string, Map<string, number | null>>();
  readonly #told = new Map<string, string>();
  #released: Readonly<Record<string, Cert | null>>;
  /** Groups whose pods were stopped by guards when this was last decided: what a new process begins with. */
  readonly #relied: Set<string>;
  #nodes: readonly SiteNode[] | undefined;
  #unguarded: readonly UnguardedNode[] = [];
  readonly #startedMs: number;

  constructor(options: GuardDeskOptions) {
    this.#options = options;
    this.#startedMs = options.clock.monotonicMs();
    this.#released = (options.records.getState(releasedRecord) ?? {}) as Record<string, Cert | null>;
    this.#relied = new Set((options.records.getState(reliedRecord) ?? []) as string[]);
  }

  /** Why guards are not what stops this site's groups; empty when they are. */
  get unguarded(): readonly UnguardedNode[] {
    return this.#unguarded;
  }

  get guards(): ReadonlyMap<string, HeardGuard> {
    return this.#guards;
  }

  /**
   * A group's protocol begins, knowing nothing: what it is to go by until it is told of the site's nodes, which follows
   * with the next review. A stop that a former process has measured as longer comes back with the first report of the
   * node's guard: the protocol hears of it right after that report, not with it.
   */
  begin(group: string, stopBoundMs: number): Fence {
    this.#told.delete(group);
    return { cap: this.#relied.has(group) ? "guard" : "api", stopBoundMs };
  }

  readonly connect = async (
    channel: MessageChannel<GuardOrders, GuardReport>,
    { signal }: { signal: AbortSignal },
  ): Promise<void> => {
    let node: string | undefined;
    for await (const report of channel.receive({ signal })) {
      if (node !== undefined && node !== report.node) throw mixedUp(`its stream began as ${node}`, report.node);
      node = report.node;
      await channel.send(this.#answer(report), { signal });
    }
  };

  /** All nodes of the site, from the API server. */
  setNodes(nodes: readonly SiteNode[]): void {
    this.#nodes = nodes;
    for (const node of this.#guards.keys()) {
      if (!nodes.some(({ name }) => name === node)) this.#forgetNode(node);
    }
    this.review();
  }

  /** Tells every group what stops it; to be called now and then, since silence is no event. */
  review(): void {
    const nodes = this.#nodes;
    if (nodes === undefined) return;
    const { clock, groups, log } = this.#options;
    const unguarded = unguardedNodes(nodes, this.#guards, clock.monotonicMs());
    const text = unguarded.map(({ node, why }) => `${node}: ${why}`).join("; ");
    if (text !== this.#unguarded.map(({ node, why }) => `${node}: ${why}`).join("; ")) {
      log.info({ unguarded: text === "" ? "none" : text }, "nodes on which no guard stops pods");
    }
    this.#unguarded = unguarded;
    const covered = nodes.some(({ exempt }) => !exempt) && unguarded.length === 0;
    for (const group of groups()) this.#tell(group, nodes, covered);
  }

  /** The group has ended in order under this certificate: guards that still know it let go of it. */
  async release(group: string, cert: Cert | null): Promise<void> {
    // Its record may be gone by the second time.
    if (cert === null && this.#released[group] !== undefined) return;
    const kept = Object.entries(this.#released)
      .filter(([name]) => name !== group)
      .slice(1 - releasedMaxCount);
    this.#released = Object.fromEntries([...kept, [group, cert]]);
    this.#told.delete(group);
    this.#stops.delete(group);
    await this.#options.records.putState(releasedRecord, this.#released);
  }

  #tell(group: GuardedSide, nodes: readonly SiteNode[], covered: boolean): void {
    const guarded = group.guarded();
    const isHearing = this.#options.clock.monotonicMs() - this.#startedMs < hearingMs;
    const relied =
      (covered || (isHearing && this.#relied.has(group.name))) &&
      guarded !== undefined &&
      guarded.namespaces.length > 0;
    const names = nodes.filter(({ exempt }) => !exempt).map(({ name }) => name);
    const timing = guarded?.timing;
    const stops = [...(this.#stops.get(group.name) ?? [])].filter(([node]) => names.includes(node));
    const stopBoundMs =
      timing === undefined
        ? 0
        : relied
          ? measuredStopBoundMs(
              timing,
              this.#guards.values(),
              stops.map(([, ms]) => ms),
            )
          : timing.tickMs + timing.latenessMs + timing.stopMs;
    const fence = { cap: relied ? "guard" : "api", stopBoundMs } as const;
    // Where pods are is the API server's to say, and it may be wrong or away: every node that may have some counts.
    const working = names.filter((name) => !this.#unguarded.some(({ node }) => node === name) && group.mayPlace(name));
    const told = JSON.stringify([fence, names, working]);
    if (this.#told.get(group.name) === told) return;
    this.#told.set(group.name, told);
    this.#rely(group.name, relied);
    group.setNodes({ all: nodes.map(({ name }) => name), withPods: names, guarded: working });
    group.setFence(fence);
  }

  #rely(group: string, relied: boolean): void {
    if (this.#relied.has(group) === relied) return;
    if (relied) this.#relied.add(group);
    else this.#relied.delete(group);
    const { records, log } = this.#options;
    void records.putState(reliedRecord, [...this.#relied]).catch((error: unknown) => {
      log.warn({ error: safeError(error) }, "what guards are relied on could not be noted");
    });
  }

  #answer({ node, polls, facts }: GuardReport): GuardOrders {
    const { clock, groups } = this.#options;
    let isChange = !this.#guards.has(node);
    this.#guards.set(node, { heardAtMs: clock.monotonicMs(), facts });
    const sides = groups();
    const answers: GuardAnswer[] = [];
    const released: string[] = [];
    for (const poll of polls) {
      if (poll.node !== node) throw mixedUp(`it polls for ${poll.node}`, node);
      const side = sides.find(({ name }) => name === poll.group);
      const mightPlace = side?.mayPlace(node);
      const answer = side?.poll(poll);
      isChange ||= side?.mayPlace(node) !== mightPlace;
      // A guard that was away hears of the group of that name that was granted since, and opens for nobody's sake.
      const isNext = answer !== undefined && answer.cert !== null && !this.#wasReleased(poll.group, answer.cert);
      if (this.#isOver(poll, side) && !isNext) {
        released.push(poll.group);
        continue;
      }
      this.#noteStop(poll);
      if (answer !== undefined) answers.push(answer);
    }
    if (isChange) this.review();
    return { groups: sides.flatMap((side) => side.guarded() ?? []), answers, released };
  }

  /** What was granted after the end belongs to a group of the same name that was created since. */
  #isOver({ group, cert }: GuardPoll, side: GuardedSide | undefined): boolean {
    if (cert !== null) return this.#wasReleased(group, cert);
    // One that ended before its first grant.
    return side === undefined && this.#released[group] !== undefined;
  }

  #wasReleased(group: string, cert: Cert): boolean {
    const last = this.#released[group];
    if (last === undefined) return false;
    const order = compareCert(cert, last);
    return order === "older" || order === "same";
  }

  #noteStop({ group, node, stopMs }: GuardPoll): void {
    let stops = this.#stops.get(group);
    if (stops === undefined) this.#stops.set(group, (stops = new Map()));
    stops.set(node, stopMs);
  }

  #forgetNode(node: string): void {
    this.#guards.delete(node);
    for (const stops of this.#stops.values()) stops.delete(node);
  }
}

function mixedUp(what: string, node: string): LifeboatError {
  return new LifeboatError("ConfigInvalid", `the guard of node ${node} is not of one mind: ${what}`, {
    op: "guards.connect",
    hint: "two nodes may share a configuration file; `node` must be the name of each one's own Node object",
  });
}
