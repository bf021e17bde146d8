/** One site: API server with what is durable in it, two agents and their election, nodes, data. */
import type { Policy, SiteRecord } from "../../src/failover/agent-state.ts";
import type { FenceCap, GuardAnswer, GuardPoll } from "../../src/failover/messages.ts";
import { AgentHost } from "./agent-host.ts";
import { DataPath } from "./data-path.ts";
import { Node } from "./node.ts";
import { nodesPerSite } from "./options.ts";
import type { SiteKey } from "./options.ts";
import type { World } from "./world.ts";

const RECONCILE_MS = 250;
const BACKUP_MS = 7000;

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
  leaseHolder: AgentHost | null = null;
  private leaseRenewedAt = -Infinity;
  private backups: { records: SiteRecord[]; desired: boolean[] }[] = [];
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
      this.desired[g] = this.isSource(g);
    }
  }

  isSource(g: number): boolean {
    return (g % 2 === 0) === (this.key === "east");
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
      if (this.apiUp) this.backups.push({ records: [...this.records], desired: [...this.desired] });
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

  /** etcd of the site comes back from a backup: everything in the API server is as it was then. */
  restoreApi(): void {
    const found = this.backups[this.world.random.integer(Math.max(1, this.backups.length))];
    if (found === undefined) return;
    this.world.note(this.key, "API server restored from a backup");
    // What ran here since is not known: the runner treats it as divergence.
    this.records = found.records.map((record) =>
      record.cert === null ? record : { ...record, divergence: { cert: record.cert, saved: false } },
    );
    this.desired = [...found.desired];
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

  /** Admission on binding: only nodes whose guard has been heard, unless unguarded ones are allowed. */
  private mayBind(node: Node, g: number): boolean {
    if (node.guarded || this.unguardedAllowed[g] === true) return true;
    return this.leaseHolder?.states[g]?.record.cert === null;
  }

  pollArrived(node: Node, g: number, poll: GuardPoll, answer: (answer: GuardAnswer) => void): void {
    const leader = this.leader();
    if (leader !== undefined && node.machine.up) leader.guardPolled(g, poll, answer);
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

  /** By the nodes' boot ids: pods run that have never stopped since the site got its certificate. */
  heldOn(g: number): boolean {
    return this.nodes.some((node) => node.pod(g).running && node.pod(g).excusedUntil < 0);
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
