import { randomUUID } from "node:crypto";
import { Pulse } from "../abort.ts";
import type { Clock } from "../clock.ts";
import type { KubeClient } from "../kube/client.ts";
import { resources } from "../kube/resource.ts";
import { canaryName } from "../objects/canary.ts";
import { formatKey, type ObjectKey } from "../objects/key.ts";
import type { KubeObject } from "../objects/object.ts";
import type { Log } from "../telemetry/log.ts";

/** Which of the two lags a measurement is of. */
export type LagKind = "journal" | "apply";

/** What is known of a standby's lag. All on the source's own clock. */
export interface LagState {
  /** `false` until the standby has confirmed anything at all. */
  readonly everSynced: boolean;
  /**
   * Age of the newest moment that is known to be durable at the standby: what a disaster now would lose. It grows
   * while the standby is silent. `undefined` when never synced.
   */
  readonly durableAgeMs: number | undefined;
  /** The same for what is applied at the standby. */
  readonly appliedAgeMs: number | undefined;
  /** Last measured lag: source's write → durable at the standby, as the source heard of it. */
  readonly journalLagMs: number | undefined;
  readonly applyLagMs: number | undefined;
}

export interface CanaryOptions {
  readonly client: KubeClient;
  /** The agent's own namespace. */
  readonly namespace: string;
  readonly group: string;
  /** @default {@link canaryIntervalMs} */
  readonly intervalMs?: number;
  /** Each lag measured. Must not throw. */
  readonly onLag?: (kind: LagKind, ms: number) => void;
  /** Kinds (`group/Kind`) of custom resources that run pods here: the standby has no other way to know. */
  readonly podOwners: () => readonly string[];
  /** A canary was written and does not come back: the watches' connections may be dead. Must not throw. */
  readonly onUnseen: () => void;
  readonly clock: Clock;
  readonly log: Log;
}

/** One write and one event a second cost the agent well under 1 % of a core, and the API server 2 ms. */
export const canaryIntervalMs = 1_000;
/** Canaries on their way. A standby that is silent for longer sees no new ones; its age grows all the same. */
const underwayMaxCount = 120;

/** Written and not seen for so long, it is not on its way any more. */
const unseenMaxMs = 5_000;
/** An API server that takes longer is as good as silent. */
const writeTimeoutMs = 5_000;

interface Sent {
  readonly number: number;
  readonly sentMs: number;
  /** Place in the ring where it came back; `undefined` until it did. */
  seq: number | undefined;
}

/**
 * Measures lag with a small ConfigMap that the source writes with its own clock's time in it. It comes back through
 * the watch, takes its place among the group's records and travels as they do; when the standby confirms that place,
 * the difference is taken on one clock.
 */
export class Canary {
  readonly key: ObjectKey;
  readonly #options: CanaryOptions;
  /** Told apart from canaries of an earlier life or of another replica, whose clocks are not ours. */
  readonly #writer = randomUUID();
  readonly #wanted = new Pulse();
  #number = 0;
  #underway: Sent[] = [];
  #durable: { sentMs: number; lagMs: number } | undefined;
  #applied: { sentMs: number; lagMs: number } | undefined;
  #everSynced = false;
  #doubtedMs = -Infinity;

  constructor(options: CanaryOptions) {
    this.#options = options;
    const { namespace, group } = options;
    this.key = formatKey({ group: "", kind: "ConfigMap", namespace, name: canaryName(group) });
  }

  /** Writes a canary now and then for as long as somebody reads, until `signal` aborts; then rejects with its reason. */
  async run({ hasReader, signal }: { hasReader: () => boolean; signal: AbortSignal }): Promise<void> {
    const { clock, log, intervalMs = canaryIntervalMs } = this.#options;
    for (;;) {
      if (!hasReader()) await this.#wanted.wait({ signal });
      const startedMs = clock.monotonicMs();
      try {
        this.#checkUnseen(startedMs);
        if (this.#underway.length < underwayMaxCount) await this.#write(signal);
      } catch (error) {
        signal.throwIfAborted();
        log.warn({ err: error, group: this.#options.group }, "canary not written");
      }
      await clock.sleep(Math.max(0, intervalMs - (clock.monotonicMs() - startedMs)), { signal });
    }
  }

  /** Somebody reads (again). */
  wake(): void {
    this.#wanted.raise();
  }

  /** The canary came back through the watch and stands at `seq`. */
  seen(object: KubeObject, seq: number): void {
    const data = (object["data"] ?? {}) as Readonly<Record<string, string | undefined>>;
    if (data["writer"] !== this.#writer) return;
    const number = Number(data["number"]);
    // Events of earlier ones may have been skipped by a list: what came later came after them.
    for (const sent of this.#underway) if (sent.number <= number) sent.seq ??= seq;
  }

  /** The standby has everything up to `durable`, and shows everything up to `applied`. */
  acknowledged(position: { durable: number; applied: number }): void {
    this.#everSynced = true;
    const nowMs = this.#options.clock.monotonicMs();
    for (const sent of this.#underway) {
      if (sent.seq === undefined) continue;
      if (sent.seq <= position.durable && sent.sentMs > (this.#durable?.sentMs ?? -Infinity)) {
        this.#durable = { sentMs: sent.sentMs, lagMs: nowMs - sent.sentMs };
        this.#options.onLag?.("journal", nowMs - sent.sentMs);
      }
      if (sent.seq <= position.applied && sent.sentMs > (this.#applied?.sentMs ?? -Infinity)) {
        this.#applied = { sentMs: sent.sentMs, lagMs: nowMs - sent.sentMs };
        this.#options.onLag?.("apply", nowMs - sent.sentMs);
      }
    }
    const done = Math.min(position.durable, position.applied);
    this.#underway = this.#underway.filter((sent) => sent.seq === undefined || sent.seq > done);
  }

  state(): LagState {
    const nowMs = this.#options.clock.monotonicMs();
    return {
      everSynced: this.#everSynced,
      durableAgeMs: this.#durable === undefined ? undefined : nowMs - this.#durable.sentMs,
      appliedAgeMs: this.#applied === undefined ? undefined : nowMs - this.#applied.sentMs,
      journalLagMs: this.#durable?.lagMs,
      applyLagMs: this.#applied?.lagMs,
    };
  }

  #checkUnseen(nowMs: number): void {
    const oldest = this.#underway.find((sent) => sent.seq === undefined);
    const sinceMs = Math.max(oldest?.sentMs ?? nowMs, this.#doubtedMs);
    if (nowMs - sinceMs < unseenMaxMs) return;
    this.#doubtedMs = nowMs;
    this.#options.log.warn("canary written and not seen; watches begin anew");
    this.#options.onUnseen();
  }

  async #write(signal: AbortSignal): Promise<void> {
    const { client, clock, namespace, group } = this.#options;
    const number = ++this.#number;
    const podOwners = this.#options.podOwners().join(",");
    const sent: Sent = { number, sentMs: clock.monotonicMs(), seq: undefined };
    this.#underway.push(sent);
    const object: KubeObject = {
      apiVersion: "v1",
      kind: "ConfigMap",
      metadata: { name: canaryName(group), namespace },
      data: {
        writer: this.#writer,
        number: String(number),
        time: new Date(clock.wallMs()).toISOString(),
        ...(podOwners === "" ? {} : { podOwners }),
      },
    };
    try {
      const options = { fieldManager: "lifeboat-canary", force: true, timeoutMs: writeTimeoutMs, signal };
      await client.apply(resources.configMaps, object, options);
    } catch (error) {
      // It may have been written all the same; then its event counts for the next one.
      this.#underway = this.#underway.filter((other) => other !== sent);
      throw error;
    }
  }
}
