import type { GuardAnswer, GuardPoll } from "../failover/messages.ts";
import type { GuardedGroup } from "../rpc/guard-messages.ts";
import type { GroupRooms } from "./group-rooms.ts";
import { guardedGroup, proofOf } from "./guard-scope.ts";
import type { Fence, GuardedSide, SiteNodes } from "./guards.ts";
import { readOrigin } from "./origin.ts";

/** The rooms of a group that node guards have to do with. */
type GuardedRooms = Pick<GroupRooms, "name" | "parts" | "journal" | "protocol" | "pulling" | "gate" | "covered">;

/** A group as the site's node guards are concerned with it. */
export class GroupGuarding implements GuardedSide {
  readonly name: string;
  readonly #rooms: GuardedRooms;

  constructor(rooms: GuardedRooms) {
    this.name = rooms.name;
    this.#rooms = rooms;
  }

  guarded(): GuardedGroup | undefined {
    const { parts, journal, protocol, pulling } = this.#rooms;
    const covered = this.#rooms.covered();
    if (covered === undefined) return undefined;
    const proof = proofOf({
      origin: readOrigin(journal),
      current: pulling.isCurrent,
      epoch: journal.epoch(),
      cert: protocol.cert(),
      incarnation: protocol.incarnation(),
    });
    return guardedGroup(this.name, covered, parts.config.namespace, proof);
  }

  poll(poll: GuardPoll): GuardAnswer | undefined {
    return this.#rooms.protocol.guardPoll(poll);
  }

  mayPlace(node: string): boolean {
    // Of what is not theirs to stop guards say nothing.
    return this.#rooms.protocol.mayPlace(node) || (this.guarded()?.namespaces.length ?? 0) === 0;
  }

  setFence(fence: Fence): void {
    const { gate, protocol } = this.#rooms;
    // When guards are no longer what stops the group, its pods wait for the protocol's word to be elsewhere.
    if (fence.cap === "guard") gate.allowUnguarded(false);
    protocol.setFence(fence);
  }

  setNodes({ guarded, ...nodes }: SiteNodes): void {
    this.#rooms.gate.setGuarded(guarded);
    this.#rooms.protocol.setNodes(nodes);
  }
}
