import { watch, mkdirSync } from "node:fs";
import { linkedAbort, Pulse } from "../abort.ts";
import type { Clock } from "../clock.ts";
import type { GuardState } from "../failover/guard.ts";
import type { GuardAnswer } from "../failover/messages.ts";
import type { GuardOrders, GuardReport, NodeFacts } from "../rpc/guard-messages.ts";
import { safeError, type Log } from "../telemetry/log.ts";
import { Lateness } from "./clock.ts";
import type { GuardDisk } from "./disk.ts";
import { GuardGroups } from "./guard-groups.ts";
import type { NodePod, PodFinder } from "./pods.ts";
import type { Traffic } from "./traffic.ts";
import type { Inspection, Treatment, Ward, Warden } from "./warden.ts";

/** How often the node is looked at when nothing happens: bounds how long a pod runs that no hint told of. */
const lookEveryMs = 250;
/** … while something that was killed is still there. */
const lookAgainMs = 50;
/** A storm of hints must not keep the guard from everything else. */
const lookGapMs = 20;
/** A report is sent this often also when there is no group to poll for: that is how groups are learnt. */
const reportEveryMs = 500;
/** P is the worst of the last 10 to 20 minutes. */
const latenessWindowMs = 600_000;

export interface NodeGuardOptions {
  readonly node: string;
  readonly disk: GuardDisk;
  readonly finder: PodFinder;
  readonly warden: Warden;
  readonly traffic: Traffic;
  readonly podLogsDir: string;
  /** Namespaces that are never touched. */
  readonly never: ReadonlySet<string>;
  readonly clock: Clock;
  readonly log: Log;
  /** Sends to the agent, or loses it. */
  readonly send: (report: GuardReport) => void;
}

/** One node's guard: its groups, its pods, and the time that they have. */
export class NodeGuard {
  readonly #options: NodeGuardOptions;
  readonly #groups: GuardGroups;
  readonly #lateness: Lateness;
  readonly #hint = new Pulse();
  readonly #nameless = new Set<string>();
  /** Since when a pod that is to be down has been alive. */
  readonly #aliveSince = new Map<string, number>();
  #last: Inspection = { alive: [], ends: new Map(), runningPods: 0, uncutPods: 0 };
  #lookedAtMs = Number.NEGATIVE_INFINITY;
  #reportedAtMs = Number.NEGATIVE_INFINITY;
  /** Also while this is being made: what the first steps ask for is done by the first look. */
  #inspecting = true;

  /** Throws JournalCorrupt where a record cannot be read. Nothing is touched before {@link look}. */
  constructor(options: NodeGuardOptions) {
    this.#options = options;
    const { node, disk, clock, log } = options;
    this.#lateness = new Lateness(clock.monotonicMs(), latenessWindowMs);
    this.#groups = new GuardGroups({ node, disk, clock, log, onTurn: () => this.look() });
    this.#inspecting = false;
  }

  get states(): readonly GuardState[] {
    return this.#groups.states;
  }

  get facts(): NodeFacts {
    const { clock, traffic } = this.#options;
    const nowMs = clock.monotonicMs();
    const stopMs = Math.max(0, ...this.states.map(({ timing }) => timing.stopMs));
    return {
      latenessMs: this.#lateness.worstMs,
      deadMan: traffic.works,
      uncutPods: this.#last.uncutPods,
      unkillable: [...this.#aliveSince.values()].filter((since) => nowMs - since > stopMs).length,
      runningPods: this.#last.runningPods,
    };
  }

  hear(orders: GuardOrders): void {
    this.#groups.hear(orders.groups);
    for (const group of orders.released) this.#groups.release(group);
    for (const answer of orders.answers) this.#answer(answer);
  }

  /** A group whose record cannot be written is not extended, and ends with its lease; the others go on. */
  #answer(answer: GuardAnswer): void {
    try {
      this.#groups.answer(answer);
    } catch (error) {
      const { group } = answer;
      this.#options.log.error({ group, error: safeError(error) }, "an answer could not be taken");
    }
  }

  /** Brings every pod of the node to what it is to be now. */
  look(): void {
    // A step that follows from a look asks for another one: the one that runs sees the new state already.
    if (this.#inspecting) return;
    this.#inspecting = true;
    try {
      this.#look();
    } finally {
      this.#inspecting = false;
    }
  }

  /** Works until the signal aborts; what is held back stays held back, and what runs goes on until its end. */
  async run({ signal }: { signal: AbortSignal }): Promise<void> {
    const { clock, send } = this.#options;
    using _watch = this.#watchPods();
    while (!signal.aborted) {
      this.#groups.tick();
      let nowMs = clock.monotonicMs();
      if (nowMs >= this.#nextLookMs()) this.look();
      const polls = this.#groups.takePolls();
      nowMs = clock.monotonicMs();
      if (polls.length > 0 || nowMs - this.#reportedAtMs >= reportEveryMs) {
        this.#reportedAtMs = nowMs;
        send({ node: this.#options.node, polls, facts: this.facts });
      }
      await this.#pause(signal);
    }
  }

  #nextLookMs(): number {
    return this.#lookedAtMs + (this.#last.alive.length > 0 ? lookAgainMs : lookEveryMs);
  }

  async #pause(signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    const nowMs = clock.monotonicMs();
    const dueMs = Math.min(this.#groups.nextWakeMs(), this.#nextLookMs(), this.#reportedAtMs + reportEveryMs);
    using woken = linkedAbort(signal);
    // The clock goes in steps of 10 ms: a shorter sleep would find it where it was.
    const slept = clock.sleep(Math.max(10, dueMs - nowMs), { signal: woken.signal }).then(
      () => true,
      () => false,
    );
    const hinted = this.#hint.wait({ signal: woken.signal }).then(
      () => false,
      () => false,
    );
    const intime = await Promise.race([slept, hinted]);
    woken.abort();
    if (intime) this.#lateness.note(Math.max(dueMs, nowMs + 10), clock.monotonicMs());
    else if (!signal.aborted) {
      await clock.sleep(lookGapMs, { signal }).catch(() => undefined);
      this.#lookedAtMs = Number.NEGATIVE_INFINITY;
    }
  }

  /** The kubelet makes a folder for a pod's logs before its first process: a hint that saves up to one interval. */
  #watchPods(): Disposable {
    const { podLogsDir, log } = this.#options;
    try {
      mkdirSync(podLogsDir, { recursive: true });
      const watcher = watch(podLogsDir, () => this.#hint.raise());
      watcher.on("error", (error) => log.warn({ error }, "new pods are no longer hinted at; they are looked for"));
      return { [Symbol.dispose]: () => watcher.close() };
    } catch (error) {
      log.warn({ error }, "new pods are not hinted at; they are looked for");
      return { [Symbol.dispose]: () => {} };
    }
  }

  #look(): void {
    const { clock, finder, warden, traffic } = this.#options;
    const { pods, nameless } = finder.scan();
    this.#reportNameless(nameless);
    const states = this.states;
    const wards = pods.flatMap((pod): Ward[] => {
      const treatment = this.#treatmentOf(pod, states);
      if (treatment !== undefined) return [{ pod, treatment }];
      // A namespace that left its group, or a group that was released.
      warden.release(pod);
      return [];
    });
    this.#last = warden.inspect(wards);
    this.#lookedAtMs = clock.monotonicMs();
    traffic.want(this.#last.ends);
    this.#noteAlive(this.#last.alive);
    for (const { record, killedAtMs } of states) {
      const left = this.#last.alive.some(({ namespace }) => record.namespaces.includes(namespace));
      if (killedAtMs !== null && !left) this.#groups.allDead(record.group);
    }
  }

  /** undefined for a pod of no group. Of two groups that claim a namespace, the stricter counts. */
  #treatmentOf({ namespace }: NodePod, states: readonly GuardState[]): Treatment | undefined {
    if (this.#options.never.has(namespace)) return undefined;
    const treatments = states.filter(({ record }) => record.namespaces.includes(namespace)).map(treatmentBy);
    return (
      treatments.find(({ type }) => type === "down") ?? treatments.find(({ type }) => type === "held") ?? treatments[0]
    );
  }

  #noteAlive(alive: readonly NodePod[]): void {
    const nowMs = this.#options.clock.monotonicMs();
    const uids = new Set(alive.map(({ uid }) => uid));
    for (const uid of this.#aliveSince.keys()) if (!uids.has(uid)) this.#aliveSince.delete(uid);
    for (const uid of uids) if (!this.#aliveSince.has(uid)) this.#aliveSince.set(uid, nowMs);
  }

  /** Once each: a pod that nobody can name is not guarded. */
  #reportNameless(uids: readonly string[]): void {
    for (const uid of uids) {
      if (this.#nameless.has(uid)) continue;
      this.#nameless.add(uid);
      this.#options.log.warn({ uid }, "a pod's cgroup whose namespace nobody knows: it is not guarded");
    }
    for (const uid of this.#nameless) if (!uids.includes(uid)) this.#nameless.delete(uid);
  }
}

function treatmentBy(state: GuardState): Treatment {
  switch (state.mode) {
    case "open":
      return { type: "open" };
    case "leased":
      return { type: "held", untilMs: state.untilMs };
    case "free":
      // As at its last poll: refreshed for as long as this process lives.
      return { type: "held", untilMs: state.nextPollAtMs - state.timing.tickMs + state.timing.leaseMs };
    case "fenced":
      return { type: "down" };
  }
}
