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
import { cpuDuring } from "./usage.ts";
import type { CpuMs } from "./usage.ts";
import { connect } from "../../src/kube/client.ts";
import type { Bed } from "../bed/running.ts";

const objectCount = 10_000;
const namespaces = namespaceNames("bench", 20);
const tryCount = 2_000;
const concurrencies = [8, 16, 32, 64];

interface Rate {
  readonly perS: number;
  /** Processor time of everything that takes part, by process, in milliseconds per object. */
  readonly cpuMs: CpuMs;
}

function rateOf(tookMs: number, cpuMs: CpuMs): Rate {
  const each = Object.entries(cpuMs).map(([name, ms]) => [name, round(ms / objectCount, 3)] as const);
  return { perS: (objectCount / tookMs) * 1000, cpuMs: Object.fromEntries(each) };
}

const sum = (cpuMs: CpuMs): number => Object.values(cpuMs).reduce((all, ms) => all + ms, 0);

/** Runs `work` with an API server that has nothing but the namespaces, and has done a few hundred writes. */
async function onFreshServer<T>(
  spaces: readonly string[],
  signal: AbortSignal,
  work: (kubeconfigPath: string, bed: Bed) => Promise<T>,
): Promise<T> {
  return withBed({ sites: ["east"], controllers: false }, signal, async (bed) => {
    const { kubeconfigPath } = bed.site("east");
    await warmUp(kubeconfigPath, signal);
    const client = await connect({ from: "files", paths: [kubeconfigPath] });
    await createNamespaces(client, spaces, { signal });
    await client.close();
    return work(kubeconfigPath, bed);
  });
}

/** The bare writer on an empty API server. */
async function bareRound(concurrency: number, signal: AbortSignal): Promise<Rate> {
  return onFreshServer(namespaces, signal, async (kubeconfigPath, bed) => {
    const made = mixedObjects({ count: objectCount, namespaces });
    const write = async (): Promise<number> => applyAll(kubeconfigPath, made, { concurrency, signal });
    const { result: perS, cpuMs } = await cpuDuring(bed, write);
    return rateOf((objectCount / perS) * 1000, cpuMs);
  });
}

async function bestConcurrency(signal: AbortSignal): Promise<number> {
  const spacesOf = (concurrency: number): string[] => namespaceNames(`try-${concurrency}`, 20);
  return onFreshServer(concurrencies.flatMap(spacesOf), signal, async (kubeconfigPath) => {
    let best = { concurrency: 0, perS: 0 };
    for (const concurrency of concurrencies) {
      const made = mixedObjects({ count: tryCount, namespaces: spacesOf(concurrency) });
      const perS = await applyAll(kubeconfigPath, made, { concurrency, signal });
      say(`bare writer with ${concurrency} requests at once: ${round(perS, 0)} objects/s`);
      if (perS > best.perS) best = { concurrency, perS };
    }
    return best.concurrency;
  });
}

/** A first sync. */
async function oursRound(signal: AbortSignal): Promise<Rate> {
  return withBed({ controllers: false }, signal, async (bed) => {
    const filled = await fillSource(bed, objectCount, signal);
    try {
      const { result: tookMs, cpuMs } = await cpuDuring(bed, async () => firstSync(filled, signal));
      return rateOf(tookMs, cpuMs);
    } finally {
      await filled.pair.stop();
    }
  });
}

export async function bench({ signal }: BenchOptions): Promise<BenchResult> {
  const concurrency = await bestConcurrency(signal);
  const rounds: { ours: Rate; bare: Rate }[] = [];
  for (let at = 1; at <= roundCount; at++) {
    const bare = await bareRound(concurrency, signal);
    const ours = await oursRound(signal);
    say(`round ${at}: bare ${round(bare.perS, 0)} objects/s, ours ${round(ours.perS, 0)} objects/s`);
    say(`milliseconds per object: bare ${JSON.stringify(bare.cpuMs)}, ours ${JSON.stringify(ours.cpuMs)}`);
    rounds.push({ ours, bare });
  }
  const of = (figure: (entry: (typeof rounds)[number]) => number): number => median(rounds.map(figure));
  return {
    objects: objectCount,
    oursPerS: round(
      of(({ ours }) => ours.perS),
      0,
    ),
    barePerS: round(
      of(({ bare }) => bare.perS),
      0,
    ),
    ratio: round(
      of(({ ours, bare }) => ours.perS / bare.perS),
      2,
    ),
    bareConcurrency: concurrency,
    // What other programs on the machine do changes these less than it changes the rates.
    oursCpuMsPerObject: round(
      of(({ ours }) => sum(ours.cpuMs)),
      2,
    ),
    bareCpuMsPerObject: round(
      of(({ bare }) => sum(bare.cpuMs)),
      2,
    ),
    cpuRatio: round(
      of(({ ours, bare }) => sum(bare.cpuMs) / sum(ours.cpuMs)),
      2,
    ),
  };
}
