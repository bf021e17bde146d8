/**
 * The link between the agents is cut for 60 s while 1 % of 10,000 objects change: how many bytes and how long until
 * the standby is whole again, against a first sync of all of them.
 */
import { setTimeout as delay } from "node:timers/promises";
import type { Bed } from "../bed/running.ts";
import { waitFor } from "../pair/wait.ts";
import { pathOf } from "../../src/kube/resource.ts";
import { withBed } from "./beds.ts";
import { roundCount, say } from "./bench.ts";
import type { BenchOptions, BenchResult } from "./bench.ts";
import { spread } from "./bare/writer.ts";
import { startCounting } from "./bytes.ts";
import type { Made } from "./objects.ts";
import { median, round } from "./statistics.ts";
import { benchGroup, fillSource, firstSync } from "./synced.ts";
import type { Filled } from "./synced.ts";

const objectCount = 10_000;
const changedCount = 100;
const cutMs = 60_000;
const resyncLimitMs = 120_000;
const annotation = "example.com/changed";

interface Round {
  readonly bytesRatio: number;
  readonly timeRatio: number;
  readonly reconnectMs: number;
}

async function oneRound(signal: AbortSignal): Promise<Round> {
  return withBed({ controllers: false }, signal, async (bed) => {
    const filled = await fillSource(bed, objectCount, signal);
    try {
      return await cutAndHeal(bed, filled, signal);
    } finally {
      await filled.pair.stop();
    }
  });
}

async function cutAndHeal(bed: Bed, filled: Filled, signal: AbortSignal): Promise<Round> {
  const { pair, made } = filled;
  const bytes = await startCounting(bed);
  const firstMs = await firstSync(filled, signal);
  await pair.waitSynced("east", benchGroup, { limitMs: resyncLimitMs, signal });
  const firstBytes = await bytes.take();
  await bed.faults.partition("east/agent", "west/agent");
  const cutAtMs = performance.now();
  const changed = made.filter((_, at) => at % (objectCount / changedCount) === 0);
  await change(filled, changed, signal);
  await delay(Math.max(0, cutMs - (performance.now() - cutAtMs)), undefined, { signal });
  await bytes.take();
  await bed.faults.heal("east/agent", "west/agent");
  const healedAtMs = performance.now();
  const reconnectMs = (await bytes.firstByte(resyncLimitMs, signal)) - healedAtMs;
  await arrived(filled, changed, signal);
  const resyncMs = performance.now() - healedAtMs - reconnectMs;
  // What is still being said after the last object belongs to the resync as well.
  await delay(1_000, undefined, { signal });
  const resyncBytes = await bytes.take();
  await bytes.stop();
  say(
    `first sync ${round(firstMs, 0)} ms, ${firstBytes} bytes; reconnected after ${round(reconnectMs, 0)} ms, ` +
      `resync ${round(resyncMs, 0)} ms, ${resyncBytes} bytes`,
  );
  return { bytesRatio: resyncBytes / firstBytes, timeRatio: resyncMs / firstMs, reconnectMs };
}

async function change({ pair }: Filled, changed: readonly Made[], signal: AbortSignal): Promise<void> {
  const client = pair.client("east");
  await spread(changed, 8, async ({ resource, object }) =>
    client.request("PATCH", pathOf(resource, { namespace: object.metadata.namespace, name: object.metadata.name }), {
      body: JSON.stringify({ metadata: { annotations: { [annotation]: "yes" } } }),
      contentType: "application/merge-patch+json",
      signal,
    }),
  );
}

async function arrived({ pair }: Filled, changed: readonly Made[], signal: AbortSignal): Promise<void> {
  const client = pair.client("west");
  let left = changed;
  await waitFor(
    "the changes at the standby",
    async () => {
      const found = await Promise.all(
        left.map(async ({ resource, object }) => {
          const { namespace, name } = object.metadata;
          const live = await client.get(resource, { namespace, name }, { signal });
          return live.metadata.annotations?.[annotation] === "yes";
        }),
      );
      left = left.filter((_, at) => found[at] === false);
      return left.length === 0 ? true : undefined;
    },
    { limitMs: resyncLimitMs, everyMs: 20, signal },
  );
}

export async function bench({ signal }: BenchOptions): Promise<BenchResult> {
  const rounds: Round[] = [];
  for (let at = 1; at <= roundCount; at++) rounds.push(await oneRound(signal));
  return {
    bytesRatio: round(median(rounds.map(({ bytesRatio }) => bytesRatio)), 4),
    timeRatio: round(median(rounds.map(({ timeRatio }) => timeRatio)), 3),
    reconnectMs: round(median(rounds.map(({ reconnectMs }) => reconnectMs)), 0),
  };
}
