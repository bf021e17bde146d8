import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import pc from "picocolors";
import type { ObjectKey } from "../../../src/objects/key.ts";
import { agentTimeline } from "../decision.ts";
import type { AgentEvent } from "../decision.ts";
import type { Reported } from "../manifests.ts";
import type { Step } from "../screen.ts";
import { groupName, pollMs } from "../stage.ts";
import type { Stage } from "../stage.ts";
import { compareSite, openJournalCopy } from "../verdict.ts";
import { count, listed, seconds } from "../words.ts";
import { isUp, whyDown } from "../workloads.ts";
import type { Workload } from "../workloads.ts";

/** The protocol starts within 31 s where stops are proven, 105 s where they are not; the rest is for slow starts. */
const takeoverLimitMs = 240_000;
/** A wave that does not get ready holds the agent's part up for 30 s, and there may be several. */
const storyLimitMs = 60_000;

export async function takeOver(stage: Stage, step: Step): Promise<string> {
  const { timeline, writing } = stage;
  // The writer's changes raise the generation of Deployments many times a second: the controllers' last word counts.
  const last = await stage.workloads("east");
  stage.before = new Map([...last].map(([key, workload]) => [key, { ...workload, ready: workload.lastReady }]));
  stage.killedAtMs = Date.now();
  timeline.note("killed", stage.killedAtMs);
  await stage.bed.faults.kill("east");
  writing.stop.abort(new Error("killed"));
  await writing.done;
  step.fact(`killed after ${writing.writer.entries.length} acknowledged writes`);
  await watch(stage, step);
  for (const { event, atMs } of timeline.since(stage.killedAtMs)) {
    step.fact(`${`${atMs < 0 ? "-" : "+"}${seconds(Math.abs(atMs))}`.padStart(9)}  ${event}`);
  }
  const readyAtMs = timeline.at("all ready");
  if (readyAtMs === undefined) return `Not everything was ready at west within ${seconds(takeoverLimitMs)}`;
  return `West runs the application ${seconds(readyAtMs - stage.killedAtMs)} after the kill`;
}

async function watch(stage: Stage, step: Step): Promise<void> {
  const { pair, timeline, signal } = stage;
  const needed = [...stage.before.values()].filter(isUp).map(({ key }) => key);
  const endMs = stage.killedAtMs + takeoverLimitMs;
  let seenGrantMs: number | undefined;
  while (Date.now() < endMs) {
    const [status, west] = await Promise.all([pair.status("west", groupName, signal), stage.workloads("west")]);
    const ready = needed.filter((key) => isUpAt(west, key)).length;
    const since = seconds(Date.now() - stage.killedAtMs);
    step.live(
      `+${since} · ${status.reason ?? status.state ?? ""} · ${ready} of ${count(needed.length, "workload")} ready`,
    );
    if ([...west.values()].some(({ wanted, object }) => wanted > 0 && object.kind !== "Pod")) {
      timeline.note("first workload scaled");
    }
    if (status.active === "west") seenGrantMs ??= Date.now();
    if (status.role === "active") timeline.note("west says that it is active");
    // With nothing that was ready before, there is nothing to wait for but the move itself.
    const isReady = ready === needed.length && (needed.length > 0 || status.role === "active");
    if (isReady) timeline.note("all ready");
    if (isReady && status.role === "active") break;
    await delay(pollMs, undefined, { signal });
  }
  for (const { event, wallMs } of await storyOfAgent(stage)) timeline.note(event, wallMs);
  // An agent that has not come to the end of its part has told nothing yet: what was seen from here stands in.
  if (seenGrantMs !== undefined) timeline.note("granted", seenGrantMs);
}

/** The agent tells the story when its part is over, which is a moment after the last workload is ready. */
async function storyOfAgent({ pair, signal }: Stage): Promise<readonly AgentEvent[]> {
  const endMs = Date.now() + storyLimitMs;
  for (;;) {
    const story = await agentTimeline(pair, "west", groupName, signal);
    if (story.length > 0 || Date.now() > endMs) return story;
    await delay(pollMs, undefined, { signal });
  }
}

function isUpAt(workloads: ReadonlyMap<ObjectKey, Workload>, key: ObjectKey): boolean {
  const found = workloads.get(key);
  return found !== undefined && isUp(found);
}

/** What the ledger has and west has not; and whether west is what its journal said. */
export async function countLoss(stage: Stage, step: Step): Promise<string> {
  const { writing, pair, signal } = stage;
  const west = pair.client("west");
  stage.loss = await writing.writer.losses(west, stage.killedAtMs, { signal });
  const journal = await openJournalCopy(pair.dataDir("west"), groupName, join(stage.bed.dir, "journal-at-grant"));
  try {
    const found = await compareSite(journal, { client: west, site: "west", role: "active", signal });
    const same = found.different.length === 0 && found.compared > 0;
    const detail = same ? count(found.compared, "object") : listed(found.different);
    stage.check("west equals what its journal held at the grant, rendered as active", same, detail);
    for (const { object, reason } of found.different) step.fact(pc.red(`${object} ${reason}`));
    await reportMissing(stage, found.withheld);
  } finally {
    journal.close();
  }
  await checkReady(stage);
  const { lost, rpoMs } = stage.loss;
  return `Lost ${lost} of ${count(writing.writer.entries.length, "acknowledged change")}; RPO ${rpoMs} ms`;
}

/** Objects of the application that west does not have, with the best reason that can be found. */
async function reportMissing(stage: Stage, withheld: readonly Reported[]): Promise<void> {
  const { pair, signal } = stage;
  const { findings = [] } = await pair.status("west", groupName, signal);
  const reasons = new Map([
    ...findings.flatMap(({ object, message }) => (object === undefined ? [] : [[object, message] as const])),
    ...withheld.map(({ object, reason }) => [object, reason] as const),
  ]);
  for (const [key, resource] of stage.installed.resources) {
    const [, , namespace = "", name = ""] = key.split("/");
    const place = namespace === "" ? { name } : { namespace, name };
    if ((await pair.client("west").find(resource, place, { signal })) !== undefined) continue;
    const usual = namespace === "" ? "cluster-scoped, and nothing in the group needs it" : "is not at west";
    stage.reports.push({ object: key, reason: reasons.get(key) ?? usual });
  }
}

async function checkReady(stage: Stage): Promise<void> {
  const options = { namespaces: new Set(stage.namespaces), signal: stage.signal };
  const now = await stage.workloads("west");
  const was = [...stage.before.values()].filter(({ wanted }) => wanted > 0);
  const down = was.filter(({ key }) => !isUpAt(now, key));
  for (const before of down) {
    const here = now.get(before.key);
    const why = here === undefined ? "is not at west" : await whyDown(stage.pair.client("west"), here, options);
    const context = isUp(before) ? "ready at east, not ready at west" : "not ready at east either";
    stage.reports.push({ object: before.key, reason: `${context}: ${why}` });
  }
  const broken = down.filter(isUp).map(({ key }) => key);
  const all = count(was.filter(isUp).length, "workload");
  const detail = broken.length === 0 ? all : broken.join(", ");
  stage.check("everything that was ready at east is ready at west", broken.length === 0, detail);
}
