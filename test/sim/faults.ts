/** Everything that can go wrong (or be ordered) in a history, as plain entries of a list that can be shortened. */
import { formatEpoch } from "../../src/failover/epoch.ts";
import type { Command } from "../../src/failover/agent-state.ts";
import type { ProfileName } from "../../src/failover/timing.ts";
import { ends } from "./network.ts";
import type { End } from "./network.ts";
import { siteKeys } from "./options.ts";
import type { SiteKey, WorldOptions } from "./options.ts";
import type { World } from "./world.ts";

export type Fault =
  | { readonly kind: "cut"; readonly from: End; readonly to: End; readonly forMs: number }
  | { readonly kind: "cut-both"; readonly from: End; readonly to: End; readonly forMs: number }
  | { readonly kind: "isolate"; readonly site: SiteKey; readonly forMs: number }
  /** Speaks and hears nothing. */
  | { readonly kind: "deaf"; readonly site: SiteKey; readonly forMs: number }
  | { readonly kind: "mute"; readonly site: SiteKey; readonly forMs: number }
  | { readonly kind: "delay"; readonly from: End; readonly to: End; readonly ms: number; readonly forMs: number }
  | { readonly kind: "loss"; readonly from: End; readonly to: End; readonly share: number; readonly forMs: number }
  | { readonly kind: "site-off"; readonly site: SiteKey; readonly forMs: number }
  | { readonly kind: "node-reboot"; readonly site: SiteKey; readonly index: number; readonly forMs: number }
  | { readonly kind: "node-cut"; readonly site: SiteKey; readonly index: number; readonly forMs: number }
  | { readonly kind: "node-freeze"; readonly site: SiteKey; readonly index: number; readonly forMs: number }
  | { readonly kind: "node-guard"; readonly site: SiteKey; readonly index: number }
  /** The site's agents answer this node's guard this late. */
  | {
      readonly kind: "node-slow";
      readonly site: SiteKey;
      readonly index: number;
      readonly ms: number;
      readonly forMs: number;
    }
  /** The machine of the leading agent. */
  | { readonly kind: "leader-freeze"; readonly site: SiteKey; readonly forMs: number }
  /** A node joins that has no guard (yet). */
  | { readonly kind: "node-unguarded"; readonly site: SiteKey }
  | { readonly kind: "agent-crash"; readonly site: SiteKey; readonly index: number; readonly forMs: number }
  | { readonly kind: "agent-pause"; readonly site: SiteKey; readonly index: number; readonly forMs: number }
  | { readonly kind: "leader-crash"; readonly site: SiteKey; readonly forMs: number }
  | { readonly kind: "leader-pause"; readonly site: SiteKey; readonly forMs: number }
  | { readonly kind: "guard-crash"; readonly site: SiteKey; readonly index: number; readonly forMs: number }
  | { readonly kind: "api-down"; readonly site: SiteKey; readonly forMs: number }
  | { readonly kind: "api-restore"; readonly site: SiteKey }
  | { readonly kind: "site-restore"; readonly site: SiteKey }
  | { readonly kind: "witness-off"; readonly forMs: number }
  | { readonly kind: "witness-pause"; readonly forMs: number }
  | { readonly kind: "witness-freeze"; readonly forMs: number }
  | { readonly kind: "witness-backup" }
  /** The disk is set back to a backup, the wall clock too, and the process starts anew. */
  | { readonly kind: "witness-rollback"; readonly clockBackS: number }
  | { readonly kind: "witness-lose-disk" }
  | { readonly kind: "witness-second"; readonly forMs: number }
  | { readonly kind: "policy"; readonly profile: ProfileName }
  | { readonly kind: "fence-cap"; readonly site: SiteKey; readonly cap: "guard" | "api" }
  | { readonly kind: "failover"; readonly to: SiteKey; readonly at: SiteKey }
  | { readonly kind: "switchover"; readonly to: SiteKey; readonly at: SiteKey }
  /** A person attests that the other site is off: done only where that is true. */
  | { readonly kind: "force-fenced"; readonly site: SiteKey }
  | { readonly kind: "abort"; readonly site: SiteKey }
  | { readonly kind: "pause" | "resume"; readonly site: SiteKey }
  /** A standby's note of what it has received is gone. */
  | { readonly kind: "note-lost"; readonly site: SiteKey }
  /** The group's object is deleted where the group runs: nothing happens anywhere else. */
  | { readonly kind: "delete"; readonly site: SiteKey }
  /** It is created (again), at the site where its workloads run. */
  | { readonly kind: "create"; readonly site: SiteKey };

export interface Entry {
  readonly atMs: number;
  readonly fault: Fault;
}

/** A history before it is run. */
export interface Plan {
  readonly options: WorldOptions;
  readonly entries: readonly Entry[];
  /** When everything is mended. */
  readonly healAtMs: number;
}

const API_STOP_MS = 500;

/** Does it now. */
export function inject(world: World, fault: Fault): void {
  world.note("FAULT", JSON.stringify(fault));
  switch (fault.kind) {
    case "cut":
      cut(world, [[fault.from, fault.to]], fault.forMs);
      return;
    case "cut-both":
      cut(world, [[fault.from, fault.to], [fault.to, fault.from]], fault.forMs); // prettier-ignore
      return;
    case "isolate":
      cut(world, [...outbound(fault.site), ...inbound(fault.site)], fault.forMs);
      return;
    case "deaf":
      cut(world, inbound(fault.site), fault.forMs);
      return;
    case "mute":
      cut(world, outbound(fault.site), fault.forMs);
      return;
    case "delay":
    case "loss":
      degrade(world, fault);
      return;
    case "site-off":
    case "node-reboot":
    case "node-cut":
    case "node-freeze":
    case "node-guard":
    case "node-unguarded":
    case "node-slow":
    case "guard-crash":
      onNodes(world, fault);
      return;
    case "agent-crash":
    case "agent-pause":
    case "leader-crash":
    case "leader-pause":
    case "leader-freeze":
      onAgents(world, fault);
      return;
    case "api-down":
      apiDown(world, fault.site, fault.forMs);
      return;
    case "api-restore":
      world.sites[fault.site].restoreApi();
      return;
    case "site-restore":
      world.sites[fault.site].restoreApi({ withDisk: true });
      return;
    case "note-lost":
      for (const g of world.groups) world.sites[fault.site].data.copy(g).caughtUp = null;
      return;
    case "delete":
    case "create":
      for (const g of world.groups) {
        if (fault.kind === "delete") world.sites[fault.site].deleteGroup(g);
        else world.sites[fault.site].createGroup(g);
      }
      return;
    case "policy":
    case "fence-cap":
      configure(world, fault);
      return;
    case "failover":
    case "switchover":
    case "force-fenced":
    case "abort":
    case "pause":
    case "resume":
      order(world, fault);
      return;
    default:
      onWitness(world, fault);
  }
}

type Pair = readonly [End, End];

function outbound(site: SiteKey): Pair[] {
  return ends.filter((end) => end !== site).map((end) => [site, end]);
}

function inbound(site: SiteKey): Pair[] {
  return ends.filter((end) => end !== site).map((end) => [end, site]);
}

function cut(world: World, pairs: readonly Pair[], forMs: number): void {
  for (const [from, to] of pairs) {
    const direction = world.network.direction(from, to);
    world.network.cut(from, to);
    world.after(forMs, () => {
      direction.cuts = Math.max(0, direction.cuts - 1);
    });
  }
}

function degrade(world: World, fault: Extract<Fault, { kind: "delay" | "loss" }>): void {
  const direction = world.network.direction(fault.from, fault.to);
  if (fault.kind === "delay") direction.extraMs = fault.ms;
  else direction.loss = fault.share;
  world.after(fault.forMs, () => {
    if (fault.kind === "delay") direction.extraMs = 0;
    else direction.loss = 0;
  });
}

type NodeFault =
  | "site-off"
  | "node-reboot"
  | "node-cut"
  | "node-freeze"
  | "node-guard"
  | "node-unguarded"
  | "node-slow"
  | "guard-crash";

function onNodes(world: World, fault: Extract<Fault, { kind: NodeFault }>): void {
  const site = world.sites[fault.site];
  if (fault.kind === "site-off") {
    site.crash();
    world.after(fault.forMs, () => site.restore());
    return;
  }
  if (fault.kind === "node-unguarded") {
    site.join();
    return;
  }
  const node = site.nodes[fault.index];
  if (node === undefined) return;
  if (fault.kind === "node-reboot") site.rebootNode(fault.index, fault.forMs);
  if (fault.kind === "node-freeze") node.freeze(fault.forMs);
  if (fault.kind === "node-guard") node.installGuard();
  if (fault.kind === "guard-crash") node.crashGuard(fault.forMs);
  if (fault.kind === "node-slow") {
    node.slowMs = fault.ms;
    world.after(fault.forMs, () => {
      node.slowMs = 0;
    });
  }
  if (fault.kind === "node-cut") {
    node.cuts += 1;
    world.after(fault.forMs, () => {
      node.cuts = Math.max(0, node.cuts - 1);
    });
  }
}

function onAgents(
  world: World,
  fault: Extract<Fault, { kind: "agent-crash" | "agent-pause" | "leader-crash" | "leader-pause" | "leader-freeze" }>,
): void {
  const site = world.sites[fault.site];
  const leader = site.leader();
  if (fault.kind === "leader-freeze") {
    site.nodes.find(({ machine }) => machine === leader?.process.machine)?.freeze(fault.forMs);
    return;
  }
  const index = "index" in fault ? fault.index : leader === undefined ? 0 : site.agents.indexOf(leader);
  if (fault.kind === "agent-crash" || fault.kind === "leader-crash") {
    site.restartAgent(index, fault.forMs);
    return;
  }
  const agent = site.agents[index];
  if (agent === undefined) return;
  const { process } = agent;
  const { life } = process;
  process.paused = true;
  world.after(fault.forMs, () => {
    if (process.life !== life) return;
    process.paused = false;
    process.resume();
  });
}

function apiDown(world: World, key: SiteKey, forMs: number): void {
  const site = world.sites[key];
  const tell = (up: boolean): void => {
    for (const agent of site.agents) for (const g of world.groups) agent.feed(g, { type: "api", up });
  };
  site.apiDowns += 1;
  world.after(API_STOP_MS, () => tell(site.apiUp));
  world.after(forMs, () => {
    site.apiDowns = Math.max(0, site.apiDowns - 1);
    tell(site.apiUp);
  });
}

function onWitness(world: World, fault: Fault): void {
  const { witness } = world;
  const first = witness.instances[0];
  if (first === undefined) return;
  const restart = (forMs: number): void => {
    witness.kill(0);
    witness.kill(1);
    world.after(forMs, () => {
      if (!first.process.alive && !(witness.instances[1]?.process.alive ?? false)) witness.boot(0, 0);
    });
  };
  if (fault.kind === "witness-off") restart(fault.forMs);
  if (fault.kind === "witness-backup") witness.backup();
  if (fault.kind === "witness-lose-disk") {
    witness.lose();
    restart(500);
  }
  if (fault.kind === "witness-rollback") {
    witness.rollback();
    witness.unixSkewS = fault.clockBackS;
    restart(500);
  }
  if (fault.kind === "witness-second") secondWitness(world, fault.forMs);
  if (fault.kind === "witness-pause") {
    for (const { process } of witness.instances) process.paused = true;
    world.after(fault.forMs, () => {
      for (const { process } of witness.instances) {
        process.paused = false;
        process.resume();
      }
    });
  }
  if (fault.kind === "witness-freeze" && !witness.machine.clock.frozen) {
    witness.machine.clock.freeze(world.t);
    world.after(fault.forMs, () => {
      witness.machine.clock.thaw(world.t);
      for (const { process } of witness.instances) process.resume();
    });
  }
}

/** A rolling update: a second process on the same store, then the first one ends. */
function secondWitness(world: World, forMs: number): void {
  const { witness } = world;
  const old = witness.instances.findIndex((host) => host.process.alive);
  if (old < 0 || witness.machine.clock.frozen) return;
  const fresh = old === 0 ? 1 : 0;
  if (witness.instances[fresh]?.process.alive === true) return;
  witness.boot(fresh, 0);
  world.after(forMs, () => {
    if (witness.instances[fresh]?.process.alive === true) witness.kill(old);
  });
}

function configure(world: World, fault: Extract<Fault, { kind: "policy" | "fence-cap" }>): void {
  if (fault.kind === "policy") {
    world.policy = { ...world.policy, timing: world.reducers.profileTiming(fault.profile) };
    world.oracle.longestLeaseMs = Math.max(world.oracle.longestLeaseMs, world.policy.timing.leaseMs);
    for (const key of siteKeys) {
      const site = world.sites[key];
      // The edit reaches the standby in the stream, later.
      world.after(key === "east" ? 0 : 700, () => {
        site.policy = world.policy;
        for (const agent of site.agents) {
          for (const g of world.groups) agent.feed(g, { type: "policy", policy: site.policy });
        }
      });
    }
    return;
  }
  const site = world.sites[fault.site];
  site.fenceCap = fault.cap;
  for (const agent of site.agents) {
    for (const g of world.groups) agent.feed(g, { type: "fence", cap: fault.cap, stopBoundMs: world.stopBoundMs });
  }
}

type Order = Extract<Fault, { kind: "failover" | "switchover" | "force-fenced" | "abort" | "pause" | "resume" }>;

function order(world: World, fault: Order): void {
  for (const g of world.groups) {
    const key = "at" in fault ? fault.at : fault.site;
    const leader = world.sites[key].leader();
    const cert = leader?.states[g]?.record.cert ?? null;
    if (leader === undefined) continue;
    const epoch = cert === null ? "none" : formatEpoch(cert.epoch);
    const nonce = `${fault.kind}@${Math.round(world.t)}/${g}`;
    if (fault.kind === "force-fenced") {
      const other = world.peerOf(key);
      // What the person attests to must be so: the other site is off, all of it.
      if (other.up || other.isRunning(g)) continue;
      leader.feed(g, { type: "command", command: { verb: "force-fenced", epoch, operator: "ada", nonce } });
      continue;
    }
    const command: Command =
      fault.kind === "failover" || fault.kind === "switchover"
        ? { verb: fault.kind, to: fault.to, epoch, nonce }
        : { verb: fault.kind, nonce };
    leader.feed(g, { type: "command", command });
  }
}

/** Everything that is broken is mended. */
export function heal(world: World): void {
  world.note("FAULT", "everything is mended");
  world.network.heal();
  const { witness } = world;
  if (witness.machine.clock.frozen) witness.machine.clock.thaw(world.t);
  for (const { process } of witness.instances) {
    process.paused = false;
    process.resume();
  }
  if (!witness.instances.some((host) => host.process.alive)) witness.boot(0, 0);
  for (const key of siteKeys) {
    const site = world.sites[key];
    site.apiDowns = 0;
    site.restore();
    for (const node of site.nodes) {
      node.cuts = 0;
      node.slowMs = 0;
      if (!node.machine.up) node.boot();
    }
    for (const agent of site.agents) {
      if (!agent.process.alive && agent.process.machine.up) agent.process.start();
      agent.process.paused = false;
      agent.process.resume();
      for (const g of world.groups) agent.feed(g, { type: "api", up: true });
    }
  }
}
