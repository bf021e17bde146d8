/** A pair that protects many objects and has them all at the standby. */
import { setTimeout as delay } from "node:timers/promises";
import { LifeboatError } from "../../src/errors.ts";
import { startPair } from "../pair/pair.ts";
import type { Pair } from "../pair/pair.ts";
import type { Bed } from "../bed/running.ts";
import { countObjects, createAll, createNamespaces } from "./bare/writer.ts";
import { plainGroup, warmUp } from "./beds.ts";
import { mixedKinds, mixedObjects, namespaceNames } from "./objects.ts";
import type { Made } from "./objects.ts";

const syncLimitMs = 300_000;
/** Counting is a dozen requests that take the time of writes: rarely at first, often when it is nearly done. */
const countEveryMs = { first: 2_000, last: 100 };

export const benchGroup = "bench";

export interface Filled {
  readonly pair: Pair;
  readonly made: readonly Made[];
  readonly namespaces: readonly string[];
}

/** Starts a pair on the bed and fills its source; nothing is protected yet. */
export async function fillSource(bed: Bed, count: number, signal: AbortSignal): Promise<Filled> {
  const [east, west] = [bed.site("east").kubeconfigPath, bed.site("west").kubeconfigPath];
  await Promise.all([warmUp(east, signal), warmUp(west, signal)]);
  const pair = await startPair(bed, { logLevel: "warn", signal });
  try {
    const namespaces = namespaceNames("bench", 20);
    const made = mixedObjects({ count, namespaces });
    await createNamespaces(pair.client("east"), namespaces, { signal });
    await createAll(east, made, { concurrency: 32, signal });
    return { pair, made, namespaces };
  } catch (error) {
    await pair.stop();
    throw error;
  }
}

/** Creates the group and waits until the standby's API server has every object. Returns how long that took. */
export async function firstSync({ pair, made, namespaces }: Filled, signal: AbortSignal): Promise<number> {
  const sink = pair.client("west");
  const before = await countObjects(sink, mixedKinds, { signal });
  const startedAtMs = performance.now();
  await pair.applyGroup("east", benchGroup, plainGroup(namespaces), signal);
  for (let have = 0; have < made.length;) {
    const passedMs = performance.now() - startedAtMs;
    if (passedMs > syncLimitMs) throw new LifeboatError("Timeout", await tellStuck(pair, have, made.length, signal));
    const leftMs = have === 0 ? Infinity : (passedMs / have) * (made.length - have);
    const { first, last } = countEveryMs;
    await delay(Math.min(first, Math.max(last, leftMs / 2)), undefined, { signal });
    have = (await countObjects(sink, mixedKinds, { signal })) - before;
  }
  return performance.now() - startedAtMs;
}

async function tellStuck(pair: Pair, have: number, of: number, signal: AbortSignal): Promise<string> {
  const { state, reason, conditions = [] } = await pair.status("west", benchGroup, signal);
  const bad = conditions.filter(({ type, status }) => type === "Degraded" && status === "True");
  const why = [state, reason, ...bad.map(({ message }) => message)].filter((text) => (text ?? "") !== "").join("; ");
  return `${have} of ${of} objects at the standby after ${syncLimitMs / 1000} s; it says: ${why}`;
}
