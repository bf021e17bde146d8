import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { linkedAbort } from "../../../src/abort.ts";
import { lagNow, lagScrape, lagSince } from "../../pair/figures.ts";
import type { LagFigures } from "../../pair/figures.ts";
import { LedgerWriter } from "../ledger.ts";
import type { Step } from "../screen.ts";
import { groupName } from "../stage.ts";
import type { Stage } from "../stage.ts";
import { count } from "../words.ts";

const writesPerS = 20;
/** Canaries, which measure the lag, go once a second: long enough for a median. */
const writingMs = 15_000;
const showEveryMs = 500;

/** Begins to write, shows the lag for a while, and leaves the writer at work. */
export async function change(stage: Stage, step: Step): Promise<string> {
  const { pair, installed, signal } = stage;
  const writer = new LedgerWriter(pair.client("east"), join(stage.bed.dir, "ledger.jsonl"));
  const targets = await writer.choose(installed.objects, installed.resources, { signal });
  const before = await lagScrape(pair);
  const stop = linkedAbort(signal);
  stage.begunWriting = { writer, targets, stop, done: writer.run(writesPerS, { signal: stop.signal }) };
  const endMs = performance.now() + writingMs;
  while (performance.now() < endMs) {
    await delay(showEveryMs, undefined, { signal });
    const lag = await lagNow(pair, groupName, signal);
    step.live(`${writer.entries.length} acknowledged · journal lag ${lag.journal} · apply lag ${lag.apply}`);
  }
  stage.lag = lagSince(await lagScrape(pair), before);
  const text = ({ p50, p99 }: LagFigures): string => `p50 ${p50 ?? "?"} ms, p99 ${p99 ?? "?"} ms`;
  step.fact(`journal lag ${text(stage.lag.journalMs)} · apply lag ${text(stage.lag.applyMs)}`);
  return `Changing ${count(targets.length, "object")} ${writesPerS} times a second, each acknowledged write in a ledger`;
}
