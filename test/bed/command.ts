import { spawn } from "node:child_process";
import { LifeboatError } from "../../src/errors.ts";

export interface CommandOptions {
  /** Text for standard input. */
  readonly input?: string;
  readonly env?: NodeJS.ProcessEnv;
  /** @default 60_000 */
  readonly limitMs?: number;
  readonly signal?: AbortSignal | undefined;
}

/** What a command that answers at once may take. */
const limitDefaultMs = 60_000;

/** Network tools live in folders that the PATH of an ordinary account lacks. */
export function withSystemFolders(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return { ...env, PATH: `${env["PATH"] ?? ""}:/usr/sbin:/sbin` };
}

/** Runs a command to its end. Returns its stdout; throws ProgramFailed with its stderr, ToolMissing if there is none. */
export async function run(argv: readonly string[], options: CommandOptions = {}): Promise<string> {
  const [program = "", ...args] = argv;
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      stdio: ["pipe", "pipe", "pipe"],
      env: withSystemFolders(options.env ?? process.env),
      timeout: options.limitMs ?? limitDefaultMs,
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    });
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    child.stdout.on("data", (chunk: Buffer) => out.push(chunk));
    child.stderr.on("data", (chunk: Buffer) => err.push(chunk));
    // A program that ends without reading its input closes the pipe; its exit status says more.
    child.stdin.on("error", () => undefined);
    child.on("error", (cause: NodeJS.ErrnoException) => {
      if (cause.code !== "ENOENT") reject(cause);
      else reject(new LifeboatError("ToolMissing", `${program} is not installed`, { op: argv.join(" "), cause }));
    });
    child.on("close", (code, signal) => {
      const stderr = Buffer.concat(err).toString().trim();
      if (code === 0) resolve(Buffer.concat(out).toString());
      else reject(new LifeboatError("ProgramFailed", `${argv.join(" ")}: exit ${code ?? signal}: ${stderr}`));
    });
    child.stdin.end(options.input ?? "");
  });
}
