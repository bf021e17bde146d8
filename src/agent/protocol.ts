import { Pulse } from "../abort.ts";
import { peerOf, type ProtectionGroup } from "../config/group.ts";
import type { AgentState, Command } from "../failover/agent-state.ts";
import { formatEpoch, type Cert } from "../failover/epoch.ts";
import type { GuardAnswer, GuardPoll } from "../failover/messages.ts";
import type { CommandOutcome, GroupActions } from "../failover/runner/actions.ts";
import { claimIncarnation, GroupRecords } from "../failover/runner/records.ts";
import { FailoverRunner, type StandbyData } from "../failover/runner/runner.ts";
import type { FailoverSnapshot } from "../failover/runner/snapshot.ts";
import { safeError, type Log } from "../telemetry/log.ts";
import { Background } from "./background.ts";
import type { Fence } from "./guards.ts";
import type { AgentParts } from "./parts.ts";
import { policyOf } from "./policy.ts";

export interface ProtocolOptions {
  readonly name: string;
  readonly parts: AgentParts;
  readonly actions: GroupActions;
  /** The group was created at this site. */
  readonly isSource: () => boolean;
  /** Before the first grant: what runs is to be served. */
  readonly onAdopting: () => Promise<void>;
  /** How good a standby this site was for the source of an epoch when its last process ended, where that is known. */
  readonly keptData: (epoch: string) => StandbyData | undefined;
  /**
   * The group has ended, and `held` says whether by this site's hand. Resolves with whether one of its name is here
   * already, which then begins anew.
   */
  readonly onReleased: (held: boolean) => Promise<boolean>;
  readonly log: Log;
  readonly signal: AbortSignal;
  /** Must not throw. */
  readonly onChange: () => void;
}

/**
 * A state file that was set back needs a new beginning above what others have heard, and two tell of that: the witness
 * and the peer, who may have heard different ones. Whoever is followed a third time is one of two agents of the site that
 * take the group from each other: it stands by, and the other one leads.
 */
const depositionsMax = 3;

/** The epoch under which a group is served before its first grant: below every other. */
const adoptingEpoch = "0.0";

/** One group's part in the failover protocol at this site, from its first valid spec on. */
export class GroupProtocol {
  readonly #options: ProtocolOptions;
  #runner: FailoverRunner | undefined;
  #running: Background | undefined;
  #ending = false;
  #again = new Pulse();
  #group: ProtectionGroup | undefined;
  /** Highest incarnation of another agent of this site that was heard of. */
  #followedBy = 0;
  #depositions = 0;

  constructor(options: ProtocolOptions) {
    this.#options = options;
  }

  /** Begins with the first spec; later ones are policies only. */
  take(group: ProtectionGroup): void {
    this.#group = group;
    this.#runner?.setPolicy(policyOf(group.spec));
    this.#again.raise();
    if (this.#running !== undefined) return;
    const { name, parts, log, signal, onAdopting, onReleased, onChange } = this.#options;
    const { clock, random } = parts;
    this.#running = new Background({ name: "failover", clock, random, log, signal }, async (inner) => {
      const current = this.#group ?? group;
      const runner = await this.#open(current);
      this.#runner = runner;
      {
        using _listener = runner.onChange(onChange);
        runner.setFence(parts.guards.begin(name, policyOf(current.spec).timing.stopBoundMs));
        runner.setEnding(this.#ending);
        this.#tellKept(runner);
        if (runner.state.phase.type === "Adopting") await onAdopting();
        await runner.run(inner).catch(async (error: unknown) => {
          inner.signal.throwIfAborted();
          await this.#failed(runner, inner.signal);
          throw error;
        });
      }
      const held = runner.state.record.cert?.holder === parts.config.site;
      await parts.guards.release(name, runner.state.record.cert);
      this.#runner = undefined;
      // A failure of what follows must not bring back what has ended.
      const isBack = await onReleased(held).catch((error: unknown) => {
        inner.signal.throwIfAborted();
        log.error({ error: safeError(error) }, "what a group's end brings about was not all done");
        return false;
      });
      onChange();
      this.#again = new Pulse();
      if (!isBack) await this.#again.wait(inner);
    });
  }

  /** Resolves when the group's part is to begin anew; never where another agent of this site leads. */
  async #failed({ state }: FailoverRunner, signal: AbortSignal): Promise<void> {
    const isDeposed = state.deposedBy > state.record.incarnation;
    const { onDeposed } = this.#options.parts;
    if (isDeposed && onDeposed !== undefined) {
      onDeposed(state.deposedBy);
      await new Pulse().wait({ signal });
    }
    this.#interrupt(state);
    if (!isDeposed) return;
    this.#followedBy = Math.max(this.#followedBy, state.deposedBy);
    if (++this.#depositions < depositionsMax) return;
    this.#options.log.error(
      { incarnation: state.record.incarnation, followedBy: state.deposedBy },
      "another agent of this site leads the group; this one stands by until it is started again. Stop one of them",
    );
    await new Pulse().wait({ signal });
  }

  /** A person's order does not outlive the runner that it was given to. */
  #interrupt({ order, pending }: AgentState): void {
    const { name, actions } = this.#options;
    const message =
      "this agent had to begin anew before the order had an answer: it may have been carried out or not; " +
      `\`lifeboat status ${name}\` shows what holds`;
    const outcome = { ok: false, code: "Interrupted", message };
    if (order !== null) actions.outcome({ nonce: order.nonce, ...outcome });
    if (pending?.next.type === "paused") actions.outcome({ nonce: pending.next.nonce, ...outcome });
  }

  /** A restart in the middle of a disaster must not make a good standby one that knows nothing of itself. */
  #tellKept(runner: FailoverRunner): void {
    const { cert } = runner.state.record;
    if (cert === null || cert.holder === this.#options.parts.config.site) return;
    const data = this.#options.keptData(formatEpoch(cert.epoch));
    if (data !== undefined) runner.setData(data);
  }

  /** The group was deleted and its standby knows, or it is there again. Kept for the protocol's next process. */
  setEnding(ending: boolean): void {
    this.#ending = ending;
    this.#runner?.setEnding(ending);
  }

  async #open(group: ProtectionGroup): Promise<FailoverRunner> {
    const { parts, name, actions, isSource, log } = this.#options;
    const { config, records, bootIds, links, clock, random } = parts;
    // One that failed has used its number up: what it had sent would make its successor's messages look old.
    const incarnation = await claimIncarnation(records, clock, this.#followedBy);
    return FailoverRunner.open({
      config: {
        group: name,
        site: config.site,
        peer: peerOf(group.spec, config.site),
        source: isSource(),
        policy: policyOf(group.spec),
      },
      incarnation,
      records,
      bootIds,
      links,
      actions,
      clock,
      random,
      log,
    });
  }

  /** From the first spec until the group has ended. */
  get isRunning(): boolean {
    return this.#runner !== undefined;
  }

  /** Undefined before the first spec. */
  snapshot(): FailoverSnapshot | undefined {
    return this.#runner?.snapshot();
  }

  /** What keeps a switchover from being begun, one sentence each. */
  preflight(): string[] {
    return (
      this.#runner?.preflight() ?? ["the group is not ready at this site: its spec has not arrived or is not valid"]
    );
  }

  /** Of whoever holds the group, as far as is known here. */
  cert(): Cert | null {
    return this.#runner?.state.record.cert ?? null;
  }

  /** Of this process's part in the group; 0 before the first spec. */
  incarnation(): number {
    return this.#runner?.state.record.incarnation ?? 0;
  }

  /** Epoch under which the group is served. */
  epoch(): string {
    const cert = this.#runner?.state.record.cert;
    return cert === null || cert === undefined ? adoptingEpoch : formatEpoch(cert.epoch);
  }

  /** A person's order. Returns the answer where there is nobody to give it to. */
  command(command: Command): CommandOutcome | undefined {
    if (this.#runner === undefined) {
      const message = "the group is not ready at this site: its spec has not arrived or is not valid";
      return { nonce: command.nonce, ok: false, code: "NotReady", message };
    }
    this.#runner.command(command);
    return undefined;
  }

  setApi(up: boolean): void {
    this.#runner?.setApi(up);
  }

  setFence(fence: Fence): void {
    this.#runner?.setFence(fence);
  }

  setNodes(nodes: { readonly all: readonly string[]; readonly withPods: readonly string[] }): void {
    this.#runner?.setNodes(nodes);
  }

  /** What a node guard is answered; undefined while there is nothing to say. */
  guardPoll(poll: GuardPoll): GuardAnswer | undefined {
    return this.#runner?.guardPoll(poll);
  }

  /** Whether pods of the group may be placed on a node whose guard works. */
  mayPlace(node: string): boolean {
    return this.#runner?.mayPlace(node) ?? true;
  }

  setData(data: StandbyData): void {
    this.#runner?.setData(data);
  }

  async stop(): Promise<void> {
    await this.#running?.stop();
  }

  /** The group has ended here: guards that still hold its pods, or hold them down, let go of them. */
  async letGuardsGo(): Promise<void> {
    const { parts, name } = this.#options;
    await parts.guards.release(name, new GroupRecords(parts.records, name).read().cert);
  }

  /** To be called after {@link stop}, for a group that has ended here: what is recorded must not gate a next one. */
  async forget(): Promise<void> {
    const records = new GroupRecords(this.#options.parts.records, this.#options.name);
    if (records.read().cert !== null) await records.remove();
  }
}
