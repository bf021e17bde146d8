/** What is done to the stage in a round. */
import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { waitFor } from "../pair/wait.ts";
import { onLogLine } from "./log-watch.ts";
import type { SiteName, Stage } from "./stage.ts";

export type Step = (stage: Stage) => Promise<void>;

/** SIGKILL of all of a site, or of the witness. */
export function kill(target: SiteName | "witness"): Step {
  return ({ bed }) => bed.faults.kill(target);
}

/** The link between two of them is cut, both ways unless said otherwise, as seen from the first. */
export function cut(a: SiteName, b: SiteName | "witness", direction: "both" | "forth" | "back" = "both"): Step {
  return ({ bed }) => bed.faults.partition(a, b, { direction });
}

/** One at once after the other. */
export function both(first: Step, second: Step): Step {
  return async (stage) => {
    await first(stage);
    await second(stage);
  };
}

/** The second when all that the first leads to has come about. */
export function inTurn(first: Step, second: Step): Step {
  return both(both(first, settled), second);
}

export const isolate = both(cut("east", "west"), cut("east", "witness"));

/** Long enough that what a single loss leads to has come about. */
export async function settled({ timing }: Stage): Promise<void> {
  await delay(timing.disarmAfterMs + 3 * timing.heartbeatMs);
}

/** Two busy cores: what a status comes later than what it tells. */
export const takenLimitMs = 30_000;

export async function takenOver(stage: Stage): Promise<void> {
  const taken = async () => ((await stage.statusOf("west"))?.role === "active" ? true : undefined);
  const limitMs = stage.timing.startBoundMs + takenLimitMs;
  await waitFor("west to take over", taken, { limitMs, signal: stage.options.signal });
}

export type Victim = "east/agent" | "west/agent" | "witness" | "east/guard" | "west/guard";
export const victims: readonly Victim[] = ["east/agent", "west/agent", "witness", "east/guard", "west/guard"];

/** It is killed, and comes back at once. */
export function lose(victim: Victim): Step {
  return async (stage) => {
    if (victim === "witness") {
      await stage.bed.faults.kill("witness");
      stage.pair.spawn("witness");
      return;
    }
    const [site, program] = victim.split("/") as [SiteName, "agent" | "guard"];
    if (program === "guard" && !stage.options.guards) return;
    await stage.kill(site, program);
    if (program === "agent") stage.pair.spawn(site);
    else stage.pair.startGuard(site);
  };
}

/** Resolves once a site says that it has begun, or ended, an action. */
export function actionAt(stage: Stage, at: SiteName, action: string, message: string): Promise<boolean> {
  return onLogLine(stage.pair.process(at).logPath, stage.options.signal, (line) => {
    return line.includes(`"msg":"${message}"`) && line.includes(`"action":"${action}"`);
  });
}

export async function emptyFolder(folder: string): Promise<void> {
  for (const name of await readdir(folder)) await rm(join(folder, name), { recursive: true });
}
