/** One agent process of a site: runs the reducer of every group while it leads, and does what the effects say. */
import type { AgentConfig, AgentEffect, AgentEvent, AgentState, SiteRecord } from "../../src/failover/agent-state.ts";
import type { FromWitness, GuardAnswer, GuardPoll, PeerMessage } from "../../src/failover/messages.ts";
import { Process } from "./machine.ts";
import type { Node } from "./node.ts";
import type { Site } from "./site.ts";
import type { World } from "./world.ts";

/** A write to the API server gives up after this; it may have been done all the same. */
const WRITE_TIMEOUT_MS = 2000;
/** What the API server takes to say that what was started is there. */
const STARTED_MS = 400;
/** Ends of scale-down, final delta and applying a seal, in the simulated runner. */
const RECONCILE_MS = 200;

export class AgentHost {
  readonly world: World;
  readonly site: Site;
  readonly process: Process;
  leading = false;
  states: (AgentState | null)[] = [];
  /** What the runner is asked to have at this site; null before the first word. */
  intents: (boolean | null)[] = [];
  private replyTo: ((message: PeerMessage) => void) | null = null;

  constructor(site: Site, node: Node, index: number) {
    this.site = site;
    this.world = site.world;
    this.process = new Process(`agent-${site.key}-${index}`, node.machine, this.world.queue, () => this.tick());
    for (const g of this.world.groups) {
      this.states[g] = null;
      this.intents[g] = null;
    }
  }

  get name(): string {
    return this.process.name;
  }

  private now(): number {
    return this.process.machine.clock.now(this.world.t);
  }

  /** Leads from here on; the records with the raised incarnation are durable already. */
  lead(records: readonly SiteRecord[]): void {
    this.leading = true;
    this.world.note(this.name, `leads with incarnation ${records[0]?.incarnation}`);
    for (const g of this.world.groups) {
      const record = records[g];
      if (record !== undefined) this.begin(g, record);
    }
    this.schedule();
  }

  /** One group begins here, or goes on after another agent led; of one that has ended only its guards are told. */
  begin(g: number, record: SiteRecord): void {
    this.intents[g] = null;
    const over = this.site.released[g] ?? null;
    if (this.site.present[g] !== true) {
      const { incarnation } = record;
      this.states[g] = over === null ? null : { ...over, record: { ...over.record, incarnation } };
      return;
    }
    const config: AgentConfig = {
      group: `g${g}`,
      site: this.site.key,
      peer: this.site.key === "east" ? "west" : "east",
      source: this.site.isSource(g),
      policy: this.site.policy,
    };
    const step = this.world.reducers.bootAgent(config, record, this.now(), this.site.heldOn(g));
    this.states[g] = step.state;
    this.effects(g, step.effects);
    this.step(g, { type: "fence", cap: this.site.fenceCap, stopBoundMs: this.world.stopBoundMs });
    if (this.site.ending[g] === true) this.step(g, { type: "ending", ending: true });
    const data = this.site.data.kept(g, record.cert);
    if (data !== null) this.step(g, data);
    this.schedule();
  }

  stopLeading(why: string): void {
    if (!this.leading) return;
    this.world.note(this.name, `stops leading: ${why}`);
    this.leading = false;
    this.forgetAll();
  }

  kill(): void {
    this.process.kill();
    this.leading = false;
    this.forgetAll();
  }

  private forgetAll(): void {
    this.world.oracle.onForgetting(this);
    for (const g of this.world.groups) this.states[g] = null;
  }

  private tick(): void {
    for (const g of this.world.groups) this.step(g, { type: "tick" });
    this.schedule();
  }

  private schedule(): void {
    if (!this.leading) return;
    let at = Infinity;
    for (const g of this.world.groups) {
      const state = this.states[g];
      if (state) at = Math.min(at, this.world.reducers.nextWakeAgent(state));
    }
    if (at < Infinity) this.process.wake(this.process.machine.clock.realAt(at, this.world.t) + 0.01);
  }

  /** An event that waits while the process is paused and is lost when it dies or no longer leads. */
  feed(g: number, event: AgentEvent, replyTo: ((message: PeerMessage) => void) | null = null): void {
    this.process.deliver(() => {
      this.replyTo = replyTo;
      this.step(g, event);
      this.replyTo = null;
      this.schedule();
    });
  }

  step(g: number, event: AgentEvent): void {
    const state = this.states[g];
    if (!state || !this.leading) return;
    const step = this.world.reducers.stepAgent(state, event, this.now());
    this.world.steps += 1;
    this.states[g] = step.state;
    if (step.state.phase.type !== state.phase.type) {
      this.world.note(this.name, `g${g} ${state.phase.type} → ${step.state.phase.type}`);
      this.world.oracle.onPhase(this.site.key, step.state.phase.type);
    }
    this.effects(g, step.effects);
  }

  private effects(g: number, effects: readonly AgentEffect[]): void {
    for (const effect of effects) this.effect(g, effect);
  }

  private effect(g: number, effect: AgentEffect): void {
    const { world, site, process } = this;
    const { life } = process;
    switch (effect.type) {
      case "toWitness": {
        const reply = (message: FromWitness): void =>
          world.network.send("witness", site.key, () => {
            if (process.life === life) this.feed(g, { type: "fromWitness", message });
          });
        world.network.send(site.key, "witness", () => world.witness.receive(site.key, effect.message, reply));
        return;
      }
      case "toPeer":
        this.sendPeer(g, effect.message, life);
        return;
      case "answerGuard":
        site.answer?.(effect.answer);
        return;
      case "persist":
        this.persist(g, effect.token, effect.record);
        return;
      case "startRunning":
        site.noteRunning(g, true);
        site.data.start(g, effect.cert);
        this.intents[g] = true;
        world.after(STARTED_MS, () => {
          if (process.life === life) this.feed(g, { type: "started" });
        });
        return;
      case "unquiesce":
        this.intents[g] = true;
        return;
      case "stopRunning":
        site.noteRunning(g, false);
        this.intents[g] = false;
        return;
      case "quiesce":
        this.intents[g] = false;
        this.waitQuiesced(g, effect.opId);
        return;
      case "prepareSeal":
        this.takeSeal(g, effect.opId);
        return;
      case "applySeal":
        site.data.applySeal(g, effect.seal, (hash) =>
          this.feed(g, { type: "verified", opId: effect.seal.opId, objectsHash: hash, volumes: {} }),
        );
        return;
      case "saveDivergence":
        this.intents[g] = false;
        site.data.save(g, () => this.feed(g, { type: "divergenceSaved" }));
        return;
      case "followPeer":
        this.intents[g] = false;
        site.data.follow(g);
        site.movedAway(g);
        return;
      case "released":
        world.after(1, () => site.releasedGroup(g, this, effect.record));
        return;
      case "allowUnguarded":
        site.unguardedAllowed[g] = effect.allowed;
        return;
      case "deposed":
        world.after(1, () => site.deposed(this, effect.incarnation));
        return;
      case "outcome":
        world.note(this.name, `order ${effect.nonce}: ${effect.code}: ${effect.message}`);
        world.oracle.onOutcome(effect.ok, effect.code);
        return;
      case "notice":
        world.note(this.name, `${effect.code}: ${effect.message}`);
        return;
    }
  }

  private sendPeer(g: number, message: PeerMessage, life: number): void {
    const { world, site, process, replyTo } = this;
    if (replyTo !== null && (message.type === "RenewAck" || message.type === "SwitchRefused")) {
      replyTo(message);
      return;
    }
    const peer = world.peerOf(site.key);
    const back = (answer: PeerMessage): void =>
      world.network.send(peer.key, site.key, () => {
        if (process.life === life) this.feed(g, { type: "fromPeer", message: answer });
      });
    world.network.send(site.key, peer.key, () => peer.leader()?.feed(g, { type: "fromPeer", message }, back));
  }

  private persist(g: number, token: number, record: SiteRecord): void {
    const { world, site, process } = this;
    const { life } = process;
    const asked = world.t;
    const finish = (event: AgentEvent): void => {
      if (process.life === life) this.feed(g, event);
    };
    const attempt = (): void => {
      if (process.life !== life || !this.leading) return;
      if (!site.apiReachable(this)) {
        if (world.t - asked > WRITE_TIMEOUT_MS) finish({ type: "persistFailed", token, reason: "timeout" });
        else world.after(RECONCILE_MS, attempt);
        return;
      }
      const written = site.write(g, record);
      const answerMs = world.random.between(2, 40);
      // Now and then the answer is lost after the write was done.
      if (world.random.chance(0.03)) {
        world.after(WRITE_TIMEOUT_MS, () => finish({ type: "persistFailed", token, reason: "timeout" }));
      } else if (written) world.after(answerMs, () => finish({ type: "persisted", token }));
      else
        world.after(answerMs, () =>
          finish({ type: "persistFailed", token, reason: "a newer incarnation has written" }),
        );
    };
    world.after(world.random.between(1, 40), attempt);
  }

  private waitQuiesced(g: number, opId: string): void {
    const { world, site, process } = this;
    const { life } = process;
    const look = (): void => {
      const phase = this.states[g]?.phase;
      if (process.life !== life || phase?.type !== "Quiescing" || phase.opId !== opId) return;
      const gone = site.nodes.every((node) => !node.pod(g).running && !node.pod(g).bound && !node.pod(g).starting);
      if (gone && site.apiReachable(this)) this.feed(g, { type: "quiesced", opId });
      else world.after(RECONCILE_MS, look);
    };
    world.after(RECONCILE_MS, look);
  }

  private takeSeal(g: number, opId: string): void {
    const { world, site, process } = this;
    const { life } = process;
    world.after(world.random.between(50, 500), () => {
      if (process.life !== life) return;
      const objectsHash = site.data.hash(g);
      this.feed(g, { type: "sealReady", opId, objectsRevision: "1", objectsHash, volumes: {} });
    });
  }

  guardPolled(g: number, poll: GuardPoll, answer: (answer: GuardAnswer) => void): void {
    this.process.deliver(() => {
      this.site.answer = answer;
      this.step(g, { type: "guard", poll });
      this.site.answer = null;
      this.schedule();
    });
  }
}
