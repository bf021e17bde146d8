import { parseStoredStatus } from "../config/stored.ts";
import type { DurableRecords } from "../failover/runner/records.ts";
import { GroupRecords } from "../failover/runner/records.ts";
import type { Journal } from "../journal/journal.ts";
import { type KubeObject, marks } from "../objects/object.ts";

/**
 * What the group's objects at this site are, kept durably in the group's journal:
 * - `none`: nothing of the group is known to be here
 * - `copy`: written by Lifeboat from the journal
 * - `promoting`: copies that are being brought up; also after a crash in the middle of it
 * - `own`: the site runs, or ran, the group; its objects are the truth and the journal is not
 * - `held`: as `own`, but taken down: what ran is kept in the objects' `lifeboat.dev/held` annotations
 */
export type Origin = "none" | "copy" | "promoting" | "own" | "held";

const recordName = "agent/origin";

export function readOrigin(journal: Journal): Origin {
  const stored = journal.getState(recordName);
  return typeof stored === "string" ? (stored as Origin) : "none";
}

export async function writeOrigin(journal: Journal, origin: Origin): Promise<void> {
  if (readOrigin(journal) !== origin) await journal.putState(recordName, origin);
}

/**
 * Whether this site ran the group and its journal, which would say so, was lost: the failover record outlives it. What
 * is saved of a former run was taken down before, so that it counts no more.
 */
export function ranHere(journal: Journal, records: DurableRecords, site: string): boolean {
  if (readOrigin(journal) !== "none" || journal.synced) return false;
  const { cert, divergence } = new GroupRecords(records, journal.group).read();
  return cert?.holder === site || (divergence !== null && !divergence.saved);
}

/**
 * What this site's objects are by the group's object here, where all that the agent kept of it is lost: the object's
 * status tells that the group was granted to this site, and whether it ran. Undefined where it does not, as for a mirror.
 */
export function recalledOrigin(object: KubeObject, site: string): "own" | "held" | undefined {
  const { epoch, active, role } = parseStoredStatus(object["status"]);
  const isMirror = object.metadata.annotations?.[marks.mirror] !== undefined;
  if (isMirror || epoch === undefined || active !== site) return undefined;
  return role === "active" ? "own" : "held";
}

const endedName = "agent/ended";

/** Somebody has deleted the group's object here, seen by an agent of this site; what follows from it is not all done. */
export function readEnded(journal: Journal): boolean {
  return journal.getState(endedName) === true;
}

export async function writeEnded(journal: Journal, ended: boolean): Promise<void> {
  if (readEnded(journal) !== ended) await journal.putState(endedName, ended ? true : undefined);
}
