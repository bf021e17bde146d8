import { randomUUID } from "node:crypto";
import { Pulse } from "../abort.ts";
import type { Clock } from "../clock.ts";
import { hasCode } from "../errors.ts";
import type { SiteName } from "../failover/epoch.ts";
import type { FromWitness, ToWitness } from "../failover/messages.ts";
import { bootWitness, bootWitnessGroup, newWitnessGroup, stepWitness } from "../failover/witness.ts";
import type {
  WitnessEffect,
  WitnessGroup,
  WitnessGroupRecord,
  WitnessInstance,
  WitnessTerm,
} from "../failover/witness-state.ts";
import type { Log } from "../telemetry/log.ts";
import type { WitnessMetrics } from "./metrics.ts";
import type { PauseWatch } from "./pause.ts";
import type { WitnessStore } from "./store.ts";

/** Where a site's answers go. */
export interface ReplyPath {
  readonly site: SiteName;
  reply(message: FromWitness): void;
}

export interface InstanceOptions {
  readonly store: WitnessStore;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: WitnessMetrics;
  readonly pause: PauseWatch;
  /** Highest generation that was heard of, 0 for none. */
  readonly heard: number;
}

/** Two sites with 2,000 groups each on the shortest heartbeat say as much within a few seconds. */
const queuedMax = 20_000;
/** Decided and committed together; bounds how long the event loop is held. */
const batchMax = 1000;
/**
 * A message that has waited for longer, since the store did not answer, says nothing about now: it is dropped, as a
 * network would have done, and the site's next one is there already.
 */
const waitMaxMs = 1000;
/** Above every figure that is tested; a site's mistake must not fill the witness's disk. */
const groupsMax = 10_000;
/** Attempts against another process that starts at the same moment. */
const claimsMax = 5;

interface Queued {
  readonly atMs: number;
  readonly message: ToWitness;
  readonly path: ReplyPath;
}

interface Decided {
  readonly records: Map<string, WitnessGroupRecord>;
  readonly replies: { readonly path: ReplyPath; readonly message: FromWitness }[];
  /** A generation above this is needed; nothing of this batch counts. */
  above: number | undefined;
}

/**
 * One generation of the witness: the states of all groups and the batches that change them. A batch is decided in
 * memory, made durable in one transaction that also confirms the term, and only then answered.
 */
export class WitnessRun {
  readonly #options: InstanceOptions;
  readonly #instance: WitnessInstance;
  readonly #term: WitnessTerm;
  readonly #groups: Map<string, WitnessGroup>;
  readonly #arrived = new Pulse();
  #queue: Queued[] = [];

  private constructor(
    options: InstanceOptions,
    booted: { readonly instance: WitnessInstance; readonly term: WitnessTerm },
    groups: Map<string, WitnessGroup>,
  ) {
    this.#options = options;
    this.#instance = booted.instance;
    this.#term = booted.term;
    this.#groups = groups;
    options.metrics.generation.set(booted.term.generation);
    options.metrics.groups.set(groups.size);
  }

  /** Takes a new term, durably, and reads what is stored. Rejects as the store does. */
  static async boot(options: InstanceOptions, { signal }: { signal: AbortSignal }): Promise<WitnessRun> {
    const { store, log } = options;
    const booted = await claimTerm(options, signal);
    const groups = new Map<string, WitnessGroup>();
    const changed: WitnessGroupRecord[] = [];
    for (const record of await store.readGroups({ signal })) {
      const { state, effects } = bootWitnessGroup(record);
      groups.set(record.group, state);
      for (const effect of effects) if (effect.type === "persist") changed.push(effect.record);
    }
    await store.commit(booted.term, changed, { signal });
    const { generation } = booted.term;
    log.info({ generation, groups: groups.size, store: store.place }, "witness starts a generation");
    return new WitnessRun(options, booted, groups);
  }

  get generation(): number {
    return this.#term.generation;
  }

  /** Takes a message of an authenticated site; it is answered later, or dropped. */
  receive(message: ToWitness, path: ReplyPath): void {
    const { metrics, pause } = this.#options;
    if (this.#queue.length >= queuedMax) metrics.dropped.inc({ reason: "queue" });
    else if (isTakeover(message) && pause.recent) metrics.dropped.inc({ reason: "pause" });
    else {
      this.#queue.push({ atMs: this.#options.clock.monotonicMs(), message, path });
      this.#arrived.raise();
    }
  }

  /**
   * Decides until a generation above the returned one is needed. Rejects with the signal's reason, or when something
   * could not be stored: what is in memory then no longer counts, and the process must end.
   */
  async run({ signal }: { signal: AbortSignal }): Promise<number> {
    for (;;) {
      if (this.#queue.length === 0) await this.#arrived.wait({ signal });
      // What the same turn of the event loop still brings joins the batch; and streams get their turn in between.
      await new Promise((resolve) => setImmediate(resolve));
      signal.throwIfAborted();
      const decided = this.#decide(this.#queue.splice(0, batchMax));
      if (decided.above !== undefined) return decided.above;
      await this.#commit([...decided.records.values()], signal);
      for (const { path, message } of decided.replies) path.reply(message);
    }
  }

  #decide(batch: readonly Queued[]): Decided {
    const decided: Decided = { records: new Map(), replies: [], above: undefined };
    for (const { atMs, message, path } of batch) {
      if (this.#options.clock.monotonicMs() - atMs > waitMaxMs) {
        this.#options.metrics.dropped.inc({ reason: "stale" });
        continue;
      }
      const group = this.#groupOf(message);
      if (group === undefined) continue;
      this.#options.metrics.messages.inc({ type: message.type });
      const now = this.#options.clock.monotonicMs();
      const { state, effects } = stepWitness(this.#instance, group, { type: "message", message }, now);
      this.#groups.set(message.group, state);
      for (const effect of effects) this.#collect(decided, effect, path, message.group);
    }
    return decided;
  }

  #collect(decided: Decided, effect: WitnessEffect, path: ReplyPath, group: string): void {
    const { log, metrics } = this.#options;
    switch (effect.type) {
      case "persist":
        decided.records.set(effect.record.group, effect.record);
        return;
      case "reply":
        if (effect.to !== path.site) return;
        decided.replies.push({ path, message: effect.message });
        countReply(metrics, effect.message);
        return;
      case "regenerate":
        decided.above = Math.max(decided.above ?? 0, effect.above);
        return;
      case "notice":
        log.info({ group, code: effect.code, notice: effect.message }, "witness notice");
    }
  }

  /** A group begins with the first heartbeat about it, which names the other site. */
  #groupOf(message: ToWitness): WitnessGroup | undefined {
    const known = this.#groups.get(message.group);
    if (known !== undefined || message.type !== "Renew") return known;
    const { metrics, log } = this.#options;
    if (this.#groups.size >= groupsMax) {
      metrics.dropped.inc({ reason: "groups" });
      return undefined;
    }
    const fresh = newWitnessGroup(message.group, message.site, message.peer);
    this.#groups.set(message.group, fresh);
    metrics.groups.set(this.#groups.size);
    log.info({ group: message.group, site: message.site, peer: message.peer }, "witness hears of a group");
    return fresh;
  }

  async #commit(records: readonly WitnessGroupRecord[], signal: AbortSignal): Promise<void> {
    const { store, metrics } = this.#options;
    const done = metrics.commitSeconds.startTimer();
    await store.commit(this.#term, records, { signal });
    done();
  }
}

function isTakeover(message: ToWitness): boolean {
  return message.type === "Acquire" && message.kind === "takeover";
}

function countReply(metrics: WitnessMetrics, message: FromWitness): void {
  if (message.type === "Grant") metrics.grants.inc({ kind: message.kind });
  if (message.type === "Commit") metrics.grants.inc({ kind: "switchover" });
  if (message.type === "AcquireRefused") metrics.refusals.inc({ code: message.refusal.code });
}

async function claimTerm(
  options: InstanceOptions,
  signal: AbortSignal,
): Promise<{ instance: WitnessInstance; term: WitnessTerm }> {
  const { store, clock, heard } = options;
  for (let attempt = 1; ; attempt++) {
    const stored = await store.readTerm({ signal });
    const boot = { stored, unixSeconds: Math.floor(clock.wallMs() / 1000), heard, nonce: randomUUID() };
    const booted = bootWitness(boot, clock.monotonicMs());
    try {
      await store.claim(stored, booted.term, { signal });
      return booted;
    } catch (error) {
      if (attempt === claimsMax || !hasCode(error, "WitnessReplaced")) throw error;
    }
  }
}
