/**
 * Writes at one API server, watches at another, and says for each acknowledged write how long it took until the other
 * showed it. One process, one clock.
 */
import { setTimeout as delay } from "node:timers/promises";
import { linkedAbort } from "../../src/abort.ts";
import { connect } from "../../src/kube/client.ts";
import type { KubeClient } from "../../src/kube/client.ts";
import { forEachLine } from "../../src/kube/lines.ts";
import { pathOf, resources } from "../../src/kube/resource.ts";
import type { KubeObject } from "../../src/objects/object.ts";
import { spread } from "./bare/writer.ts";

/** Size of the text in each object. */
const textBytes = 800;
/** @default for the time that a side has to catch up after the last write. */
const drainLimitMs = 60_000;
/** A write may wait for its turn as long as the whole load takes. */
const writeTimeoutMs = 120_000;

export interface Place {
  readonly namespace: string;
  readonly name: string;
}

/** `count` ConfigMaps over the namespaces. */
export function places(namespaces: readonly string[], count: number): Place[] {
  return Array.from({ length: count }, (_, at) => ({
    namespace: namespaces[at % namespaces.length] ?? "default",
    name: `changing-${at}`,
  }));
}

export async function createPlaces(kubeconfig: string, all: readonly Place[], signal: AbortSignal): Promise<void> {
  const client = await connect({ from: "files", paths: [kubeconfig] });
  try {
    await spread(all, 16, async ({ namespace, name }) => {
      const map: KubeObject = {
        apiVersion: "v1",
        kind: "ConfigMap",
        metadata: { namespace, name },
        data: { seq: "0", text: "x".repeat(textBytes) },
      };
      await client.create(resources.configMaps, map, { fieldManager: "bench", signal });
    });
  } finally {
    await client.close();
  }
}

export interface LagOptions {
  readonly from: string;
  readonly to: string;
  readonly places: readonly Place[];
  readonly perSecond: number;
  readonly seconds: number;
  /** Writes are numbered from here; a later run over the same places goes on above an earlier one. @default 1 */
  readonly firstSeq?: number;
  /** After the last write everything is seen within this time, or counts as unseen. @default 60 s */
  readonly drainLimitMs?: number;
  readonly signal: AbortSignal;
}

export interface LagResult {
  /** One per acknowledged write, in milliseconds; of one that was never seen, its age at the end. */
  readonly lagsMs: readonly number[];
  /** From the last acknowledged write until everything was visible. */
  readonly drainMs: number;
  readonly writtenPerS: number;
  /** Writes that were never seen. */
  readonly unseen: number;
}

interface Pending {
  readonly seq: number;
  readonly ackedAtMs: number;
}

/** What was acknowledged and not yet seen, by place. */
class Ledger {
  readonly lagsMs: number[] = [];
  readonly #pending = new Map<string, Pending[]>();
  readonly #seen = new Map<string, number>();
  pendingCount = 0;

  acknowledged(key: string, seq: number, atMs: number): void {
    if ((this.#seen.get(key) ?? 0) >= seq) {
      this.lagsMs.push(0);
      return;
    }
    const list = this.#pending.get(key) ?? [];
    list.push({ seq, ackedAtMs: atMs });
    this.#pending.set(key, list);
    this.pendingCount += 1;
  }

  /** Ages of what was not seen. */
  unseenMs(nowMs: number): number[] {
    return [...this.#pending.values()].flat().map(({ ackedAtMs }) => nowMs - ackedAtMs);
  }

  /** A newer state stands for all older ones of its place. */
  seen(key: string, seq: number, atMs: number): void {
    if ((this.#seen.get(key) ?? 0) >= seq) return;
    this.#seen.set(key, seq);
    const list = this.#pending.get(key) ?? [];
    const rest = list.filter((entry) => entry.seq > seq);
    for (const entry of list) if (entry.seq <= seq) this.lagsMs.push(Math.max(0, atMs - entry.ackedAtMs));
    this.pendingCount -= list.length - rest.length;
    this.#pending.set(key, rest);
  }
}

interface MapEvent {
  readonly type: string;
  readonly object: {
    readonly metadata: { readonly namespace: string; readonly name: string };
    readonly data?: { readonly seq?: string };
  };
}

async function observe(
  client: KubeClient,
  namespaces: readonly string[],
  ledger: Ledger,
  signal: AbortSignal,
): Promise<void> {
  const streams = await Promise.all(
    namespaces.map(async (namespace) => {
      const path = pathOf(resources.configMaps, { namespace });
      return client.stream(path, { query: { watch: true }, signal });
    }),
  );
  for (const stream of streams) {
    forEachLine(stream, (line) => {
      const atMs = performance.now();
      const { object } = JSON.parse(line) as MapEvent;
      const seq = Number(object.data?.seq ?? 0);
      if (seq > 0) ledger.seen(`${object.metadata.namespace}/${object.metadata.name}`, seq, atMs);
    }).catch((error: unknown) => {
      if (!signal.aborted) throw error;
    });
  }
}

/** Runs the writer for its time, waits until all is seen, and returns every single lag. */
export async function measureLag(options: LagOptions): Promise<LagResult> {
  using scope = linkedAbort(options.signal);
  const [source, sink] = await Promise.all([
    connect({ from: "files", paths: [options.from] }),
    connect({ from: "files", paths: [options.to] }),
  ]);
  const ledger = new Ledger();
  try {
    await observe(sink, [...new Set(options.places.map((place) => place.namespace))], ledger, scope.signal);
    const { lastAckMs, writtenPerS } = await write(source, ledger, { ...options, signal: scope.signal });
    const endMs = performance.now() + (options.drainLimitMs ?? drainLimitMs);
    while (ledger.pendingCount > 0 && performance.now() < endMs) await delay(5, undefined, { signal: scope.signal });
    const nowMs = performance.now();
    const unseenMs = ledger.unseenMs(nowMs);
    const lagsMs = [...ledger.lagsMs, ...unseenMs];
    return { lagsMs, drainMs: Math.max(0, nowMs - lastAckMs), writtenPerS, unseen: unseenMs.length };
  } finally {
    scope.abort(new Error("measured"));
    await Promise.all([source.close(), sink.close()]);
  }
}

async function write(
  client: KubeClient,
  ledger: Ledger,
  { places: all, perSecond, seconds, firstSeq = 1, signal }: LagOptions,
): Promise<{ lastAckMs: number; writtenPerS: number }> {
  const total = perSecond * seconds;
  const startedAtMs = performance.now();
  let lastAckMs = startedAtMs;
  const writeOne = async (seq: number): Promise<void> => {
    const place = all[seq % all.length];
    if (place === undefined) return;
    await client.request("PATCH", pathOf(resources.configMaps, place), {
      query: { fieldManager: "bench" },
      body: JSON.stringify({ data: { seq: String(seq) } }),
      contentType: "application/merge-patch+json",
      timeoutMs: writeTimeoutMs,
      signal,
    });
    lastAckMs = performance.now();
    ledger.acknowledged(`${place.namespace}/${place.name}`, seq, lastAckMs);
  };
  const running: Promise<void>[] = [];
  for (let nth = 1; nth <= total; nth++) {
    const dueMs = startedAtMs + (nth * 1000) / perSecond;
    const waitMs = dueMs - performance.now();
    if (waitMs > 1) await delay(waitMs, undefined, { signal });
    running.push(writeOne(firstSeq + nth - 1));
  }
  await Promise.all(running);
  return { lastAckMs, writtenPerS: (total / (lastAckMs - startedAtMs)) * 1000 };
}
