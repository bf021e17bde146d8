/** One scenario once: what the pods wrote, against what was promised. */
import { setTimeout as delay } from "node:timers/promises";
import { messageOf } from "../../src/errors.ts";
import { overlapMs, uptimeMs } from "../demo/beats.ts";
import { waitFor } from "../pair/wait.ts";
import type { Scenario } from "./scenario.ts";
import { ledger, namespace } from "./app.ts";
import { group, sites, type SiteName, type Stage } from "./stage.ts";
import { numberAt, Writer } from "./writer.ts";

export interface RoundResult {
  readonly scenario: string;
  readonly what: string;
  readonly profile: string;
  readonly guards: boolean;
  /** Both sites had a running pod for so long, in the whole round. */
  readonly overlapMs: number;
  /** From the last beat at the old site to the first at the new one; null where nothing moved. */
  readonly gapMs: number | null;
  /** From the fault to the first beat at the new site; null where nothing moved. */
  readonly startMs: number | null;
  /** What {@link startMs} is held against, pods' own start not included; null where nothing is. */
  readonly boundMs: number | null;
  /** Acknowledged changes that the new site does not have; null where nothing moved. */
  readonly lost: number | null;
  /** What was not as it should have been; empty when all was. */
  readonly problems: readonly string[];
}

/** Containers on two busy cores; what Kubernetes needs from a Deployment to a pod's first line. */
const podStartMs = 12_000;
/** A site at which nothing happens has no pause in its beats longer than this. */
const pauseMaxMs = 1_000;
/** What a mended pair needs until it is at rest: a boot, a lease, a resync. */
const restMs = 120_000;

export async function runRound(stage: Stage, scenario: Scenario): Promise<RoundResult> {
  const { signal } = stage.options;
  const problems: string[] = [];
  await stage.ready();
  const writer = new Writer(stage.pair.client("east"), await numberAt(stage.pair.client("east"), signal));
  stage.writer = writer;
  await delay(1_000);
  const fromMs = (await uptimeMs()) - 1_000;
  const faultMs = await uptimeMs();
  try {
    // What is written at a site after it has stopped for a switchover is its own, and kept as such.
    if (scenario.lossless === true) await writer.stop();
    await scenario.faults(stage);
    await (scenario.runs === "west"
      ? waitForWest(stage, faultMs, problems)
      : watch(stage, scenario, faultMs, problems));
  } catch (error) {
    signal.throwIfAborted();
    problems.push(messageOf(error));
  } finally {
    await writer.stop();
  }
  const moved = scenario.runs === "west" ? await whatMoved(stage, scenario, faultMs, problems) : undefined;
  await stage.mend();
  const active = await settle(stage, problems);
  // Where either site may run in the end, what may not be missing is looked for there.
  const looks = scenario.lossless === true && active !== undefined;
  const lost = moved?.lost ?? (looks ? await missingAt(stage, active, scenario, problems) : null);
  if (scenario.keepsOwn === true && active === "west") await checkKept(stage, writer, problems);
  // A round that a person has broken off says nothing.
  signal.throwIfAborted();
  const all = await stage.beats(fromMs);
  const overlap = Math.round(overlapMs(all.east, all.west));
  if (overlap > 0 && (stage.options.guards || scenario.overlapsWithoutGuards === undefined)) {
    problems.push(`both sites ran pods for ${overlap} ms`);
  }
  if (overlap === 0 && !stage.options.guards && scenario.overlapsWithoutGuards === true) {
    problems.push("the control shows no overlap: nothing is proven by there being none with guards");
  }
  return {
    scenario: scenario.name,
    what: scenario.what,
    profile: stage.options.profile,
    guards: stage.options.guards,
    overlapMs: overlap,
    gapMs: moved?.gapMs ?? null,
    startMs: moved?.startMs ?? null,
    boundMs: boundOf(stage, scenario),
    lost,
    problems,
  };
}

function boundOf({ timing }: Stage, { bound }: Scenario): number | null {
  if (bound === undefined) return null;
  return bound === "takeover" ? timing.startBoundMs : timing.switchTimeoutMs;
}

async function waitForWest(stage: Stage, faultMs: number, problems: string[]): Promise<void> {
  const limitMs = stage.timing.startBoundMs + stage.timing.switchTimeoutMs + 60_000;
  const began = async (): Promise<true | undefined> => {
    const { west } = await stage.beats(faultMs);
    return west.length > 0 && (await stage.statusOf("west"))?.role === "active" ? true : undefined;
  };
  await waitFor("pods at west", began, { limitMs, signal: stage.options.signal }).catch((error: unknown) => {
    problems.push(String(error));
  });
}

/** Where nothing is to move: for longer than anything could take. */
async function watch(stage: Stage, scenario: Scenario, faultMs: number, problems: string[]): Promise<void> {
  const forMs = stage.timing.startBoundMs + 5_000;
  await delay(forMs, undefined, { signal: stage.options.signal });
  const { east, west } = await stage.beats(faultMs);
  if (scenario.runs === "anyone") return;
  if (west.length > 0) problems.push("west ran pods");
  const nowMs = await uptimeMs();
  const last = east.at(-1)?.toMs ?? 0;
  if (scenario.runs === "nobody") {
    if (nowMs - last < pauseMaxMs) problems.push("east still runs pods");
    const told = await Promise.all(sites.map(async (site) => stage.blockedAt(site)));
    if (!told.some((message) => message.includes("--force-fenced"))) problems.push("nobody is told what to do");
    return;
  }
  const pauses = east.slice(1).map(({ fromMs }, at) => fromMs - (east[at]?.toMs ?? 0));
  const longest = Math.max(nowMs - last, ...pauses);
  if (longest > pauseMaxMs) problems.push(`east did not run for ${Math.round(longest)} ms`);
}

async function whatMoved(
  stage: Stage,
  scenario: Scenario,
  faultMs: number,
  problems: string[],
): Promise<{ readonly gapMs: number; readonly startMs: number; readonly lost: number } | undefined> {
  const { east, west } = await stage.beats(faultMs - 1_000);
  const first = west[0]?.fromMs;
  if (first === undefined) return undefined;
  const lastEast = Math.max(faultMs - 1_000, ...east.filter(({ fromMs }) => fromMs <= first).map(({ toMs }) => toMs));
  const lost = await missingAt(stage, "west", scenario, problems);
  const startMs = Math.round(first - faultMs);
  const boundMs = boundOf(stage, scenario);
  if (boundMs !== null && startMs > boundMs + podStartMs) {
    problems.push(`started after ${startMs} ms, over ${boundMs} ms and ${podStartMs} ms for the pods`);
  }
  return { gapMs: Math.round(first - lastEast), startMs, lost };
}

/** Acknowledged changes that a site does not have. */
async function missingAt(
  { pair, writer, options }: Stage,
  site: SiteName,
  scenario: Scenario,
  problems: string[],
): Promise<number> {
  const missing = Math.max(0, (writer?.acknowledged ?? 0) - (await numberAt(pair.client(site), options.signal)));
  if (scenario.lossless === true && missing > 0) problems.push(`${missing} acknowledged changes are lost at ${site}`);
  return missing;
}

/** What east had acknowledged while it was cut off is not in the group any more, and shown to whoever asks for it. */
async function checkKept(stage: Stage, { acknowledged }: Writer, problems: string[]): Promise<void> {
  const kept = async (): Promise<true | undefined> => {
    const { out } = await stage.lifeboat("east", "divergence", group, "-o", "json");
    const entries = (out === "" ? [] : JSON.parse(out)) as { key: string; object?: { data?: { seq?: string } } }[];
    const found = entries.find(({ key }) => key === `/ConfigMap/${namespace}/${ledger}`);
    // A later one may have been written whose answer got lost.
    return Number(found?.object?.data?.seq ?? 0) >= acknowledged ? true : undefined;
  };
  const options = { limitMs: restMs, everyMs: 1_000, signal: stage.options.signal };
  await waitFor(`change ${acknowledged} of east among what is kept`, kept, options).catch((error: unknown) => {
    problems.push(String(error));
  });
}

/** With everything mended exactly one site runs the group in the end. */
async function settle(stage: Stage, problems: string[]): Promise<SiteName | undefined> {
  const rest = async (): Promise<SiteName | undefined> => {
    const active = await stage.activeSite();
    if (active === undefined || (await stage.beatAgeMs(active)) > pauseMaxMs) return undefined;
    const other = sites.find((site) => site !== active) ?? active;
    return (await stage.statusOf(other))?.role === "standby" ? active : undefined;
  };
  return await waitFor("exactly one site", rest, { limitMs: restMs, signal: stage.options.signal }).catch(
    async (error: unknown) => {
      const told = await Promise.all(sites.map(async (site) => `${site}: ${await stateOf(stage, site)}`));
      problems.push(`${String(error)}; ${told.join("; ")}`);
      return undefined;
    },
  );
}

async function stateOf(stage: Stage, site: SiteName): Promise<string> {
  const { role, state, active, reason, epoch } = (await stage.statusOf(site)) ?? {};
  return `${role ?? "no status"}, ${state ?? "?"}, active ${active ?? "?"} (${epoch ?? "?"}), ${reason ?? "no reason"}`;
}
