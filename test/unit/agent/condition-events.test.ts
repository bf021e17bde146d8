import { describe, expect, it } from "vitest";
import { conditionEvents } from "../../../src/agent/condition-events.ts";
import type { Condition } from "../../../src/config/status.ts";

function condition(type: string, status: Condition["status"], reason = "Reason", message = ""): Condition {
  return { type, status, reason, message, lastTransitionTime: "2026-01-01T00:00:00Z" };
}

describe("events about conditions", () => {
  it("are told when one comes to hold and when it ceases to, as a warning where that is bad", () => {
    const before = [condition("Ready", "True"), condition("Degraded", "True")];
    const now = [condition("Ready", "False", "NotReady", "3 objects wait"), condition("Degraded", "False", "Healthy")];
    expect(conditionEvents(before, now)).toEqual([
      { type: "Warning", reason: "ReadyNotReady", message: "3 objects wait" },
      { type: "Normal", reason: "DegradedHealthy", message: "Degraded is False" },
    ]);
  });

  it("are none while the status stays, whatever the message says", () => {
    const before = [condition("Degraded", "True", "Degraded", "1 object")];
    expect(conditionEvents(before, [condition("Degraded", "True", "Degraded", "2 objects")])).toEqual([]);
  });

  it("at the start tell what is wrong, and not what is merely not good yet", () => {
    const now = [condition("Synced", "False"), condition("Conflicts", "False"), condition("Degraded", "True", "Bad")];
    expect(conditionEvents([], now)).toEqual([{ type: "Warning", reason: "DegradedBad", message: "Degraded is True" }]);
  });
});
