/**
 * A place is where programs run that fail together: a site, a site's agent, the witness. As root it is a namespace for
 * network, mounts and processes, so that one SIGKILL ends everything in it, pods included; otherwise it is a name.
 */
import { access, mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { LifeboatError } from "../../src/errors.ts";
import { run } from "./command.ts";
import { cacheHome } from "./home.ts";
import { addressOf, hostLink, hostNumber, interfaceLines, plugLines, portLines } from "./network.ts";
import { findProcesses, isWrapper, startProcess, waitUntil } from "./processes.ts";
import type { BedProcess } from "./processes.ts";

/** Making a namespace takes milliseconds; a machine that needs longer is ill. */
const holderLimitMs = 15_000;

export interface SpawnOptions {
  readonly env?: Readonly<Record<string, string>>;
  /** @default "/" */
  readonly cwd?: string;
}

export interface Place {
  /** `east`, `east/agent`, `witness`. */
  readonly name: string;
  /** IPv4 address at which its servers are reached from the host and from every other place. */
  readonly address: string;
  /** Whether it has a network of its own, so that faults can be put into it. */
  readonly isolated: boolean;
  /** A command that runs `argv` in the place. */
  enter(argv: readonly string[]): string[];
  /** Starts a program; `name` is `site/program`. */
  spawn(name: string, argv: readonly string[], options?: SpawnOptions): BedProcess;
}

interface PlaceOptions {
  readonly bedDir: string;
  readonly name: string;
  readonly address: string;
  readonly holder?: number;
  /** Shell words that put the calling process into the place's cgroup. */
  readonly cgroupDirs?: readonly string[];
}

/** A place whose namespaces `holder` (a process id on the host) keeps alive, or none in loopback mode. */
export function placeAt(options: PlaceOptions): Place {
  const { bedDir, name, address, holder } = options;
  const enter = (argv: readonly string[]): string[] =>
    holder === undefined ? [...argv] : ["nsenter", "-t", String(holder), "-n", "-m", "-p", "--", ...argv];
  return {
    name,
    address,
    isolated: holder !== undefined,
    enter,
    spawn(processName, argv, { env = {}, cwd } = {}) {
      const inDir = cwd === undefined ? argv : ["sh", "-c", 'cd "$0" && exec "$@"', cwd, ...argv];
      const logPath = join(bedDir, "logs", `${processName.replaceAll("/", ".")}.log`);
      const joined = joinCgroups(options.cgroupDirs ?? [], enter(inDir));
      return startProcess({ bedDir, name: processName, argv: joined, logPath, env });
    },
  };
}

function joinCgroups(dirs: readonly string[], argv: readonly string[]): string[] {
  if (dirs.length === 0) return [...argv];
  const script = dirs.map((dir) => `echo $$ > '${dir}/cgroup.procs'`).join("; ");
  return ["sh", "-c", `${script}; exec "$@"`, "sh", ...argv];
}

/** Folders that are empty and the place's own, like those of another machine. */
const privateFolders = ["/run", "/var/log", "/var/lib"];

/**
 * The private folders that do not hide what a place's programs need from the machine: the bed's files, the cached
 * programs, this Node and the checkout.
 */
export function privateFoldersBeside(needed: readonly string[]): string[] {
  return privateFolders.filter((folder) => !needed.some((path) => path.startsWith(`${folder}/`)));
}

/**
 * The first process of a place. Sockets, logs and network namespaces of its Pods live and die with it, whatever paths
 * programs have built in. The loop reaps orphans, which is the first process's duty.
 */
function holderScript(bedDir: string): string {
  const folders = privateFoldersBeside([bedDir, `${cacheHome()}/`, process.execPath, import.meta.dirname]);
  return `set -e
for folder in ${folders.join(" ")}; do mount -t tmpfs -o mode=755 tmpfs $folder; done
mount --make-rshared /
ip link set lo up
: > "$0"
while :; do sleep 1000000 & wait; done`;
}

const agentHolderScript = `set -e
ip link set lo up
: > "$0"
while :; do sleep 1000000 & wait; done`;

/**
 * Makes namespaces for a place, or, with `within`, a network namespace inside another place.
 * Returns the host's number of the process that holds them.
 */
export async function hold(
  bedDir: string,
  name: string,
  options: {
    readonly within?: Place;
    readonly cgroupDirs?: readonly string[];
    readonly signal?: AbortSignal | undefined;
  } = {},
): Promise<number> {
  const mark = `${name}/init`;
  const folder = join(bedDir, "ready");
  await mkdir(folder, { recursive: true });
  const flag = join(folder, name.replaceAll("/", "."));
  await rm(flag, { force: true });
  const argv =
    options.within === undefined
      ? ["unshare", "-n", "-m", "-p", "-f", "--mount-proc", "--", "sh", "-c", holderScript(bedDir), flag]
      : options.within.enter(["unshare", "-n", "--", "sh", "-c", agentHolderScript, flag]);
  const started = startProcess({
    bedDir,
    name: mark,
    argv: joinCgroups(options.cgroupDirs ?? [], argv),
    logPath: join(bedDir, "logs", `${mark.replaceAll("/", ".")}.log`),
  });
  const isReady = async (): Promise<boolean> =>
    access(flag).then(
      () => true,
      () => false,
    );
  await waitUntil(`namespaces of ${name}`, isReady, {
    limitMs: holderLimitMs,
    processes: [started],
    signal: options.signal,
  });
  return holderOf(bedDir, name);
}

/** The host's number of the process that holds the namespaces of a place. */
export async function holderOf(bedDir: string, name: string): Promise<number> {
  const holders = (await findProcesses(bedDir)).filter((found) => found.name === `${name}/init` && !isWrapper(found));
  // The shell that holds the namespaces has a `sleep` beneath it.
  const holder = holders.find((found) => found.command === "sh");
  if (holder === undefined) throw new LifeboatError("NotFound", `${name} is down`, { hint: `fault restore ${name}` });
  return holder.pid;
}

async function ipBatch(prefix: readonly string[], lines: readonly string[]): Promise<void> {
  await run([...prefix, "ip", "-batch", "-"], { input: lines.map((line) => `${line}\n`).join("") });
}

function inNetworkOf(pid: number): string[] {
  return ["nsenter", "-t", String(pid), "-n", "--"];
}

/** Makes the bridge in the namespace of `wire` and connects the host to it. */
export async function layWire(wire: number, subnet: number): Promise<void> {
  await ipBatch(inNetworkOf(wire), ["link add name bridge type bridge", "link set bridge up"]);
  // Present only where br_netfilter is loaded; it would hand bridged packets to IP firewalls.
  const sysctl = "/proc/sys/net/bridge/bridge-nf-call-iptables";
  await run([...inNetworkOf(wire), "sh", "-c", `[ ! -e ${sysctl} ] || echo 0 > ${sysctl}`]);
  const link = hostLink(subnet);
  await ipBatch(
    [],
    [
      `link add name ${link} type veth peer name host netns ${wire}`,
      `addr add ${addressOf(subnet, hostNumber)}/24 dev ${link}`,
      `link set ${link} up`,
    ],
  );
  await ipBatch(inNetworkOf(wire), ["link set host master bridge up"]);
}

/** Connects the namespace of `holder` to the bridge. */
export async function plug(holder: number, wire: number, subnet: number, address: string): Promise<void> {
  await ipBatch([], plugLines(holder, wire, address));
  await Promise.all([
    ipBatch(inNetworkOf(wire), portLines(address)),
    ipBatch(inNetworkOf(holder), interfaceLines(subnet, address)),
  ]);
}

/** Removes the host's end of a bed's network at once; the kernel would take a moment. */
export async function unplugHost(subnet: number): Promise<void> {
  await run(["ip", "link", "del", hostLink(subnet)]).catch(() => undefined);
}
