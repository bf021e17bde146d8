/** One node of a site: kernel (dead-man, gate), kubelet, the guard's process, and the pods of the groups. */
import type { GuardAnswer, GuardPoll } from "../../src/failover/messages.ts";
import type { GuardEffect, GuardRecord, GuardState } from "../../src/failover/guard.ts";
import { Machine, Process } from "./machine.ts";
import { nodesPerSite } from "./options.ts";
import type { Site } from "./site.ts";
import type { World } from "./world.ts";

/** What the node knows of one group. */
interface PodState {
  /** The pod object is bound to this node (in the API server; the kubelet remembers). */
  bound: boolean;
  running: boolean;
  starting: boolean;
  stopping: boolean;
  gateOpen: boolean;
  /** End of the traffic's dead-man on the node's clock; Infinity when there is no cut. */
  deadmanMs: number;
  /** The dead-man cut while no guard was there to kill: pods without traffic, which count as stopped. */
  silentCut: boolean;
  /** Real time before which a thawed node's pods are excused. */
  excusedUntil: number;
}

const START_MIN_MS = 50;
const START_MAX_MS = 400;

export class Node {
  readonly world: World;
  readonly site: Site;
  readonly index: number;
  readonly name: string;
  readonly machine: Machine;
  readonly guard: Process;
  readonly guardLatenessMs: number;
  /** Mutant of the host: how much later than that its guard wakes up. */
  lateFactor = 1;
  guarded: boolean;
  /** Pods of the group may be placed here: its guard has been heard by an agent of the site, and keeps them. */
  readonly placeable: boolean[] = [];
  states: (GuardState | null)[] = [];
  /** On disk. */
  records: (GuardRecord | null)[] = [];
  pods: PodState[] = [];
  /** Cuts between this node and the site's agents. */
  cuts = 0;
  /** What an answer takes on top. */
  slowMs = 0;
  private bootId = "";

  constructor(site: Site, index: number, guarded: boolean) {
    this.site = site;
    this.world = site.world;
    this.index = index;
    this.name = `${site.key}-${index}`;
    this.guarded = guarded;
    const { world } = this;
    this.machine = new Machine(this.name, world.clock());
    this.guard = new Process(`guard-${this.name}`, this.machine, world.queue, () => this.tick());
    this.guardLatenessMs = world.extremal && world.random.chance(0.5) ? world.timing.latenessMs : 0;
    for (const g of world.groups) {
      this.states[g] = null;
      this.records[g] = null;
      this.placeable[g] = guarded;
      this.pods[g] = {
        bound: false,
        running: false,
        starting: false,
        stopping: false,
        gateOpen: !guarded,
        deadmanMs: Infinity,
        silentCut: false,
        excusedUntil: -1,
      };
    }
  }

  private now(): number {
    return this.machine.clock.now(this.world.t);
  }

  /** S of this node. */
  private get stopMs(): number {
    const { timing, options } = this.world;
    if (options.slowNodeMs > 0 && this.index === nodesPerSite - 1) return options.slowNodeMs;
    return Math.max(timing.stopMs, options.measuredStopMs);
  }

  pod(g: number): PodState {
    const pod = this.pods[g];
    if (pod === undefined) throw new Error(`no group ${g}`);
    return pod;
  }

  boot(): void {
    this.machine.up = true;
    this.machine.boots += 1;
    this.bootId = `${this.name}/${this.machine.boots}`;
    if (this.guarded) this.startGuard();
    else {
      this.guard.alive = false;
      if (this.machine.boots > 1) this.excuse();
    }
    for (const g of this.world.groups) this.kubelet(g);
  }

  private startGuard(): void {
    // Nobody was there to kill when the dead-man cut: pods without traffic, until this guard has killed them.
    for (const pod of this.pods) if (pod.running && pod.deadmanMs <= this.now()) pod.silentCut = true;
    this.guard.start();
    for (const g of this.world.groups) this.bootGuard(g);
    this.schedule();
  }

  private bootGuard(g: number): void {
    const boot = {
      node: this.name,
      group: `g${g}`,
      bootId: this.bootId,
      timing: this.world.timing,
      record: this.records[g] ?? null,
      saved: this.states[g] ?? null,
    };
    const step = this.world.reducers.bootGuard(boot, this.now());
    const { measuredStopMs } = this.world.options;
    // Of stops before this history; a guard that has not measured one says nothing.
    this.states[g] = measuredStopMs === 0 ? step.state : { ...step.state, stopMs: measuredStopMs };
    this.effects(g, step.effects);
  }

  /** Power off: processes gone at once, the disk stays. */
  crash(): void {
    if (!this.machine.up) return;
    for (const process of this.machine.processes) process.kill();
    this.machine.up = false;
    if (this.machine.clock.frozen) this.machine.clock.thaw(this.world.t);
    for (const g of this.world.groups) {
      const pod = this.pod(g);
      // The tmpfs with the gate and the guard's memory is gone; what a mutant opens at boot, it opens itself.
      this.states[g] = null;
      Object.assign(pod, { running: false, starting: false, stopping: false, silentCut: false, excusedUntil: -1 });
      pod.gateOpen = !this.guarded || this.records[g]?.known !== true;
      pod.deadmanMs = Infinity;
    }
  }

  crashGuard(forMs: number): void {
    if (!this.guarded || !this.guard.alive) return;
    this.guard.kill();
    this.world.after(forMs, () => {
      if (!this.machine.up || this.guard.alive) return;
      if (this.machine.clock.frozen) this.reviveGuardLater();
      else this.startGuard();
    });
  }

  private reviveGuardLater(): void {
    this.world.after(500, () => {
      if (!this.machine.up || this.guard.alive) return;
      if (this.machine.clock.frozen) this.reviveGuardLater();
      else this.startGuard();
    });
  }

  /** Puts a guard on a node that had none. */
  installGuard(): void {
    if (this.guarded) return;
    this.guarded = true;
    for (const g of this.world.groups) this.pod(g).gateOpen = false;
    if (this.machine.up) this.startGuard();
  }

  freeze(forMs: number): void {
    const { world, machine } = this;
    if (!machine.up || machine.clock.frozen) return;
    world.note(this.name, `frozen for ${Math.round(forMs)} ms`);
    machine.clock.freeze(world.t);
    world.after(forMs, () => this.thaw(forMs));
  }

  private thaw(forMs: number): void {
    const { world, machine } = this;
    if (!machine.clock.frozen) return;
    machine.clock.thaw(world.t);
    world.note(this.name, "thawed");
    if (forMs > world.timing.epsilonMs) this.excuse();
    for (const process of machine.processes) process.resume();
    for (const g of world.groups) {
      this.kubelet(g);
      world.oracle.check(g);
    }
  }

  /**
   * What no protocol can stop: a machine that stood still together with its guard, the kubelet of an unguarded node that
   * starts what is bound to it before any agent is up, and what is bound to one by an API server that was restored from
   * before there was a gate.
   */
  excuse(): void {
    const { timing, t } = this.world;
    const until =
      t + (timing.electionMs + timing.leaseMs + timing.guardMs + this.world.stopMs - timing.stopMs) / (1 - timing.rho);
    for (const pod of this.pods) pod.excusedUntil = until;
  }

  private tick(): void {
    for (const g of this.world.groups) this.step(g, { type: "tick" });
    this.schedule();
  }

  private schedule(): void {
    const { world } = this;
    let at = Infinity;
    for (const g of world.groups) {
      const state = this.states[g];
      if (state) at = Math.min(at, world.reducers.nextWakeGuard(state));
    }
    const late =
      this.guardLatenessMs > 0
        ? this.guardLatenessMs
        : world.random.chance(0.01)
          ? world.random.between(0, world.timing.latenessMs)
          : 0;
    this.guard.wake(this.machine.clock.realAt(at, world.t) + late * this.lateFactor);
  }

  private step(g: number, event: Parameters<World["reducers"]["stepGuard"]>[1]): void {
    const state = this.states[g];
    if (!state) return;
    const step = this.world.reducers.stepGuard(state, event, this.now());
    this.world.steps += 1;
    this.states[g] = step.state;
    if (step.state.mode !== state.mode) this.world.note(this.name, `guard ${step.state.mode} ${step.state.reason}`);
    this.effects(g, step.effects);
  }

  private effects(g: number, effects: readonly GuardEffect[]): void {
    const pod = this.pod(g);
    for (const effect of effects) {
      switch (effect.type) {
        case "poll":
          this.poll(g, effect.poll);
          break;
        case "persist":
          this.records[g] = effect.record;
          break;
        case "openGate":
          pod.gateOpen = true;
          pod.silentCut = false;
          this.kubelet(g);
          break;
        case "traffic":
          pod.deadmanMs = effect.forMs === null ? Infinity : this.now() + effect.forMs;
          pod.silentCut = false;
          break;
        case "stop":
          pod.gateOpen = false;
          this.kill(g);
          break;
      }
    }
  }

  private kill(g: number): void {
    const pod = this.pod(g);
    pod.deadmanMs = Math.min(pod.deadmanMs, this.now());
    if (!pod.running) return;
    pod.stopping = true;
    this.stopWithin(g, this.stopMs);
  }

  /** The pod's processes are gone after up to this long. */
  private stopWithin(g: number, maxMs: number): void {
    const { world, machine } = this;
    const pod = this.pod(g);
    const { boots } = machine;
    world.after(world.extremal ? maxMs : world.random.between(0.05, 1) * maxMs, () => {
      if (machine.boots !== boots || !pod.running) return;
      if (machine.clock.frozen) {
        this.stopWithin(g, 1);
        return;
      }
      pod.running = false;
      pod.stopping = false;
      pod.silentCut = false;
      world.note(this.name, `pod of g${g} is gone`);
      if (this.guard.alive) this.step(g, { type: "allDead" });
      this.kubelet(g);
    });
  }

  /** The kubelet's own loop: starts bound pods when their gate lets them, needs no API server. */
  kubelet(g: number): void {
    const pod = this.pod(g);
    if (!this.machine.up || pod.stopping) return;
    if (pod.bound && pod.gateOpen && !pod.running && !pod.starting) this.startPod(g);
  }

  private startPod(g: number): void {
    const { world, machine } = this;
    const pod = this.pod(g);
    const { boots } = machine;
    pod.starting = true;
    world.after(world.random.between(START_MIN_MS, START_MAX_MS), () => {
      if (machine.boots !== boots) return;
      pod.starting = false;
      if (!pod.bound || !pod.gateOpen || pod.running || !machine.up) return;
      if (machine.clock.frozen) {
        this.startPod(g);
        return;
      }
      pod.running = true;
      pod.stopping = false;
      world.note(this.name, `pod of g${g} runs`);
      world.oracle.onPodStart(g, this);
    });
  }

  bind(g: number): void {
    const pod = this.pod(g);
    if (pod.bound) return;
    pod.bound = true;
    this.kubelet(g);
  }

  /** The pod object was deleted: the kubelet ends it within the pod's own stop time. */
  unbind(g: number): void {
    const pod = this.pod(g);
    if (!pod.bound) return;
    pod.bound = false;
    if (pod.running && !pod.stopping) {
      pod.stopping = true;
      this.stopWithin(g, this.stopMs);
    }
  }

  /** Runs and can act on the outside: what must never be true at two sites. */
  isRunning(g: number): boolean {
    const pod = this.pods[g];
    if (pod === undefined || !pod.running || this.machine.clock.frozen) return false;
    if (!this.guarded) return true;
    if (pod.silentCut) return false;
    const cut = this.now() >= pod.deadmanMs;
    if (cut && !this.guard.alive) {
      pod.silentCut = true;
      return false;
    }
    return true;
  }

  private poll(g: number, poll: GuardPoll): void {
    const { world } = this;
    const { life } = this.guard;
    if (this.cuts > 0) return;
    world.after(this.hopMs(), () => {
      this.site.pollArrived(this, g, poll, (answer) => {
        world.after(this.hopMs() + this.slowMs, () => {
          if (this.cuts === 0 && this.guard.life === life) this.guard.deliver(() => this.answered(g, answer));
        });
      });
    });
  }

  private hopMs(): number {
    const { random } = this.world;
    return random.chance(0.005) ? random.between(50, 600) : random.between(0.5, 5);
  }

  private answered(g: number, answer: GuardAnswer): void {
    this.step(g, { type: "answer", answer });
    this.world.oracle.check(g);
    this.schedule();
  }
}
