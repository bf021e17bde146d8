import { linkedAbort } from "../abort.ts";
import type { ObjectKey } from "../objects/key.ts";
import type { Failure } from "./failures.ts";
import { KeyedQueue, type Outcome } from "./queue.ts";
import type { GroupSite } from "./site.ts";

/** Runs work over the keys of one wave, many at once, with retries, for no longer than a limit. */
export interface WaveOptions {
  readonly work: (key: ObjectKey, signal: AbortSignal) => Promise<Failure | undefined>;
  /** After this what still fails is given up and reported. */
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

const workersMaxCount = 16;
/** Failures that no waiting mends: a person has to act. */
const lasting: ReadonlySet<Failure["reason"]> = new Set(["Exists", "Immutable", "Forbidden", "TooLarge", "Defect"]);

const late: Failure = { reason: "ApiUnreachable", message: "the API server had not answered in time" };

/** Returns the failures of what could not be done, by key. Rejects by the signal only. */
export async function runWave(
  site: GroupSite,
  keys: readonly ObjectKey[],
  options: WaveOptions,
): Promise<Map<ObjectKey, Failure>> {
  const { clock, random, log } = site.options;
  const failures = new Map<ObjectKey, Failure>();
  using scope = linkedAbort(options.signal);
  const left = new Set(keys);
  let finish: () => void = () => undefined;
  const finished = new Promise<void>((resolve) => {
    finish = resolve;
  });
  const run = async (key: ObjectKey): Promise<Outcome> => {
    const outcome = scope.signal.aborted ? "cut off" : await attempt(key);
    if (outcome === "cut off") return { kind: "done" };
    if (outcome === undefined) failures.delete(key);
    else failures.set(key, outcome);
    const isOver = outcome === undefined || lasting.has(outcome.reason);
    if (isOver) left.delete(key);
    if (left.size === 0) finish();
    return isOver ? { kind: "done" } : { kind: "retry", need: outcome.need };
  };
  const attempt = async (key: ObjectKey): Promise<Failure | "cut off" | undefined> => {
    try {
      return await options.work(key, scope.signal);
    } catch (error) {
      if (scope.signal.aborted) return "cut off";
      throw error;
    }
  };
  const onDefect = (key: ObjectKey, error: unknown): void => log.error({ key, err: error }, "a step of a wave failed");
  const queue = new KeyedQueue<ObjectKey>({ concurrency: workersMaxCount, run, clock, random, onDefect });
  site.listen({ drifted: () => undefined, stray: () => undefined, came: (need) => queue.wake(need) });
  try {
    for (const key of keys) queue.add(key);
    const timeout = clock.sleep(options.timeoutMs, { signal: scope.signal });
    if (keys.length > 0) await Promise.race([finished, timeout]);
    scope.abort(new Error("the wave is over"));
    await timeout.catch(() => undefined);
  } finally {
    await queue.stop();
    site.listen(undefined);
  }
  options.signal.throwIfAborted();
  // What was under way when the time was up, or was never begun, is not done.
  for (const key of left) if (!failures.has(key)) failures.set(key, late);
  return failures;
}
