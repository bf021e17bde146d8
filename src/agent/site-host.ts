import type { Applier } from "../apply/applier.ts";
import type { DemoteReport, LocalObject } from "../apply/demotion.ts";
import type { ProtectionGroup } from "../config/group.ts";
import type { CommandOutcome, Notice, StartGoal } from "../failover/runner/actions.ts";
import type { Journal } from "../journal/journal.ts";
import type { KeyAndHash } from "../stream/doors.ts";
import { safeError, type Log } from "../telemetry/log.ts";
import { lowestEpoch, type ActionHost, type FinalDigest, type StartOutcome } from "./group-actions.ts";
import type { GroupGate } from "./group-gate.ts";
import type { GroupSpecs } from "./group-spec.ts";
import type { Happenings } from "./happenings.ts";
import type { Holding } from "./holding.ts";
import { unreadKinds } from "./kind-troubles.ts";
import type { LateObjects } from "./late.ts";
import type { ShownObject } from "./mirror.ts";
import { writeOrigin } from "./origin.ts";
import type { AgentParts } from "./parts.ts";
import type { GroupPulling } from "./pulling.ts";
import type { GroupServing } from "./serving.ts";

/** The rooms of a group that its host works with. */
export interface HostedRooms {
  readonly name: string;
  readonly parts: AgentParts;
  readonly journal: Journal;
  readonly applier: Applier;
  readonly specs: GroupSpecs;
  readonly serving: GroupServing;
  readonly pulling: GroupPulling;
  readonly holding: Holding;
  readonly gate: GroupGate;
  readonly shown: ShownObject;
  readonly late: LateObjects;
  readonly happenings: Happenings;
  readonly log: Log;
}

type Options = { readonly signal: AbortSignal };

/** What keeps an object from being brought back is mended by people, or passes. */
const bringBackPauseMs = 5_000;

/** A group's parts at this site, as what the protocol decides is done with them. */
export class SiteHost implements ActionHost {
  readonly #rooms: HostedRooms;
  readonly journal: Journal;
  readonly applier: Applier;

  constructor(rooms: HostedRooms) {
    this.#rooms = rooms;
    this.journal = rooms.journal;
    this.applier = rooms.applier;
  }

  get group(): ProtectionGroup | undefined {
    return this.#rooms.specs.group;
  }

  get nowMs(): () => number {
    return () => this.#rooms.parts.clock.monotonicMs();
  }

  openGate(options: Options): Promise<void> {
    return this.#rooms.gate.open(options);
  }

  closeGate(options: Options): Promise<void> {
    return this.#rooms.gate.close(options);
  }

  allowUnguarded(allowed: boolean): void {
    this.#rooms.gate.allowUnguarded(allowed);
  }

  async serve(): Promise<void> {
    await this.#rooms.pulling.stop();
    this.#rooms.serving.serve();
  }

  async stopServing(): Promise<void> {
    this.#rooms.serving.stopServing();
  }

  hasStandby(): boolean {
    return this.#rooms.serving.hasStandby;
  }

  stopCapture(): Promise<void> {
    return this.#rooms.serving.stopCapture();
  }

  pull(): void {
    if (!this.#rooms.serving.offers) this.#rooms.pulling.start();
  }

  stopPulling(): Promise<void> {
    return this.#rooms.pulling.stop();
  }

  whenCurrent(options: Options): Promise<void> {
    return this.#rooms.pulling.whenCurrent(options);
  }

  standbyAgeMs(): number | undefined {
    return this.#rooms.pulling.ageMs();
  }

  finalDigest(options: Options): Promise<FinalDigest> {
    return this.#rooms.serving.finalDigest(options);
  }

  unseal(): Promise<boolean> {
    return this.#rooms.serving.unseal();
  }

  receivedCanary(): KeyAndHash | undefined {
    return this.#rooms.serving.receivedCanary();
  }

  localObjects(options: Options): Promise<LocalObject[]> {
    return this.#rooms.serving.localObjects(options);
  }

  unreadKinds(): string[] {
    const { name, parts, serving } = this.#rooms;
    const spec = this.group?.spec;
    if (spec === undefined) return [];
    const namespaces = serving.capture?.namespaces ?? [];
    return unreadKinds(parts.pool.states(), { name, site: parts.config.site, spec, namespaces });
  }

  keepDown(hold: (options: Options) => Promise<void>): void {
    this.#rooms.holding.start(hold);
  }

  stopKeeping(): Promise<void> {
    return this.#rooms.holding.stop();
  }

  showObject(as: "original" | "mirror", options: Options): Promise<void> {
    return this.#rooms.shown.show(as, options);
  }

  outcome(outcome: CommandOutcome): void {
    this.#rooms.happenings.outcome(outcome);
  }

  notice(notice: Notice): void {
    this.#rooms.happenings.notice(notice);
  }

  stopped({ stopped, failed, stoppedMs }: DemoteReport, unread: readonly string[]): void {
    this.#rooms.late.replace([]);
    const done = `took down ${stopped.length} workloads in ${stoppedMs} ms, ${failed.length} failed`;
    const message = unread.length === 0 ? done : `${done}; not complete: ${unread.join(", ")} cannot be read`;
    this.notice({ code: "TakenDown", message });
  }

  started(goal: StartGoal, report: StartOutcome): void {
    if (report.late !== undefined) this.#rooms.late.replace(report.late);
    this.#rooms.happenings.started(goal, report);
  }

  /**
   * Brings back what was taken down here of a group that has ended. Tries for as long as it takes: with the group's end
   * nobody else is in charge of it.
   */
  async bringBack({ signal }: Options): Promise<void> {
    const { holding, gate, journal, applier, log, parts } = this.#rooms;
    await holding.stop();
    for (;;) {
      try {
        await gate.open({ signal });
        const { failed } = await applier.release({ epoch: journal.epoch() ?? lowestEpoch, signal });
        if (failed.length === 0) break;
        log.warn({ failed: failed.length }, "objects of an ended group could not be brought back; trying again");
      } catch (error) {
        signal.throwIfAborted();
        log.warn({ error: safeError(error) }, "an ended group could not be brought back; trying again");
      }
      await parts.clock.sleep(bringBackPauseMs, { signal });
    }
    await writeOrigin(journal, "own");
  }
}
