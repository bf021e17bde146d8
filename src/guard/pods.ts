import { readlinkSync } from "node:fs";
import { join } from "node:path";
import { podCgroups, processesIn, uidOfFolder, type CgroupTree } from "./cgroups.ts";
import { foldersIn, readText } from "./files.ts";

/** A pod that has a cgroup on this node. */
export interface NodePod {
  readonly uid: string;
  readonly namespace: string;
  readonly name: string;
  readonly cgroup: string;
}

export interface PodFinderOptions {
  readonly tree: CgroupTree;
  readonly podLogsDir: string;
  readonly bundles: string;
}

interface PodName {
  readonly namespace: string;
  readonly name: string;
}

/**
 * Finds pods without API server, kubelet or container runtime: the cgroups tell which there are, the folders of their
 * logs (`NAMESPACE_NAME_UID`, made by the kubelet before a pod's first process) tell whose they are. A pod whose folder
 * somebody has removed is looked up in the bundles of the container runtime; what was known once stays known.
 */
export class PodFinder {
  readonly #options: PodFinderOptions;
  #names = new Map<string, PodName>();

  constructor(options: PodFinderOptions) {
    this.#options = options;
  }

  /** `nameless`: uids of cgroups of which nobody knows the pod. */
  scan(): { readonly pods: readonly NodePod[]; readonly nameless: readonly string[] } {
    const cgroups = podCgroups(this.#options.tree);
    const logged = namesFromLogs(this.#options.podLogsDir);
    const names = new Map<string, PodName>();
    let bundled: Map<string, PodName> | undefined;
    for (const uid of cgroups.keys()) {
      const name =
        logged.get(uid) ?? this.#names.get(uid) ?? (bundled ??= namesFromBundles(this.#options.bundles)).get(uid);
      if (name !== undefined) names.set(uid, name);
    }
    this.#names = names;
    const pods = [...cgroups].flatMap(([uid, cgroup]) => {
      const name = names.get(uid);
      return name === undefined ? [] : [{ uid, ...name, cgroup }];
    });
    return { pods, nameless: [...cgroups.keys()].filter((uid) => !names.has(uid)) };
  }
}

/** By uid. Neither namespaces nor names of pods hold an underscore. */
function namesFromLogs(dir: string): Map<string, PodName> {
  const found = new Map<string, PodName>();
  for (const folder of foldersIn(dir)) {
    const [namespace, name, uid] = folder.split("_");
    if (namespace !== undefined && name !== undefined && uid !== undefined) found.set(uid, { namespace, name });
  }
  return found;
}

interface Bundle {
  readonly annotations?: Readonly<Record<string, string>>;
  readonly linux?: { readonly cgroupsPath?: string };
}

/** Names under which containerd and CRI-O write a pod's place into the bundle of each container. */
const namespaceMarks = ["io.kubernetes.cri.sandbox-namespace", "io.kubernetes.pod.namespace"];
const nameMarks = ["io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name"];

function namesFromBundles(dir: string): Map<string, PodName> {
  const found = new Map<string, PodName>();
  for (const id of foldersIn(dir)) {
    const bundle = parseBundle(readText(join(dir, id, "config.json")));
    const annotations = bundle?.annotations ?? {};
    const valueOf = (marks: readonly string[]) => marks.map((mark) => annotations[mark]).find((value) => value);
    const namespace = valueOf(namespaceMarks);
    const uid = (bundle?.linux?.cgroupsPath ?? "")
      .split(/[/:]/)
      .map(uidOfFolder)
      .find((each) => each !== undefined);
    if (namespace !== undefined && uid !== undefined) found.set(uid, { namespace, name: valueOf(nameMarks) ?? "" });
  }
  return found;
}

function parseBundle(text: string): Bundle | undefined {
  try {
    return JSON.parse(text) as Bundle;
  } catch {
    return undefined;
  }
}

/** What a pod's traffic is recognised by. */
export interface PodNetwork {
  readonly processCount: number;
  /** It uses the node's own network. */
  readonly host: boolean;
  readonly addresses: readonly string[];
}

/** Reads a pod's addresses from its network namespace, by any of its processes. */
export function networkOf(pod: NodePod): PodNetwork {
  const processes = processesIn(pod.cgroup);
  const own = netnsOf("self");
  for (const pid of processes) {
    const netns = netnsOf(pid);
    if (netns === undefined) continue;
    if (netns === own) return { processCount: processes.length, host: true, addresses: [] };
    const addresses = [
      ...ipv4In(readText(`/proc/${pid}/net/fib_trie`)),
      ...ipv6In(readText(`/proc/${pid}/net/if_inet6`)),
    ];
    // A sandbox that is being made has its namespace before its addresses; its first process may still be in ours.
    if (addresses.length > 0) return { processCount: processes.length, host: false, addresses };
  }
  return { processCount: processes.length, host: false, addresses: [] };
}

function netnsOf(pid: number | "self"): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/ns/net`);
  } catch {
    return undefined;
  }
}

/** Local addresses in the kernel's routing table: the line before `/32 host LOCAL`. */
export function ipv4In(fibTrie: string): string[] {
  const found = new Set<string>();
  let last = "";
  for (const line of fibTrie.split("\n")) {
    const [, address] = /\|-- (\d+\.\d+\.\d+\.\d+)/.exec(line) ?? [];
    if (address !== undefined) last = address;
    else if (line.includes("/32 host LOCAL") && !last.startsWith("127.")) found.add(last);
  }
  return [...found];
}

/** Global addresses; those of a link are the same in every pod. */
export function ipv6In(ifInet6: string): string[] {
  return ifInet6.split("\n").flatMap((line) => {
    const [hex = "", , , scope] = line.trim().split(/\s+/);
    return scope === "00" && hex.length === 32 ? [hex.replaceAll(/(.{4})(?=.)/g, "$1:")] : [];
  });
}
