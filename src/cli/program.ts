import { Command, CommanderError } from "commander";
import { hasCode } from "../errors.ts";
import { addCheck } from "./check.ts";
import { addGuard } from "./guard.ts";
import { addFailback, addFailover, addSwitchover } from "./moves.ts";
import { formatError } from "./output.ts";
import { addProcesses } from "./processes.ts";
import { addRender } from "./render.ts";
import { addAcceptRewind, addDeletes, addDiff, addDivergence, addPurge } from "./requests.ts";
import { addStatus } from "./status.ts";
import { addSteering } from "./steer.ts";
import { exitCodes, type Terminal } from "./terminal.ts";

/** Runs one command to its end. Errors are printed here, once; the exit code is set on the terminal. */
export async function runProgram(args: readonly string[], terminal: Terminal, version: string): Promise<void> {
  const program = buildProgram(terminal, version);
  try {
    await program.parseAsync([...args], { from: "user" });
  } catch (error) {
    if (error instanceof CommanderError) {
      terminal.setExitCode(error.exitCode === 0 ? exitCodes.ok : exitCodes.usage);
    } else if (terminal.signal.aborted && isAbort(error)) {
      terminal.setExitCode(exitCodes.ok);
    } else {
      terminal.err(`${formatError(error)}\n`);
      terminal.setExitCode(hasCode(error, "FailoverRefused") ? exitCodes.refused : exitCodes.failed);
    }
  }
}

function buildProgram(terminal: Terminal, version: string): Command {
  const program = new Command(terminal.program)
    .description(
      "Disaster recovery for Kubernetes: a warm standby cluster, seconds behind, and a witness that decides.",
    )
    .version(version)
    .exitOverride()
    .configureOutput({ writeOut: terminal.out, writeErr: terminal.err })
    .showHelpAfterError(`(\`${terminal.program} --help\` lists all commands)`)
    .addHelpText(
      "after",
      "\nExit codes: 0 done, 1 failed, 2 wrong usage, 3 something was found, 4 refused, 5 not finished in time",
    );
  const add = [
    addStatus,
    addFailover,
    addSwitchover,
    addFailback,
    addSteering,
    addDivergence,
    addDiff,
    addRender,
    addDeletes,
    addAcceptRewind,
    addPurge,
    addCheck,
    addProcesses,
    addGuard,
  ];
  for (const addVerb of add) addVerb(program, terminal);
  for (const command of allCommands(program)) {
    command.exitOverride().configureOutput({ writeOut: terminal.out, writeErr: terminal.err });
  }
  return program;
}

function allCommands(command: Command): Command[] {
  return command.commands.flatMap((child) => [child, ...allCommands(child)]);
}

function isAbort(error: unknown): boolean {
  return error instanceof Error && (error.name === "AbortError" || error.name === "Interrupted");
}
