/**
 * How long a group is down: 200 workloads after the loss of a site, against the protocol's own bound; and a planned
 * switchover of real pods, against what stopping and starting these pods takes anywhere.
 */
import { setTimeout as delay } from "node:timers/promises";
import { profileTiming } from "../../src/failover/timing.ts";
import type { KubeClient } from "../../src/kube/client.ts";
import { resources } from "../../src/kube/resource.ts";
import type { KubeObject } from "../../src/objects/object.ts";
import { namespace as beatNamespace } from "../chaos/app.ts";
import { Stage, type SiteName } from "../chaos/stage.ts";
import { uptimeMs } from "../demo/beats.ts";
import { hasCondition, startPair, type Pair } from "../pair/pair.ts";
import { waitFor } from "../pair/wait.ts";
import { withBed } from "./beds.ts";
import { roundCount, say, type BenchOptions, type BenchResult } from "./bench.ts";
import { median, round } from "./statistics.ts";

const workloadCount = 200;
const group = "many";
const namespace = "many";
/** A first sync, leases and the standby's readiness. */
const readyLimitMs = 180_000;
const takeoverLimitMs = 120_000;
const lookEveryMs = 50;

export async function bench({ signal }: BenchOptions): Promise<BenchResult> {
  const takeovers: number[] = [];
  const moves: Move[] = [];
  for (let at = 1; at <= roundCount; at++) {
    takeovers.push(await takeOver(signal));
    say(
      `round ${at} of ${roundCount}: ${workloadCount} workloads scaled ${round(takeovers.at(-1) ?? 0, 0)} ms after the last heartbeat`,
    );
  }
  const stage = await Stage.start({ profile: "fast", guards: true, signal, report: say });
  try {
    for (let at = 1; at <= roundCount; at++) {
      moves.push(await switchOver(stage));
      say(`round ${at} of ${roundCount}: ${JSON.stringify(moves.at(-1))}`);
    }
  } finally {
    await stage.stop();
  }
  const of = (figure: (move: Move) => number): number => round(median(moves.map(figure)), 0);
  const boundMs = round(profileTiming("fast").startBoundMs, 0);
  const allScaledMs = round(median(takeovers), 0);
  const switchoverDowntimeMs = of(({ downtimeMs }) => downtimeMs);
  const podStopStartMs = of(({ stopMs, startMs }) => stopMs + startMs);
  return {
    boundMs,
    allScaledMs,
    overBoundMs: allScaledMs - boundMs,
    switchoverDowntimeMs,
    podStopStartMs,
    overPodsMs: switchoverDowntimeMs - podStopStartMs,
  };
}

/** From the last heartbeat of the lost site, as the survivor heard it, until the last workload is scaled. */
async function takeOver(signal: AbortSignal): Promise<number> {
  return withBed({ sites: ["east", "west"], nodes: "simulated", nodeCount: 1 }, signal, async (bed) => {
    const pair = await startPair(bed, { signal });
    try {
      await install(pair.client("east"), signal);
      await pair.applyGroup(
        "east",
        group,
        {
          sites: [{ name: "east" }, { name: "west" }],
          select: { namespaces: { names: [namespace] } },
          failover: { automatic: true, profile: "fast", fencing: { policy: "Unproven" } },
        },
        signal,
      );
      const limit = { limitMs: readyLimitMs, signal };
      await pair.waitForStatus("west", group, "caught up", ({ counts }) => isWhole(counts), limit);
      await pair.waitForStatus("east", group, "armed", (status) => hasCondition(status, "Armed"), limit);
      await bed.faults.kill("east");
      const client = pair.client("west");
      await waitFor("all scaled", async () => ((await scaled(client, signal)) >= workloadCount ? true : undefined), {
        limitMs: takeoverLimitMs,
        everyMs: lookEveryMs,
        signal,
      });
      return Date.now() - (await lastHeartbeatAt(pair, signal));
    } finally {
      await pair.stop();
    }
  });
}

function isWhole(
  counts: { readonly applied?: number | undefined; readonly pending?: number | undefined } | undefined,
): boolean {
  return (counts?.applied ?? 0) > workloadCount && counts?.pending === 0;
}

async function install(client: KubeClient, signal: AbortSignal): Promise<void> {
  const write = { fieldManager: "bench", signal };
  await client.create(
    resources.namespaces,
    { apiVersion: "v1", kind: "Namespace", metadata: { name: namespace } },
    write,
  );
  for (let at = 0; at < workloadCount; at++) await client.create(resources.deployments, workload(`web-${at}`), write);
}

function workload(name: string): KubeObject {
  const labels = { app: name };
  const template = { metadata: { labels }, spec: { containers: [{ name: "web", image: "web" }] } };
  return {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name, namespace },
    spec: { replicas: 1, selector: { matchLabels: labels }, template },
  };
}

async function scaled(client: KubeClient, signal: AbortSignal): Promise<number> {
  let count = 0;
  for await (const { items } of client.list(resources.deployments, { namespace, signal })) {
    count += items.filter((item) => (item["spec"] as { replicas?: number }).replicas === 1).length;
  }
  return count;
}

async function lastHeartbeatAt(pair: Pair, signal: AbortSignal): Promise<number> {
  const { lastFailover } = await pair.waitForStatus(
    "west",
    group,
    "with its story",
    (status) => status.lastFailover?.to === "west",
    { limitMs: takeoverLimitMs, signal },
  );
  const heard = lastFailover?.timeline?.find(({ event }) => event === "lastPeerHeartbeat");
  return Date.parse(heard?.at ?? "");
}

interface Move {
  readonly stopMs: number;
  readonly startMs: number;
  readonly downtimeMs: number;
}

/** Scaling to zero and back at one site, then a switchover, all measured by what the pods write. */
async function switchOver(stage: Stage): Promise<Move> {
  const { signal } = stage.options;
  await stage.ready();
  const stopAtMs = await uptimeMs();
  await scale(stage, 0);
  await waitFor("no beats", async () => ((await stage.beatAgeMs("east")) > 2_000 ? true : undefined), {
    limitMs: readyLimitMs,
    signal,
  });
  const stopMs = (await lastBeat(stage, stopAtMs - 1_000, "east")) - stopAtMs;
  const startAtMs = await uptimeMs();
  await scale(stage, 2);
  await waitFor("beats", async () => ((await stage.beatAgeMs("east")) < 500 ? true : undefined), {
    limitMs: readyLimitMs,
    signal,
  });
  const startMs = ((await stage.beats(startAtMs)).east[0]?.fromMs ?? Number.NaN) - startAtMs;
  // The second pod, and the standby, get there too.
  await delay(2_000);
  await stage.ready();
  const movedAtMs = await uptimeMs();
  await stage.switchOver();
  await waitFor("beats at west", async () => ((await stage.beats(movedAtMs)).west.length > 0 ? true : undefined), {
    limitMs: readyLimitMs,
    signal,
  });
  const { west } = await stage.beats(movedAtMs);
  const downtimeMs = (west[0]?.fromMs ?? Number.NaN) - (await lastBeat(stage, movedAtMs - 1_000, "east"));
  return { stopMs: round(stopMs, 0), startMs: round(startMs, 0), downtimeMs: round(downtimeMs, 0) };
}

async function lastBeat(stage: Stage, sinceMs: number, site: SiteName): Promise<number> {
  return Math.max(sinceMs, ...(await stage.beats(sinceMs))[site].map(({ toMs }) => toMs));
}

async function scale(stage: Stage, replicas: number): Promise<void> {
  const patch = { type: "merge", body: { spec: { replicas } } } as const;
  const options = { fieldManager: "user", signal: stage.options.signal };
  const place = { namespace: beatNamespace, name: "beat" };
  await stage.pair.client("east").patch(resources.deployments, place, patch, options);
}
