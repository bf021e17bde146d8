/** What a bed needs of its machine: Debian packages and their installation, and enough of the kernel's watches. */
import { access, readFile, writeFile } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { LifeboatError } from "../../src/errors.ts";
import { run } from "./command.ts";
import type { Isolation } from "./options.ts";
import type { LogFn } from "./report.ts";

interface NeededTool {
  /** A program on the PATH, or the absolute path of a file. */
  readonly file: string;
  readonly debianPackage: string;
}

const namespaceTools: readonly NeededTool[] = [
  { file: "ip", debianPackage: "iproute2" },
  { file: "nft", debianPackage: "nftables" },
  { file: "nsenter", debianPackage: "util-linux" },
  { file: "unshare", debianPackage: "util-linux" },
];

const nodeTools: readonly NeededTool[] = [
  { file: "containerd", debianPackage: "containerd" },
  { file: "ctr", debianPackage: "containerd" },
  { file: "runc", debianPackage: "runc" },
  { file: "/usr/lib/cni/bridge", debianPackage: "containernetworking-plugins" },
  { file: "busybox", debianPackage: "busybox-static" },
  { file: "tar", debianPackage: "tar" },
];

/** Instances of inotify per user; kubelet, kube-proxy and containerd take about twenty for each node. */
const watchesPath = "/proc/sys/fs/inotify/max_user_instances";
/** The kernel's default of 128 is used up by a few clusters on one machine. */
const watchesMinCount = 1024;

/** Package servers can be slow; past this they are down. */
const installLimitMs = 600_000;

export interface ToolsOptions {
  readonly isolation: Isolation;
  readonly realNodes: boolean;
  /** Install what is missing, where that is possible, after saying so. */
  readonly install: boolean;
  readonly report: LogFn;
}

async function isThere(file: string): Promise<boolean> {
  // An account's PATH may lack the sbin folders, where Debian puts network tools.
  const folders = [...(process.env["PATH"] ?? "").split(delimiter), "/usr/sbin", "/sbin"];
  const candidates = file.startsWith("/") ? [file] : folders.map((folder) => join(folder, file));
  for (const candidate of candidates) {
    const found = await access(candidate).then(
      () => true,
      () => false,
    );
    if (found) return true;
  }
  return false;
}

/** Debian packages that hold what is missing, each once. */
export async function missingPackages(options: Pick<ToolsOptions, "isolation" | "realNodes">): Promise<string[]> {
  const needed = [...(options.isolation === "netns" ? namespaceTools : []), ...(options.realNodes ? nodeTools : [])];
  const present = await Promise.all(needed.map(async (tool) => isThere(tool.file)));
  return [...new Set(needed.filter((_, at) => present[at] === false).map((tool) => tool.debianPackage))];
}

async function canInstall(): Promise<boolean> {
  const release = await readFile("/etc/os-release", "utf8").catch(() => "");
  return (
    process.getuid?.() === 0 && /^ID(?:_LIKE)?=.*\b(?:debian|ubuntu)\b/m.test(release) && (await isThere("apt-get"))
  );
}

/** Raises the kernel's limit where it is too low for real nodes, after saying so. Where it may not, the nodes may fail. */
export async function ensureWatches({ realNodes, report }: Pick<ToolsOptions, "realNodes" | "report">): Promise<void> {
  const present = Number(await readFile(watchesPath, "utf8").catch(() => watchesMinCount));
  if (!realNodes || present >= watchesMinCount) return;
  const line = `sysctl fs.inotify.max_user_instances=${watchesMinCount}`;
  const raised = await writeFile(watchesPath, `${watchesMinCount}\n`).then(
    () => true,
    () => false,
  );
  report(raised ? `raised a limit of the kernel: ${line}` : `a limit of the kernel is low for real nodes: ${line}`);
}

/** Sees to it that every tool is there; throws ToolMissing with the line that installs them. */
export async function ensureTools(options: ToolsOptions): Promise<void> {
  const missing = await missingPackages(options);
  if (missing.length === 0) return;
  const line = `apt-get install -y --no-install-recommends ${missing.join(" ")}`;
  if (!options.install || !(await canInstall())) {
    throw new LifeboatError("ToolMissing", `missing: ${missing.join(", ")}`, { op: "bed.tools", hint: line });
  }
  options.report(`installing missing packages: ${line}`);
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  const install = async (): Promise<unknown> => run(line.split(" "), { env, limitMs: installLimitMs });
  // Package lists may never have been fetched, or name versions that are gone.
  await install().catch(async () => {
    await run(["apt-get", "update"], { env, limitMs: installLimitMs });
    await install();
  });
}
