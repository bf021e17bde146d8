import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

const program = fileURLToPath(new URL("../../src/main.ts", import.meta.url));

/** Longest that a command of the command line may take. */
const commandLimitMs = 90_000;

export interface Answer {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** Runs the command line as a user's shell does. */
export async function runLifeboat(
  args: readonly string[],
  options: { readonly path?: string; readonly env?: Readonly<Record<string, string>> } = {},
): Promise<Answer> {
  const argv = ["--disable-warning=ExperimentalWarning", options.path ?? program, ...args];
  const child = spawn(process.execPath, argv, {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, NO_COLOR: "1", ...options.env },
    timeout: commandLimitMs,
    killSignal: "SIGKILL",
  });
  let out = "";
  let err = "";
  child.stdout.on("data", (chunk: Buffer) => (out += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (err += chunk.toString()));
  const [code] = (await once(child, "close")) as [number | null];
  return { code, out, err };
}
