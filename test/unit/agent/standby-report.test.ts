import { expect, it } from "vitest";
import { StandbyReport } from "../../../src/agent/standby-report.ts";
import type { Clock } from "../../../src/clock.ts";
import type { StandbyData } from "../../../src/failover/runner/runner.ts";

it("what stands against a standby is told when it changes, without passing for a contact with the source", () => {
  let monotonicMs = 1000;
  let isTaken = false;
  const clock: Clock = { monotonicMs: () => monotonicMs, wallMs: () => 0, sleep: async () => undefined };
  const told: StandbyData[] = [];
  const report = new StandbyReport({ clock, isTaken: () => isTaken, tell: (data) => told.push(data) });
  report.setObstacles(["a", "b"]);
  report.reconsider();
  expect(told, "nothing was heard yet").toEqual([]);

  const data: StandbyData = { readiness: "Ready", lagMs: 0, recoveryPoint: "r/1" };
  report.heard(data);
  expect(told.splice(0)).toEqual([{ ...data, obstacle: "a; b" }]);
  monotonicMs += 300;
  report.setObstacles(["a", "b"]);
  expect(told).toEqual([]);
  report.setObstacles([]);
  isTaken = true;
  monotonicMs += 200;
  report.reconsider();
  expect(told.splice(0)).toEqual([
    { ...data, obstacle: "", contactAgoMs: 300 },
    { ...data, readiness: "Syncing", obstacle: "", contactAgoMs: 500 },
  ]);

  expect(report.of({ ...data, contactAgoMs: 40_000 })).toMatchObject({ readiness: "Syncing", contactAgoMs: 40_000 });
  isTaken = false;
  monotonicMs += 10;
  report.reconsider();
  expect(told).toEqual([{ ...data, obstacle: "", contactAgoMs: 40_010 }]);
});
