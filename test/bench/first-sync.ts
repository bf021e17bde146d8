/**
 * 10,000 objects that a standby does not have yet: ours from the group's creation until the standby's API server has
 * them all, against a bare server-side-apply writer that has the machine for itself.
 */
import { applyAll, createNamespaces } from "./bare/writer.ts";
import { warmUp, withBed } from "./beds.ts";
import { roundCount, say } from "./bench.ts";
import type { BenchOptions, BenchResult } from "./bench.ts";
import { mixedObjects, namespaceNames } from "./objects.ts";
import { median, round } from "./statistics.ts";
import { fillSource, firstSync } from "./synced.ts";
import { connect } from "../../src/kube/client.ts";

const objectCount = 10_000;
const namespaces = namespaceNames("bench", 20);
const tryCount = 2_000;
const concurrencies = [8, 16, 32, 64];

/** Objects per second of the bare writer on an empty API server. */
async function bareRound(count: number, concurrency: number, signal: AbortSignal): Promise<number> {
  return withBed({ sites: ["east"], controllers: false }, signal, async (bed) => {
    const { kubeconfigPath } = bed.site("east");
    await warmUp(kubeconfigPath, signal);
    const client = await connect({ from: "files", paths: [kubeconfigPath] });
    await createNamespaces(client, namespaces, { signal });
    await client.close();
    return applyAll(kubeconfigPath, mixedObjects({ count, namespaces }), { concurrency, signal });
  });
}

async function bestConcurrency(signal: AbortSignal): Promise<number> {
  let best = { concurrency: 0, perS: 0 };
  for (const concurrency of concurrencies) {
    const perS = await bareRound(tryCount, concurrency, signal);
    say(`bare writer with ${concurrency} requests at once: ${round(perS, 0)} objects/s`);
    if (perS > best.perS) best = { concurrency, perS };
  }
  return best.concurrency;
}

/** Objects per second of a first sync. */
async function oursRound(signal: AbortSignal): Promise<number> {
  return withBed({ controllers: false }, signal, async (bed) => {
    const filled = await fillSource(bed, objectCount, signal);
    try {
      return (objectCount / (await firstSync(filled, signal))) * 1000;
    } finally {
      await filled.pair.stop();
    }
  });
}

export async function bench({ signal }: BenchOptions): Promise<BenchResult> {
  const concurrency = await bestConcurrency(signal);
  const rounds: { ours: number; bare: number }[] = [];
  for (let at = 1; at <= roundCount; at++) {
    const bare = await bareRound(objectCount, concurrency, signal);
    const ours = await oursRound(signal);
    say(`round ${at}: bare ${round(bare, 0)} objects/s, ours ${round(ours, 0)} objects/s`);
    rounds.push({ ours, bare });
  }
  return {
    objects: objectCount,
    oursPerS: round(median(rounds.map(({ ours }) => ours)), 0),
    barePerS: round(median(rounds.map(({ bare }) => bare)), 0),
    ratio: round(median(rounds.map(({ ours, bare }) => ours / bare)), 2),
    bareConcurrency: concurrency,
  };
}
