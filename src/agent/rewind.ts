import type { WatchPool } from "../capture/pool.ts";
import type { Clock } from "../clock.ts";
import { LifeboatError } from "../errors.ts";
import type { DurableRecords } from "../failover/runner/records.ts";
import { safeError, type Log } from "../telemetry/log.ts";
import type { Origin } from "./origin.ts";

export interface RewindKeeperOptions {
  readonly pool: WatchPool;
  readonly records: DurableRecords;
  /** See {@link mayFollowRestored}. */
  readonly mayFollow: () => boolean;
  readonly clock: Clock;
  readonly log: Log;
}

const recordName = "agent/versions";
/** One fsync, and only while something changes; what is newer at a crash is not known to the next process. */
const keepEveryMs = 10_000;
const lookEveryMs = 1000;

/** The latest versions of the API server that an earlier process has seen, for the pool. */
export function readVersions(records: DurableRecords): ReadonlyMap<string, string> {
  const stored = records.getState(recordName);
  if (typeof stored !== "object" || stored === null) return new Map();
  return new Map(Object.entries(stored).filter((entry): entry is [string, string] => typeof entry[1] === "string"));
}

/**
 * Whether a restored API server may be followed without asking, given what the objects of every group are here. Its past
 * would be sent to the standby of a group that runs here, so a person decides; where nothing runs, nothing waits for that.
 */
export function mayFollowRestored(origins: readonly Origin[]): boolean {
  return origins.every((origin) => origin === "copy" || origin === "held");
}

/** Something is not followed until somebody has accepted what a restored API server holds. */
export function isRewound(pool: WatchPool): boolean {
  return pool.states().some(({ trouble }) => trouble === "rewound");
}

/** Keeps durably how far the API server was, and lets a restored one be followed where that harms nothing. */
export class RewindKeeper {
  readonly #options: RewindKeeperOptions;
  #kept: string;

  constructor(options: RewindKeeperOptions) {
    this.#options = options;
    this.#kept = textOf(readVersions(options.records));
  }

  /** Until the signal aborts; then it notes once more where the API server was and rejects with the reason. */
  async run({ signal }: { signal: AbortSignal }): Promise<never> {
    const { clock } = this.#options;
    try {
      for (let keptMs = clock.monotonicMs(); ;) {
        await clock.sleep(lookEveryMs, { signal });
        this.#follow();
        if (clock.monotonicMs() - keptMs < keepEveryMs) continue;
        keptMs = clock.monotonicMs();
        await this.#keep();
      }
    } finally {
      await this.#keep();
    }
  }

  #follow(): void {
    const { pool, mayFollow, log } = this.#options;
    if (!isRewound(pool) || !mayFollow()) return;
    const count = pool.acceptRewind();
    log.warn({ kinds: count }, "the API server was restored from a backup; no group runs here, so it is followed");
  }

  async #keep(): Promise<void> {
    const { pool, records, log } = this.#options;
    const versions = pool.versions();
    const text = textOf(versions);
    if (text === this.#kept) return;
    try {
      await records.putState(recordName, Object.fromEntries(versions));
      this.#kept = text;
    } catch (error) {
      log.warn({ error: safeError(error) }, "how far the API server is could not be noted");
    }
  }
}

function textOf(versions: ReadonlyMap<string, string>): string {
  return JSON.stringify([...versions].sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** At a person's word. Returns what came of it; throws FailoverRefused where nothing waits for that. */
export function acceptRewind(pool: WatchPool): string {
  const count = pool.acceptRewind();
  if (count > 0) return `${count} kinds are replicated as the API server holds them now`;
  throw new LifeboatError("FailoverRefused", "the API server was not restored: nothing is paused", {
    op: "request.accept-rewind",
  });
}
