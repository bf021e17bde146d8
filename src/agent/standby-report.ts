import type { Clock } from "../clock.ts";
import type { StandbyData } from "../failover/runner/runner.ts";

/** What the peer is told with every heartbeat. */
const obstacleCharsMax = 500;

export interface StandbyReportOptions {
  readonly clock: Clock;
  /** Another group has namespaces here that this one would have. */
  readonly isTaken: () => boolean;
  /** Must not throw. */
  readonly tell: (data: StandbyData) => void;
}

/**
 * How good this site is as a standby: what its stream says, and what of this site stands against it. Told anew when the
 * latter changes, whether the source is there or not.
 */
export class StandbyReport {
  readonly #options: StandbyReportOptions;
  #obstacle = "";
  /** As the stream said it last, and when. */
  #heard: { readonly data: StandbyData; readonly atMs: number } | undefined;

  constructor(options: StandbyReportOptions) {
    this.#options = options;
  }

  /** At a contact with the source. */
  heard(data: StandbyData): void {
    this.#options.tell(this.of(data));
  }

  /** Takes it as the latest, and returns it as it is to be told. */
  of(data: StandbyData): StandbyData {
    this.#heard = { data, atMs: this.#options.clock.monotonicMs() };
    return this.#adjusted(data);
  }

  /** What of the group would not come up here, one sentence each. */
  setObstacles(obstacles: readonly string[]): void {
    const obstacle = obstacles.join("; ").slice(0, obstacleCharsMax);
    if (obstacle === this.#obstacle) return;
    this.#obstacle = obstacle;
    this.reconsider();
  }

  /** What is taken may have changed. */
  reconsider(): void {
    if (this.#heard === undefined) return;
    const { data, atMs } = this.#heard;
    const contactAgoMs = (data.contactAgoMs ?? 0) + this.#options.clock.monotonicMs() - atMs;
    this.#options.tell(this.#adjusted({ ...data, contactAgoMs }));
  }

  /** What another group has here is not brought up here, however complete the journal is. */
  #adjusted(data: StandbyData): StandbyData {
    return { ...data, ...(this.#options.isTaken() ? { readiness: "Syncing" } : {}), obstacle: this.#obstacle };
  }
}
