import { runProgram } from "../../../src/cli/program.ts";
import type { Terminal } from "../../../src/cli/terminal.ts";

export interface Said {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Runs the command line in this process. */
export async function lifeboat(...args: readonly string[]): Promise<Said> {
  const said = { code: 0, out: "", err: "" };
  const terminal: Terminal = {
    out: (text) => void (said.out += text),
    err: (text) => void (said.err += text),
    interactive: false,
    env: {},
    signal: new AbortController().signal,
    program: "lifeboat",
    setExitCode: (code) => void (said.code = code),
  };
  await runProgram(args, terminal, "0.0.0");
  return said;
}
