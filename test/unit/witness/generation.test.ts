import { Registry } from "prom-client";
import { afterEach, describe, expect, it } from "vitest";
import { LifeboatError } from "../../../src/errors.ts";
import type { FromWitness, Renew, RenewAck, ToWitness } from "../../../src/failover/messages.ts";
import type { WitnessGroupRecord, WitnessTerm } from "../../../src/failover/witness-state.ts";
import { silentLog } from "../../../src/telemetry/log.ts";
import { WitnessRun } from "../../../src/witness/generation.ts";
import { createWitnessMetrics } from "../../../src/witness/metrics.ts";
import { PauseWatch } from "../../../src/witness/pause.ts";
import type { WitnessStore } from "../../../src/witness/store.ts";
import { ManualClock, settle } from "../failover-runner/manual-clock.ts";
import { groupRecord } from "./store-contract.ts";

const signal = new AbortController().signal;

/** A store in memory that can be told to fail, and remembers in what order things happened. */
class MemoryStore implements WitnessStore {
  readonly place = "memory";
  term: WitnessTerm | null = null;
  readonly groups = new Map<string, WitnessGroupRecord>();
  failure: LifeboatError | undefined;
  readonly log: string[] = [];
  commits = 0;

  async readTerm(): Promise<WitnessTerm | null> {
    return this.term;
  }

  async claim(_expected: WitnessTerm | null, next: WitnessTerm): Promise<void> {
    this.term = next;
  }

  async readGroups(): Promise<WitnessGroupRecord[]> {
    return [...this.groups.values()];
  }

  async commit(_term: WitnessTerm, records: readonly WitnessGroupRecord[]): Promise<void> {
    await settle();
    if (this.failure !== undefined) throw this.failure;
    this.commits++;
    for (const record of records) this.groups.set(record.group, record);
    this.log.push(`commit ${records.map(({ group }) => group).join()}`);
  }

  async close(): Promise<void> {}
}

/** One site that hears and answers. */
class Voice {
  readonly site: string;
  readonly peer: string;
  readonly heard: FromWitness[] = [];
  readonly #store: MemoryStore;
  #seq = 0;

  constructor(site: string, peer: string, store: MemoryStore) {
    this.site = site;
    this.peer = peer;
    this.#store = store;
  }

  reply(message: FromWitness): void {
    this.heard.push(message);
    this.#store.log.push(`${message.type} to ${this.site}`);
  }

  get ack(): RenewAck | undefined {
    return this.heard.findLast((message) => message.type === "RenewAck");
  }

  renew(fields: Partial<Renew> = {}): Renew {
    return {
      type: "Renew",
      group: "shop",
      site: this.site,
      peer: this.peer,
      incarnation: 1,
      seq: ++this.#seq,
      cert: null,
      state: this.site === "east" ? "Adopting" : "Standby",
      warm: false,
      disarm: "no",
      armed: true,
      ready: "Ready",
      lagMs: 0,
      obstacle: "",
      paused: false,
      fenceCap: "guard",
      stopBoundMs: 0,
      longestMs: 0,
      generation: 0,
      echo: this.ack?.stamp ?? null,
      leaseMs: 5000,
      guardMs: 3300,
      opId: "",
      ...fields,
    };
  }

  acquire(kind: "adopt" | "takeover"): ToWitness {
    const { cert, stamp } = this.ack ?? { cert: null, stamp: null };
    const { site } = this;
    return {
      type: "Acquire",
      group: "shop",
      site,
      incarnation: 1,
      seq: ++this.#seq,
      kind,
      cert,
      nonce: `${site}/${this.#seq}`,
      echo: stamp,
      ready: "Ready",
      lagMs: 0,
      silentMs: 0,
      maxLagMs: 10_000,
      cooldownMs: 0,
      unproven: false,
      recoveryPoint: "",
      leaseMs: 5000,
      guardMs: 3300,
      opId: "",
    };
  }
}

class Scene {
  readonly store = new MemoryStore();
  readonly clock = new ManualClock();
  readonly pause = new PauseWatch(this.clock);
  readonly metrics = createWitnessMetrics(new Registry());
  readonly east = new Voice("east", "west", this.store);
  readonly west = new Voice("west", "east", this.store);
  readonly life = new AbortController();
  ended: Promise<number | LifeboatError> = Promise.resolve(0);

  async boot(heard = 0): Promise<WitnessRun> {
    const { store, clock, metrics, pause } = this;
    const run = await WitnessRun.boot({ store, clock, log: silentLog, metrics, pause, heard }, { signal });
    this.ended = run.run({ signal: this.life.signal }).catch((error: unknown) => error as LifeboatError);
    return run;
  }

  /** Both sites heard twice, as the witness needs it; then east is granted the group. */
  async adopt(run: WitnessRun): Promise<void> {
    for (let round = 0; round < 2; round++) {
      run.receive(this.east.renew(), this.east);
      run.receive(this.west.renew(), this.west);
      await settle();
      await settle();
    }
    run.receive(this.east.acquire("adopt"), this.east);
    await settle();
    await settle();
  }
}

describe("a generation of the witness", () => {
  let scene = new Scene();
  afterEach(async () => {
    scene.life.abort(new Error("end"));
    await scene.ended;
    scene = new Scene();
  });

  it("answers only after what the answer rests on is durable", async () => {
    const run = await scene.boot();
    await scene.adopt(run);
    expect(scene.east.heard.at(-1)).toMatchObject({ type: "Grant", cert: { holder: "east" } });
    const { log } = scene.store;
    expect(log.indexOf("Grant to east")).toBe(log.indexOf("commit shop") + 1);
    expect(scene.store.groups.get("shop")?.cert?.holder).toBe("east");
  });

  it("gives no answer and ends when something cannot be stored", async () => {
    const run = await scene.boot();
    await scene.adopt(run);
    const answers = scene.east.heard.length;
    scene.store.failure = new LifeboatError("WitnessStoreFull", "no space left");
    run.receive(scene.east.renew(), scene.east);
    expect(await scene.ended).toMatchObject({ code: "WitnessStoreFull" });
    expect(scene.east.heard).toHaveLength(answers);
  });

  it("answers nobody after another process has taken the term", async () => {
    const run = await scene.boot();
    scene.store.failure = new LifeboatError("WitnessReplaced", "another witness process owns it");
    run.receive(scene.east.renew(), scene.east);
    expect(await scene.ended).toMatchObject({ code: "WitnessReplaced" });
    expect(scene.east.heard).toHaveLength(0);
  });

  it("is above what is stored, the time, and what was heard", async () => {
    const seconds = Math.floor(scene.clock.wallMs() / 1000);
    expect((await scene.boot()).generation).toBe(seconds);
    expect((await scene.boot()).generation).toBe(seconds + 1);
    expect((await scene.boot(seconds + 1000)).generation).toBe(seconds + 1001);
    expect(scene.store.term?.generation).toBe(seconds + 1001);
  });

  it("ends when a site shows a certificate from a later one, and answers nothing of that batch", async () => {
    const run = await scene.boot();
    const later = {
      epoch: { generation: run.generation + 50, nonce: "x", counter: 7, forcedBy: "" },
      holder: "east",
      sig: "",
    };
    run.receive(scene.east.renew({ cert: later, state: "Active", generation: later.epoch.generation }), scene.east);
    expect(await scene.ended).toBe(run.generation + 50);
    expect(scene.east.heard).toHaveLength(0);
    expect(scene.store.groups.size).toBe(0);
  });

  it("decides many messages in one transaction", async () => {
    const run = await scene.boot();
    const before = scene.store.commits;
    for (let index = 0; index < 500; index++) run.receive(scene.east.renew({ group: `group-${index}` }), scene.east);
    await settle();
    await settle();
    expect(scene.east.heard).toHaveLength(500);
    expect(scene.store.commits - before).toBe(1);
  });

  it("begins by calling off switchovers that a former one left open", async () => {
    scene.store.groups.set("shop", groupRecord("shop", 3));
    await scene.boot();
    expect(scene.store.groups.get("shop")).toMatchObject({ switching: null, voided: ["old", "op"] });
  });

  it("knows a group from its first heartbeat on, and from nothing else", async () => {
    const run = await scene.boot();
    run.receive(scene.east.acquire("adopt"), scene.east);
    await settle();
    expect(scene.east.heard).toHaveLength(0);
    run.receive(scene.east.renew(), scene.east);
    await settle();
    await settle();
    expect(scene.east.ack).toMatchObject({ ok: false });
  });

  it("that stood still hears heartbeats before it hears that a site wants to take over", async () => {
    const run = await scene.boot();
    await scene.adopt(run);
    const answers = () => scene.west.heard.filter(({ type }) => type === "AcquireRefused" || type === "Grant").length;
    run.receive(scene.west.renew(), scene.west);
    await settle();
    run.receive(scene.west.acquire("takeover"), scene.west);
    await settle();
    await settle();
    expect(answers()).toBe(1);
    scene.clock.freeze(20_000);
    run.receive(scene.west.acquire("takeover"), scene.west);
    await settle();
    await settle();
    expect(answers()).toBe(1);
    scene.clock.freeze(900);
    expect(scene.pause.recent).toBe(true);
    for (let lookMs = 0; lookMs < 3000; lookMs += 500) {
      scene.clock.freeze(500);
      void scene.pause.recent;
    }
    run.receive(scene.west.acquire("takeover"), scene.west);
    await settle();
    await settle();
    expect(answers()).toBe(2);
  });
});
