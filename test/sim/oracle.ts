/** The invariants, from outside: what the parties believe is never asked, only what runs and what is durable. */
import { compareCert, formatCert, isNewer } from "../../src/failover/epoch.ts";
import type { Cert } from "../../src/failover/epoch.ts";
import type { Commit, Grant } from "../../src/failover/messages.ts";
import type { WitnessGroup } from "../../src/failover/witness-state.ts";
import type { AgentHost } from "./agent-host.ts";
import type { Node } from "./node.ts";
import { siteKeys } from "./options.ts";
import type { SiteKey } from "./options.ts";
import type { Site } from "./site.ts";
import type { World } from "./world.ts";

export type Invariant = "I1" | "I2" | "I3" | "I4" | "I5" | "I6" | "I7" | "I8" | "L1" | "L2" | "L3" | "L4";

export interface Violation {
  readonly invariant: Invariant;
  readonly atMs: number;
  readonly what: string;
}

const SAMPLE_MS = 250;

export class Oracle {
  private readonly world: World;
  readonly violations: Violation[] = [];
  /** A history ends at its first violation. */
  stopped = false;
  /** Mutant of the host: answers without the transaction on the term. */
  skipsTerm = false;
  samples = 0;
  exactlyOne = 0;
  takeovers = 0;
  switchovers = 0;
  excusedOverlaps = 0;
  releases = 0;
  readonly phases = new Set<string>();
  private readonly holders = new Map<string, string>();
  /** Forgotten when the witness loses its store: the cooldown is a courtesy, and goes with it. */
  readonly automaticAt: number[] = [];
  lastOrder: { readonly ok: boolean; readonly code: string } | null = null;

  constructor(world: World) {
    this.world = world;
  }

  begin(): void {
    this.world.every(SAMPLE_MS, () => this.sample());
  }

  fail(invariant: Invariant, what: string): void {
    const { t } = this.world;
    this.violations.push({ invariant, atMs: t, what });
    this.world.note("ORACLE", `${invariant}: ${what}`);
    this.stopped = true;
  }

  onPhase(site: SiteKey, phase: string): void {
    this.phases.add(`${site}:${phase}`);
  }

  /** A group has ended at this site; where it ran it goes on, and nowhere else. */
  onReleased(g: number, site: SiteKey, held: boolean): void {
    this.releases += held ? 1 : 0;
    this.world.note("ORACLE", `g${g} has ended at ${site}`);
  }

  onOutcome(ok: boolean, code: string): void {
    this.lastOrder = { ok, code };
  }

  private sample(): void {
    for (const g of this.world.groups) {
      this.samples += 1;
      const running = siteKeys.filter((key) => this.world.sites[key].isRunning(g));
      if (running.length === 1) this.exactlyOne += 1;
      this.check(g);
      this.noteCerts(g);
      this.checkLeases(g);
      this.checkBlocked(g);
    }
  }

  /** I1: never at two sites at once. */
  check(g: number): void {
    const { world } = this;
    const at = siteKeys.map((key) => world.sites[key].nodes.filter((node) => node.isRunning(g)));
    const [east, west] = at;
    if (east === undefined || west === undefined || east.length === 0 || west.length === 0) return;
    const blamed = (nodes: Node[]): Node[] => nodes.filter((node) => node.pod(g).excusedUntil < world.t);
    if (blamed(east).length === 0 || blamed(west).length === 0) {
      this.excusedOverlaps += 1;
      return;
    }
    this.fail("I1", `g${g} runs on ${blamed(east)[0]?.name} and on ${blamed(west)[0]?.name}`);
  }

  /** I2: one epoch, one holder. */
  private noteCerts(g: number): void {
    for (const key of siteKeys) {
      for (const agent of this.world.sites[key].agents) this.noteCert(g, agent.states[g]?.record.cert ?? null);
      this.noteCert(g, this.world.sites[key].records[g]?.cert ?? null);
    }
  }

  private noteCert(g: number, cert: Cert | null): void {
    if (cert === null) return;
    const { generation, counter, forcedBy } = cert.epoch;
    const epoch = `g${g}/${generation}/${counter}/${forcedBy}`;
    const holder = `${cert.holder}/${cert.epoch.nonce}`;
    const known = this.holders.get(epoch);
    if (known === undefined) this.holders.set(epoch, holder);
    else if (known !== holder) this.fail("I2", `epoch ${epoch} is held by ${known} and ${holder}`);
  }

  /** Of any policy in force so far. */
  longestLeaseMs = 0;

  /** I3: what runs has a lease or a disarm, or has lost it no longer than τ + P + S ago. */
  private readonly covered = new Map<string, number>();
  /** When a node's guard last knew nothing of the group. */
  private readonly unknowing = new Map<string, number>();

  private checkLeases(g: number): void {
    const { world } = this;
    const { timing } = world;
    const leaseMs = Math.max(timing.leaseMs, this.longestLeaseMs);
    for (const key of siteKeys) {
      const site = world.sites[key];
      const name = `${key}/g${g}`;
      // A disarm is in force while any grantor has it, whatever its own site makes of it.
      const recorded =
        (site.records[g]?.disarm ?? null) !== null ||
        world.witness.store.records.get(`g${g}`)?.veto?.site === key ||
        (world.peerOf(key).records[g]?.veto ?? null) !== null;
      // Nothing is gated where no guard knows of the group (any more).
      for (const node of site.nodes) if (!knowsOf(site, node, g)) this.unknowing.set(`${node.name}/g${g}`, world.t);
      const ungated = site.nodes.every((node) => !knowsOf(site, node, g));
      // A guard that was cut off has not heard yet that the group has ended, which stops nothing.
      const ended = (site.released[g] ?? null) !== null;
      if (ungated || ended || recorded || site.agents.some((agent) => this.covers(agent, g)))
        this.covered.set(name, world.t);
      const coveredAtMs = this.covered.get(name) ?? 0;
      // A guard's copy is never longer than the agent's lease; what the sample can miss is one sample.
      const bound =
        (timing.stopBoundMs + world.stopMs - timing.stopMs + timing.epsilonMs) / (1 - timing.rho) +
        2 * SAMPLE_MS +
        leaseMs;
      const nodes = site.nodes.filter(
        (node) => knowsOf(site, node, g) && node.isRunning(g) && node.pod(g).excusedUntil < world.t,
      );
      for (const { name: node } of nodes) {
        // Nobody counts on a guard that has not been heard; one that hears of the group late stops it from then on.
        const since = world.t - Math.max(coveredAtMs, this.unknowing.get(`${node}/g${g}`) ?? 0);
        if (since > bound) this.fail("I3", `g${g} runs on ${node} ${Math.round(since)} ms after its last lease`);
      }
    }
  }

  /** What an agent had until its end counts, however shortly it led: no sample may have seen it. */
  onForgetting(agent: AgentHost): void {
    for (const g of this.world.groups) {
      if (this.covers(agent, g)) this.covered.set(`${agent.site.key}/g${g}`, this.world.t);
    }
  }

  private covers(agent: AgentHost, g: number): boolean {
    const state = agent.states[g];
    if (!state) return false;
    if (state.record.cert === null) return true;
    const { phase } = state;
    if (phase.type === "Adopting" || (phase.type === "Acquiring" && phase.ungated)) return true;
    if (phase.type !== "Active" && phase.type !== "Quiescing") return false;
    const now = agent.process.machine.clock.now(this.world.t);
    return state.record.disarm !== null || Math.max(state.witness.leaseEndMs, state.peerGrantor.leaseEndMs) > now;
  }

  /** L4: a state that only a person can leave says why, and what to do. */
  private checkBlocked(g: number): void {
    for (const key of siteKeys) {
      for (const { name, states } of this.world.sites[key].agents) {
        const phase = states[g]?.phase;
        if (phase?.type !== "Blocked" || (phase.reason !== "" && phase.action !== "")) continue;
        this.fail("L4", `${name} is Blocked: "${phase.reason}", and a person is to: "${phase.action}"`);
      }
    }
  }

  /** I2, I4, L3 at the moment the witness commits a new epoch. */
  onGrant(message: Grant | Commit, before: WitnessGroup): void {
    const { world } = this;
    const g = Number(message.group.slice(1));
    const holder = message.cert.holder as SiteKey;
    const other = world.peerOf(holder);
    this.noteCert(g, message.cert);
    this.covered.set(`${holder}/g${g}`, world.t);
    world.note("ORACLE", `${message.type} ${formatCert(message.cert)}`);
    const moved = before.record.cert !== null && before.record.cert.holder !== holder;
    if (!moved) return;
    if (message.type === "Commit") {
      this.switchovers += 1;
      this.checkCommit(g, holder);
      return;
    }
    this.takeovers += 1;
    const blamed = other.nodes.filter((node) => node.isRunning(g) && node.pod(g).excusedUntil < world.t);
    if (blamed.length > 0) this.fail("I4", `${holder} is granted while ${blamed[0]?.name} still runs`);
    if (before.record.veto !== null) this.fail("I4", "granted over a recorded disarm");
    if (message.kind === "takeover") this.noteAutomatic();
  }

  private noteAutomatic(): void {
    const { world } = this;
    const last = this.automaticAt.at(-1);
    const { cooldownMs } = world.policy;
    if (last !== undefined && world.groups.length === 1 && world.t - last < cooldownMs * 0.97) {
      this.fail("L3", `automatic takeover ${Math.round(world.t - last)} ms after the last one`);
    }
    this.automaticAt.push(world.t);
  }

  /** I6: nothing that the source has is missing at the target. */
  private checkCommit(g: number, to: SiteKey): void {
    const { world } = this;
    const from = world.peerOf(to);
    if (from.isRunning(g)) this.fail("I6", `committed while ${from.key} still runs`);
    if (from.data.hash(g) !== world.sites[to].data.hash(g)) {
      this.fail("I6", `committed with ${world.sites[to].data.hash(g)} where the source has ${from.data.hash(g)}`);
    }
  }

  /** I5 and I8 when a standby overwrites what it has. */
  onApply(
    g: number,
    site: SiteKey,
    copy: { cert: Cert | null; dirty: boolean; saved: boolean },
    cert: Cert | null,
  ): void {
    if (compareCert(cert, copy.cert) === "older") {
      this.fail("I5", `${site} applies ${formatCert(cert)} over ${formatCert(copy.cert)}`);
    }
    if (copy.dirty && !copy.saved && this.world.t > 0 && copy.cert !== null) {
      this.fail("I8", `${site} overwrites writes of its own to g${g} that are in no snapshot`);
    }
  }

  /** I7: on a guarded node a pod starts only while its guard holds. */
  onPodStart(g: number, node: Node): void {
    const mode = node.states[g]?.mode;
    const granted = node.records[g]?.cert !== null && node.records[g] !== null;
    if (node.guarded && granted && mode !== "leased" && mode !== "free") {
      this.fail("I7", `a pod starts on ${node.name} while its guard is ${mode ?? "not there"}`);
    }
    this.check(g);
  }
}

/** What a guard still holds of a group of this name that has ended is no part of the present one. */
function knowsOf(site: Site, node: Node, g: number): boolean {
  const cert = node.records[g]?.cert ?? null;
  return cert !== null && isNewer(cert, site.records[g]?.released ?? null);
}
