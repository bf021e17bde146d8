import type { Condition } from "../config/status.ts";

/** An event about a group without its group. */
export interface ConditionEvent {
  readonly type: "Normal" | "Warning";
  readonly reason: string;
  readonly message: string;
}

/** Conditions that are good when true; all others are good when false. */
const goodWhenTrue: ReadonlySet<string> = new Set(["Accepted", "Synced", "Ready", "Promotable", "Armed"]);

/**
 * An event for each condition that has come to hold, or no longer does. Of a condition that is new, what is wrong is
 * told; what is not yet good at the very start is no news. Pure.
 */
export function conditionEvents(before: readonly Condition[], now: readonly Condition[]): ConditionEvent[] {
  return now.flatMap(({ type, status, reason, message }) => {
    const known = before.find((condition) => condition.type === type);
    const isGood = (status === "True") === goodWhenTrue.has(type);
    if (known?.status === status) return [];
    if (known === undefined && (isGood || goodWhenTrue.has(type))) return [];
    const text = message === "" ? `${type} is ${status}` : message;
    return [{ type: isGood ? "Normal" : "Warning", reason: `${type}${reason}`, message: text }];
  });
}
