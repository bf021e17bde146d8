import type { Clock } from "../../../src/clock.ts";
import { sameCert, type Cert } from "../../../src/failover/epoch.ts";
import type { Readiness, Seal, SealedVolume } from "../../../src/failover/messages.ts";
import type {
  ActionOptions,
  AppliedContent,
  CommandOutcome,
  GroupActions,
  Notice,
  SealContent,
  StartGoal,
} from "../../../src/failover/runner/actions.ts";
import type { FailoverRunner } from "../../../src/failover/runner/runner.ts";
import { eventually } from "../rpc/pair.ts";

/** How long the application takes to stop; within S of the `test` profile. */
const stopTakesMs = 200;
const contactEveryMs = 100;

/** An application at one site, and what the runner asked of it. It outlives its agent, as pods do. */
export class TestSite implements GroupActions {
  readonly name: string;
  readonly #clock: Clock;
  readonly asked: string[] = [];
  readonly outcomes: CommandOutcome[] = [];
  readonly notices: Notice[] = [];
  /** From when to when it ran, on the machine's one monotonic clock; an open end is Infinity. */
  readonly intervals: [number, number][] = [];
  following: Cert | undefined;
  /** What a person sees in the data: sealed on one side and applied on the other. */
  content = "content";
  /** By name: sealed where the group was stopped, and what the copies here are at. */
  volumes: Readonly<Record<string, SealedVolume>> = {};
  /** Actions that do not end, until they are taken out of it or aborted. */
  readonly stuck = new Set<"quiesce" | "applySeal" | "saveDivergence">();
  /** What the data path says of this site as a standby. */
  data: { readonly readiness: Readiness; readonly lagMs: number; readonly obstacle?: string } = {
    readiness: "Ready",
    lagMs: 100,
  };

  constructor(name: string, clock: Clock) {
    this.name = name;
    this.#clock = clock;
  }

  get running(): boolean {
    return this.intervals.at(-1)?.[1] === Infinity;
  }

  set running(is: boolean) {
    if (is === this.running) return;
    const now = this.#clock.monotonicMs();
    const last = this.intervals.at(-1);
    if (is) this.intervals.push([now, Infinity]);
    else if (last !== undefined) last[1] = now;
  }

  async startRunning({ kind }: StartGoal): Promise<void> {
    this.asked.push(`start ${kind}`);
    this.following = undefined;
    this.running = true;
  }

  async stopRunning(_goal: { reason: string }, { signal }: ActionOptions): Promise<void> {
    this.asked.push("stop");
    if (this.running) await this.#clock.sleep(stopTakesMs, { signal });
    this.running = false;
  }

  async quiesce(_goal: { opId: string }, { signal }: ActionOptions): Promise<void> {
    this.asked.push("quiesce");
    await this.#unstuck("quiesce", signal);
    await this.#clock.sleep(stopTakesMs, { signal });
    this.running = false;
  }

  async prepareSeal(): Promise<SealContent> {
    this.asked.push("prepareSeal");
    return { objectsRevision: "1", objectsHash: this.content, volumes: this.volumes };
  }

  async unquiesce(): Promise<void> {
    this.asked.push("unquiesce");
    this.running = true;
  }

  async applySeal({ seal }: { seal: Seal }, { signal }: ActionOptions): Promise<AppliedContent> {
    this.asked.push("applySeal");
    await this.#unstuck("applySeal", signal);
    return { objectsHash: seal.objectsHash, volumes: this.volumes };
  }

  async saveDivergence(_goal: { cert: Cert }, { signal }: ActionOptions): Promise<void> {
    this.asked.push("saveDivergence");
    await this.#unstuck("saveDivergence", signal);
  }

  async #unstuck(action: "quiesce" | "applySeal" | "saveDivergence", signal: AbortSignal): Promise<void> {
    while (this.stuck.has(action)) await this.#clock.sleep(20, { signal });
  }

  async followPeer({ cert }: { cert: Cert }): Promise<void> {
    this.asked.push("follow");
    this.following = cert;
  }

  async allowUnguarded(): Promise<void> {}

  outcome(outcome: CommandOutcome): void {
    this.outcomes.push(outcome);
  }

  notice(notice: Notice): void {
    this.notices.push(notice);
  }

  /** The data path: in touch with the peer whenever the peer's agent is. */
  async replicate(runner: FailoverRunner, { signal }: { signal: AbortSignal }): Promise<never> {
    for (;;) {
      await this.#clock.sleep(contactEveryMs, { signal });
      const { peerGrantor } = runner.snapshot();
      const inTouch = (peerGrantor.linkHeardAgoMs ?? Infinity) < 10 * contactEveryMs;
      const current = this.following !== undefined && sameCert(this.following, runner.state.record.cert);
      if (inTouch && current) runner.setData({ ...this.data, recoveryPoint: "1" });
    }
  }
}

/** What came of a person's order at a site. */
export async function outcomeOf(site: TestSite, nonce: string, limitMs = 5000): Promise<CommandOutcome | undefined> {
  await eventually(() => site.outcomes.some((outcome) => outcome.nonce === nonce), limitMs);
  return site.outcomes.find((outcome) => outcome.nonce === nonce);
}

/** For how long both sites ran the application at once. */
export function overlapMs(a: TestSite, b: TestSite): number {
  let total = 0;
  for (const [fromA, toA] of a.intervals) {
    for (const [fromB, toB] of b.intervals) total += Math.max(0, Math.min(toA, toB) - Math.max(fromA, fromB));
  }
  return total;
}
