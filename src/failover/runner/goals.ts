import type { AgentEffect } from "../agent-state.ts";
import { formatEpoch } from "../epoch.ts";

/** The effects that take time at the site: each states a goal. */
export type Goal = Extract<
  AgentEffect,
  {
    readonly type:
      | "startRunning"
      | "stopRunning"
      | "quiesce"
      | "prepareSeal"
      | "unquiesce"
      | "applySeal"
      | "saveDivergence"
      | "followPeer"
      | "allowUnguarded";
  }
>;

/** Goals that differ only in their words are the same: a start goes on under another kind, a stop for another reason. */
export function sameGoal(a: Goal, b: Goal): boolean {
  return a.type === b.type && identity(a) === identity(b);
}

function identity(goal: Goal): string {
  switch (goal.type) {
    case "startRunning":
    case "saveDivergence":
    case "followPeer":
      return `${formatEpoch(goal.cert.epoch)} ${goal.cert.holder}`;
    case "applySeal":
      return goal.seal.opId;
    case "quiesce":
    case "prepareSeal":
    case "unquiesce":
      return goal.opId;
    case "stopRunning":
      return "";
    case "allowUnguarded":
      return String(goal.allowed);
  }
}

/** What a new goal makes pointless; the same kind of goal for something else always is. */
const pointless: Readonly<Record<Goal["type"], readonly Goal["type"][]>> = {
  startRunning: [
    "startRunning",
    "stopRunning",
    "quiesce",
    "prepareSeal",
    "unquiesce",
    "applySeal",
    "saveDivergence",
    "followPeer",
  ],
  stopRunning: ["startRunning", "stopRunning", "quiesce", "prepareSeal", "unquiesce"],
  quiesce: ["startRunning", "quiesce", "prepareSeal", "unquiesce"],
  prepareSeal: ["prepareSeal"],
  unquiesce: ["quiesce", "prepareSeal", "unquiesce"],
  applySeal: ["applySeal"],
  saveDivergence: ["saveDivergence"],
  followPeer: ["followPeer", "applySeal"],
  allowUnguarded: ["allowUnguarded"],
};

export function replaces(newer: Goal, older: Goal): boolean {
  return pointless[newer.type].includes(older.type);
}

/** What a goal must wait for, whichever of the two was asked for first. */
const first: Partial<Record<Goal["type"], readonly Goal["type"][]>> = {
  saveDivergence: ["stopRunning"],
  followPeer: ["stopRunning", "saveDivergence"],
  applySeal: ["stopRunning", "saveDivergence", "followPeer"],
};

/** Whether `later` has to wait until `earlier` is reached. */
export function followsAfter(later: Goal, earlier: Goal): boolean {
  return first[later.type]?.includes(earlier.type) ?? false;
}
