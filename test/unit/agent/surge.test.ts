import { expect, test } from "vitest";
import { noSurge, type PeerSigns, surgeAfter, type SurgeState } from "../../../src/agent/surge.ts";

/** When the surviving site of two begins to carry the load of both, and when it ends that. */

const limits = { lostAfterMs: 20_000, returnedAfterMs: 10_000 };
const there: PeerSigns = { isHolder: true, heardAgoMs: 100, isSeenByWitness: true, isCurrent: true };
const lost: PeerSigns = { isHolder: true, heardAgoMs: 60_000, isSeenByWitness: false, isCurrent: false };
const on: SurgeState = { on: true, sinceMs: undefined };

/** After so many seconds of the same signs. */
function after(state: SurgeState, signs: PeerSigns, seconds: number): boolean {
  let now = state;
  for (let at = 0; at <= seconds; at++) now = surgeAfter(now, signs, limits, at * 1000);
  return now.on;
}

test("begins when the other site has been silent for long enough to this one and to the witness", () => {
  expect(after(noSurge, lost, 19)).toBe(false);
  expect(after(noSurge, lost, 20)).toBe(true);
});

test("does not begin while the witness hears it: then only the link is cut", () => {
  expect(after(noSurge, { ...lost, isSeenByWitness: true }, 600)).toBe(false);
});

test("does not begin while the other site speaks, though the witness does not hear it", () => {
  expect(after(noSurge, { ...lost, heardAgoMs: 100 }, 600)).toBe(false);
});

test("a process that has just begun, and has heard nobody, waits as long", () => {
  const nobody = { ...lost, heardAgoMs: null };
  expect(after(noSurge, nobody, 19)).toBe(false);
  expect(after(noSurge, nobody, 20)).toBe(true);
});

test("an interruption of the silence begins the wait anew", () => {
  const almost = surgeAfter(surgeAfter(noSurge, lost, limits, 0), lost, limits, 19_000);
  const heard = surgeAfter(almost, there, limits, 19_500);
  expect(surgeAfter(heard, lost, limits, 21_000)).toEqual({ on: false, sinceMs: 21_000 });
});

test("ends when the other site has been back for a while, and all that it has is here", () => {
  expect(after(on, there, 9)).toBe(true);
  expect(after(on, there, 10)).toBe(false);
  expect(after(on, { ...there, isCurrent: false }, 600)).toBe(true);
});

test("is never where the group's epoch is not held", () => {
  expect(after(noSurge, { ...lost, isHolder: false }, 600)).toBe(false);
  expect(after(on, { ...lost, isHolder: false }, 0)).toBe(false);
});
