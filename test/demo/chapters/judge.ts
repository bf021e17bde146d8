import { join } from "node:path";
import pc from "picocolors";
import { messageOf } from "../../../src/errors.ts";
import type { Step } from "../screen.ts";
import { groupName } from "../stage.ts";
import type { Stage } from "../stage.ts";
import { compareSite, openJournalCopy } from "../verdict.ts";
import { count, listed, seconds } from "../words.ts";

const eastCheck = "east equals what west has, rendered as standby";

export async function judge(stage: Stage, step: Step): Promise<string> {
  await compareEast(stage);
  const { decisionMs, rtoMs, rpoMs } = stage.result;
  for (const { name, ok, detail } of stage.checks) {
    step.fact(`${ok ? pc.green("✔") : pc.red("✘")} ${name} ${pc.dim(`(${detail})`)}`);
  }
  for (const { object, reason } of stage.reports) step.fact(`${pc.yellow("·")} ${object}: ${reason}`);
  const of = (ms: number | null): string => (ms === null ? "never" : seconds(ms));
  const figures = `RPO ${rpoMs} ms, decision after ${of(decisionMs)}, RTO ${of(rtoMs)}`;
  return stage.passed ? `Verdict: ${figures}` : `Verdict: ${pc.red("not everything held")}; ${figures}`;
}

/** By the journal that east itself has of west. */
async function compareEast(stage: Stage): Promise<void> {
  const { pair, bed, signal } = stage;
  try {
    const journal = await openJournalCopy(pair.dataDir("east"), groupName, join(bed.dir, "journal-at-end"));
    try {
      const found = await compareSite(journal, { client: pair.client("east"), site: "east", role: "standby", signal });
      // A journal without the application would agree with anything.
      const same = found.different.length === 0 && found.compared > 0;
      stage.check(eastCheck, same, same ? count(found.compared, "object") : listed(found.different));
    } finally {
      journal.close();
    }
  } catch (error) {
    signal.throwIfAborted();
    stage.check(eastCheck, false, messageOf(error));
  }
}
