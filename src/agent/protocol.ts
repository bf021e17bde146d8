import { peerOf, type ProtectionGroup } from "../config/group.ts";
import type { Command } from "../failover/agent-state.ts";
import { formatEpoch } from "../failover/epoch.ts";
import type { CommandOutcome, GroupActions } from "../failover/runner/actions.ts";
import { claimIncarnation } from "../failover/runner/records.ts";
import { FailoverRunner, type StandbyData } from "../failover/runner/runner.ts";
import type { FailoverSnapshot } from "../failover/runner/snapshot.ts";
import type { Log } from "../telemetry/log.ts";
import { Background } from "./background.ts";
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
  readonly log: Log;
  readonly signal: AbortSignal;
  /** Must not throw. */
  readonly onChange: () => void;
}

/** The epoch under which a group is served before its first grant: below every other. */
const adoptingEpoch = "0.0";

/** One group's part in the failover protocol at this site, from its first valid spec on. */
export class GroupProtocol {
  readonly #options: ProtocolOptions;
  #runner: FailoverRunner | undefined;
  #running: Background | undefined;

  constructor(options: ProtocolOptions) {
    this.#options = options;
  }

  /** Begins with the first spec; later ones are policies only. */
  take(group: ProtectionGroup): void {
    this.#runner?.setPolicy(policyOf(group.spec));
    if (this.#running !== undefined) return;
    const { parts, log, signal, onAdopting, onChange } = this.#options;
    const { clock, random } = parts;
    this.#running = new Background({ name: "failover", clock, random, log, signal }, async (inner) => {
      const runner = await this.#open(group);
      this.#runner = runner;
      using _listener = runner.onChange(onChange);
      runner.setFence({ cap: "api", stopBoundMs: policyOf(group.spec).timing.stopBoundMs });
      if (runner.state.phase.type === "Adopting") await onAdopting();
      await runner.run(inner);
    });
  }

  async #open(group: ProtectionGroup): Promise<FailoverRunner> {
    const { parts, name, actions, isSource, log } = this.#options;
    const { config, records, bootId, links, clock, random } = parts;
    // One that failed has used its number up: what it had sent would make its successor's messages look old.
    const incarnation = await claimIncarnation(records, clock);
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
      bootId,
      links,
      actions,
      clock,
      random,
      log,
    });
  }

  /** Undefined before the first spec. */
  snapshot(): FailoverSnapshot | undefined {
    return this.#runner?.snapshot();
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

  setData(data: StandbyData): void {
    this.#runner?.setData(data);
  }

  async stop(): Promise<void> {
    await this.#running?.stop();
  }
}
