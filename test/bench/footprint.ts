/** Memory of both agents, and their processor time while nothing changes, at 10,000 objects. */
import { setTimeout as delay } from "node:timers/promises";
import type { KubeClient } from "../../src/kube/client.ts";
import { Metrics } from "../pair/metrics.ts";
import { withBed } from "./beds.ts";
import { roundCount, say } from "./bench.ts";
import type { BenchOptions, BenchResult } from "./bench.ts";
import { medians, round } from "./statistics.ts";
import { fillSource, firstSync } from "./synced.ts";
import { cpuPercent, pidOf, rssMiB } from "./usage.ts";

const objectCount = 10_000;
/** After a first sync what was allocated for it is given back. */
const settleMs = 30_000;
/** Every workload is then proven to be promotable, at 20 a second: that is work still, not idleness. */
const provenLimitMs = 180_000;
const provenPollMs = 5_000;
const idleSeconds = 60;

interface Footprint extends Record<string, number> {
  readonly sourceRssMiB: number;
  readonly standbyRssMiB: number;
  readonly sourceCpuPercent: number;
  readonly standbyCpuPercent: number;
}

async function oneRound(signal: AbortSignal): Promise<Footprint> {
  return withBed({ controllers: false }, signal, async (bed) => {
    const filled = await fillSource(bed, objectCount, signal);
    try {
      await firstSync(filled, signal);
      await delay(settleMs, undefined, { signal });
      await provenAll(filled.pair.client("west"), signal);
      const [source, standby] = [await pidOf(bed, "east/agent"), await pidOf(bed, "west/agent")];
      const [sourceCpuPercent = 0, standbyCpuPercent = 0] = await cpuPercent([source, standby], idleSeconds, {
        signal,
      });
      return {
        sourceRssMiB: await rssMiB(source),
        standbyRssMiB: await rssMiB(standby),
        sourceCpuPercent,
        standbyCpuPercent,
      };
    } finally {
      await filled.pair.stop();
    }
  });
}

/** Waits until the standby's API server is asked for no more dry runs. */
async function provenAll(client: KubeClient, signal: AbortSignal): Promise<void> {
  const endMs = performance.now() + provenLimitMs;
  for (let before = -1; performance.now() < endMs;) {
    const count = await dryRunCount(client, signal);
    if (count === before) return;
    before = count;
    await delay(provenPollMs, undefined, { signal });
  }
  say("the standby still proves its objects: the figures are not those of an idle agent");
}

async function dryRunCount(client: KubeClient, signal: AbortSignal): Promise<number> {
  const text = await client.request("GET", "/metrics", { signal });
  return Metrics.parse(text).value("apiserver_request_total", { dry_run: "All" }) ?? 0;
}

export async function bench({ signal }: BenchOptions): Promise<BenchResult> {
  const rounds: Footprint[] = [];
  for (let at = 1; at <= roundCount; at++) {
    const found = await oneRound(signal);
    say(`round ${at}: ${JSON.stringify(found)}`);
    rounds.push(found);
  }
  const middle = medians(rounds);
  return {
    sourceRssMiB: round(middle["sourceRssMiB"] ?? Number.NaN, 0),
    standbyRssMiB: round(middle["standbyRssMiB"] ?? Number.NaN, 0),
    idleCpuPercent: round(Math.max(middle["sourceCpuPercent"] ?? 0, middle["standbyCpuPercent"] ?? 0), 2),
    sourceCpuPercent: round(middle["sourceCpuPercent"] ?? Number.NaN, 2),
    standbyCpuPercent: round(middle["standbyCpuPercent"] ?? Number.NaN, 2),
  };
}
