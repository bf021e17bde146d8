/** The witness's processes and their store. Two processes may be up at once; the store decides between them. */
import type { FromWitness, ToWitness } from "../../src/failover/messages.ts";
import type {
  WitnessGroup,
  WitnessGroupRecord,
  WitnessInstance,
  WitnessTerm,
} from "../../src/failover/witness-state.ts";
import { Machine, Process } from "./machine.ts";
import type { SiteKey } from "./options.ts";
import type { World } from "./world.ts";

interface Store {
  term: WitnessTerm | null;
  records: Map<string, WitnessGroupRecord>;
}

interface Instance {
  readonly process: Process;
  instance: WitnessInstance | null;
  readonly groups: Map<string, WitnessGroup>;
}

/** Unix time at the start of every history, in seconds. */
const UNIX_START_S = 1_700_000_000;
const RESTART_MS = 300;

export class WitnessHost {
  private readonly world: World;
  readonly machine: Machine;
  readonly instances: Instance[] = [];
  store: Store = { term: null, records: new Map() };
  private readonly backups: Store[] = [];
  /** Seconds by which the wall clock is set back. */
  unixSkewS = 0;
  /** Mutant of the host: what is answered is on disk this much later, and never when the process dies first. */
  commitsAfterMs = 0;
  private nonces = 0;
  private readonly connections = new Map<SiteKey, { host: Instance; cuts: number }>();

  constructor(world: World) {
    this.world = world;
    this.machine = new Machine("witness", world.clock());
    for (const name of ["witness-0", "witness-1"]) {
      const process = new Process(name, this.machine, world.queue, () => {});
      this.instances.push({ process, instance: null, groups: new Map() });
    }
  }

  begin(): void {
    this.boot(0, 0);
    const second = this.instances[1];
    second?.process.kill();
  }

  private now(): number {
    return this.machine.clock.now(this.world.t);
  }

  boot(index: number, heard: number): void {
    const host = this.instances[index];
    if (host === undefined) return;
    const { world } = this;
    host.process.start();
    this.nonces += 1;
    const unixSeconds = UNIX_START_S + world.t / 1000 - this.unixSkewS;
    const boot = { stored: this.store.term, unixSeconds, heard, nonce: `n${this.nonces}` };
    const { instance, term } = world.reducers.bootWitness(boot, this.now());
    this.store.term = term;
    host.instance = instance;
    host.groups.clear();
    for (const record of this.store.records.values()) {
      const step = world.reducers.bootWitnessGroup(record);
      host.groups.set(record.group, step.state);
      for (const effect of step.effects) if (effect.type === "persist") this.commit(effect.record);
    }
    world.note(host.process.name, `generation ${instance.generation}`);
  }

  kill(index: number): void {
    const host = this.instances[index];
    if (host === undefined) return;
    host.process.kill();
    host.instance = null;
  }

  private commitOf({ process }: Instance, record: WitnessGroupRecord): void {
    const { life } = process;
    if (this.commitsAfterMs === 0) this.commit(record);
    else
      this.world.after(this.commitsAfterMs, () => {
        if (process.life === life) this.commit(record);
      });
  }

  private commit(record: WitnessGroupRecord): void {
    this.store.records.set(record.group, record);
  }

  backup(): void {
    this.backups.push({ term: this.store.term, records: new Map(this.store.records) });
  }

  /** The disk is set back to an earlier moment, or lost when there is none. */
  rollback(): void {
    this.world.oracle.automaticAt.length = 0;
    const found = this.backups[this.world.random.integer(Math.max(1, this.backups.length))];
    this.store =
      found === undefined ? { term: null, records: new Map() } : { ...found, records: new Map(found.records) };
  }

  lose(): void {
    this.world.oracle.automaticAt.length = 0;
    this.store = { term: null, records: new Map() };
  }

  /** A message from a site, to whichever process the connection ends at. */
  receive(from: SiteKey, message: ToWitness, reply: (message: FromWitness) => void): void {
    const up = this.instances.filter((host) => host.process.alive);
    const last = this.connections.get(from);
    const cut = this.world.network.cutsSeen(from);
    // A connection stays with its process until the link or the process is gone; a new one ends at either.
    const stays = last !== undefined && last.cuts === cut && up.includes(last.host);
    const host = stays ? last.host : up[this.world.random.integer(Math.max(1, up.length))];
    if (host === undefined) return;
    this.connections.set(from, { host, cuts: cut });
    host.process.deliver(() => this.step(host, from, message, reply));
  }

  private step(host: Instance, from: SiteKey, message: ToWitness, reply: (message: FromWitness) => void): void {
    const { world } = this;
    const { instance } = host;
    if (instance === null) return;
    const peer = from === "east" ? "west" : "east";
    const before = host.groups.get(message.group) ?? world.reducers.newWitnessGroup(message.group, from, peer);
    const step = world.reducers.stepWitness(instance, before, { type: "message", message }, this.now());
    world.steps += 1;
    const { term } = this.store;
    // The transaction that every batch passes: a process whose term is over says nothing more.
    if (
      !world.oracle.skipsTerm &&
      (term === null || term.generation !== instance.generation || term.nonce !== instance.nonce)
    ) {
      world.note(host.process.name, "term is over");
      host.process.kill();
      host.instance = null;
      return;
    }
    host.groups.set(message.group, step.state);
    for (const effect of step.effects) {
      if (effect.type === "persist") this.commitOf(host, effect.record);
      else if (effect.type === "reply") this.reply(host, effect.message, before, step.state, reply);
      else if (effect.type === "regenerate") this.regenerate(host, effect.above);
    }
  }

  private reply(
    host: Instance,
    message: FromWitness,
    before: WitnessGroup,
    after: WitnessGroup,
    reply: (message: FromWitness) => void,
  ): void {
    const { world } = this;
    if (message.type === "Grant" || (message.type === "Commit" && before.record.cert !== after.record.cert)) {
      world.oracle.onGrant(message, before);
    }
    if (message.type === "AcquireRefused") world.note(host.process.name, `refuses: ${message.refusal.reason}`);
    // What a commit to disk takes, now and then a slow one.
    const fsyncMs = world.random.chance(0.02) ? world.random.between(20, 300) : world.random.between(0.2, 4);
    const { life } = host.process;
    world.after(fsyncMs, () => {
      if (host.process.life === life && host.process.running) reply(message);
    });
  }

  private regenerate(host: Instance, above: number): void {
    const index = this.instances.indexOf(host);
    if (!host.process.alive || host.instance === null) return;
    this.world.note(host.process.name, `starts again above generation ${above}`);
    this.kill(index);
    this.world.after(RESTART_MS, () => {
      if (!host.process.alive) this.boot(index, above);
    });
  }

  /** The group as the newest live process sees it. */
  view(group: string): WitnessGroup | undefined {
    const live = this.instances.filter((host) => host.instance !== null);
    live.sort((a, b) => (b.instance?.generation ?? 0) - (a.instance?.generation ?? 0));
    return live[0]?.groups.get(group);
  }
}
