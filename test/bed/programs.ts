/**
 * The Go programs of the bed. Each folder under `programs/` is a Go module whose `tool` directives name the programs;
 * every program is built once into the user's cache, in a folder keyed by what it is built from.
 * A new program is a new `tool` line (or a new folder); nothing here needs to change.
 */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { access, mkdir, mkdtemp, readFile, readdir, rename, rm } from "node:fs/promises";
import { constants, setPriority } from "node:os";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { LifeboatError } from "../../src/errors.ts";
import { withFileLock } from "./filelock.ts";
import { cacheHome } from "./home.ts";
import { signalPid } from "./processes.ts";

const modulesFolder = fileURLToPath(new URL("programs/", import.meta.url));

/** Where the last element of a tool's import path is not what the program is called. */
const namesOfTools: Readonly<Record<string, string>> = {
  "go.etcd.io/etcd/server/v3": "etcd",
  "github.com/kedacore/keda/v2/cmd/operator": "keda-operator",
};

/** What `KUBEBUILDER_ASSETS` brings, by the convention of envtest. */
const kubebuilderPrograms: ReadonlySet<string> = new Set(["etcd", "kube-apiserver", "kubectl"]);

/** How often a build that takes minutes says that it is still alive. */
const progressEveryMs = 1_000;

export interface BuildProgress {
  readonly program: string;
  /** Position among the programs that had to be built, from 1. */
  readonly index: number;
  readonly total: number;
  readonly elapsedMs: number;
  readonly state: "waiting" | "building" | "built";
}

export interface EnsureOptions {
  readonly progress?: (event: BuildProgress) => void;
  readonly env?: NodeJS.ProcessEnv;
  readonly signal?: AbortSignal;
}

interface Tool {
  readonly name: string;
  readonly importPath: string;
  readonly moduleDir: string;
  readonly flags: readonly string[];
  /** Folder in the cache that holds the module's programs. */
  readonly binDir: string;
}

/** Import paths in the `tool` directives of a go.mod, in order. */
export function toolsOfGoMod(text: string): string[] {
  const tools: string[] = [];
  let inBlock = false;
  for (const raw of text.split("\n")) {
    const line = raw.replace(/\/\/.*$/, "").trim();
    if (line === "tool (") inBlock = true;
    else if (inBlock && line === ")") inBlock = false;
    else if (inBlock && line !== "") tools.push(line);
    else if (line.startsWith("tool ")) tools.push(line.slice("tool ".length).trim());
  }
  return tools;
}

/** What the linker is told. Kubernetes' programs carry no version of their own: helm charts and clients read it. */
export function linkerFlags(goMod: string): string {
  const version = /^\s*(?:require\s+)?k8s\.io\/kubernetes (v(\d+)\.(\d+)\.\S+)/m.exec(goMod);
  if (version === null) return "-s -w";
  const [, full = "", major = "", minor = ""] = version;
  return [
    "-s -w",
    `-X k8s.io/component-base/version.gitVersion=${full}`,
    `-X k8s.io/component-base/version.gitMajor=${major}`,
    `-X k8s.io/component-base/version.gitMinor=${minor}`,
    `-X k8s.io/client-go/pkg/version.gitVersion=${full}`,
  ].join(" ");
}

async function readModule(folder: string, env: NodeJS.ProcessEnv): Promise<Tool[]> {
  const moduleDir = join(modulesFolder, folder);
  const [goMod, goSum] = await Promise.all([
    readFile(join(moduleDir, "go.mod"), "utf8"),
    readFile(join(moduleDir, "go.sum"), "utf8"),
  ]);
  const flags = ["-trimpath", "-buildvcs=false", "-ldflags", linkerFlags(goMod)];
  const key = createHash("sha256")
    .update(JSON.stringify([goMod, goSum, flags, process.platform, process.arch]))
    .digest("hex")
    .slice(0, 16);
  const binDir = join(cacheHome(env), "programs", `${folder}-${key}`);
  return toolsOfGoMod(goMod).map((importPath) => ({
    name: namesOfTools[importPath] ?? basename(importPath),
    importPath,
    moduleDir,
    flags,
    binDir,
  }));
}

async function allTools(env: NodeJS.ProcessEnv): Promise<Map<string, Tool>> {
  const entries = await readdir(modulesFolder, { withFileTypes: true });
  const modules = await Promise.all(entries.filter((e) => e.isDirectory()).map((e) => readModule(e.name, env)));
  return new Map(modules.flat().map((tool) => [tool.name, tool]));
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

async function fromKubebuilder(name: string, folder: string): Promise<string> {
  const path = join(folder, name);
  if (await exists(path)) return path;
  throw new LifeboatError("ToolMissing", `KUBEBUILDER_ASSETS has no ${name}: ${path} does not exist`, {
    op: "bed.programs",
    hint: "unset KUBEBUILDER_ASSETS to build it, or: setup-envtest use -p path",
  });
}

/**
 * Paths of the named programs, building those that the cache lacks, one after the other (a Go build fills all cores).
 * Throws ToolMissing without Go, ProgramFailed with the compiler's last words, NotFound for a name no module has.
 */
export async function ensurePrograms(
  names: readonly string[],
  options: EnsureOptions = {},
): Promise<Map<string, string>> {
  const env = options.env ?? process.env;
  const tools = await allTools(env);
  const assets = env["KUBEBUILDER_ASSETS"];
  const paths = new Map<string, string>();
  const missing: Tool[] = [];
  for (const name of names) {
    if (assets !== undefined && assets !== "" && kubebuilderPrograms.has(name)) {
      paths.set(name, await fromKubebuilder(name, assets));
      continue;
    }
    const tool = tools.get(name);
    if (tool === undefined) throw new LifeboatError("NotFound", `no Go module of the bed has a program ${name}`);
    const path = join(tool.binDir, name);
    paths.set(name, path);
    if (!(await exists(path))) missing.push(tool);
  }
  for (const [at, tool] of missing.entries()) await build(tool, at + 1, missing.length, env, options);
  return paths;
}

async function build(
  tool: Tool,
  index: number,
  total: number,
  env: NodeJS.ProcessEnv,
  options: EnsureOptions,
): Promise<void> {
  const startedAtMs = Date.now();
  const report = (state: BuildProgress["state"]): void =>
    options.progress?.({ program: tool.name, index, total, elapsedMs: Date.now() - startedAtMs, state });
  let state: BuildProgress["state"] = "waiting";
  const ticker = setInterval(() => report(state), progressEveryMs);
  try {
    await mkdir(tool.binDir, { recursive: true });
    await withFileLock(
      `${tool.binDir}.lock`,
      options.signal === undefined ? {} : { signal: options.signal },
      async () => {
        if (await exists(join(tool.binDir, tool.name))) return;
        state = "building";
        report(state);
        await goBuild(tool, env, options.signal);
      },
    );
  } finally {
    clearInterval(ticker);
  }
  report("built");
}

async function goBuild(tool: Tool, env: NodeJS.ProcessEnv, signal: AbortSignal | undefined): Promise<void> {
  const target = join(tool.binDir, tool.name);
  const unfinished = `${target}.${process.pid}.unfinished`;
  // A go that is interrupted before it expects to be leaves its temporary folder.
  const temporary = await mkdtemp(join(dirname(tool.binDir), ".building-"));
  const argv = ["build", ...tool.flags, "-o", unfinished, tool.importPath];
  try {
    const { code, output } = await runGo(
      argv,
      tool.moduleDir,
      { ...env, CGO_ENABLED: "0", GOTMPDIR: temporary },
      signal,
    );
    signal?.throwIfAborted();
    if (code !== 0) {
      throw new LifeboatError("ProgramFailed", `go build ${tool.importPath} failed:\n${output}`, {
        op: "bed.programs",
      });
    }
    await rename(unfinished, target);
  } finally {
    await rm(unfinished, { force: true });
    await rm(temporary, { recursive: true, force: true });
  }
}

/** The end of the compiler's output is where the error is. */
const outputKeptChars = 8_000;

async function runGo(
  argv: readonly string[],
  cwd: string,
  env: NodeJS.ProcessEnv,
  signal: AbortSignal | undefined,
): Promise<{ code: number | null; output: string }> {
  return new Promise((resolve, reject) => {
    // A process group of its own: an abort has to reach the compilers that go starts, too.
    const child = spawn("go", argv, { cwd, env, detached: true, stdio: ["ignore", "pipe", "pipe"] });
    // It takes minutes of every core, and clusters of others may be at work beside it.
    if (child.pid !== undefined) setPriority(child.pid, constants.priority.PRIORITY_LOW);
    let output = "";
    const keep = (chunk: Buffer): void => void (output = (output + chunk.toString()).slice(-outputKeptChars));
    // On an interrupt, go removes its temporary files and ends.
    const abort = (): void => {
      if (child.pid !== undefined) signalPid(-child.pid, "SIGINT");
    };
    signal?.addEventListener("abort", abort, { once: true });
    child.stdout.on("data", keep);
    child.stderr.on("data", keep);
    child.on("error", (cause) => {
      signal?.removeEventListener("abort", abort);
      reject(
        new LifeboatError("ToolMissing", "go is not installed; the bed builds Kubernetes from source", {
          op: "bed.programs",
          hint: "install Go 1.26 or newer from https://go.dev/dl/ and put it on the PATH",
          cause,
        }),
      );
    });
    child.on("close", (code) => {
      signal?.removeEventListener("abort", abort);
      resolve({ code, output });
    });
  });
}
