import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { linkedAbort } from "../../../src/abort.ts";
import { sampleLag } from "../../pair/figures.ts";
import type { LagFigures } from "../../pair/figures.ts";
import { LedgerWriter } from "../ledger.ts";
import { mayEnd, noteStaying } from "../missing.ts";
import type { Step } from "../screen.ts";
import { groupName } from "../stage.ts";
import type { Stage } from "../stage.ts";
import { count, seconds } from "../words.ts";
import { untilArmed } from "./protect.ts";

export const writesPerS = 20;
/** Canaries, which measure the lag, go once a second: long enough for a median. */
const writingMs = 12_000;

/** Begins to write, shows the lag until automatic failover is armed at least, and leaves the writer at work. */
export async function change(stage: Stage, step: Step): Promise<string> {
  const { pair, installed, signal } = stage;
  const writer = new LedgerWriter(pair.client("east"), join(stage.bed.dir, "ledger.jsonl"));
  await noteStaying(stage);
  // A change of what never travels would count as lost.
  const travels = new Map(
    [...installed.resources].filter(([key, resource]) => !stage.staying.has(key) && !mayEnd(resource)),
  );
  const targets = await writer.choose(installed.objects, travels, { signal });
  const stop = linkedAbort(signal);
  stage.begunWriting = { writer, targets, stop, done: writer.run(writesPerS, { signal: stop.signal }) };
  const sampling = linkedAbort(signal);
  const sampled = sampleLag(pair, {
    site: "east",
    group: groupName,
    onSample: ({ journalMs, applyMs }) =>
      step.live(`${writer.entries.length} acknowledged · journal lag ${ms(journalMs)} · apply lag ${ms(applyMs)}`),
    signal: sampling.signal,
  });
  await delay(writingMs, undefined, { signal });
  sampling.abort(new Error("sampled"));
  stage.lag = await sampled;
  const text = ({ p50, p99 }: LagFigures): string => `p50 ${p50 ?? "?"} ms, p99 ${p99 ?? "?"} ms`;
  step.fact(`automatic failover armed ${seconds(await untilArmed(stage))} after the group was made`);
  step.fact(`journal lag ${text(stage.lag.journalMs)} · apply lag ${text(stage.lag.applyMs)}`);
  return `Changing ${count(targets.length, "object")} ${writesPerS} times a second, each acknowledged write in a ledger`;
}

function ms(value: number | undefined): string {
  return value === undefined ? "never synced" : `${value} ms`;
}
