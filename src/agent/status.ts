import type { Condition } from "../config/status.ts";
import type { GroupStatus } from "../config/group.ts";
import type { TimelineEvent } from "../failover/runner/timeline.ts";
import type { LifeboatError } from "../errors.ts";
import { statusFindings } from "./findings.ts";
import { startShortfalls } from "./late.ts";
import { type TroubledKind, troubleVerdict } from "./kind-troubles.ts";
import type { GroupRuntime } from "./group-runtime.ts";

export type GroupView = ReturnType<GroupRuntime["view"]>;
export type LastRequest = NonNullable<GroupStatus["lastRequest"]>;

export interface StatusContext {
  readonly site: string;
  /** Milliseconds since 1970. */
  readonly nowMs: number;
  /** Conditions as last written: their times stay where nothing changed. */
  readonly previous: readonly Condition[];
  readonly request: LastRequest | undefined;
  /** The latest move as last written, for when this process has seen none. */
  readonly lastFailover: GroupStatus["lastFailover"];
  /** Kinds of which the site's own objects cannot be followed; none at a standby. */
  readonly troubles: readonly TroubledKind[];
  /** Sites that this agent is configured to replicate with. */
  readonly peers: readonly string[];
}

/** Entries of lists in a status; the counts beside them are whole. */
const listedMaxCount = 20;
/** A peer or witness that said nothing for this long is shown as not reachable. */
const heardMaxMs = 10_000;

/** What one site says of a group. Pure: the same view gives the same status. */
export function buildStatus(view: GroupView, context: StatusContext): GroupStatus {
  const { failover, applier, capture, object } = view;
  const isActive = failover?.running !== undefined && failover.running !== "no";
  const adopting = failover?.state === "Adopting" && view.serving;
  const isBoth = view.merge !== undefined && view.serving && !view.orphaned;
  const role =
    isActive || adopting || isBoth ? "active" : view.origin === "copy" || view.pulling ? "standby" : "unknown";
  const findings = statusFindings(view, role === "active", context.troubles).slice(0, listedMaxCount);
  const withheld = Object.values(applier.withheld).reduce((sum, count) => sum + count, 0);
  return withoutUndefined({
    observedGeneration: object?.metadata.generation,
    role,
    active: failover?.holder ?? (adopting ? context.site : undefined),
    epoch: failover?.epoch,
    state: view.orphaned ? "Orphaned" : (failover?.state ?? "Unknown"),
    reason: reasonOf(view, context.site),
    lag: lagOf(view, role),
    counts: {
      // Never none at all: an apply that leaves nothing of a map that had something is refused by API servers.
      objects: (role === "active" ? capture?.objectCount : undefined) ?? applier.objects,
      ...(role === "active"
        ? {}
        : {
            applied: Math.max(0, applier.objects - applier.pending - withheld),
            pending: applier.pending,
            withheld,
            failed: applier.failingCount,
          }),
    },
    leases: failover === undefined ? undefined : { ...leasesOf(failover), gate: view.gateProblem ?? "in force" },
    ifLost: failover?.ifDied,
    conditions: conditionsOf(view, role, context),
    pulledIn: capture === undefined ? undefined : capture.pulledIn.slice(0, listedMaxCount),
    findings,
    divergence:
      view.divergent.length === 0
        ? undefined
        : { count: view.divergent.length, objects: view.divergent.slice(0, listedMaxCount).map(({ key }) => key) },
    merge: mergeOf(view.merge),
    lastFailover: lastMove(view, context),
    lastRequest: context.request,
    peer: failover === undefined ? undefined : endOf(failover.peerGrantor, context.nowMs, failover.peer),
    witness: failover === undefined ? undefined : endOf(failover.witness, context.nowMs),
  }) as GroupStatus;
}

function mergeOf(merge: GroupView["merge"]): GroupStatus["merge"] {
  if (merge === undefined) return undefined;
  return withoutUndefined({
    singletons: merge.singlesHere ? "here" : "at the other site",
    singletonCount: merge.singles.length,
    surgePercent: merge.surgePercent,
    clockAheadMs: merge.aheadMs === 0 ? undefined : Math.round(merge.aheadMs),
    tombstones: merge.tombstones,
    conflictCount: merge.conflictCount,
    conflicts: merge.conflicts
      .slice(0, listedMaxCount)
      .map(({ key, foundMs, winner, loser, wonAt, lostAt, deletion }) => ({
        object: key,
        at: new Date(foundMs).toISOString(),
        winner,
        loser,
        message: `${winner} wrote at ${wonAt}, ${loser} at ${lostAt}${deletion ? "; one of the two was a deletion" : ""}`,
      })),
  });
}

function reasonOf(view: GroupView, site: string): string | undefined {
  const { failover, specError, streamError } = view;
  if (view.orphaned) {
    const purge = `\`lifeboat purge ${view.object?.metadata.name ?? "GROUP"} --site ${site}\``;
    return `the group was deleted at its source; its copies stay here until ${purge} removes them`;
  }
  if (specError !== undefined) return specError.message;
  if (failover?.blocked !== undefined) return failover.blocked.message;
  if (failover !== undefined && failover.reason !== "") return failover.reason;
  if (streamError !== undefined) return sentenceOf(streamError);
  return failover?.lastRefusal?.reason;
}

/** In words, since what is left of a lease is another number at every look. */
function leasesOf(failover: NonNullable<GroupView["failover"]>): GroupStatus["leases"] {
  const { witness, peerGrantor, running, fenceCap, stopBoundMs } = failover;
  const say = ({ leaseMs, refusal }: typeof witness): string => {
    if (running === "leaseFree") return "not needed: the other grantor has recorded that it takes over for nobody";
    if (leaseMs > 0) return "held";
    return refusal === null ? "none" : `none: ${refusal.reason}`;
  };
  return { witness: say(witness), peer: say(peerGrantor), fence: fenceCap, stopBoundMs };
}

function lagOf(view: GroupView, role: string): GroupStatus["lag"] {
  if (role === "active") {
    const lag = view.capture?.lag;
    if (lag === undefined || !lag.everSynced) return { summary: "never" };
    const { journalLagMs, applyLagMs, durableAgeMs } = lag;
    const summary = durableAgeMs === undefined ? "never" : seconds(durableAgeMs);
    return { ...rounded({ journalMs: journalLagMs, applyMs: applyLagMs, ageMs: durableAgeMs }), summary };
  }
  const { standbyAgeMs } = view;
  if (standbyAgeMs === undefined) return { summary: view.journalSynced ? "unknown" : "never" };
  return { ...rounded({ ageMs: standbyAgeMs }), summary: seconds(standbyAgeMs) };
}

function rounded(values: Readonly<Record<string, number | undefined>>): Record<string, number> {
  return Object.fromEntries(
    Object.entries(values).flatMap(([name, value]) => (value === undefined ? [] : [[name, Math.round(value)]])),
  );
}

function seconds(ms: number): string {
  return ms < 10_000 ? `${(ms / 1000).toFixed(1)}s` : `${Math.round(ms / 1000)}s`;
}

function endOf(end: { connected: boolean; linkHeardAgoMs: number | null }, nowMs: number, site?: string) {
  const heardMs = end.linkHeardAgoMs;
  const lastSeen =
    heardMs === null ? undefined : new Date(Math.floor((nowMs - heardMs) / 10_000) * 10_000).toISOString();
  return withoutUndefined({ site, reachable: end.connected && (heardMs ?? Infinity) < heardMaxMs, lastSeen });
}

function lastMove(view: GroupView, { site, lastFailover: stored }: StatusContext): GroupStatus["lastFailover"] {
  const { lastStart, failover } = view;
  if (lastStart === undefined || failover === undefined || !movedHere.has(lastStart.goal.kind)) return stored;
  const { goal, atMs, tookMs, failed, late } = lastStart;
  const move = latestMove(failover.timeline);
  const at = (...names: readonly string[]) => move.findLast(({ event }) => names.includes(event))?.monotonicMs;
  const heard = at("lastPeerHeartbeat");
  // A site that answers beats on after the decision.
  const sinceHeard = (ms: number | undefined): number | undefined =>
    heard === undefined || ms === undefined || ms < heard ? undefined : Math.round(ms - heard);
  return withoutUndefined({
    at: new Date(atMs).toISOString(),
    from: failover.peer,
    to: site,
    epoch: failover.epoch,
    kind: goal.kind === "commit" ? "switchover" : "failover",
    automatic: goal.kind === "takeover",
    decisionMs: sinceHeard(at("grantReceived", "commitReceived")),
    rpoMs: lastStart.rpoMs === undefined ? undefined : Math.round(lastStart.rpoMs),
    rtoMs: sinceHeard(at("started")),
    outcome: [`started in ${seconds(tookMs)}`, ...startShortfalls(failed, late ?? [])].join(", "),
    timeline: decisionOf(move),
  });
}

/** The events of the latest start at this site: what came after the one before. */
function latestMove(events: readonly TimelineEvent[]): readonly TimelineEvent[] {
  const last = events.findLastIndex(({ event }) => event === "started");
  const before = events.slice(0, Math.max(0, last)).findLastIndex(({ event }) => event === "started");
  return events.slice(before + 1, last + 1);
}

/** What led to the move: from the last sign of the old site to the start of everything. */
function decisionOf(until: readonly TimelineEvent[]): { event: string; at: string; detail: string }[] {
  const first = Math.max(
    0,
    until.findLastIndex(({ event }) => event === "lastPeerHeartbeat"),
  );
  return until
    .slice(Math.max(first, until.length - timelineMaxCount))
    .map(({ event, wallMs, detail }) => ({ event, at: new Date(wallMs).toISOString(), detail }));
}

/** A move is about ten events. */
const timelineMaxCount = 20;

const movedHere: ReadonlySet<string> = new Set(["takeover", "manual", "commit", "forced"]);

interface Verdict {
  readonly type: string;
  readonly status: "True" | "False" | "Unknown";
  readonly reason: string;
  readonly message: string;
}

function conditionsOf(view: GroupView, role: string, context: StatusContext): Condition[] {
  const { previous, nowMs } = context;
  return verdictsOf(view, role, context).map((verdict) => {
    const before = previous.find(({ type }) => type === verdict.type);
    const lastTransitionTime =
      before?.status === verdict.status ? before.lastTransitionTime : new Date(nowMs).toISOString();
    return { ...verdict, lastTransitionTime };
  });
}

function verdictsOf(view: GroupView, role: string, context: StatusContext): Verdict[] {
  const { troubles } = context;
  const { applier, failover } = view;
  const when = (type: string, holds: boolean, yes: [string, string], no: [string, string]): Verdict => {
    const [reason, message] = holds ? yes : no;
    return { type, status: holds ? "True" : "False", reason, message };
  };
  const synced = isSynced(view, role);
  const { deletesPaused: paused } = applier;
  const blocked = failover?.blocked;
  return [
    accepted(view, context),
    when("Synced", synced, ["UpToDate", "everything was received"], notSynced(view, role)),
    ready(view, role, synced, troubles),
    when(
      "Armed",
      failover?.armed ?? false,
      ["Armed", "the witness moves the group if the active site is lost"],
      ["NotArmed", failover?.notArmed.join("; ") ?? "the group is not known to the protocol yet"],
    ),
    degraded(view, role, troubles),
    when(
      "DeletesPaused",
      paused !== undefined,
      [
        "TooMany",
        paused === undefined
          ? ""
          : `${paused.count} of ${paused.of} objects vanished at once; ${paused.pending} deletes wait for \`lifeboat deletes confirm ${view.group?.name ?? ""}\``,
      ],
      ["None", ""],
    ),
    when(
      "Conflicts",
      applier.conflictCount > 0,
      ["Exists", `${applier.conflictCount} objects exist here that Lifeboat has not made`],
      ["None", ""],
    ),
    when(
      "Contested",
      applier.contested.length > 0,
      ["Fought", `${applier.contested.length} objects are changed back by somebody again and again`],
      ["None", ""],
    ),
    when(
      "FieldsDropped",
      applier.fieldsDroppedCount > 0,
      ["Dropped", `${applier.fieldsDroppedCount} objects have fields that this site cannot hold`],
      ["None", ""],
    ),
    when(
      "Diverged",
      view.divergent.length > 0,
      ["Kept", `${view.divergent.length} objects that differed here when the other site took over are kept`],
      ["None", ""],
    ),
    when(
      "PodsLeft",
      applier.podsLeft.length > 0,
      [
        "Running",
        `${applier.podsLeft.length} pods of the group run at this site, which must not run it, such as ${applier.podsLeft[0] ?? ""}`,
      ],
      ["None", ""],
    ),
    ...promotableOf(view, role),
    when("Blocked", blocked !== undefined, [blocked?.code ?? "", blocked?.message ?? ""], ["None", ""]),
  ];
}

function accepted({ specError, specWarnings, group }: GroupView, { site, peers }: StatusContext): Verdict {
  const type = "Accepted";
  if (specError !== undefined) return { type, status: "False", reason: "Invalid", message: specError.message };
  const peer = group?.spec.sites.map(({ name }) => name).find((name) => name !== site);
  if (peer !== undefined && !peers.includes(peer)) {
    const message = `${site} has no peer ${peer}: its agent is configured with ${peers.join(", ")}; correct spec.sites, or peers of that configuration`;
    return { type, status: "False", reason: "UnknownPeer", message };
  }
  return { type, status: "True", reason: "Valid", message: specWarnings.join("; ") };
}

function degraded({ applier, streamError }: GroupView, role: string, troubles: readonly TroubledKind[]): Verdict {
  const kinds = troubleVerdict(troubles);
  const failing = `${applier.failingCount} objects ${role === "active" ? "could not be brought up here and are tried again" : "cannot be applied"}`;
  const reasons = [
    ...(kinds === undefined ? [] : [kinds]),
    ...(streamError === undefined ? [] : [[streamError.code, sentenceOf(streamError)] as const]),
    ...(applier.failingCount > 0 ? [["Degraded", failing] as const] : []),
  ];
  const [first] = reasons;
  if (first === undefined) return { type: "Degraded", status: "False", reason: "Healthy", message: "" };
  return {
    type: "Degraded",
    status: "True",
    reason: first[0],
    message: reasons.map(([, message]) => message).join("; "),
  };
}

function sentenceOf({ message, hint }: LifeboatError): string {
  return hint === undefined ? message : `${message}; ${hint}`;
}

/** What dry runs in the active role have found; only a standby makes them. */
function promotableOf({ applier }: GroupView, role: string): Verdict[] {
  const { promotable } = applier;
  if (role !== "standby" || promotable === undefined) return [];
  const type = "Promotable";
  if (promotable.ok) return [{ type, status: "True", reason: "Proven", message: "" }];
  const message = `${promotable.count} objects would be refused if this site became active`;
  return [{ type, status: "False", reason: "Refused", message }];
}

function isSynced(view: GroupView, role: string): boolean {
  if (view.orphaned) return false;
  if (role !== "active") return view.journalSynced && view.applier.phase !== "waiting";
  return view.capture?.synced === true && view.capture.lag.everSynced;
}

function notSynced(view: GroupView, role: string): [reason: string, message: string] {
  const { streamError, capture } = view;
  if (view.orphaned) return ["NotSynced", "the group was deleted at its source"];
  if (role !== "active" && streamError !== undefined) return [streamError.code, streamError.message];
  if (role !== "active") return ["NotSynced", "the first synchronisation is under way"];
  const received = "no standby has received anything yet";
  return ["NotSynced", capture?.synced === true ? received : "the group's objects are being read"];
}

function ready(view: GroupView, role: string, synced: boolean, troubles: readonly TroubledKind[]): Verdict {
  const paused = troubles.find(({ what }) => what === "rewound");
  if (paused !== undefined) return { type: "Ready", status: "False", reason: "Paused", message: paused.message };
  const suspended = whySuspended(view, role);
  if (suspended !== undefined) return { type: "Ready", status: "False", reason: "Suspended", message: suspended };
  if (isReady(view, role)) return { type: "Ready", status: "True", reason: "Ready", message: "" };
  return { type: "Ready", status: "False", reason: "NotReady", message: notReady(view, role, synced) };
}

/** Where nothing is wrong but that a person wants nothing to be applied. */
function whySuspended({ applier, specError, streamError }: GroupView, role: string): string | undefined {
  if (role !== "standby" || !applier.suspended || specError !== undefined || streamError !== undefined)
    return undefined;
  const waiting = applier.pending === 0 ? "" : `; ${applier.pending} objects wait`;
  return `spec.suspend is true: nothing is applied here until it is false${waiting}; the journal goes on receiving`;
}

function isReady(view: GroupView, role: string): boolean {
  if (view.orphaned) return false;
  if (view.specError !== undefined) return false;
  if (role === "active") return view.serving && view.capture?.synced === true;
  return role === "standby" && view.applier.synced && view.streamError === undefined;
}

function notReady(view: GroupView, role: string, synced: boolean): string {
  if (view.specError !== undefined) return "the spec is not valid";
  if (role === "unknown") return "this site neither runs nor follows the group yet";
  if (!synced) return notSynced(view, role)[1];
  return view.streamError?.message ?? `${view.applier.pending} objects wait to be applied`;
}

function withoutUndefined<T extends object>(value: T): T {
  return Object.fromEntries(Object.entries(value).filter(([, item]) => item !== undefined)) as T;
}
