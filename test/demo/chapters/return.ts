import { setTimeout as delay } from "node:timers/promises";
import { messageOf } from "../../../src/errors.ts";
import { pathOf } from "../../../src/kube/resource.ts";
import type { ObjectKey } from "../../../src/objects/key.ts";
import { hasCondition } from "../../pair/pair.ts";
import { waitFor } from "../../pair/wait.ts";
import { overlapMs, readBeats } from "../beats.ts";
import { colours } from "../colours.ts";
import { changeAnnotation } from "../ledger.ts";
import type { Step } from "../screen.ts";
import { groupName } from "../stage.ts";
import type { Stage } from "../stage.ts";
import { count, seconds } from "../words.ts";
import { untilTried } from "./protect.ts";

const returnLimitMs = 180_000;
const watchEveryMs = 1_000;
const followLimitMs = 60_000;

export async function returnEast(stage: Stage, step: Step): Promise<string> {
  const { bed, pair, signal } = stage;
  const startedAtMs = Date.now();
  // The agent starts as soon as there is an API server, as it would on a machine of its own.
  const startAgent = async (): Promise<void> => {
    const answers = async (): Promise<true | undefined> =>
      (await bed.site("east").api.request("GET", "/readyz")).status === 200 ? true : undefined;
    await waitFor("the API server of east", answers, { limitMs: returnLimitMs, everyMs: 100, signal });
    await pair.startAgent("east");
  };
  const restore = async (): Promise<number> => {
    await bed.faults.restore("east");
    return Date.now();
  };
  const [returnedAtMs] = await Promise.all([restore(), startAgent()]);
  stage.timeline.note("east is back", returnedAtMs);
  await follow(stage, step, returnedAtMs);
  await watchForPods(stage, step, returnedAtMs);
  if (stage.options.nodes === "real" && stage.options.app === undefined) await countOverlap(stage, step);
  return `East is back after ${seconds(returnedAtMs - startedAtMs)}, as the standby`;
}

/** A pod of the returned site that is not stopped by the end of it would be found in its beats. */
async function watchForPods(stage: Stage, step: Step, returnedAtMs: number): Promise<void> {
  const endMs = returnedAtMs + stage.options.watchMs;
  const started = new Set<ObjectKey>();
  let looks = 0;
  // Once at least: until east follows, that may have taken all of the time.
  let leftMs: number;
  do {
    leftMs = endMs - Date.now();
    step.live(`watching for pods of east for another ${seconds(Math.max(0, leftMs))}`);
    const all = await stage.workloads("east").catch(() => undefined);
    if (all !== undefined) looks += 1;
    for (const [key, { running }] of all ?? []) if (running > 0) started.add(key);
    if (leftMs > 0) await delay(Math.min(watchEveryMs, leftMs), undefined, { signal: stage.signal });
  } while (leftMs > 0);
  const detail =
    started.size === 0
      ? `looked at ${looks} times, until ${seconds(Date.now() - returnedAtMs)} after its return`
      : [...started].join(", ");
  stage.check("east starts nothing as the standby", started.size === 0 && looks > 0, detail);
}

async function countOverlap(stage: Stage, step: Step): Promise<void> {
  const beats = await readBeats(stage.beatsDir, ["east", "west"]);
  const east = beats.get("east") ?? [];
  const west = beats.get("west") ?? [];
  if (east.length === 0 || west.length === 0) {
    stage.check("pods of both sites wrote heartbeats", false, `east ${east.length}, west ${west.length} stretches`);
    return;
  }
  stage.bothActiveMs = Math.round(overlapMs(east, west));
  if (stage.guarded)
    stage.check("the two sites never ran pods at once", stage.bothActiveMs === 0, `${stage.bothActiveMs} ms`);
  step.fact(`both sites ran pods at once for ${seconds(stage.bothActiveMs)}, by the pods' own heartbeats`);
}

/** East must stop what it still runs, take west's state, and see a change that is made at west now. */
async function follow(stage: Stage, step: Step, returnedAtMs: number): Promise<void> {
  const { pair, timeline, signal } = stage;
  const limit = { limitMs: returnLimitMs, signal };
  try {
    await pair.waitForStatus("east", groupName, "standby", ({ role }) => role === "standby", limit);
    timeline.note("east says that it is standby");
    const idle = async (): Promise<true | undefined> => {
      const all = await stage.workloads("east");
      const left = [...all.values()].filter(({ wanted, running }) => wanted > 0 || running > 0).length;
      step.live(`${count(left, "workload")} of east still there`);
      return left === 0 ? true : undefined;
    };
    await waitFor("no pods at east", idle, limit);
    timeline.note("east runs nothing");
    step.fact(`east ran nothing ${seconds(Date.now() - returnedAtMs)} after its return`);
    // At west that is said of what east has received; at east of what it has brought to its API server.
    await pair.waitForStatus("west", groupName, "Synced", (status) => hasCondition(status, "Synced"), limit);
    await untilTried(stage, "east", step);
    timeline.note("east has everything");
    const tookMs = Math.round(await writeAtWest(stage));
    step.fact(`a change at west was at east ${tookMs} ms after its acknowledgement`);
    stage.check("east follows west", true, `a change arrived after ${tookMs} ms`);
  } catch (error) {
    signal.throwIfAborted();
    step.fact(colours.red(messageOf(error)));
    stage.check("east follows west", false, messageOf(error));
  }
}

/** Returns how long after its acknowledgement a change was at east. */
async function writeAtWest({ pair, writing, signal }: Stage): Promise<number> {
  const [target] = writing.targets;
  if (target === undefined) return 0;
  const value = "after the return of east";
  await pair.client("west").request("PATCH", pathOf(target.resource, target), {
    body: JSON.stringify({ metadata: { annotations: { [changeAnnotation]: value } } }),
    contentType: "application/merge-patch+json",
    signal,
  });
  const ackedAtMs = performance.now();
  await waitFor(
    `the change of ${target.key} at east`,
    async () => {
      const found = await pair.client("east").get(target.resource, target, { signal });
      return found.metadata.annotations?.[changeAnnotation] === value ? true : undefined;
    },
    { limitMs: followLimitMs, everyMs: 5, signal },
  );
  return performance.now() - ackedAtMs;
}
