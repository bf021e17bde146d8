import type { GroupView, StatusContext } from "../../../src/agent/status.ts";
import { buildStatus } from "../../../src/agent/status.ts";
import type { ApplierStatus } from "../../../src/apply/status.ts";
import type { GroupStatus } from "../../../src/config/group.ts";
import { parseGroup } from "../../../src/config/parse-group.ts";
import type { FailoverSnapshot } from "../../../src/failover/runner/snapshot.ts";
import type { KubeObject } from "../../../src/objects/object.ts";

/** What a healthy site knows of the group `shop`, as its status is made of it; tests change what they are about. */

const object: KubeObject = {
  apiVersion: "lifeboat.dev/v1alpha1",
  kind: "ProtectionGroup",
  metadata: { name: "shop", generation: 3 },
  spec: { sites: [{ name: "east" }, { name: "west" }], select: { namespaces: { names: ["shop"] } } },
};

export const healthyApplier: ApplierStatus = {
  phase: "following",
  synced: true,
  suspended: false,
  objects: 40,
  copies: 40,
  pending: 0,
  appliedSeq: 90,
  failingCount: 0,
  failing: [],
  conflictCount: 0,
  conflicts: [],
  contested: [],
  fieldsDroppedCount: 0,
  fieldsDropped: [],
  withheld: {},
  findings: [],
  podsLeft: [],
  deletesPaused: undefined,
  promotable: undefined,
};

const grantor = {
  connected: true,
  error: undefined,
  linkHeardAgoMs: 100,
  heardAgoMs: 100,
  leaseMs: 9000,
  refusal: null,
};

const failover: FailoverSnapshot = {
  group: "shop",
  site: "west",
  peer: "east",
  state: "Standby",
  reason: "",
  blocked: undefined,
  epoch: "4.2",
  holder: "east",
  incarnation: 1,
  running: "no",
  witness: grantor,
  peerGrantor: grantor,
  witnessSeesPeer: true,
  promisedToPeerMs: 9000,
  veto: false,
  armed: true,
  notArmed: [],
  fenceCap: "guard",
  stopBoundMs: 5000,
  readiness: "Ready",
  lagMs: 400,
  apiDownMs: null,
  lastRefusal: null,
  order: undefined,
  opId: undefined,
  divergence: undefined,
  ifDied: { site: "", peer: "", witness: "" },
  action: undefined,
  outcomes: [],
  timeline: [],
};

export interface Change {
  readonly applier?: Partial<ApplierStatus>;
  readonly failover?: Partial<FailoverSnapshot>;
  readonly view?: Partial<GroupView>;
}

/** `west`, which has everything of `east`. */
export function standbyView(change: Change = {}): GroupView {
  return {
    group: parseGroup(object).group,
    object,
    specError: undefined,
    specWarnings: [],
    failover: { ...failover, ...change.failover },
    gateProblem: undefined,
    capture: undefined,
    applier: { ...healthyApplier, ...change.applier },
    merge: undefined,
    origin: "copy",
    orphaned: false,
    serving: false,
    pulling: true,
    standbyAgeMs: 400,
    journalSynced: true,
    streamError: undefined,
    outcomes: [],
    notices: [],
    lastStart: undefined,
    late: [],
    divergent: [],
    ...change.view,
  };
}

/** `west`, which runs the group, with a standby that has everything. */
export function activeView(change: Change = {}): GroupView {
  return standbyView({
    applier: { phase: "active", ...change.applier },
    failover: { state: "Active", holder: "west", running: "leased", ...change.failover },
    view: {
      capture: {
        synced: true,
        objectCount: 40,
        leftOut: new Map(),
        namespaces: ["shop"],
        pulledIn: [],
        podOwners: [],
        lag: {
          everSynced: true,
          durableAgeMs: 300,
          appliedAgeMs: 500,
          journalLagMs: 20,
          applyLagMs: 200,
        },
      },
      origin: "own",
      serving: true,
      pulling: false,
      standbyAgeMs: undefined,
      ...change.view,
    },
  });
}

export function statusOf(view: GroupView, context: Partial<StatusContext> = {}): GroupStatus {
  return buildStatus(view, {
    site: "west",
    nowMs: Date.parse("2026-01-02T00:00:00Z"),
    previous: [],
    request: undefined,
    lastFailover: undefined,
    troubles: [],
    peers: ["east"],
    ...context,
  });
}

/** A condition as people read it: `True Reason: message`. */
export function conditionIn({ conditions }: GroupStatus, type: string): string | undefined {
  const found = conditions?.find((condition) => condition.type === type);
  return found === undefined ? undefined : `${found.status} ${found.reason}: ${found.message}`.replace(/: $/, "");
}
