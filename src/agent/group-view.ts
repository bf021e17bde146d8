import type { FailoverSnapshot } from "../failover/runner/snapshot.ts";
import { shown } from "../apply/notes.ts";
import { type ApplierStatus, obstaclesOf } from "../apply/status.ts";
import type { GroupRooms } from "./group-rooms.ts";
import type { MergingView } from "./merging.ts";
import { explainFence } from "./guard-scope.ts";
import type { GroupAges } from "./metrics.ts";
import { readOrigin } from "./origin.ts";
import { electionWarnings } from "./policy.ts";

/** What status is made of. `orphaned`: the group was opened as what a deleted one left behind. */
export function viewOf(group: GroupRooms, orphaned: boolean) {
  const { specs, serving, pulling, applier, journal, happenings, merging } = group;
  const { capture } = serving;
  const report = capture?.report();
  const merge = merging.view();
  return {
    group: specs.group,
    object: specs.object,
    specError: specs.error,
    specWarnings: [
      ...(specs.group === undefined ? [] : electionWarnings(specs.group.spec, group.parts.config.election)),
      // What does nothing is told once it is known what the group holds.
      ...specs.warnings(report?.synced === true ? capture?.keys() : undefined),
      ...[...new Map([...(report?.leftOut ?? []), ...group.claims.taken])].map(
        ([name, of]) => `namespace ${name} is left out: it belongs to the group ${of} here`,
      ),
    ],
    failover: explained(group),
    gateProblem: group.gate.problem,
    // Deleted objects are records of the stream, too.
    capture: report === undefined || merge === undefined ? report : { ...report, objectCount: merge.objects },
    applier: merge === undefined ? applier.status() : mergedStatus(applier.status(), merge),
    merge,
    origin: readOrigin(journal),
    orphaned,
    serving: serving.offers,
    pulling: pulling.active,
    standbyAgeMs: pulling.ageMs(),
    journalSynced: journal.synced,
    streamError: pulling.error,
    outcomes: happenings.outcomes,
    notices: happenings.notices,
    lastStart: happenings.lastStart,
    late: group.late.entries,
    divergent: journal.divergentKeys(),
  };
}

/** Where both sites run the group, merging is what applies. */
function mergedStatus(status: ApplierStatus, merge: MergingView): ApplierStatus {
  return {
    ...status,
    objects: merge.objects,
    pending: merge.pending,
    failingCount: merge.failing.size,
    failing: shown(merge.failing),
    findings: [...status.findings, ...shown(merge.findings).flat()],
    deletesPaused: merge.deletesPaused,
  };
}

function explained({ protocol, specs, parts }: GroupRooms): FailoverSnapshot | undefined {
  const snapshot = protocol.snapshot();
  return snapshot === undefined ? undefined : explainFence(snapshot, specs.group?.spec, parts.guards.unguarded);
}

export function agesOf({ serving, pulling, protocol, parts }: GroupRooms): GroupAges {
  return {
    durableMs: () => serving.capture?.lag.durableAgeMs ?? pulling.ageMs(),
    appliedMs: () => serving.capture?.lag.appliedAgeMs,
    journalCount: () => serving.journalCount,
    eventMs: () => (serving.capture === undefined ? undefined : parts.pool.lastEventAgeMs()),
    witnessMs: () => protocol.snapshot()?.witness.heardAgoMs ?? undefined,
  };
}

/** What stands in the way of a switchover away from or to this site, as far as it can be told from here. */
export function findingsOf({ applier, protocol, journal }: GroupRooms): string[] {
  const status = applier.status();
  // Of a standby the protocol knows them.
  return readOrigin(journal) === "copy" ? protocol.preflight() : [...protocol.preflight(), ...obstaclesOf(status)];
}
