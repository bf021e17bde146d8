import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, it } from "vitest";

const launcher = fileURLToPath(new URL("../../../src/lifeboat.mjs", import.meta.url));
/** Said by each process that the launcher becomes. */
const confess = "data:text/javascript,console.error(JSON.stringify([process.execArgv, process.env.MALLOC_ARENA_MAX]))";

async function start(verb: string): Promise<[flags: string[], arenas: string | null][]> {
  const env = { ...process.env, NODE_OPTIONS: `--import=${encodeURI(confess)}` };
  const { stderr } = await promisify(execFile)(process.execPath, [launcher, verb, "--help"], { env });
  return stderr
    .split("\n")
    .filter((line) => line.startsWith("[["))
    .map((line) => JSON.parse(line) as [string[], string | null]);
}

it("an agent runs with the memory settings of a process that stays", async () => {
  const lives = await start("agent");
  expect(lives).toHaveLength(2);
  expect(lives[1]).toEqual([expect.arrayContaining(["--heap-growing-percent=30"]), "2"]);
});

it("a command is not started twice", async () => {
  expect(await start("status")).toHaveLength(1);
});
