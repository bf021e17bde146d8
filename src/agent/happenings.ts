import type { KubeObject } from "../objects/object.ts";
import { formatEpoch } from "../failover/epoch.ts";
import type { CommandOutcome, Notice, StartGoal } from "../failover/runner/actions.ts";
import type { StartOutcome } from "./group-actions.ts";
import { startShortfalls } from "./late.ts";
import type { AgentParts } from "./parts.ts";

/** A move of the group to this site, for status and metrics. */
export interface StartReport extends StartOutcome {
  readonly goal: StartGoal;
  readonly atMs: number;
}

export interface HappeningsOptions {
  readonly name: string;
  readonly parts: Pick<AgentParts, "clock" | "events" | "metrics">;
  /** The group's object at this site, which events are about. */
  readonly object: () => KubeObject | undefined;
  /** Must not throw. */
  readonly onChange: () => void;
}

/** Notices and outcomes kept for status. */
const keptMaxCount = 20;

/** What has happened to a group at this site: for status, for metrics, and as events. */
export class Happenings {
  readonly #options: HappeningsOptions;
  #outcomes: readonly CommandOutcome[] = [];
  #notices: readonly Notice[] = [];
  #lastStart: StartReport | undefined;

  constructor(options: HappeningsOptions) {
    this.#options = options;
  }

  /** What became of the latest orders. */
  get outcomes(): readonly CommandOutcome[] {
    return this.#outcomes;
  }

  get notices(): readonly Notice[] {
    return this.#notices;
  }

  /** Of this process. */
  get lastStart(): StartReport | undefined {
    return this.#lastStart;
  }

  outcome(outcome: CommandOutcome): void {
    this.#outcomes = [...this.#outcomes.slice(1 - keptMaxCount), outcome];
    this.#options.onChange();
  }

  notice(notice: Notice): void {
    const { parts, object, onChange } = this.#options;
    this.#notices = [...this.#notices.slice(1 - keptMaxCount), notice];
    const about = object();
    if (about !== undefined) {
      parts.events.note({ about, type: "Normal", reason: notice.code, message: notice.message });
    }
    onChange();
  }

  started(goal: StartGoal, report: StartOutcome): void {
    const { name, parts } = this.#options;
    parts.metrics.started(name, goal.kind, report.tookMs);
    this.#lastStart = { goal, ...report, atMs: parts.clock.wallMs() };
    const runs = `runs here under epoch ${formatEpoch(goal.cert.epoch)} (${goal.kind})`;
    const message = [runs, ...startShortfalls(report.failed, report.late ?? [])].join(", ");
    this.notice({ code: "Started", message });
  }
}
