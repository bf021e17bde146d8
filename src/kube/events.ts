import { Pulse } from "../abort.ts";
import type { Clock } from "../clock.ts";
import type { KubeObject } from "../objects/object.ts";
import type { Log } from "../telemetry/log.ts";
import type { KubeClient } from "./client.ts";
import { resources } from "./resource.ts";

/** Something worth a line in `kubectl describe` and `kubectl get events`. */
export interface EventNote {
  readonly about: KubeObject;
  readonly type: "Normal" | "Warning";
  /** CamelCase, for machines: `FailoverStarted`. */
  readonly reason: string;
  /** For people. Never holds values of Secrets. */
  readonly message: string;
}

export interface EventWriterOptions {
  readonly client: KubeClient;
  /** Namespace for events about cluster-scoped objects. Kubernetes' own is `default`, where kubectl looks. */
  readonly namespace?: string;
  /** Who reports: `lifeboat-agent`. */
  readonly component: string;
  /** The pod, or the machine. */
  readonly instance: string;
  readonly clock: Clock;
  readonly log: Log;
}

/** Events in a burst; a storm of findings is a condition and a metric, not ten thousand events. */
const burstCount = 25;
/** One event more each so often. */
const refillMs = 5_000;
/** The same note again within this time counts up the first instead of being written again. */
const repeatWindowMs = 10 * 60_000;
/** Notes that are remembered for counting up; the oldest are forgotten. */
const rememberedMaxCount = 512;
/** The API server's own limit. */
const messageMaxLength = 1024;

interface Remembered {
  readonly name: string;
  readonly namespace: string;
  readonly firstMs: number;
  count: number;
}

/** Writes core/v1 Events: repeated ones counted up in place, at a bounded rate. What is dropped is counted. */
export class EventWriter {
  readonly #options: EventWriterOptions;
  readonly #waiting: EventNote[] = [];
  readonly #noted = new Pulse();
  readonly #remembered = new Map<string, Remembered>();
  #tokens = burstCount;
  #refilledMs: number;
  #serial = 0;
  #droppedCount = 0;

  constructor(options: EventWriterOptions) {
    this.#options = options;
    this.#refilledMs = options.clock.monotonicMs();
  }

  /** Events not written because of the rate, since the start. */
  get droppedCount(): number {
    return this.#droppedCount;
  }

  /** Puts the event in line to be written by {@link run}. What the rate does not allow is dropped and counted. */
  note(note: EventNote): void {
    if (this.#waiting.length >= burstCount || !this.#takeToken()) {
      this.#droppedCount++;
      return;
    }
    this.#waiting.push(note);
    this.#noted.raise();
  }

  /** Writes what is noted until `signal` aborts, then rejects with its reason. A lost event is logged, no more. */
  async run({ signal }: { signal: AbortSignal }): Promise<void> {
    for (;;) {
      await this.#noted.wait({ signal });
      for (let note = this.#waiting.shift(); note !== undefined; note = this.#waiting.shift()) {
        await this.#write(note, signal);
      }
    }
  }

  async #write(note: EventNote, signal: AbortSignal): Promise<void> {
    try {
      const id = JSON.stringify([note.about.kind, note.about.metadata.uid, note.type, note.reason, note.message]);
      const known = this.#recall(id);
      if (known === undefined) await this.#create(id, note, signal);
      else await this.#countUp(known, signal);
    } catch (error) {
      signal.throwIfAborted();
      this.#options.log.warn({ err: error, reason: note.reason }, "event not written");
    }
  }

  #takeToken(): boolean {
    const now = this.#options.clock.monotonicMs();
    const refill = Math.floor((now - this.#refilledMs) / refillMs);
    if (refill > 0) {
      this.#tokens = Math.min(burstCount, this.#tokens + refill);
      this.#refilledMs += refill * refillMs;
    }
    if (this.#tokens === 0) return false;
    this.#tokens--;
    return true;
  }

  #recall(id: string): Remembered | undefined {
    const known = this.#remembered.get(id);
    if (known === undefined || this.#options.clock.monotonicMs() - known.firstMs < repeatWindowMs) return known;
    this.#remembered.delete(id);
    return undefined;
  }

  async #create(id: string, note: EventNote, signal: AbortSignal): Promise<void> {
    const { client, clock, component, instance } = this.#options;
    const { about } = note;
    const namespace = about.metadata.namespace ?? this.#options.namespace ?? "default";
    const time = new Date(clock.wallMs()).toISOString();
    const serial = (this.#serial++).toString(36);
    const name = `${about.metadata.name.slice(0, 200)}.${clock.wallMs().toString(16)}${serial}`;
    await client.create(
      resources.events,
      {
        apiVersion: "v1",
        kind: "Event",
        metadata: { name, namespace },
        involvedObject: {
          apiVersion: about.apiVersion,
          kind: about.kind,
          name: about.metadata.name,
          namespace: about.metadata.namespace,
          uid: about.metadata.uid,
        },
        type: note.type,
        reason: note.reason,
        message: note.message.slice(0, messageMaxLength),
        source: { component, host: instance },
        reportingComponent: component,
        reportingInstance: instance,
        firstTimestamp: `${time.slice(0, -5)}Z`,
        lastTimestamp: `${time.slice(0, -5)}Z`,
        count: 1,
      },
      { fieldManager: component, signal },
    );
    this.#remember(id, { name, namespace, firstMs: clock.monotonicMs(), count: 1 });
  }

  async #countUp(known: Remembered, signal: AbortSignal): Promise<void> {
    const { client, clock, component } = this.#options;
    known.count++;
    const lastTimestamp = `${new Date(clock.wallMs()).toISOString().slice(0, -5)}Z`;
    await client.patch(
      resources.events,
      known,
      { type: "merge", body: { count: known.count, lastTimestamp } },
      { fieldManager: component, signal },
    );
  }

  #remember(id: string, event: Remembered): void {
    this.#remembered.set(id, event);
    const oldest = this.#remembered.keys().next().value;
    if (this.#remembered.size > rememberedMaxCount && oldest !== undefined) this.#remembered.delete(oldest);
  }
}
