import { expect, it } from "vitest";
import { unopenedConditions } from "../../../src/agent/unopened.ts";
import type { Condition } from "../../../src/config/status.ts";

it("a group that cannot be opened is in no good state for the reason of its journal; what else was known stays", () => {
  const then = "2026-01-01T00:00:00.000Z";
  const known = (type: string, status: Condition["status"]): Condition => {
    return { type, status, reason: "Known", message: "", lastTransitionTime: then };
  };
  const before = [known("Ready", "True"), known("Degraded", "True"), known("Accepted", "True")];
  const nowMs = Date.parse("2026-01-02T00:00:00.000Z");
  const conditions = unopenedConditions(before, "JournalVersion", "written by a newer version; upgrade", nowMs);
  const byType = new Map(conditions.map((condition) => [condition.type, condition]));
  expect(byType.get("Accepted")).toEqual(before[2]);
  expect(byType.get("Ready")).toMatchObject({
    status: "False",
    reason: "JournalVersion",
    message: expect.stringContaining("newer") as string,
  });
  expect(byType.get("Ready")?.lastTransitionTime).not.toBe(then);
  expect(byType.get("Degraded")).toMatchObject({ status: "True", reason: "JournalVersion", lastTransitionTime: then });
  expect(byType.get("Synced")?.status).toBe("Unknown");
  // Written anew only where something differs.
  expect(unopenedConditions(conditions, "JournalVersion", "written by a newer version; upgrade", nowMs + 5000)).toEqual(
    conditions,
  );
});
