import { mkdir } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import pc from "picocolors";
import type { ObjectKey } from "../../../src/objects/key.ts";
import { startBed } from "../../bed/bed.ts";
import { startPair } from "../../pair/pair.ts";
import { builtInApp, install, readManifests } from "../manifests.ts";
import type { Step } from "../screen.ts";
import { pollMs } from "../stage.ts";
import type { Stage } from "../stage.ts";
import { count, seconds } from "../words.ts";
import { isUp } from "../workloads.ts";
import type { Workload } from "../workloads.ts";

/** Images are local and nodes idle: what is not up by then will not come. */
const upLimitMs = 60_000;
/** An application that has made no progress for this long is as far up as it gets. */
const stillMs = 20_000;

export async function startClusters(stage: Stage, step: Step): Promise<string> {
  const { nodes } = stage.options;
  const bed = await startBed(
    { sites: ["east", "west"], nodes, install: true, report: (line) => step.live(line) },
    { signal: stage.signal },
  );
  stage.startedBed = bed;
  await mkdir(stage.beatsDir, { recursive: true });
  return `Two clusters, east and west, with ${nodes} nodes, up in ${seconds(bed.startMs)}`;
}

export async function startLifeboat(stage: Stage): Promise<string> {
  const startedAtMs = performance.now();
  const { guarded, signal } = stage;
  stage.startedPair = await startPair(stage.bed, { signal, guards: guarded });
  return `A witness, two agents${guarded ? " and a guard on each node" : ""}, up in ${seconds(performance.now() - startedAtMs)}`;
}

export async function installApp(stage: Stage, step: Step): Promise<string> {
  const manifests = await readManifests(stage.options.app ?? builtInApp, { BEATS: stage.beatsDir });
  const installed = await install(stage.pair.client("east"), manifests, {
    signal: stage.signal,
    progress: (done) => step.live(`${done} of ${count(manifests.length, "object")}`),
  });
  stage.installedApp = installed;
  for (const { object, reason } of installed.refused) {
    stage.reports.push({ object, reason: `not at east: ${reason}` });
  }
  if (installed.refused.length > 0) step.fact(pc.yellow(`east refused ${count(installed.refused.length, "object")}`));
  stage.before = await waitUp(stage, step);
  const up = [...stage.before.values()].filter(isUp).length;
  return (
    `An application at east: ${count(installed.objects.length, "object")} in ${installed.namespaces.join(", ")}; ` +
    `${up} of ${count(stage.before.size, "workload")} ready`
  );
}

/** Waits until every workload is up, or as far up as it gets. */
async function waitUp(stage: Stage, step: Step): Promise<Map<ObjectKey, Workload>> {
  const endMs = performance.now() + upLimitMs;
  let best = -1;
  let bestAtMs = performance.now();
  for (;;) {
    const all = await stage.workloads("east");
    const wanted = [...all.values()].filter((workload) => workload.wanted > 0);
    const ready = wanted.reduce((sum, workload) => sum + workload.ready, 0);
    const up = wanted.filter(isUp).length;
    step.live(`${up} of ${count(wanted.length, "workload")} ready`);
    if (ready > best) {
      best = ready;
      bestAtMs = performance.now();
    }
    const still = performance.now() - bestAtMs > stillMs;
    if (up === wanted.length || still || performance.now() > endMs) return all;
    await delay(pollMs, undefined, { signal: stage.signal });
  }
}
