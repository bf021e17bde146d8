import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { LifeboatError, messageOf } from "../../../src/errors.ts";
import type { ObjectKey } from "../../../src/objects/key.ts";
import { colours } from "../colours.ts";
import { agentTimeline } from "../decision.ts";
import type { AgentEvent } from "../decision.ts";
import { listMissing, mayEnd, noteStaying } from "../missing.ts";
import type { Step } from "../screen.ts";
import { groupName, pollMs } from "../stage.ts";
import type { Stage } from "../stage.ts";
import { areSame, compareSite, openJournalCopy } from "../verdict.ts";
import { count, listed, seconds } from "../words.ts";
import { isUp, whyDown } from "../workloads.ts";
import type { Workload } from "../workloads.ts";

/** The protocol starts within 31 s where stops are proven, 105 s where they are not; the rest is for slow starts. */
const takeoverLimitMs = 240_000;
/** A wave that does not get ready holds the next up for 30 s: what shows nothing new for twice that will not come. */
const stillMs = 60_000;
/** The agent's part ends with its last wave, and there may be several that do not get ready. */
const storyLimitMs = 60_000;

/** Throws Timeout when west does not take over. */
export async function takeOver(stage: Stage, step: Step): Promise<string> {
  const { timeline, writing } = stage;
  await noteStaying(stage, mayEnd);
  // The writer's changes raise the generation of Deployments many times a second: the controllers' last word counts.
  const last = await stage.workloads("east");
  stage.before = new Map([...last].map(([key, workload]) => [key, { ...workload, ready: workload.lastReady }]));
  const killedAtMs = Date.now();
  stage.killedAtMs = killedAtMs;
  timeline.note("killed", killedAtMs);
  await stage.bed.faults.kill("east");
  writing.stop.abort(new Error("killed"));
  await writing.done;
  step.fact(`killed after ${writing.writer.entries.length} acknowledged writes`);
  await new Watch(stage, step, killedAtMs).run();
  for (const { event, atMs } of timeline.since(killedAtMs)) {
    step.fact(`${`${atMs < 0 ? "-" : "+"}${seconds(Math.abs(atMs))}`.padStart(9)}  ${event}`);
  }
  const readyAtMs = timeline.at("all ready");
  if (readyAtMs === undefined) return "West runs the application, and not everything that was ready at east is ready";
  return `West runs the application ${seconds(readyAtMs - killedAtMs)} after the kill`;
}

/** Notes in the timeline what west's API server shows of the takeover, until everything is ready or nothing moves. */
class Watch {
  readonly #stage: Stage;
  readonly #step: Step;
  readonly #killedAtMs: number;
  readonly #needed: readonly ObjectKey[];
  #isActive = false;
  #best = -1;
  #bestAtMs = 0;
  #seenGrantMs: number | undefined;
  #last = "";

  constructor(stage: Stage, step: Step, killedAtMs: number) {
    this.#stage = stage;
    this.#step = step;
    this.#killedAtMs = killedAtMs;
    this.#needed = [...stage.before.values()].filter(isUp).map(({ key }) => key);
  }

  async run(): Promise<void> {
    const { timeline, signal } = this.#stage;
    const endMs = this.#killedAtMs + takeoverLimitMs;
    while (Date.now() < endMs && !(await this.#isOver())) await delay(pollMs, undefined, { signal });
    if (!this.#isActive) {
      throw new LifeboatError("Timeout", `west did not take over within ${seconds(takeoverLimitMs)}: ${this.#last}`);
    }
    for (const { event, wallMs } of await storyOfAgent(this.#stage)) timeline.note(event, wallMs);
    // An agent that has not come to the end of its part has told nothing yet: what was seen from here stands in.
    if (this.#seenGrantMs !== undefined) timeline.note("granted", this.#seenGrantMs);
  }

  async #isOver(): Promise<boolean> {
    try {
      return await this.#look();
    } catch (error) {
      // An API server that is busy with a takeover may miss an answer.
      this.#stage.signal.throwIfAborted();
      this.#last = messageOf(error);
      return false;
    }
  }

  async #look(): Promise<boolean> {
    const { pair, timeline, signal } = this.#stage;
    const [status, west] = await Promise.all([pair.status("west", groupName, signal), this.#stage.workloads("west")]);
    const nowMs = Date.now();
    const ready = this.#needed.filter((key) => isUpAt(west, key)).length;
    this.#last = status.reason ?? status.state ?? "";
    const since = seconds(nowMs - this.#killedAtMs);
    this.#step.live(`+${since} · ${this.#last} · ${ready} of ${count(this.#needed.length, "workload")} ready`);
    if ([...west.values()].some(({ wanted, object }) => wanted > 0 && object.kind !== "Pod")) {
      timeline.note("first workload scaled", nowMs);
    }
    if (status.active === "west") this.#seenGrantMs ??= nowMs;
    this.#isActive = status.role === "active";
    if (this.#isActive) timeline.note("west says that it is active", nowMs);
    // With nothing that was ready before, there is nothing to wait for but the move itself.
    const isReady = ready === this.#needed.length && (this.#needed.length > 0 || this.#isActive);
    if (isReady) timeline.note("all ready", nowMs);
    if (!this.#isActive || ready > this.#best) {
      this.#best = ready;
      this.#bestAtMs = nowMs;
    }
    return this.#isActive && (isReady || nowMs - this.#bestAtMs > stillMs);
  }
}

/** The agent tells the story when its part is over, which is a moment after the last workload is ready. */
async function storyOfAgent({ pair, signal }: Stage): Promise<readonly AgentEvent[]> {
  const endMs = Date.now() + storyLimitMs;
  for (;;) {
    const story = await agentTimeline(pair, "west", groupName, signal).catch(() => []);
    signal.throwIfAborted();
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
  const { writing, pair, signal, killedAtMs = Date.now() } = stage;
  const west = pair.client("west");
  const loss = await writing.writer.losses(west, killedAtMs, { signal });
  stage.loss = loss;
  const journal = await openJournalCopy(pair.dataDir("west"), groupName, join(stage.bed.dir, "journal-at-grant"));
  try {
    const found = await compareSite(journal, { client: west, site: "west", role: "active", signal });
    const detail = areSame(found) ? count(found.compared, "object") : listed(found.different);
    stage.check("west equals what its journal held at the grant, rendered as active", areSame(found), detail);
    for (const { object, reason } of found.different) step.fact(colours.red(`${object} ${reason}`));
    await listMissing(stage, [...found.different, ...found.withheld]);
  } finally {
    journal.close();
  }
  await checkReady(stage);
  return `Lost ${loss.lost} of ${count(writing.writer.entries.length, "acknowledged change")}; RPO ${loss.rpoMs} ms`;
}

async function checkReady(stage: Stage): Promise<void> {
  const options = { namespaces: new Set(stage.namespaces), signal: stage.signal };
  const now = await stage.workloads("west");
  const was = [...stage.before.values()].filter(({ wanted }) => wanted > 0);
  const down = was.filter(({ key }) => !isUpAt(now, key));
  const told = new Set(stage.reports.map(({ object }) => object));
  for (const before of down) {
    const here = now.get(before.key);
    if (here === undefined && told.has(before.key)) continue;
    const why = here === undefined ? "is not at west" : await whyDown(stage.pair.client("west"), here, options);
    const context = isUp(before) ? "ready at east, not ready at west" : "not ready at east either";
    stage.reports.push({ object: before.key, reason: `${context}: ${why}` });
  }
  const broken = down.filter(isUp).map(({ key }) => key);
  const all = count(was.filter(isUp).length, "workload");
  const detail = broken.length === 0 ? all : broken.join(", ");
  stage.check("everything that was ready at east is ready at west", broken.length === 0, detail);
}
