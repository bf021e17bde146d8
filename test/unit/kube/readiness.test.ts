import { expect, test } from "vitest";
import { Readiness } from "../../../src/kube/readiness.ts";
import { ManualClock, settle } from "../failover-runner/manual-clock.ts";

function pausing(ms: number) {
  const clock = new ManualClock();
  const readiness = new Readiness();
  const stop = new AbortController();
  const ends: unknown[] = [];
  readiness.pause(ms, { clock, signal: stop.signal }).then(
    (becameReady) => ends.push(becameReady),
    (error: unknown) => ends.push(error),
  );
  return { clock, readiness, stop, ends };
}

test("a pause lasts as long as it is to while nothing is heard, or always the same", async () => {
  const { clock, readiness, ends } = pausing(30_000);
  readiness.note(true);
  await clock.advance(29_000);
  readiness.note(true);
  await settle();
  expect(ends).toEqual([]);
  await clock.advance(1100);
  expect(ends).toEqual([false]);
});

test("a pause ends when the API server is ready after it was not, more than once", async () => {
  const { clock, readiness, ends } = pausing(30_000);
  readiness.note(false);
  readiness.note(true);
  await clock.advance(2000);
  readiness.note(false);
  await clock.advance(2000);
  readiness.note(false);
  await settle();
  expect(ends).toEqual([]);
  readiness.note(true);
  await settle();
  expect(ends).toEqual([true]);
});

test("a pause that is broken off rejects with the reason", async () => {
  const { stop, ends } = pausing(30_000);
  const reason = new Error("the agent stops");
  stop.abort(reason);
  await settle();
  expect(ends).toEqual([reason]);
});
