/** One site: API server with what is durable in it, two agents and their election, nodes, data. */
import type { AgentState, Policy, SiteRecord } from "../../src/failover/agent-state.ts";
import type { FenceCap, GuardAnswer, GuardPoll } from "../../src/failover/messages.ts";
import { AgentHost } from "./agent-host.ts";
import { DataPath } from "./data-path.ts";
import { Node } from "./node.ts";
import { nodesPerSite } from "./options.ts";
import type { SiteKey } from "./options.ts";
import type { World } from "./world.ts";

const RECONCILE_MS = 250;
const BACKUP_MS = 7000;
/** The end of a group is waited for this long; in the product far longer than any history is. */
const RELEASE_MAX_MS = 30_000;

export class Site {
  readonly world: World;
  readonly key: SiteKey;
  readonly nodes: Node[] = [];
  readonly agents: AgentHost[];
  readonly data: DataPath;
  policy: Policy;
  fenceCap: FenceCap;
  up = true;
  apiDowns = 0;
  /** In the API server: the records, whether the workloads are scaled up, who leads. */
  records: SiteRecord[] = [];
  desired: boolean[] = [];
  readonly unguardedAllowed: boolean[] = [];
  /** With them: see {@link noteRunning}. */
  ranIn: (readonly number[])[] = [];
  /** The failover protocol runs for the group at this site. */
  present: boolean[] = [];
  /** The group was created at this site. */
  readonly source: boolean[] = [];
  /** The group's object was deleted at this site, which runs it. */
  readonly deleted: boolean[] = [];
  /** The standby has the group's end on its disk; at the standby: it is on this disk. */
  readonly ending: boolean[] = [];
  /** What is left of a group that ended here, for guards that were away. */
  readonly released: (AgentState | null)[] = [];
  private readonly endingSince: number[] = [];
  leaseHolder: AgentHost | null = null;
  private leaseRenewedAt = -Infinity;
  private backups: Pick<Site, "records" | "desired" | "present" | "ranIn">[] = [];
  /** Where the answer to the poll that is being worked on goes. */
  answer: ((answer: GuardAnswer) => void) | null = null;

  constructor(world: World, key: SiteKey) {
    this.world = world;
    this.key = key;
    this.policy = world.policy;
    this.fenceCap = world.options.fenceCap;
    const guarded = this.fenceCap === "guard";
    for (let i = 0; i < nodesPerSite; i++) this.nodes.push(new Node(this, i, guarded));
    this.agents = this.nodes.slice(0, 2).map((node, i) => new AgentHost(this, node, i));
    this.data = new DataPath(this);
    for (const g of world.groups) {
      this.records[g] = world.reducers.emptyRecord;
      this.source[g] = (g % 2 === 0) === (this.key === "east");
      this.desired[g] = this.isSource(g);
      this.present[g] = true;
      this.deleted[g] = false;
      this.ending[g] = false;
      this.released[g] = null;
    }
  }

  isSource(g: number): boolean {
    return this.source[g] === true;
  }

  /** A person deletes the group where it runs. */
  deleteGroup(g: number): void {
    const phase = this.leader()?.states[g]?.phase.type;
    if (!this.apiUp || this.present[g] !== true || (phase !== "Active" && phase !== "Adopting")) return;
    this.deleted[g] = true;
    this.world.exists[g] = false;
  }

  /** A person creates it, where its workloads are; also while its end is on its way. */
  createGroup(g: number): void {
    const { world, deleted } = this;
    if (!this.apiUp || world.exists[g] === true) return;
    if (deleted[g] === true) {
      world.exists[g] = true;
      this.setDeleted(g, false);
      return;
    }
    const peer = world.peerOf(this.key);
    const isThere = peer.present[g] === true && peer.ending[g] !== true;
    if (this.present[g] === true || isThere || peer.desired[g] === true || peer.isRunning(g)) return;
    world.exists[g] = true;
    this.desired[g] = true;
    this.beginGroup(g, true);
  }

  /** The standby has what was deleted here on its disk, or what is there again. */
  private setDeleted(g: number, deleted: boolean): void {
    this.deleted[g] = deleted;
    if (!deleted) this.setEnding(g, false);
  }

  setEnding(g: number, ending: boolean): void {
    if (this.ending[g] === ending) return;
    this.ending[g] = ending;
    for (const agent of this.agents) agent.feed(g, { type: "ending", ending });
  }

  /** The other site runs it: what was deleted here is there again, unless that site knows. */
  movedAway(g: number): void {
    if (this.deleted[g] !== true) return;
    if (this.world.peerOf(this.key).ending[g] !== true) this.world.exists[g] = true;
    this.setDeleted(g, false);
  }

  /** The group's history begins at this site, with nothing remembered of an earlier one. */
  beginGroup(g: number, source: boolean): void {
    this.present[g] = true;
    this.source[g] = source;
    this.deleted[g] = false;
    this.ending[g] = false;
    this.released[g] = null;
    const incarnation = Math.max(...this.records.map((record) => record.incarnation)) + 1;
    const record = { ...(this.records[g] ?? this.world.reducers.emptyRecord), incarnation };
    this.records[g] = record;
    this.world.note(this.key, `g${g} begins here`);
    const leader = this.leaseHolder;
    leader?.process.deliver(() => {
      // One that slept meanwhile finds that another agent has written.
      if (leader.leading && this.records[g]?.incarnation === record.incarnation) leader.begin(g, record);
    });
  }

  /** The agent that leads forgets the group; one that sleeps goes on to believe in it. */
  private forget(g: number): void {
    const leader = this.leaseHolder;
    if (leader === null) return;
    leader.intents[g] = null;
    leader.states[g] = leader.leading ? (this.released[g] ?? null) : null;
  }

  /** Nobody lets go of the group for too long: its end is no longer waited for. */
  private giveUp(g: number): void {
    const { world } = this;
    if (this.ending[g] !== true) {
      this.endingSince[g] = world.t;
      return;
    }
    if (world.t - (this.endingSince[g] ?? 0) < RELEASE_MAX_MS) return;
    world.note(this.key, `g${g} is given up`);
    const state = this.leader()?.states[g] ?? null;
    const held = this.deleted[g] === true;
    this.present[g] = false;
    this.deleted[g] = false;
    this.ending[g] = false;
    this.released[g] = held && state !== null ? { ...state, phase: { type: "Released" } } : null;
    // The standby keeps what it knows: it may have promised.
    if (held) this.records[g] = { ...world.reducers.emptyRecord, incarnation: this.records[g]?.incarnation ?? 0 };
    this.forget(g);
  }

  /** The witness has let go of the group. */
  releasedGroup(g: number, agent: AgentHost, record: SiteRecord): void {
    const state = agent.states[g];
    if (state?.phase.type !== "Released" || this.present[g] !== true) return;
    // The end is a write like any other: one that slept through it, and through a new beginning, ends nothing.
    if (!this.write(g, record)) {
      agent.states[g] = null;
      return;
    }
    const { cert } = state.record;
    // What was never granted to anybody runs where it was created.
    const held = cert === null ? this.isSource(g) : cert.holder === this.key;
    if (held) this.desired[g] = true;
    if (held && this.world.exists[g] === true) {
      this.beginGroup(g, true);
      return;
    }
    this.present[g] = false;
    this.deleted[g] = false;
    this.ending[g] = false;
    this.released[g] = held ? state : null;
    this.forget(g);
    this.world.oracle.onReleased(g, this.key, held);
  }

  get apiUp(): boolean {
    return this.up && this.apiDowns === 0;
  }

  apiReachable(agent: AgentHost): boolean {
    return this.apiUp && agent.process.running;
  }

  begin(): void {
    const { world } = this;
    for (const node of this.nodes) node.boot();
    for (const g of world.groups) {
      if (this.isSource(g)) for (const node of this.nodes) node.bind(g);
    }
    world.every(RECONCILE_MS, () => this.reconcile());
    world.every(world.timing.electionMs / 4, () => this.elect());
    this.data.begin();
    world.every(BACKUP_MS, () => {
      if (!this.apiUp) return;
      const { records, desired, present, ranIn } = this;
      this.backups.push({ records: [...records], desired: [...desired], present: [...present], ranIn: [...ranIn] });
    });
  }

  /** The agent that peers and guards reach. */
  leader(): AgentHost | undefined {
    const leading = this.agents.filter((agent) => agent.leading && agent.process.alive);
    if (leading.length <= 1) return leading[0];
    const named = leading.find((agent) => agent === this.leaseHolder);
    // While a former leader still believes in itself, a connection may end at either.
    return this.world.random.chance(0.2) ? leading[this.world.random.integer(leading.length)] : (named ?? leading[0]);
  }

  /** The kube Lease: renewed by its holder, taken by another when it has not been for long enough. */
  private elect(): void {
    const { world } = this;
    if (!this.apiUp) return;
    const holder = this.leaseHolder;
    if (holder !== null && holder.leading && holder.process.running) {
      this.leaseRenewedAt = world.t;
    }
    for (const agent of this.agents) {
      if (agent.leading && agent !== holder && agent.process.running) agent.stopLeading("another agent has the Lease");
    }
    if (world.t - this.leaseRenewedAt < world.timing.electionMs * 0.6) return;
    const candidates = this.agents.filter((agent) => agent.process.running && !agent.leading);
    const next = candidates[world.random.integer(Math.max(1, candidates.length))];
    if (next !== undefined) this.promote(next, 0);
  }

  private promote(agent: AgentHost, above: number): void {
    const { world } = this;
    this.leaseHolder = agent;
    this.leaseRenewedAt = world.t;
    let incarnation = above;
    for (const record of this.records) incarnation = Math.max(incarnation, record.incarnation);
    this.records = this.records.map((record) => ({ ...record, incarnation: incarnation + 1 }));
    const { records } = this;
    const { life } = agent.process;
    world.after(world.random.between(5, 60), () => {
      if (agent.process.life === life) agent.process.deliver(() => agent.lead(records));
    });
  }

  /** Someone knows a higher incarnation: the one with the Lease starts again above it, any other stops. */
  deposed(agent: AgentHost, incarnation: number): void {
    if (!agent.leading || !this.apiUp) return;
    const named = agent === this.leaseHolder;
    agent.stopLeading(`incarnation ${incarnation} is known`);
    if (named) this.promote(agent, incarnation);
  }

  /** Compare-and-swap on the incarnation. */
  write(g: number, record: SiteRecord): boolean {
    const stored = this.records[g];
    if (stored !== undefined && stored.incarnation > record.incarnation) return false;
    this.records[g] = record;
    return true;
  }

  /**
   * etcd of the site comes back from a backup: everything in the API server is as it was then; with its agent's disk,
   * so is what that knew of groups that have ended since.
   */
  restoreApi({ withDisk = false }: { readonly withDisk?: boolean } = {}): void {
    const found = this.backups[this.world.random.integer(Math.max(1, this.backups.length))];
    if (found === undefined) return;
    this.world.note(this.key, "API server restored from a backup");
    // What ran here since is not known: the runner treats it as divergence.
    const then = found.records.map((record) =>
      record.cert === null ? record : { ...record, divergence: { cert: record.cert, saved: false } },
    );
    for (const g of this.world.groups) {
      // The agent's own disk has what began since.
      if (found.present[g] !== true) continue;
      const isOver = this.present[g] !== true;
      const ranThere = then[g]?.cert?.holder === this.world.peerOf(this.key).key;
      // A deleted group that comes back where it ran, to an agent that has forgotten it, is for a person.
      if (isOver && !ranThere && !withDisk) continue;
      this.records[g] = then[g] ?? this.world.reducers.emptyRecord;
      this.data.recordSetBack(g, this.records[g].cert);
      // At its standby nothing begins with the mirror alone: the spec that counts was in the journal, which has ended.
      if (withDisk) this.present[g] = true;
    }
    this.desired = [...found.desired];
    this.ranIn = [...found.ranIn];
    for (const node of this.nodes) if (!node.guarded) node.excuse();
    // The agents notice the resourceVersion that went backwards and start anew.
    for (const agent of this.agents) agent.stopLeading("the API server went back in time");
    this.leaseHolder = null;
    this.leaseRenewedAt = -Infinity;
  }

  /** What the leader's runner and the site's controllers do while the API server is there. */
  private reconcile(): void {
    if (!this.apiUp) return;
    const leader = this.leaseHolder;
    for (const g of this.world.groups) {
      const intent = leader !== null && leader.leading && leader.process.running ? leader.intents[g] : null;
      if (intent !== null && intent !== undefined) this.desired[g] = intent;
      this.schedule(g);
      this.giveUp(g);
      if (leader?.leading === true) {
        const withPods = this.nodes.filter((node) => node.pod(g).bound).map((node) => node.name);
        leader.feed(g, { type: "nodes", all: this.nodes.map((node) => node.name), withPods });
      }
    }
  }

  private schedule(g: number): void {
    for (const node of this.nodes) {
      if (this.desired[g] !== true) {
        if (node.machine.up) node.unbind(g);
      } else if (node.machine.up && !node.machine.clock.frozen && this.mayBind(node, g)) node.bind(g);
    }
  }

  /** Admission on binding: only nodes whose guard keeps the group's pods, unless unguarded ones are allowed. */
  private mayBind(node: Node, g: number): boolean {
    if (node.placeable[g] === true || this.unguardedAllowed[g] === true) return true;
    return this.leaseHolder?.states[g]?.record.cert === null;
  }

  pollArrived(node: Node, g: number, poll: GuardPoll, answer: (answer: GuardAnswer) => void): void {
    const leader = this.leader();
    if (leader === undefined || !node.machine.up) return;
    leader.guardPolled(g, poll, (said) => {
      const state = leader.states[g];
      if (state) node.placeable[g] = this.world.reducers.mayPlace(state, node.name);
      answer(said);
    });
  }

  /** Power off. */
  crash(): void {
    if (!this.up) return;
    this.world.note(this.key, "all power off");
    this.up = false;
    for (const agent of this.agents) agent.kill();
    for (const node of this.nodes) node.crash();
    this.leaseHolder = null;
  }

  restore(): void {
    if (this.up) return;
    this.world.note(this.key, "power on");
    this.up = true;
    this.leaseRenewedAt = -Infinity;
    for (const node of this.nodes) node.boot();
    for (const agent of this.agents) agent.process.start();
  }

  rebootNode(index: number, forMs: number): void {
    const node = this.nodes[index];
    if (node === undefined || !this.up || !node.machine.up) return;
    this.world.note(node.name, "reboots");
    for (const agent of this.agents) if (agent.process.machine === node.machine) agent.kill();
    node.crash();
    this.world.after(forMs, () => {
      if (!this.up || node.machine.up) return;
      node.boot();
      for (const agent of this.agents) if (agent.process.machine === node.machine) agent.process.start();
    });
  }

  restartAgent(index: number, forMs: number): void {
    const agent = this.agents[index];
    if (agent === undefined || !agent.process.alive) return;
    this.world.note(agent.name, "killed");
    agent.kill();
    this.world.after(forMs, () => {
      if (this.up && agent.process.machine.up && !agent.process.alive) agent.process.start();
    });
  }

  /** Between which boots of its nodes the group runs here, by the agent's last word; nothing is written meanwhile. */
  noteRunning(g: number, runs: boolean): void {
    if (this.apiUp) this.ranIn[g] = runs ? this.nodes.map((node) => node.machine.boots) : [];
  }

  /** One of the nodes has not been booted since the group was started here. */
  heldOn(g: number): boolean {
    return this.nodes.some((node) => node.machine.up && node.machine.boots === this.ranIn[g]?.[node.index]);
  }

  /** A node without a guard joins; its pods are gated by a file that only a guard writes, unless that is given up. */
  join(): void {
    const node = new Node(this, this.nodes.length, false);
    this.nodes.push(node);
    if (this.up) node.boot();
  }

  isRunning(g: number): boolean {
    return this.nodes.some((node) => node.isRunning(g));
  }
}
