/** The demo as a user starts it. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { expect } from "vitest";
import type { DemoResult } from "../demo/stage.ts";

const main = fileURLToPath(new URL("../demo/main.ts", import.meta.url));

export interface DemoRun {
  readonly code: number | null;
  readonly result: DemoResult | undefined;
  readonly output: string;
}

/** Runs `npm run demo -- ARGS --json` to its end. */
export async function runDemo(
  args: readonly string[],
  options: { readonly interruptAt?: string; readonly bedHome?: string } = {},
): Promise<DemoRun> {
  const env = options.bedHome === undefined ? {} : { LIFEBOAT_BED_HOME: options.bedHome };
  const child = spawn(process.execPath, [main, ...args, "--json"], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, CI: "true", ...env },
  });
  let interrupted = false;
  let output = "";
  const take = (chunk: Buffer): void => {
    output += chunk.toString();
    if (interrupted || options.interruptAt === undefined || !output.includes(options.interruptAt)) return;
    // Once: a second Ctrl-C asks for an end without cleaning up.
    interrupted = child.kill("SIGINT");
  };
  child.stdout.on("data", take);
  child.stderr.on("data", take);
  const [code] = (await once(child, "close")) as [number | null];
  const last = output.trim().split("\n").at(-1) ?? "";
  // A pipe is never coloured.
  expect(output).not.toContain("\u001b");
  return { code, output, result: last.startsWith("{") ? (JSON.parse(last) as DemoResult) : undefined };
}
