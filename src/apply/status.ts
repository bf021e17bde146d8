import type { ObjectKey } from "../objects/key.ts";
import type { Finding } from "../render/types.ts";
import type { Contested } from "./contest.ts";
import type { ProofResult } from "./proof.ts";
import type { ConflictingKey, DroppedFields, FailingKey } from "./notes.ts";

/** What the applier of one group is doing. Lists are bounded; the counts beside them are not. */
export interface ApplierStatus {
  /**
   * `waiting`: no spec yet. `starting`: looks at what is there. `following`: applies what comes.
   * `promoting`, `active`: this site runs the group. `stopped`: nothing is done.
   */
  readonly phase: "waiting" | "starting" | "following" | "promoting" | "active" | "stopped";
  /** Everything of the source was held at least once, and all of it that can be is at the standby. */
  readonly synced: boolean;
  readonly suspended: boolean;
  /** Objects of the group in the journal. */
  readonly objects: number;
  /** Objects of the group at this site. */
  readonly copies: number;
  /** Keys that are received and not yet applied, failing ones included. */
  readonly pending: number;
  /** Highest sequence number of the present ring up to which everything but failing keys is applied. */
  readonly appliedSeq: number;
  readonly failingCount: number;
  readonly failing: readonly FailingKey[];
  readonly conflictCount: number;
  readonly conflicts: readonly ConflictingKey[];
  readonly contested: readonly Contested[];
  readonly fieldsDroppedCount: number;
  readonly fieldsDropped: readonly DroppedFields[];
  /** Kept back until promotion, or because the site has its own, by reason. */
  readonly withheld: Readonly<Record<string, number>>;
  readonly findings: readonly Finding[];
  /** Pods of the group that were seen at this site while it must not run it, by key. */
  readonly podsLeft: readonly ObjectKey[];
  readonly deletesPaused:
    | { readonly sinceMs: number; readonly count: number; readonly of: number; readonly pending: number }
    | undefined;
  /** What a dry run in the active role found; `undefined` while it has not been through once. */
  readonly promotable: ProofResult | undefined;
}

/** What of the group would not be here if this site became active. */
export function obstaclesOf(status: ApplierStatus): string[] {
  const { failing, failingCount, conflicts, conflictCount, deletesPaused, promotable } = status;
  const found: string[] = [];
  const say = (count: number, what: string, [first]: readonly FailingKey[]): void => {
    const example = first === undefined ? "" : `, such as ${first.key}: ${first.message}`;
    if (count > 0) found.push(`${count} objects ${what}${example}`);
  };
  say(failingCount, "cannot be applied", failing);
  say(promotable?.count ?? 0, "would be refused by a dry run as active", promotable?.findings ?? []);
  if (conflictCount > 0) {
    found.push(`${conflictCount} objects are there that Lifeboat has not made, such as ${conflicts[0]?.key ?? ""}`);
  }
  if (deletesPaused !== undefined) found.push(`${deletesPaused.pending} deletes wait to be confirmed`);
  return found;
}
