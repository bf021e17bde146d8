import { parseMove, type GroupRequest, type MoveVerb } from "../config/requests.ts";
import { LifeboatError } from "../errors.ts";
import type { Command } from "../failover/agent-state.ts";
import type { GroupRuntime } from "./group-runtime.ts";
import type { LastRequest } from "./status.ts";

export interface OrderDeskOptions {
  readonly site: string;
  readonly runtime: GroupRuntime;
  readonly nowMs: () => number;
  /** Must not throw. */
  readonly answer: (request: Omit<LastRequest, "at">) => void;
}

/** Requests that the protocol obeys, or refuses, in its own time. */
export type SteeringVerb = Extract<GroupRequest["verb"], "abort" | "pause" | "resume">;

interface Order {
  readonly id: string;
  readonly verb: string;
}

/** Hands a person's orders to the protocol and answers with what became of them. */
export class OrderDesk {
  readonly #options: OrderDeskOptions;
  /** Orders that have not been answered, by their nonce. */
  readonly #open = new Map<string, Order>();

  constructor(options: OrderDeskOptions) {
    this.#options = options;
  }

  /**
   * The protocol obeys an order once, by its nonce. The long form is held to one move by its epoch, and may be given
   * again after a refusal. The short form has nothing but its text: it works once, whoever is active later.
   */
  move(verb: MoveVerb, text: string): void {
    const { runtime, site, nowMs } = this.#options;
    const request = parseMove(verb, text);
    const { to } = request;
    const present = runtime.failover?.epoch;
    if (present === undefined) {
      throw new LifeboatError("FailoverRefused", "the group was never granted to a site; there is nothing to move");
    }
    const epoch = request.epoch ?? present;
    const nonce = `${verb} ${text}${request.epoch === undefined ? "" : ` ${nowMs()}`}`;
    if (verb !== "force-fenced") {
      this.#give({ id: text, verb }, `moving to ${to}`, { verb, to, epoch, nonce });
      return;
    }
    if (to !== site) {
      throw new LifeboatError("FailoverRefused", `this is ${site}; ask the site that shall run the group`, {
        hint: `give the order to ${to}`,
      });
    }
    const operator = "a person, by annotation";
    this.#give({ id: text, verb }, `forcing the group to ${to}`, { verb, epoch, operator, nonce });
  }

  steer(id: string, verb: SteeringVerb): void {
    this.#give({ id, verb }, "", { verb, nonce: `${verb} ${id}` });
  }

  #give(order: Order, message: string, command: Command): void {
    this.#open.set(command.nonce, order);
    this.#options.answer({ ...order, outcome: "Running", message });
    this.#options.runtime.command(command);
  }

  /** To be called when the protocol may have answered. */
  settle(): void {
    if (this.#open.size === 0) return;
    const { outcomes } = this.#options.runtime;
    for (const [nonce, order] of this.#open) {
      const outcome = outcomes.findLast((each) => each.nonce === nonce);
      if (outcome === undefined) continue;
      this.#open.delete(nonce);
      const message = outcome.ok ? outcome.message : `${outcome.message} [${outcome.code}]`;
      this.#options.answer({ ...order, outcome: outcome.ok ? "Done" : "Refused", message });
    }
  }
}
