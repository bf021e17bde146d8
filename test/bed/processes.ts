/**
 * Processes of a bed. Each one carries two marks in its environment, so that what runs is read from the kernel and
 * never from a list that can be wrong: a bed whose own process was killed is found and ended in the same way.
 */
import { spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { readFile, readdir } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { LifeboatError } from "../../src/errors.ts";
import { withSystemFolders } from "./command.ts";

const bedMark = "LIFEBOAT_BED_OF";
const nameMark = "LIFEBOAT_BED_AS";

/** Go's clients honour these for API servers as well; nothing in a bed is behind a proxy. */
const proxyVariables = /^(?:https?|all|no)_proxy$/i;

/** Ends of a log that are shown with an error. */
const tailChars = 2_000;

const pollEveryMs = 20;

/** One process of a bed as the kernel knows it. */
export interface Found {
  readonly pid: number;
  /** `site/program`, e.g. `east/etcd`, `east/agent`, `witness/witness`. */
  readonly name: string;
  /** The kernel's short name of the program, e.g. `etcd`. */
  readonly command: string;
}

/** Programs that only put another program into a namespace and wait for it. */
const wrappers: ReadonlySet<string> = new Set(["nsenter", "unshare"]);

export function isWrapper(found: Found): boolean {
  return wrappers.has(found.command);
}

export interface ExitStatus {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** A process started in a bed by this Node process. */
export interface BedProcess {
  /** `site/program`. */
  readonly name: string;
  readonly logPath: string;
  /** Resolves when it has ended, however it ended; never rejects. Keeps this process alive once it was asked for. */
  readonly exited: Promise<ExitStatus>;
  readonly hasExited: boolean;
  /** Signals the program itself. */
  kill(signal: NodeJS.Signals): Promise<void>;
  /** SIGTERM, and SIGKILL when it has not ended after `graceMs`. @default graceMs 10_000 */
  stop(options?: { readonly graceMs?: number }): Promise<ExitStatus>;
  /** Everything it wrote so far, stdout and stderr. */
  log(): Promise<string>;
}

export interface StartOptions {
  readonly bedDir: string;
  readonly name: string;
  readonly argv: readonly string[];
  readonly logPath: string;
  readonly env?: Readonly<Record<string, string>>;
}

function environment(options: StartOptions): NodeJS.ProcessEnv {
  const inherited = Object.entries(process.env).filter(([key]) => !proxyVariables.test(key));
  const env = withSystemFolders(Object.fromEntries(inherited));
  return { ...env, ...options.env, [bedMark]: options.bedDir, [nameMark]: options.name };
}

/** Starts a process that outlives this one; its output goes to the end of `logPath`. */
export function startProcess(options: StartOptions): BedProcess {
  const [program = "", ...args] = options.argv;
  const log = openSync(options.logPath, "a");
  const child = spawn(program, args, {
    detached: true,
    stdio: ["ignore", log, log],
    env: environment(options),
    cwd: "/",
  });
  closeSync(log);
  child.unref();
  let hasExited = false;
  const exited = new Promise<ExitStatus>((resolve) => {
    child.once("exit", (code, signal) => resolve({ code, signal }));
    child.once("error", () => resolve({ code: 127, signal: null }));
  }).finally(() => (hasExited = true));
  const kill = async (signal: NodeJS.Signals): Promise<void> => {
    const all = await findProcesses(options.bedDir);
    for (const found of all) if (found.name === options.name && !isWrapper(found)) signalPid(found.pid, signal);
  };
  return {
    name: options.name,
    logPath: options.logPath,
    get exited() {
      if (!hasExited) child.ref();
      return exited;
    },
    get hasExited() {
      return hasExited;
    },
    kill,
    async stop({ graceMs = 10_000 } = {}) {
      await kill("SIGTERM");
      const timer = setTimeout(() => void kill("SIGKILL"), graceMs);
      try {
        child.ref();
        return await exited;
      } finally {
        clearTimeout(timer);
      }
    },
    log: async () => readFile(options.logPath, "utf8"),
  };
}

/** Signals a process; one that has just ended is fine. */
export function signalPid(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

async function marksOf(pid: string, bedDir: string): Promise<Found | undefined> {
  try {
    const environ = await readFile(`/proc/${pid}/environ`, "utf8");
    const variables = environ.split("\0");
    if (!variables.includes(`${bedMark}=${bedDir}`)) return undefined;
    const name = variables.find((variable) => variable.startsWith(`${nameMark}=`))?.slice(nameMark.length + 1) ?? "";
    const command = (await readFile(`/proc/${pid}/comm`, "utf8")).trim();
    return { pid: Number(pid), name, command };
  } catch {
    // Ended meanwhile, or another user's: not ours either way.
    return undefined;
  }
}

/** Every living process that carries the bed's mark, wrappers included. */
export async function findProcesses(bedDir: string): Promise<Found[]> {
  const pids = (await readdir("/proc")).filter((entry) => /^\d+$/.test(entry) && Number(entry) !== process.pid);
  const found = await Promise.all(pids.map((pid) => marksOf(pid, bedDir)));
  return found.filter((entry) => entry !== undefined);
}

/** A process shows no environment for a moment while it becomes another program: it takes two looks to be sure. */
const looksCount = 2;

/**
 * SIGKILLs every process of the bed that `which` selects, again until none is left: a process may be forking while it
 * is looked at. Throws Timeout when some survive `limitMs`.
 */
export async function killProcesses(
  bedDir: string,
  which: (found: Found) => boolean,
  options: { readonly limitMs?: number } = {},
): Promise<void> {
  const deadlineMs = Date.now() + (options.limitMs ?? 20_000);
  for (let clearLooks = 0; clearLooks < looksCount;) {
    const left = (await findProcesses(bedDir)).filter(which);
    clearLooks = left.length === 0 ? clearLooks + 1 : 0;
    if (Date.now() > deadlineMs) {
      throw new LifeboatError(
        "Timeout",
        `processes survive SIGKILL: ${left.map((f) => `${f.name} ${f.pid}`).join(", ")}`,
      );
    }
    for (const found of left) signalPid(found.pid, "SIGKILL");
    await sleep(pollEveryMs);
  }
}

/** The end of a log for an error message; empty when there is none. */
export async function logTail(path: string): Promise<string> {
  const text = await readFile(path, "utf8").catch(() => "");
  return text.slice(-tailChars);
}

/**
 * Polls `ready` until it is true. Ends early, with the end of its log, when one of `processes` exits.
 * Throws ProgramFailed or Timeout.
 */
export async function waitUntil(
  what: string,
  ready: () => Promise<boolean>,
  options: {
    readonly limitMs: number;
    readonly processes?: readonly BedProcess[];
    readonly signal?: AbortSignal | undefined;
    /** How long between two looks; more where a look costs something. @default 20 */
    readonly everyMs?: number;
  },
): Promise<void> {
  const deadlineMs = Date.now() + options.limitMs;
  while (!(await ready())) {
    options.signal?.throwIfAborted();
    const first = options.processes?.find((entry) => entry.hasExited);
    if (first !== undefined) {
      throw new LifeboatError(
        "ProgramFailed",
        `${first.name} ended while waiting for ${what}\n${await logTail(first.logPath)}`,
        {
          op: "bed.start",
          hint: `the whole log: ${first.logPath}`,
        },
      );
    }
    if (Date.now() > deadlineMs) {
      throw new LifeboatError("Timeout", `${what} took longer than ${options.limitMs} ms`, { op: "bed.start" });
    }
    await sleep(options.everyMs ?? pollEveryMs);
  }
}
