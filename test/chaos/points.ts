/** Points of a move at which a process is lost. */
import { actionBegun, actionDone } from "../../src/failover/runner/action-queue.ts";
import type { Scenario } from "./scenario.ts";
import type { SiteName } from "./stage.ts";
import { actionAt, isolate, lose, takenOver, victims, type Step, type Victim } from "./steps.ts";

/** What each side of a switchover does, in this order; each begins and ends at a point where a process may be lost. */
const switchoverActions: readonly { readonly action: string; readonly at: SiteName }[] = [
  { action: "quiesce", at: "east" },
  { action: "prepareSeal", at: "east" },
  { action: "applySeal", at: "west" },
  { action: "startRunning", at: "west" },
  { action: "followPeer", at: "east" },
];

/** What a site does that comes back: it keeps what it wrote by itself, and follows. */
const returnActions: typeof switchoverActions = [
  { action: "saveDivergence", at: "east" },
  { action: "followPeer", at: "east" },
];

interface Point {
  readonly action: string;
  readonly at: SiteName;
  readonly message: string;
  readonly victim: Victim;
}

/** What leads to the points of a move. */
interface Move {
  readonly name: string;
  /** As it is told of a point; "" where the action alone tells it. */
  readonly when: string;
  readonly promises: Pick<Scenario, "lossless" | "keepsOwn">;
  /** What has to have happened before. */
  readonly prepare: Step;
  readonly begin: Step;
}

const switchover: Move = {
  name: "switchover",
  when: "",
  promises: { lossless: true },
  prepare: async () => undefined,
  // Whoever takes the order may be killed before it has answered.
  begin: (stage) => stage.switchOver().catch(() => undefined),
};

/** East was cut off, went on writing, and lost the group. */
const comingBack: Move = {
  name: "return",
  when: " after a takeover",
  promises: { keepsOwn: true },
  prepare: async (stage) => {
    await isolate(stage);
    await takenOver(stage);
    // What is written at a standby is repaired, and nobody's own.
    await stage.writer?.stop();
  },
  begin: ({ bed }) => bed.faults.heal(),
};

function atPoint(move: Move, { action, at, message, victim }: Point): Scenario {
  const moment = message === actionBegun ? "begun" : "done";
  return {
    name: `${move.name}-${action}-${moment}-${victim.replace("/", "-")}`,
    what: `${victim} is killed with ${action} at ${at} ${moment}${move.when}, and comes back`,
    runs: "anyone",
    ...move.promises,
    faults: async (stage) => {
      await move.prepare(stage);
      const reached = actionAt(stage, at, action, message);
      const begun = move.begin(stage);
      if (!(await reached)) throw new Error(`the ${move.name} never came to ${action} ${moment} at ${at}`);
      await lose(victim)(stage);
      await begun;
    },
  };
}

function pointsOf(move: Move, actions: typeof switchoverActions): Scenario[] {
  return actions.flatMap(({ action, at }) =>
    [actionBegun, actionDone].flatMap((message) =>
      victims.map((victim) => atPoint(move, { action, at, message, victim })),
    ),
  );
}

export const points = [...pointsOf(switchover, switchoverActions), ...pointsOf(comingBack, returnActions)];
