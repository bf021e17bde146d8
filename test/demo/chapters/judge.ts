import { join } from "node:path";
import { messageOf } from "../../../src/errors.ts";
import { colours } from "../colours.ts";
import { listMissing, noteStaying } from "../missing.ts";
import type { Step } from "../screen.ts";
import { groupName } from "../stage.ts";
import type { Stage } from "../stage.ts";
import { areSame, compareSite, openJournalCopy } from "../verdict.ts";
import { count, listed, seconds } from "../words.ts";

const eastCheck = "east equals what west has, rendered as standby";

/** Says what held and lists what did not come along, also where the story broke off. */
export async function judge(stage: Stage, step: Step): Promise<string> {
  if (stage.failure === undefined) await compareEast(stage);
  await listRest(stage);
  const { decisionMs, rtoMs, rpoMs } = stage.result;
  for (const { name, ok, detail } of stage.checks) {
    step.fact(`${ok ? colours.green("✔") : colours.red("✘")} ${name} ${colours.dim(`(${detail})`)}`);
  }
  for (const { object, reason } of stage.reports) step.fact(`${colours.yellow("·")} ${object}: ${reason}`);
  const after = (ms: number | null): string => (ms === null ? "never" : `after ${seconds(ms)}`);
  const rpo = rpoMs === null ? "not measured" : `${rpoMs} ms`;
  const figures = `RPO ${rpo}, decision ${after(decisionMs)}, everything ready ${after(rtoMs)}`;
  return stage.passed
    ? `${colours.green("✔")} Verdict: ${figures}`
    : `${colours.red("✘")} Verdict: not everything held; ${figures}`;
}

/** What is not at west as far as the story came. */
async function listRest(stage: Stage): Promise<void> {
  if (stage.hasListed || stage.installedApp === undefined) return;
  if (stage.killedAtMs === undefined && stage.begunWriting === undefined) await noteStaying(stage);
  await listMissing(stage, []);
}

/** By the journal that east itself has of west. */
async function compareEast(stage: Stage): Promise<void> {
  const { pair, bed, signal } = stage;
  try {
    const journal = await openJournalCopy(pair.dataDir("east"), groupName, join(bed.dir, "journal-at-end"));
    try {
      const found = await compareSite(journal, { client: pair.client("east"), site: "east", role: "standby", signal });
      const detail = areSame(found) ? count(found.compared, "object") : listed(found.different);
      stage.check(eastCheck, areSame(found), detail);
    } finally {
      journal.close();
    }
  } catch (error) {
    signal.throwIfAborted();
    stage.check(eastCheck, false, messageOf(error));
  }
}
