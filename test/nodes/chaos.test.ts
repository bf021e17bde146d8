import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import type { RoundResult } from "../chaos/round.ts";

/** A sample of the chaos runs; `npm run chaos -- --scenario all` runs every scenario. */

const main = fileURLToPath(new URL("../chaos/main.ts", import.meta.url));
const isRoot = process.getuid?.() === 0;
const limitMs = 400_000;

async function chaos(...args: readonly string[]): Promise<{ readonly rounds: RoundResult[]; readonly said: string }> {
  const child = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", main, "--json", ...args], {
    stdio: ["ignore", "pipe", "pipe"],
    timeout: limitMs,
  });
  let out = "";
  let said = "";
  child.stdout.on("data", (chunk: Buffer) => (out += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (said += chunk.toString()));
  await once(child, "close");
  const last = out.trim().split("\n").at(-1) ?? "";
  return { rounds: last.startsWith("{") ? (JSON.parse(last) as { rounds: RoundResult[] }).rounds : [], said };
}

test.runIf(isRoot)(
  "with guards no two sites ever run pods, and the standby starts in time",
  { timeout: limitMs },
  async () => {
    const names = ["switchover-startRunning-begun-west-agent", "primary-dead", "primary-isolated-agent-dead"];
    const { rounds, said } = await chaos("--scenario", ...names);
    expect(
      rounds.map(({ scenario }) => scenario),
      said,
    ).toEqual(names);
    expect(
      rounds.filter(({ problems }) => problems.length > 0),
      said,
    ).toEqual([]);
    expect(rounds.map((round) => round.overlapMs)).toEqual([0, 0, 0]);
  },
);

test.runIf(isRoot)("without guards the same harness sees both sites run", { timeout: limitMs }, async () => {
  const { rounds, said } = await chaos("--scenario", "primary-isolated-agent-dead", "--without-guards");
  expect(
    rounds.map(({ problems }) => problems),
    said,
  ).toEqual([[]]);
  expect(rounds[0]?.overlapMs).toBeGreaterThan(500);
});
