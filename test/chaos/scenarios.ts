/** Rows of the case table of docs/failover.md, and the points of a move at which a process is lost. */
import { setTimeout as delay } from "node:timers/promises";
import { actionBegun, actionDone } from "../../src/failover/runner/action-queue.ts";
import { waitFor } from "../pair/wait.ts";
import { onLogLine } from "./log-watch.ts";
import type { SiteName, Stage } from "./stage.ts";

export interface Scenario {
  readonly name: string;
  readonly what: string;
  /** Who runs the group when everything that follows from the faults has followed, before anything is mended. */
  readonly runs: SiteName | "nobody" | "anyone";
  /** What the time until the first beat at the other site is held against. */
  readonly bound?: "takeover" | "switchover";
  /** Nothing that was acknowledged may be missing afterwards. */
  readonly lossless?: boolean;
  /** Without guards both sites run for a while: the control that shows that the harness sees it. */
  readonly overlapsWithoutGuards?: boolean;
  readonly faults: (stage: Stage) => Promise<void>;
}

const isolate = async ({ bed }: Stage): Promise<void> => {
  await bed.faults.partition("east", "west");
  await bed.faults.partition("east", "witness");
};

const cases: readonly Scenario[] = [
  {
    name: "primary-dead",
    what: "the primary site dies, and comes back later",
    runs: "west",
    bound: "takeover",
    overlapsWithoutGuards: true,
    faults: ({ bed }) => bed.faults.kill("east"),
  },
  { name: "standby-dead", what: "the standby site dies", runs: "east", faults: ({ bed }) => bed.faults.kill("west") },
  { name: "witness-dead", what: "the witness dies", runs: "east", faults: ({ bed }) => bed.faults.kill("witness") },
  {
    name: "link-sites-cut",
    what: "the link between the sites is cut",
    runs: "east",
    faults: ({ bed }) => bed.faults.partition("east", "west"),
  },
  {
    name: "link-primary-witness-cut",
    what: "the primary's link to the witness is cut",
    runs: "east",
    faults: ({ bed }) => bed.faults.partition("east", "witness"),
  },
  {
    name: "link-standby-witness-cut",
    what: "the standby's link to the witness is cut",
    runs: "east",
    faults: ({ bed }) => bed.faults.partition("west", "witness"),
  },
  {
    name: "primary-isolated",
    what: "the primary is cut off from both",
    runs: "west",
    bound: "takeover",
    faults: isolate,
  },
  {
    name: "primary-isolated-api-dead",
    what: "the primary is cut off with its API server dead",
    runs: "west",
    bound: "takeover",
    overlapsWithoutGuards: true,
    faults: async (stage) => {
      await isolate(stage);
      await stage.kill("east", "kube-apiserver");
    },
  },
  {
    name: "primary-isolated-agent-dead",
    what: "the primary is cut off with its agent dead",
    runs: "west",
    bound: "takeover",
    overlapsWithoutGuards: true,
    faults: async (stage) => {
      await isolate(stage);
      await stage.kill("east", "agent");
    },
  },
  {
    name: "agent-killed",
    what: "the primary's agent is killed and does not come back",
    runs: "west",
    bound: "takeover",
    overlapsWithoutGuards: true,
    faults: (stage) => stage.kill("east", "agent"),
  },
  {
    name: "agent-restarted",
    what: "the primary's agent is killed and comes back at once",
    runs: "east",
    faults: async (stage) => {
      await stage.kill("east", "agent");
      stage.pair.spawn("east");
    },
  },
  {
    name: "agent-halted",
    what: "the primary's agent stands still",
    runs: "west",
    bound: "takeover",
    overlapsWithoutGuards: true,
    faults: ({ bed }) => bed.faults.pause("east/agent"),
  },
  {
    name: "guard-restarted",
    what: "the primary's node guard is killed and comes back at once",
    runs: "east",
    faults: async (stage) => {
      if (!stage.options.guards) return;
      await stage.kill("east", "guard");
      stage.pair.startGuard("east");
    },
  },
  {
    name: "api-outage",
    what: "the primary's API server is down for a while, with its links up",
    runs: "east",
    faults: async (stage) => stage.kill("east", "kube-apiserver"),
  },
  {
    name: "witness-restarted",
    what: "the witness is killed and comes back at once",
    runs: "east",
    faults: async ({ bed, pair }) => {
      await bed.faults.kill("witness");
      pair.spawn("witness");
    },
  },
  {
    name: "witness-then-primary-dead",
    what: "the witness dies, then the primary: only a person may decide",
    runs: "nobody",
    faults: async ({ bed, timing }) => {
      await bed.faults.kill("witness");
      await delay(timing.disarmAfterMs + 3 * timing.heartbeatMs);
      await bed.faults.kill("east");
    },
  },
  {
    name: "switchover",
    what: "a planned switchover",
    runs: "west",
    bound: "switchover",
    lossless: true,
    faults: (stage) => stage.switchOver(),
  },
  {
    name: "failover-by-hand",
    what: "the primary dies and a person does not wait for the witness",
    runs: "west",
    bound: "takeover",
    overlapsWithoutGuards: true,
    faults: async (stage) => {
      const epoch = await stage.epoch("west");
      await stage.bed.faults.kill("east");
      await stage.order("west", "failover", `west@${epoch}`);
    },
  },
];

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

/** Two busy cores: what a status comes later than what it tells. */
const takenLimitMs = 30_000;

type Victim = "east/agent" | "west/agent" | "witness" | "east/guard" | "west/guard";
const victims: readonly Victim[] = ["east/agent", "west/agent", "witness", "east/guard", "west/guard"];

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
  /** What has to have happened before. */
  readonly prepare: (stage: Stage) => Promise<void>;
  readonly begin: (stage: Stage) => Promise<void>;
}

const switchover: Move = {
  name: "switchover",
  when: "",
  prepare: async () => undefined,
  // Whoever takes the order may be killed before it has answered.
  begin: (stage) => stage.switchOver().catch(() => undefined),
};

/** East was cut off, went on writing, and lost the group. */
const comingBack: Move = {
  name: "return",
  when: " after a takeover",
  prepare: async (stage) => {
    await isolate(stage);
    const taken = async () => ((await stage.statusOf("west"))?.role === "active" ? true : undefined);
    const limitMs = stage.timing.startBoundMs + takenLimitMs;
    await waitFor("west to take over", taken, { limitMs, signal: stage.options.signal });
  },
  begin: ({ bed }) => bed.faults.heal(),
};

function atPoint(move: Move, { action, at, message, victim }: Point): Scenario {
  const moment = message === actionBegun ? "begun" : "done";
  return {
    name: `${move.name}-${action}-${moment}-${victim.replace("/", "-")}`,
    what: `${victim} is killed with ${action} at ${at} ${moment}${move.when}, and comes back`,
    runs: "anyone",
    faults: async (stage) => {
      await move.prepare(stage);
      const reached = onLogLine(stage.pair.process(at).logPath, stage.options.signal, (line) => {
        return line.includes(`"msg":"${message}"`) && line.includes(`"action":"${action}"`);
      });
      const begun = move.begin(stage);
      if (!(await reached)) throw new Error(`the ${move.name} never came to ${action} ${moment} at ${at}`);
      await lose(stage, victim);
      await begun;
    },
  };
}

async function lose(stage: Stage, victim: Victim): Promise<void> {
  if (victim === "witness") {
    await stage.bed.faults.kill("witness");
    stage.pair.spawn("witness");
    return;
  }
  const [site, program] = victim.split("/") as [SiteName, "agent" | "guard"];
  if (program === "guard" && !stage.options.guards) return;
  await stage.kill(site, program);
  if (program === "agent") stage.pair.spawn(site);
  else stage.pair.startGuard(site);
}

function pointsOf(move: Move, actions: typeof switchoverActions): Scenario[] {
  return actions.flatMap(({ action, at }) =>
    [actionBegun, actionDone].flatMap((message) =>
      victims.map((victim) => atPoint(move, { action, at, message, victim })),
    ),
  );
}

const points = [...pointsOf(switchover, switchoverActions), ...pointsOf(comingBack, returnActions)];

/** Two single faults at once, drawn from `random`. */
export function doubleFault(random: () => number): Scenario {
  const single = cases.filter(
    ({ name }) => !["switchover", "failover-by-hand", "witness-then-primary-dead"].includes(name),
  );
  const draw = (): Scenario => single[Math.floor(random() * single.length)] ?? (single[0] as Scenario);
  const [first, second] = [draw(), draw()];
  const pauseMs = Math.floor(random() * 5_000);
  return {
    name: "double-fault",
    what: `${first.name}, and ${pauseMs} ms later ${second.name}`,
    runs: "anyone",
    faults: async (stage) => {
      await first.faults(stage);
      await delay(pauseMs);
      // What the first has taken down the second cannot take down again.
      await second.faults(stage).catch(() => undefined);
    },
  };
}

export const scenarios: readonly Scenario[] = [...cases, ...points];
/** Names that stand for several scenarios. */
export const sets: Readonly<Record<string, readonly Scenario[]>> = { all: scenarios, cases, points };
