/** Rows of the case table of docs/failover.md. */
import { cp, rm } from "node:fs/promises";
import { join } from "node:path";
import { actionBegun } from "../../src/failover/runner/action-queue.ts";
import { waitFor } from "../pair/wait.ts";
import type { Scenario } from "./scenario.ts";
import {
  actionAt,
  both,
  cut,
  emptyFolder,
  inTurn,
  isolate,
  kill,
  lose,
  settled,
  takenLimitMs,
  takenOver,
} from "./steps.ts";

/** One thing fails. */
export const singleFaults: readonly Scenario[] = [
  {
    name: "primary-dead",
    what: "the primary site dies, and comes back later",
    runs: "west",
    bound: "takeover",
    overlapsWithoutGuards: true,
    faults: kill("east"),
  },
  { name: "standby-dead", what: "the standby site dies", runs: "east", faults: kill("west") },
  { name: "witness-dead", what: "the witness dies", runs: "east", faults: kill("witness") },
  {
    name: "link-sites-cut",
    what: "the link between the sites is cut",
    runs: "east",
    faults: cut("east", "west"),
  },
  {
    name: "link-primary-witness-cut",
    what: "the primary's link to the witness is cut",
    runs: "east",
    faults: cut("east", "witness"),
  },
  {
    name: "link-standby-witness-cut",
    what: "the standby's link to the witness is cut",
    runs: "east",
    faults: cut("west", "witness"),
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
    faults: both(isolate, (stage) => stage.kill("east", "kube-apiserver")),
  },
  {
    name: "primary-isolated-agent-dead",
    what: "the primary is cut off with its agent dead",
    runs: "west",
    bound: "takeover",
    overlapsWithoutGuards: true,
    faults: both(isolate, (stage) => stage.kill("east", "agent")),
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
    faults: lose("east/agent"),
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
    faults: lose("east/guard"),
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
    faults: lose("witness"),
  },
  {
    name: "primary-deaf",
    what: "nothing reaches the primary",
    runs: "west",
    bound: "takeover",
    faults: both(cut("east", "west", "back"), cut("east", "witness", "back")),
  },
  {
    name: "primary-mute",
    what: "nothing that the primary says arrives",
    runs: "west",
    bound: "takeover",
    faults: both(cut("east", "west", "forth"), cut("east", "witness", "forth")),
  },
  {
    name: "witness-disk-lost",
    what: "the witness loses its disk",
    runs: "east",
    faults: async ({ bed, pair }) => {
      await bed.faults.kill("witness");
      await emptyFolder(pair.dataDir("witness"));
      pair.spawn("witness");
    },
  },
];

const severalFaults: readonly Scenario[] = [
  {
    name: "witness-then-primary-dead",
    what: "the witness dies, then the primary: only a person may decide",
    runs: "nobody",
    faults: inTurn(kill("witness"), kill("east")),
  },
  {
    name: "forced",
    what: "the witness dies, then the primary, and a person attests that it is off",
    runs: "west",
    overlapsWithoutGuards: true,
    faults: async (stage) => {
      await inTurn(kill("witness"), kill("east"))(stage);
      const limitMs = stage.timing.startBoundMs + takenLimitMs;
      const told = async () =>
        /`lifeboat (failover [^`]*--force-fenced [^`]*)`/.exec(await stage.blockedAt("west"))?.[1];
      const command = await waitFor("what to do", told, { limitMs, signal: stage.options.signal });
      const { code, err } = await stage.lifeboat("west", ...command.split(" "), "--wait");
      if (code !== 0) throw new Error(`\`${command}\` was not obeyed: ${err}`);
    },
  },
  {
    name: "witness-then-standby-dead",
    what: "the witness dies, and later the standby: the primary runs on without a lease",
    runs: "east",
    faults: inTurn(kill("witness"), kill("west")),
  },
  {
    name: "standby-then-witness-dead",
    what: "the standby dies, and later the witness: the primary runs on without a lease",
    runs: "east",
    faults: inTurn(kill("west"), kill("witness")),
  },
  {
    name: "witness-and-standby-dead",
    what: "witness and standby die at once: to the primary it looks like being cut off",
    runs: "nobody",
    faults: async ({ bed }) => {
      await Promise.all([bed.faults.kill("witness"), bed.faults.kill("west")]);
    },
  },
  {
    name: "link-sites-cut-witness-dead",
    what: "the link between the sites is cut, and later the witness dies",
    runs: "nobody",
    faults: inTurn(cut("east", "west"), kill("witness")),
  },
  {
    name: "link-primary-witness-cut-standby-dead",
    what: "the primary's link to the witness is cut, and later the standby dies",
    runs: "nobody",
    faults: inTurn(cut("east", "witness"), kill("west")),
  },
  {
    name: "link-primary-witness-cut-primary-dead",
    what: "the primary's link to the witness is cut, and later the primary dies",
    runs: "west",
    overlapsWithoutGuards: true,
    faults: inTurn(cut("east", "witness"), kill("east")),
  },
  {
    name: "link-standby-witness-cut-primary-dead",
    what: "the standby's link to the witness is cut, and later the primary dies",
    runs: "nobody",
    overlapsWithoutGuards: true,
    faults: inTurn(cut("west", "witness"), kill("east")),
  },
  {
    name: "witness-rolled-back",
    what: "the witness's disk is set back over a takeover, and the old site returns",
    runs: "west",
    faults: async (stage) => {
      const { bed, pair } = stage;
      const folder = pair.dataDir("witness");
      const before = join(bed.dir, "witness-before");
      await bed.faults.kill("witness");
      await rm(before, { recursive: true, force: true });
      await cp(folder, before, { recursive: true });
      await pair.startWitness();
      await settled(stage);
      await stage.armed();
      await isolate(stage);
      await takenOver(stage);
      await bed.faults.kill("witness");
      await emptyFolder(folder);
      await cp(before, folder, { recursive: true });
      pair.spawn("witness");
      await bed.faults.heal();
    },
  },
  {
    name: "primary-dies-in-switchover",
    what: "the primary dies in a switchover, before its seal",
    runs: "west",
    bound: "switchover",
    overlapsWithoutGuards: "sometimes",
    faults: async (stage) => {
      const reached = actionAt(stage, "east", "quiesce", actionBegun);
      await stage.order("east", "switchover", `west@${await stage.epoch("east")}`);
      if (!(await reached)) throw new Error("the switchover never began");
      await stage.bed.faults.kill("east");
    },
  },
];

const moves: readonly Scenario[] = [
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

export const cases = [...singleFaults, ...severalFaults, ...moves];
