import type { Clock } from "../clock.ts";
import type { Log } from "../telemetry/log.ts";
import { isFrozen, killAll, processesIn, setFrozen, type CgroupTree } from "./cgroups.ts";
import { networkOf, type NodePod } from "./pods.ts";

/** How a pod of a group is to be treated now. */
export type Treatment =
  | { readonly type: "open" }
  /** May run and talk until then, on the guard's clock. */
  | { readonly type: "held"; readonly untilMs: number }
  | { readonly type: "down" };

export interface Ward {
  readonly pod: NodePod;
  readonly treatment: Treatment;
}

export interface Inspection {
  /** Pods that are to be down and still have processes, after they were killed once more. */
  readonly alive: readonly NodePod[];
  /** Ends by address, for the kernel: 0 for one that is cut. */
  readonly ends: ReadonlyMap<string, number>;
  readonly runningPods: number;
  readonly uncutPods: number;
}

export interface WardenOptions {
  readonly tree: CgroupTree;
  readonly clock: Clock;
  readonly log: Log;
}

/** A process that is being put into a pod's network is in the node's for a moment; a pod that stays there belongs there. */
const hostSettleMs = 3000;

/** Stops pods, keeps them down, lets them go: by what they are to be, not by what happened. */
export class Warden {
  readonly #options: WardenOptions;
  /** Pods that were seen free to run since this process started, by uid: they need no further look. */
  readonly #free = new Set<string>();
  /** Pods that are held back by this process, for as long as they are its business. */
  readonly #held = new Set<string>();
  /** Since when a pod is seen in the node's network. */
  readonly #hostSince = new Map<string, number>();
  /** Addresses stay known while a pod has no process: a container that is started again keeps them. */
  readonly #addresses = new Map<string, readonly string[]>();

  constructor(options: WardenOptions) {
    this.#options = options;
  }

  /** Brings every pod to what it is to be. Synchronous: what is to be down has been killed when this returns. */
  inspect(wards: readonly Ward[]): Inspection {
    const alive: NodePod[] = [];
    // Kills first: everything else can wait.
    for (const { pod, treatment } of wards) if (treatment.type === "down" && !this.#keepDown(pod)) alive.push(pod);
    const ends = new Map<string, number>();
    let runningPods = 0;
    let uncutPods = 0;
    for (const { pod, treatment } of wards) {
      if (treatment.type !== "down") this.#letGo(pod);
      if (treatment.type === "open") continue;
      const { addresses, uncut, running } = this.#networkOf(pod);
      if (running) runningPods++;
      if (uncut) uncutPods++;
      const end = treatment.type === "down" ? 0 : treatment.untilMs;
      // Two pods cannot have one address; where one is still listed as the last one went, the cut one does not count.
      for (const address of addresses) ends.set(address, Math.max(end, ends.get(address) ?? 0));
    }
    this.#forgetBut(new Set(wards.map(({ pod }) => pod.uid)));
    return { alive, ends, runningPods, uncutPods };
  }

  /** Lets a pod run that nobody guards any more; one that was never held back here is not touched. */
  release(pod: NodePod): void {
    if (this.#held.delete(pod.uid)) setFrozen(this.#options.tree, pod.cgroup, false);
  }

  /** Returns whether nothing of the pod is left. */
  #keepDown(pod: NodePod): boolean {
    const { tree, log } = this.#options;
    this.#free.delete(pod.uid);
    this.#held.add(pod.uid);
    const processes = processesIn(pod.cgroup);
    if (processes.length > 0) {
      log.info({ pod: `${pod.namespace}/${pod.name}`, processes: processes.length }, "killing a pod that may not run");
      this.#remember(pod);
      killAll(tree, pod.cgroup);
    }
    const gone = processesIn(pod.cgroup).length === 0;
    // Frozen, what the kubelet starts here halts at once, and is killed by the next look.
    if (gone && !isFrozen(tree, pod.cgroup)) setFrozen(tree, pod.cgroup, true);
    return gone;
  }

  #letGo(pod: NodePod): void {
    if (this.#free.has(pod.uid)) return;
    const { tree } = this.#options;
    // Also what an earlier process has held back.
    if (isFrozen(tree, pod.cgroup)) setFrozen(tree, pod.cgroup, false);
    this.#held.delete(pod.uid);
    this.#free.add(pod.uid);
  }

  #remember(pod: NodePod): void {
    const { addresses } = networkOf(pod);
    if (addresses.length > 0) this.#addresses.set(pod.uid, addresses);
  }

  #networkOf(pod: NodePod): {
    readonly addresses: readonly string[];
    readonly uncut: boolean;
    readonly running: boolean;
  } {
    const nowMs = this.#options.clock.monotonicMs();
    const network = networkOf(pod);
    if (network.addresses.length > 0) this.#addresses.set(pod.uid, network.addresses);
    const running = network.processCount > 0;
    if (!network.host) this.#hostSince.delete(pod.uid);
    else if (!this.#hostSince.has(pod.uid)) this.#hostSince.set(pod.uid, nowMs);
    const since = this.#hostSince.get(pod.uid);
    const uncut = since !== undefined && nowMs - since >= hostSettleMs;
    return { addresses: this.#addresses.get(pod.uid) ?? [], uncut, running };
  }

  #forgetBut(uids: ReadonlySet<string>): void {
    for (const known of [this.#free, this.#held, this.#hostSince, this.#addresses]) {
      for (const uid of known.keys()) if (!uids.has(uid)) known.delete(uid);
    }
  }
}
