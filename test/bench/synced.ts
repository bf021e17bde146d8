/** A pair that protects many objects and has them all at the standby. */
import { startPair } from "../pair/pair.ts";
import type { Pair } from "../pair/pair.ts";
import { waitFor } from "../pair/wait.ts";
import type { Bed } from "../bed/running.ts";
import { countObjects, createAll, createNamespaces } from "./bare/writer.ts";
import { plainGroup, warmUp } from "./beds.ts";
import { mixedKinds, mixedObjects, namespaceNames } from "./objects.ts";
import type { Made } from "./objects.ts";

const syncLimitMs = 300_000;
const pollEveryMs = 100;

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
  await waitFor(
    `${made.length} objects at the standby`,
    async () => {
      const have = (await countObjects(sink, mixedKinds, { signal })) - before;
      if (have >= made.length) return true;
      throw new Error(`${have} so far`);
    },
    { limitMs: syncLimitMs, everyMs: pollEveryMs, signal },
  );
  return performance.now() - startedAtMs;
}
