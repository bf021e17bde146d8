import { mkdir } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { LifeboatError } from "../../../src/errors.ts";
import type { ObjectKey } from "../../../src/objects/key.ts";
import { startBed } from "../../bed/bed.ts";
import { startPair } from "../../pair/pair.ts";
import { colours } from "../colours.ts";
import { install } from "../install.ts";
import { builtInApp, readManifests } from "../manifests.ts";
import type { Step } from "../screen.ts";
import { beatLoop } from "../beats.ts";
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
  const { nodes, app } = stage.options;
  // What a user has given is looked at before anything is started for it.
  if (app !== undefined) await readApp(stage, app);
  const bed = await startBed(
    { sites: ["east", "west"], nodes, install: true, report: (line) => step.live(line) },
    { signal: stage.signal },
  );
  stage.startedBed = bed;
  await mkdir(stage.beatsDir, { recursive: true });
  return `Two clusters, east and west, with ${nodes} nodes, up in ${seconds(bed.startMs)}`;
}

async function readApp(stage: Stage, path: string): Promise<void> {
  const { objects, broken } = await readManifests(
    path,
    path === builtInApp ? { BEATS: stage.beatsDir, BEAT: beatLoop } : {},
  );
  stage.reports.push(...broken);
  if (objects.length === 0) throw new LifeboatError("ConfigInvalid", `${path} holds no manifests that can be read`);
  stage.manifests = objects;
}

export async function startLifeboat(stage: Stage): Promise<string> {
  const startedAtMs = performance.now();
  const { guarded, signal } = stage;
  stage.startedPair = await startPair(stage.bed, { signal, guards: guarded });
  return `A witness, two agents${guarded ? " and a guard on each node" : ""}, up in ${seconds(performance.now() - startedAtMs)}`;
}

export async function installApp(stage: Stage, step: Step): Promise<string> {
  if (stage.options.app === undefined) await readApp(stage, builtInApp);
  const manifests = stage.manifests ?? [];
  const installed = await install(stage.pair.client("east"), manifests, {
    signal: stage.signal,
    progress: (done) => step.live(`${done} of ${count(manifests.length, "object")}`),
  });
  stage.installedApp = installed;
  for (const { object, reason } of installed.refused) {
    stage.reports.push({ object, reason: `not at east: ${reason}` });
  }
  if (stage.reports.length > 0)
    step.fact(colours.yellow(`${count(stage.reports.length, "object")} broken or refused by east`));
  if (installed.namespaces.length === 0) {
    throw new LifeboatError("ConfigInvalid", "east has none of the namespaces of the manifests: nothing to protect");
  }
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
