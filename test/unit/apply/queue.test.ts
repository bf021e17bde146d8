import fc from "fast-check";
import { expect, test } from "vitest";
import { systemClock } from "../../../src/clock.ts";
import { KeyedQueue, type Outcome, type QueueOptions } from "../../../src/apply/queue.ts";

function queueOf(options: Partial<QueueOptions<string>> & Pick<QueueOptions<string>, "run">): KeyedQueue<string> {
  return new KeyedQueue<string>({
    concurrency: 4,
    clock: systemClock,
    random: () => 0,
    onDefect: (key, error) => {
      throw new Error(`defect in ${key}`, { cause: error });
    },
    ...options,
  });
}

const done: Outcome = { kind: "done" };
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const settled = async (queue: KeyedQueue<string>): Promise<void> => {
  while (queue.size > 0) await turn();
};

test("a key is never worked on twice at once, and what changes meanwhile is worked on once more", async () => {
  const runs: string[] = [];
  let release: () => void = () => undefined;
  const queue = queueOf({
    run: async (key) => {
      runs.push(key);
      if (runs.length === 1) await new Promise<void>((resolve) => (release = resolve));
      return done;
    },
  });
  queue.add("a");
  await turn();
  queue.add("a");
  queue.add("a");
  await turn();
  expect(runs).toEqual(["a"]);
  release();
  await settled(queue);
  expect(runs).toEqual(["a", "a"]);
});

test("a key that fails is tried again later, at once when it changes, and at once when what it needs has come", async () => {
  const attempts: [string, number][] = [];
  let fail = true;
  const queue = queueOf({
    run: async (key, attempt) => {
      attempts.push([key, attempt]);
      return fail ? { kind: "retry", need: "namespace", slow: true } : done;
    },
  });
  queue.add("a");
  queue.add("b");
  while (queue.waiting < 2) await turn();
  queue.add("a");
  await turn();
  while (queue.waiting < 2) await turn();
  fail = false;
  queue.wake("something else");
  await turn();
  expect(queue.size).toBe(2);
  queue.wake("namespace");
  await settled(queue);
  expect(attempts).toEqual([
    ["a", 0],
    ["b", 0],
    ["a", 0],
    ["b", 1],
    ["a", 1],
  ]);
});

test("what a key needs may come while it runs, and still be what it fails for: it is tried again at once", async () => {
  const attempts: number[] = [];
  let fail: () => void = () => undefined;
  const queue = queueOf({
    random: () => 1,
    run: async (_key, attempt) => {
      attempts.push(attempt);
      if (attempts.length > 1) return done;
      await new Promise<void>((resolve) => (fail = resolve));
      return { kind: "retry", need: "namespace", slow: true };
    },
  });
  queue.add("a");
  await turn();
  queue.wake("namespace");
  fail();
  await turn();
  await turn();
  expect(queue.size).toBe(0);
  expect(attempts).toEqual([0, 1]);
});

test("what has come starts the backoff over, and is no first attempt", async () => {
  const attempts: number[] = [];
  let failures = 4;
  const queue = queueOf({
    random: () => 1,
    run: async (_key, attempt) => {
      attempts.push(attempt);
      return failures-- > 0 ? { kind: "retry", need: "namespace" } : done;
    },
  });
  queue.add("a");
  while (attempts.length < 3) await turn();
  const cameAt = performance.now();
  queue.wake("namespace");
  await settled(queue);
  // Tried at once, and a tenth of a second later; the fourth wait would have been one of 800 ms.
  expect(performance.now() - cameAt).toBeLessThan(500);
  expect(attempts).toEqual([0, 1, 2, 3, 4]);
});

test("backoff grows from a tenth of a second", async () => {
  const at: number[] = [];
  const queue = queueOf({
    random: () => 1,
    run: async (_key, attempt) => {
      at.push(performance.now());
      return attempt < 2 ? { kind: "retry" } : done;
    },
  });
  queue.add("a");
  const keepAlive = setInterval(() => undefined, 10);
  await settled(queue);
  clearInterval(keepAlive);
  const [first = 0, second = 0, third = 0] = at;
  expect(second - first).toBeGreaterThanOrEqual(95);
  expect(third - second).toBeGreaterThanOrEqual(190);
});

test("higher priorities go first among those that are ready", async () => {
  const runs: string[] = [];
  const queue = queueOf({
    concurrency: 1,
    priorityOf: (key) => Number(key),
    run: async (key) => {
      runs.push(key);
      return done;
    },
  });
  for (const key of ["0", "1", "3", "2"]) queue.add(key);
  await settled(queue);
  expect(runs).toEqual(["0", "3", "2", "1"]);
});

test("while the API server is away nothing is lost and little is asked", async () => {
  let away = true;
  let asked = 0;
  const queue = queueOf({
    run: async () => {
      asked++;
      return away ? { kind: "pause" } : done;
    },
  });
  for (let i = 0; i < 100; i++) queue.add(String(i));
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect(asked).toBeLessThanOrEqual(8);
  expect(queue.size).toBe(100);
  away = false;
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  await settled(queue);
  expect(asked).toBeLessThanOrEqual(108);
});

test("after a stop nothing starts, and what runs is waited for", async () => {
  const ended: string[] = [];
  const queue = queueOf({
    concurrency: 1,
    run: async (key) => {
      await new Promise((resolve) => setTimeout(resolve, 20));
      ended.push(key);
      return done;
    },
  });
  queue.add("a");
  queue.add("b");
  await turn();
  await queue.stop();
  queue.add("c");
  expect(ended).toEqual(["a"]);
  expect(queue.size).toBe(0);
});

test("whatever comes in whatever order, the newest state of every key is worked on last and no worker meets another", async () => {
  const step = fc.record({
    key: fc.constantFrom("a", "b", "c", "d"),
    act: fc.constantFrom("change", "change", "change", "wake", "turn"),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
      const state = new Map<string, number>();
      const seen = new Map<string, number>();
      const working = new Set<string>();
      let healthy = false;
      let turnCount = 0;
      const queue = queueOf({
        concurrency: 2,
        run: async (key) => {
          expect(working.has(key)).toBe(false);
          working.add(key);
          const observed = state.get(key) ?? 0;
          await turn();
          working.delete(key);
          if (!healthy && turnCount++ % 3 === 0) return { kind: "retry", need: "n" };
          seen.set(key, observed);
          return done;
        },
      });
      for (const { key, act } of steps) {
        if (act === "change") {
          state.set(key, (state.get(key) ?? 0) + 1);
          queue.add(key);
        } else if (act === "wake") queue.wake("n");
        else await turn();
      }
      healthy = true;
      while (queue.size > 0) {
        queue.wake("n");
        await turn();
      }
      expect(seen).toEqual(state);
    }),
    { numRuns: 150 },
  );
});
