import { linkedAbort, orAborted, Pulse, runTogether } from "../../abort.ts";
import type { Clock, Random } from "../../clock.ts";
import { LifeboatError, hasCode, messageOf } from "../../errors.ts";
import { safeError, type Log } from "../../telemetry/log.ts";
import type {
  AgentConfig,
  AgentEffect,
  AgentEvent,
  AgentState,
  AgentStep,
  Command,
  Policy,
  SiteRecord,
} from "../agent-state.ts";
import { mayPlace } from "../agent-guards.ts";
import { bootAgent, nextWakeAgent, stepAgent } from "../agent.ts";
import { formatCert } from "../epoch.ts";
import type { FenceCap, GuardAnswer, GuardPoll, Readiness } from "../messages.ts";
import type { CommandOutcome, GroupActions } from "./actions.ts";
import { ActionQueue } from "./action-queue.ts";
import type { Goal } from "./goals.ts";
import type { GroupLinks } from "./links.ts";
import { switchoverFindings } from "./preflight.ts";
import { GroupRecords, type DurableRecords } from "./records.ts";
import { takeSnapshot, type FailoverSnapshot } from "./snapshot.ts";
import { Timeline } from "./timeline.ts";

export interface FailoverRunnerOptions {
  readonly config: AgentConfig;
  /** Of this agent's leadership: see `claimIncarnation`; with two agents the elected one's. */
  readonly incarnation: number;
  readonly records: DurableRecords;
  /** New at every boot of what the group runs on, e.g. `/proc/sys/kernel/random/boot_id`; see {@link FailoverRunner}. */
  readonly bootIds: readonly string[];
  readonly links: GroupLinks;
  readonly actions: GroupActions;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** How good this site is as a standby. */
export interface StandbyData {
  /** Ready only from data that follows the certificate in force. */
  readonly readiness: Readiness;
  /** As measured at this contact; null when never. */
  readonly lagMs: number | null;
  readonly recoveryPoint: string;
  /** What would not come up here, in words, up to 500 characters. @default "" */
  readonly obstacle?: string;
  /** Age of the contact, where another process had it. @default 0 */
  readonly contactAgoMs?: number;
}

/** A reducer that wants to be woken at once for ever must not take the process with it. */
const wakeEarliestMs = 5;
/** Longest sleep without a look at the clock, should a reducer have nothing to wait for. */
const wakeLatestMs = 1000;
/** Outcomes of orders kept for status. */
const outcomesMax = 20;

/**
 * Everything that is not a decision, for one group at one site: the clock, the messages, the durable record, the
 * actions. It feeds the reducer one event at a time and carries out the effects in their order.
 *
 * **Restarts.** The process may end at any moment, and nothing stops at the site because of it. A new process is
 * *warm* when the group was running here when the last one ended and one of the machines has not been booted since
 * (the boot id of its kernel is among the noted ones); then it asks its grantors for a renewal under the old epoch.
 * Otherwise it is cold: the group is stopped and the holder needs a new epoch. Where node guards are, they are asked
 * instead, by the reducer. Without them boot ids are all the evidence there is, and what they name is up to the
 * wiring: the kernel's boot id where agent and group share a machine, and those of the site's nodes where another
 * agent may go on: one of them that has not been booted shows that the site was not switched off.
 */
export class FailoverRunner {
  readonly #options: FailoverRunnerOptions;
  readonly #record: GroupRecords;
  readonly #queue: ActionQueue;
  /** Beside the others: it is about nodes, not about this group's run. */
  readonly #unguarded: ActionQueue;
  readonly #timeline: Timeline;
  readonly #wake = new Pulse();
  #sleepsUntilMs = 0;
  readonly #events: AgentEvent[] = [];
  readonly #listeners = new Set<() => void>();
  readonly #failed = Promise.withResolvers<never>();
  /** With what is to be remembered of a group that has ended. */
  readonly #released = Promise.withResolvers<SiteRecord>();
  #stepping = false;
  #state: AgentState;
  /** Carried out when the run begins. */
  #bootEffects: readonly AgentEffect[];
  #answer: GuardAnswer | undefined;
  #outcomes: readonly CommandOutcome[] = [];

  private constructor(options: FailoverRunnerOptions, record: GroupRecords, boot: AgentStep) {
    this.#options = options;
    this.#record = record;
    this.#state = boot.state;
    this.#bootEffects = boot.effects;
    const { actions, clock, random, log } = options;
    const onDone = (goal: Goal, event: AgentEvent | undefined) => this.#reached(goal, event);
    this.#queue = new ActionQueue({ actions, clock, random, log, onDone });
    this.#unguarded = new ActionQueue({ actions, clock, random, log, onDone });
    this.#timeline = new Timeline(clock);
    this.#timeline.add("boot", formatCert(boot.state.record.cert));
    this.#failed.promise.catch(() => {});
  }

  /**
   * Reads the durable record and writes the incarnation into it. Throws FailoverRefused when a newer agent of this
   * site leads, JournalCorrupt when the record is damaged.
   */
  static async open(options: FailoverRunnerOptions): Promise<FailoverRunner> {
    const { config, records, bootIds, incarnation, clock } = options;
    const store = new GroupRecords(records, config.group);
    const heldOn = store.ranInBoot(config.site, bootIds);
    const record: SiteRecord = { ...store.read(), incarnation };
    await store.claim(record);
    return new FailoverRunner(options, store, bootAgent(config, record, clock.monotonicMs(), heldOn));
  }

  get state(): AgentState {
    return this.#state;
  }

  /**
   * Runs until the signal aborts (then rejects with its reason; the group at this site is left as it is) or a newer
   * agent of this site takes over (FailoverRefused). Returns when the group has ended: what is recorded of it is
   * forgotten then, and a next one of its name begins anew.
   */
  async run({ signal }: { signal: AbortSignal }): Promise<void> {
    using scope = linkedAbort(signal);
    void this.#released.promise.then(() => scope.abort(new Error("the group has ended")));
    try {
      await this.#work(scope.signal);
    } catch (error) {
      signal.throwIfAborted();
      if (!scope.signal.aborted) throw error;
      await this.#record.end(await this.#released.promise);
    }
  }

  async #work(signal: AbortSignal): Promise<void> {
    const { links, config } = this.#options;
    using _listener = links.register(config.group, config.peer, {
      fromWitness: (message) => this.#feed({ type: "fromWitness", message }),
      fromPeer: (message) => this.#feed({ type: "fromPeer", message }),
    });
    for (const effect of this.#bootEffects) this.#perform(effect);
    await runTogether(
      [
        (inner) => this.#tick(inner),
        (inner) => this.#queue.run(inner),
        (inner) => this.#unguarded.run(inner),
        ({ signal: stop }) => this.#untilFailed(stop),
      ],
      { signal },
    );
  }

  /** The group's spec has changed. */
  setPolicy(policy: Policy): void {
    this.#feed({ type: "policy", policy });
  }

  /** To be called at every contact of the data path with the holder, and not while there is none: age is judged here. */
  setData(data: StandbyData): void {
    this.#feed({ type: "data", ...data });
  }

  /** From the API server: all nodes of the site, and those to which pods of the group are bound. */
  setNodes(nodes: { readonly all: readonly string[]; readonly withPods: readonly string[] }): void {
    this.#feed({ type: "nodes", ...nodes });
  }

  /** How the group can be stopped here without the API server, and how long that takes at most, as measured. */
  setFence(fence: { readonly cap: FenceCap; readonly stopBoundMs: number }): void {
    this.#feed({ type: "fence", ...fence });
  }

  /** Whether this site's own API server answers. */
  setApi(up: boolean): void {
    this.#feed({ type: "api", up });
  }

  /** See the event of this name: the group was deleted and its standby knows, or it is there again. */
  setEnding(ending: boolean): void {
    this.#feed({ type: "ending", ending });
  }

  /** A person's order. What comes of it arrives at `GroupActions.outcome` under the same nonce. */
  command(command: Command): void {
    this.#feed({ type: "command", command });
  }

  /** Answers a node guard; undefined when there is nothing to say. */
  guardPoll(poll: GuardPoll): GuardAnswer | undefined {
    this.#answer = undefined;
    this.#feed({ type: "guard", poll });
    return this.#answer;
  }

  /** Whether pods of the group may be placed on a node whose guard works. */
  mayPlace(node: string): boolean {
    return mayPlace(this.#state, node);
  }

  /** What `status` shows. */
  snapshot(): FailoverSnapshot {
    const { clock, links, config } = this.#options;
    return takeSnapshot({
      state: this.#state,
      nowMs: clock.monotonicMs(),
      links: links.status(config.peer),
      action: this.#queue.status,
      timeline: this.#timeline.events,
      outcomes: this.#outcomes,
    });
  }

  /** What keeps a switchover from being begun now, one sentence each. */
  preflight(): string[] {
    return switchoverFindings(this.#state, this.#options.clock.monotonicMs());
  }

  /** Called after each step that changed something; must not throw. */
  onChange(listener: () => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  async #tick({ signal }: { signal: AbortSignal }): Promise<never> {
    const { clock } = this.#options;
    for (;;) {
      const waitMs = nextWakeAgent(this.#state) - clock.monotonicMs();
      if (waitMs <= 0) this.#feed({ type: "tick" });
      const pauseMs = Math.min(Math.max(waitMs, wakeEarliestMs), wakeLatestMs);
      this.#sleepsUntilMs = clock.monotonicMs() + pauseMs;
      await this.#pause(pauseMs, signal);
    }
  }

  /** Sleeps, or less when a step has brought an earlier deadline. */
  async #pause(ms: number, signal: AbortSignal): Promise<void> {
    using woken = linkedAbort(signal);
    try {
      await Promise.race([
        this.#options.clock.sleep(ms, { signal: woken.signal }),
        this.#wake.wait({ signal: woken.signal }),
      ]);
    } finally {
      woken.abort();
    }
  }

  async #untilFailed(signal: AbortSignal): Promise<never> {
    return await orAborted(this.#failed.promise, { signal });
  }

  /** One event after the other, also when an effect brings the next. */
  #feed(event: AgentEvent): void {
    this.#events.push(event);
    if (this.#stepping) return;
    this.#stepping = true;
    try {
      for (let next = this.#events.shift(); next !== undefined; next = this.#events.shift()) this.#step(next);
    } finally {
      this.#stepping = false;
    }
  }

  #step(event: AgentEvent): void {
    const now = this.#options.clock.monotonicMs();
    const before = this.#state;
    const { state, effects } = stepAgent(before, event, now);
    if (state === before && effects.length === 0) return;
    this.#state = state;
    this.#timeline.observe(before, event, state, effects, now);
    for (const effect of effects) this.#perform(effect);
    // Most steps change no deadline, and at a standby there is one for each commit.
    if (nextWakeAgent(state) < this.#sleepsUntilMs) this.#wake.raise();
    for (const listener of this.#listeners) listener();
  }

  #perform(effect: AgentEffect): void {
    const { links, config, actions, log } = this.#options;
    switch (effect.type) {
      case "toWitness":
        links.toWitness(effect.message);
        return;
      case "toPeer":
        links.toPeer(config.peer, effect.message);
        return;
      case "answerGuard":
        this.#answer = effect.answer;
        return;
      case "persist":
        void this.#persist(effect.token, effect.record);
        return;
      case "allowUnguarded":
        this.#unguarded.request(effect);
        return;
      case "deposed":
        this.#deposed(effect.incarnation);
        return;
      case "released":
        this.#released.resolve(effect.record);
        return;
      case "outcome":
        this.#outcomes = [...this.#outcomes.slice(1 - outcomesMax), effect];
        actions.outcome(effect);
        return;
      case "notice":
        log.info({ code: effect.code, notice: effect.message }, "failover notice");
        actions.notice(effect);
        return;
      default:
        this.#pursue(effect);
    }
  }

  async #persist(token: number, record: SiteRecord): Promise<void> {
    try {
      await this.#record.write(record);
    } catch (error) {
      this.#options.log.error({ error: safeError(error) }, "cannot write the failover record");
      if (hasCode(error, "FailoverRefused")) this.#failed.reject(error);
      this.#feed({ type: "persistFailed", token, reason: messageOf(error) });
      return;
    }
    this.#feed({ type: "persisted", token });
  }

  #pursue(goal: Goal): void {
    this.#noteRunning(goal);
    this.#queue.request(goal);
  }

  /** For the next start of this process: see the class comment. A lost note only makes that start a cold one. */
  #noteRunning(goal: Goal): void {
    if (goal.type !== "startRunning" && goal.type !== "stopRunning") return;
    const bootIds = goal.type === "startRunning" ? this.#options.bootIds : null;
    this.#record.writeRunning(bootIds).catch((error: unknown) => {
      this.#options.log.warn({ error: safeError(error) }, "cannot note whether the group runs");
    });
  }

  #deposed(incarnation: number): void {
    this.#failed.reject(
      new LifeboatError("FailoverRefused", `incarnation ${incarnation} of this site has been heard elsewhere`, {
        op: "failover.run",
        hint: "another agent of this site leads, or this one lost its state file; a restart takes a new incarnation",
      }),
    );
  }

  #reached(goal: Goal, event: AgentEvent | undefined): void {
    if (goal.type === "startRunning") this.#timeline.add("started", formatCert(goal.cert));
    if (goal.type === "stopRunning") this.#timeline.add("stopped");
    if (goal.type === "followPeer") this.#timeline.add("following", formatCert(goal.cert));
    if (event !== undefined) this.#feed(event);
  }
}
