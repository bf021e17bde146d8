import { basename } from "node:path";
import { isatty } from "node:tty";
import { runProgram } from "./cli/program.ts";
import type { Terminal } from "./cli/terminal.ts";
import packageJson from "../package.json" with { type: "json" };

/**
 * Composition root: the only place that touches the process. The first SIGINT or SIGTERM asks everything to end in
 * good order, a second one ends it at once.
 */
const interrupted = new AbortController();
const stop = (signal: NodeJS.Signals): void => {
  if (interrupted.signal.aborted) process.exit(128 + (signal === "SIGINT" ? 2 : 15));
  const reason = new Error(`received ${signal}`);
  reason.name = "Interrupted";
  interrupted.abort(reason);
};
process.on("SIGINT", stop);
process.on("SIGTERM", stop);

const startedAs = basename(process.argv[1] ?? "");
const terminal: Terminal = {
  out: (text) => void process.stdout.write(text),
  err: (text) => void process.stderr.write(text),
  // `stdout.isTTY` is undefined for a pipe, which a library takes for "decide yourself".
  interactive: isatty(1),
  env: process.env,
  signal: interrupted.signal,
  program: startedAs.startsWith("kubectl-") ? "kubectl lifeboat" : "lifeboat",
  setExitCode: (code) => {
    process.exitCode = code;
  },
};

await runProgram(process.argv.slice(2), terminal, packageJson.version);
