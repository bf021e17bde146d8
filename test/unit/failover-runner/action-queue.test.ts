import { afterEach, describe, expect, it } from "vitest";
import type { AgentEvent } from "../../../src/failover/agent-state.ts";
import type { Cert } from "../../../src/failover/epoch.ts";
import { settleMaxMs, type ActionOptions, type GroupActions } from "../../../src/failover/runner/actions.ts";
import { ActionQueue } from "../../../src/failover/runner/action-queue.ts";
import type { Goal } from "../../../src/failover/runner/goals.ts";
import { silentLog } from "../../../src/telemetry/log.ts";
import { ManualClock, settle } from "./manual-clock.ts";

const cert = (counter: number, holder = "east"): Cert => ({
  epoch: { generation: 1, nonce: "n", counter, forcedBy: "" },
  holder,
  sig: "",
});
const start = (counter: number): Goal => ({ type: "startRunning", cert: cert(counter), kind: "takeover" });
const stop: Goal = { type: "stopRunning", reason: "lapsed" };
const save: Goal = { type: "saveDivergence", cert: cert(1) };
const follow = (counter: number): Goal => ({ type: "followPeer", cert: cert(counter, "west") });

type Answer = "done" | "fails" | "hangs" | "ignores its signal";

/** Site whose actions end as told, in the order in which they are begun. */
class Script {
  readonly begun: string[] = [];
  readonly done: string[] = [];
  readonly events: AgentEvent[] = [];
  readonly clock = new ManualClock();
  readonly queue: ActionQueue;
  readonly late = Promise.withResolvers<void>();
  /** How often whoever is told that something is done asks for it once more, as after a comparison that failed. */
  notEnough = 0;
  readonly #answers: Partial<Record<Goal["type"], Answer[]>>;
  readonly #life = new AbortController();
  readonly #running: Promise<unknown>;

  constructor(answers: Partial<Record<Goal["type"], Answer[]>> = {}) {
    this.#answers = answers;
    const act = async (type: Goal["type"], { signal }: ActionOptions) => await this.#act(type, signal);
    const content = { objectsRevision: "7", objectsHash: "hash", volumes: {} };
    const actions: GroupActions = {
      startRunning: (_goal, options) => act("startRunning", options),
      stopRunning: (_goal, options) => act("stopRunning", options),
      quiesce: (_goal, options) => act("quiesce", options),
      prepareSeal: async (_goal, options) => await act("prepareSeal", options).then(() => content),
      unquiesce: (_goal, options) => act("unquiesce", options),
      applySeal: async (_goal, options) => await act("applySeal", options).then(() => content),
      saveDivergence: (_goal, options) => act("saveDivergence", options),
      followPeer: (_goal, options) => act("followPeer", options),
      allowUnguarded: (_goal, options) => act("allowUnguarded", options),
      outcome: () => {},
      notice: () => {},
    };
    this.queue = new ActionQueue({
      actions,
      clock: this.clock,
      random: () => 0.5,
      log: silentLog,
      onDone: (goal, event) => {
        this.done.push(goal.type);
        if (event !== undefined) this.events.push(event);
        if (this.notEnough-- > 0) this.queue.request({ ...goal });
      },
    });
    this.#running = this.queue.run({ signal: this.#life.signal }).catch(() => {});
  }

  async #act(type: Goal["type"], signal: AbortSignal): Promise<void> {
    this.begun.push(type);
    const answer = this.#answers[type]?.shift() ?? "done";
    if (answer === "fails") throw new Error(`${type} failed`);
    if (answer === "ignores its signal") await this.late.promise;
    if (answer === "hangs") await this.clock.sleep(1e9, { signal });
  }

  async request(...goals: Goal[]): Promise<void> {
    for (const goal of goals) this.queue.request(goal);
    await settle();
  }

  async end(): Promise<void> {
    this.#life.abort(new Error("end"));
    this.late.resolve();
    await this.clock.advance(10 * settleMaxMs);
    await this.#running;
  }
}

describe("what is asked of a site", () => {
  let script = new Script();
  const use = async (answers: ConstructorParameters<typeof Script>[0] = {}) => {
    await script.end();
    script = new Script(answers);
    return script;
  };
  afterEach(() => script.end());

  it("is tried again until it is done", async () => {
    const { queue, clock, begun, done } = await use({ stopRunning: ["fails", "fails"] });
    await script.request(stop);
    expect(queue.status).toMatchObject({ type: "stopRunning", failures: 1, error: "stopRunning failed" });
    await clock.advance(2000);
    expect(begun).toEqual(["stopRunning", "stopRunning", "stopRunning"]);
    expect(done).toEqual(["stopRunning"]);
    expect(queue.status).toBeUndefined();
  });

  it("is done again, after a pause, when whoever was told of it asks for the same", async () => {
    const { queue, clock, begun, done } = await use();
    script.notEnough = 2;
    await script.request(save);
    expect(begun).toEqual(["saveDivergence"]);
    expect(queue.status).toMatchObject({ failures: 1, error: "what came of it was not enough" });
    await clock.advance(2000);
    expect(begun).toEqual(["saveDivergence", "saveDivergence", "saveDivergence"]);
    expect(done).toEqual(begun);
    expect(queue.status).toBeUndefined();
  });

  it("is given up for a stop that is asked for when it was not enough", async () => {
    const { begun } = await use();
    script.notEnough = 1;
    await script.request(start(2));
    await script.request(stop);
    await script.clock.advance(10_000);
    expect(begun).toEqual(["startRunning", "stopRunning"]);
  });

  it("is given up for a stop, which begins at once", async () => {
    const { begun, done } = await use({ startRunning: ["hangs"] });
    await script.request(start(2));
    await script.request(stop);
    expect(begun).toEqual(["startRunning", "stopRunning"]);
    expect(done).toEqual(["stopRunning"]);
  });

  it("is given up for a stop while it waits to be tried again", async () => {
    const { begun } = await use({ startRunning: ["fails"] });
    await script.request(start(2));
    await script.request(stop);
    await script.clock.advance(10_000);
    expect(begun).toEqual(["startRunning", "stopRunning"]);
  });

  it("does not hold up a stop for longer than the limit when it ignores its signal, and is stopped once more after it", async () => {
    const { clock, begun, done, late } = await use({ startRunning: ["ignores its signal"] });
    await script.request(start(2));
    await script.request(stop);
    expect(begun).toEqual(["startRunning"]);
    await clock.advance(settleMaxMs);
    expect(begun).toEqual(["startRunning", "stopRunning"]);
    expect(done).toEqual(["stopRunning"]);
    late.resolve();
    await settle();
    expect(begun).toEqual(["startRunning", "stopRunning", "stopRunning"]);
  });

  it("is not stopped once more when the group has been started again since", async () => {
    const { clock, begun, late } = await use({ startRunning: ["ignores its signal"] });
    await script.request(start(2));
    await script.request(stop);
    await clock.advance(settleMaxMs);
    await script.request(start(3));
    late.resolve();
    await settle();
    expect(begun).toEqual(["startRunning", "stopRunning", "startRunning"]);
  });

  it("goes on when the same start is asked for again, and is replaced by another epoch's", async () => {
    const { begun } = await use({ startRunning: ["hangs", "hangs"] });
    await script.request(start(2));
    await script.request({ ...start(2), kind: "warm" } as Goal);
    expect(begun).toEqual(["startRunning"]);
    await script.request(start(3));
    expect(begun).toEqual(["startRunning", "startRunning"]);
  });

  it("happens in the order stop, save, follow, however it was asked for", async () => {
    const { done } = await use();
    await script.request(follow(3), save, stop);
    expect(done).toEqual(["stopRunning", "saveDivergence", "followPeer"]);
  });

  it("never follows the peer while what was written here is not saved", async () => {
    const { done, clock } = await use({ saveDivergence: ["fails", "fails", "fails"] });
    await script.request(stop, save, follow(3));
    expect(done).toEqual(["stopRunning"]);
    await clock.advance(10_000);
    expect(done).toEqual(["stopRunning", "saveDivergence", "followPeer"]);
  });

  it("saves anew after a stop that came in between", async () => {
    const { begun, done } = await use({ saveDivergence: ["hangs"] });
    await script.request(save);
    await script.request(stop);
    expect(begun).toEqual(["saveDivergence", "stopRunning", "saveDivergence"]);
    expect(done).toEqual(["stopRunning", "saveDivergence"]);
  });

  it("is quiesced and sealed in a switchover, and what was found is told", async () => {
    const { begun, events } = await use({ startRunning: ["hangs"] });
    await script.request(start(2));
    await script.request({ type: "quiesce", opId: "op" }, { type: "prepareSeal", opId: "op" });
    expect(begun).toEqual(["startRunning", "quiesce", "prepareSeal"]);
    expect(events).toEqual([
      { type: "quiesced", opId: "op" },
      { type: "sealReady", opId: "op", objectsRevision: "7", objectsHash: "hash", volumes: {} },
    ]);
  });

  it("comes back when the switchover is called off in the middle", async () => {
    const { begun, events } = await use({ quiesce: ["hangs"] });
    await script.request({ type: "quiesce", opId: "op" });
    await script.request({ type: "unquiesce", opId: "op", reason: "called off" });
    expect(begun).toEqual(["quiesce", "unquiesce"]);
    expect(events).toEqual([]);
  });

  it("is left as it is when the process ends", async () => {
    const { begun } = await use({ startRunning: ["hangs"] });
    await script.request(start(2));
    await script.end();
    expect(begun).toEqual(["startRunning"]);
  });
});
