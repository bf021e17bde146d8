import { Applier } from "../apply/applier.ts";
import { obstaclesOf } from "../apply/status.ts";
import type { GroupSpec, ProtectionGroup } from "../config/group.ts";
import type { Journal } from "../journal/journal.ts";
import { marks } from "../objects/object.ts";
import type { Log } from "../telemetry/log.ts";
import { type Claimant, GroupClaims } from "./claims.ts";
import { GroupEnding } from "./ending.ts";
import { lowestEpoch, SiteActions } from "./group-actions.ts";
import { actionsByMode, MergedActions } from "./merged-actions.ts";
import { GroupMerging } from "./merging.ts";
import { GroupGate } from "./group-gate.ts";
import { GroupNamespaces, type NamespacesHere } from "./group-namespaces.ts";
import { GroupSpecs } from "./group-spec.ts";
import { Happenings } from "./happenings.ts";
import { Holding } from "./holding.ts";
import { finderAt, LateObjects } from "./late.ts";
import { ShownObject } from "./mirror.ts";
import { readOrigin } from "./origin.ts";
import type { AgentParts } from "./parts.ts";
import { GroupProtocol, type ProtocolOptions } from "./protocol.ts";
import { GroupPulling } from "./pulling.ts";
import { GroupServing } from "./serving.ts";
import { SiteHost, type HostedRooms } from "./site-host.ts";
import { StandbyReport } from "./standby-report.ts";

export interface RoomsOptions {
  readonly name: string;
  readonly parts: AgentParts;
  readonly journal: Journal;
  readonly log: Log;
  /** Ends everything of the group at this site, without stopping what runs there. */
  readonly signal: AbortSignal;
  /** What another group at this site leaves one of this spec to be refused for; "" for nothing. Must not throw. */
  readonly problem: (group: ProtectionGroup) => string;
  /** The other groups at this site, as far as they are open. */
  readonly others: () => readonly Claimant[];
  /** It is known that no group of that name has anything at this site. */
  readonly isGone: (name: string) => boolean;
  /** Something that status shows has changed. Must not throw. */
  readonly onChange: () => void;
  /** A spec has come into force. Must not throw. */
  readonly onTaken: (group: ProtectionGroup) => void;
  /** Before the first grant: what runs is to be served. */
  readonly onAdopting: () => Promise<void>;
  readonly onReleased: ProtocolOptions["onReleased"];
  /** The other site of the group, as far as it is known. */
  readonly peer: () => string | undefined;
  /** The peer serves the group, by its last word. */
  readonly isOffered: () => boolean;
  /** What is at this site is no copy: its object here is the group's own. */
  readonly isTruth: () => boolean;
}

/** What of a group is at a site, for its gate and its node guards. */
export interface Covered {
  readonly spec: GroupSpec;
  readonly namespaces: readonly string[];
}

/** All that works for one group at this site. */
export interface GroupRooms extends HostedRooms {
  readonly host: SiteHost;
  readonly protocol: GroupProtocol;
  readonly merging: GroupMerging;
  readonly ending: GroupEnding;
  /** undefined before the first spec. */
  readonly covered: () => Covered | undefined;
  readonly claims: GroupClaims;
}

/** Makes what works for a group, each told of the others that it needs. Nothing is begun before its first spec. */
export function openRooms(options: RoomsOptions): GroupRooms {
  const { parts, journal } = options;
  const { clock, random, pool, config, gates } = parts;
  const common = { ...options, clock, random, pool, site: config.site };
  const taken = () => claims.taken;
  const applier = applierOf(options, { isMerged: () => merging.isOn, taken });
  const specs = new GroupSpecs(common);
  const happenings = new Happenings({ ...common, object: () => specs.object });
  const epoch = () => protocol.epoch();
  const versions = () => merging.versions;
  const servedEpoch = (): string => {
    const holder = protocol.cert()?.holder ?? config.site;
    // What a site had is not to be taken for what is in force since another one holds the group.
    return merging.isOn || holder === config.site ? epoch() : lowestEpoch;
  };
  const serving = new GroupServing({
    ...common,
    specs,
    epoch: servedEpoch,
    versions,
    holderOf: (namespace) => claims.holderOf(namespace),
    lacking: () => applier.absent,
  });
  const report = new StandbyReport({
    clock,
    isTaken: () => claims.taken.size > 0,
    // Where both sites pull, what the holder lacks of the other one is no lack of a standby.
    tell: (data) => {
      if (!merging.isOn || readOrigin(journal) === "copy") protocol.setData(data);
    },
  });
  applier.onStatus((status) => {
    serving.lackingChanged();
    report.setObstacles(obstaclesOf(status));
  });
  const wanted = wantedBy(common, specs, serving);
  const claims = new GroupClaims({
    ...common,
    wanted,
    leftOut: () => serving.capture?.leftOut ?? new Map(),
    onChange: () => {
      applier.restart();
      if (merging.isOn) merging.merger.reconsider();
      report.reconsider();
    },
  });
  const covered = (): Covered | undefined => {
    const spec = specs.group?.spec;
    return spec === undefined ? undefined : { spec, namespaces: claims.namespaces };
  };
  const pulling = new GroupPulling({
    ...common,
    onData: (data) => report.heard(data),
  });
  const snapshot = () => protocol.snapshot();
  const merging: GroupMerging = new GroupMerging({ ...common, specs, serving, pulling, epoch, snapshot, taken });
  const holding = new Holding({ ...common, namespaces: () => serving.capture?.namespaces ?? [] });
  const late = new LateObjects({ ...common, find: finderAt(parts) });
  const onRestored = (message: string) => happenings.notice({ code: "ObjectRestored", message });
  const shown = new ShownObject({ ...common, specs, onRestored });
  const gate = new GroupGate({
    ...common,
    gates,
    covered,
    cert: () => protocol.cert(),
    records: parts.records,
  });
  const hosted = { ...common, applier, specs, happenings, serving, pulling, holding, late, shown, gate };
  const host = new SiteHost(hosted);
  const protocol: GroupProtocol = new GroupProtocol({
    ...common,
    actions: actionsByMode(() => merging.isOn, mergedActions(host, { merging, serving, specs }), new SiteActions(host)),
    isSource: () => specs.isSource,
    keptData: (of) => {
      const kept = pulling.keptFor(of);
      return kept === undefined ? undefined : report.of(kept);
    },
  });
  const ending = new GroupEnding({
    ...common,
    journal,
    serving,
    protocol,
    hasObject: () => specs.object !== undefined,
  });
  return { ...hosted, host, protocol, merging, ending, covered, claims };
}

function mergedActions(
  host: SiteHost,
  { merging, serving, specs }: Pick<HostedRooms, "serving" | "specs"> & Pick<GroupRooms, "merging">,
): MergedActions {
  return new MergedActions(host, {
    isSingle: (key) => merging.merger.isSingle(key),
    settle: (options) => merging.merger.settle(options),
    failing: () => [...merging.merger.status().failing.keys()],
    singlesText: () => merging.merger.singlesText(),
    begin: () => merging.begin(),
    settleCapture: async (options) => serving.capture?.settle(options),
    beginSurge: () => merging.beginSurge(),
    setMayStart: (mayStart) => merging.setMayStart(mayStart),
    isMirror: () => specs.object?.metadata.annotations?.[marks.mirror] !== undefined,
  });
}

function applierOf(
  { parts, journal, log, onChange }: RoomsOptions,
  asked: Required<Pick<ConstructorParameters<typeof Applier>[0], "isMerged" | "taken">>,
): Applier {
  const { client, discovery, config, clock, random } = parts;
  const origin = readOrigin(journal);
  const mode = origin === "copy" || origin === "none" ? "standby" : origin === "held" ? "held" : "active";
  const applier = new Applier({ journal, client, discovery, site: config.site, mode, ...asked, clock, random, log });
  applier.onStatus(() => onChange());
  return applier;
}

/** Namespaces as the spec in force and what has come of it have them, whoever else has them too; undefined without a spec. */
function wantedBy(
  options: { readonly site: string; readonly journal: Journal },
  specs: GroupSpecs,
  serving: GroupServing,
): () => NamespacesHere | undefined {
  const namespaces = new GroupNamespaces(options);
  return () => {
    const spec = specs.group?.spec;
    if (spec === undefined) return undefined;
    const { capture } = serving;
    const read = capture?.namespaces ?? [];
    if (capture?.synced === true) return namespaces.here(spec, read);
    const known = namespaces.here(spec, undefined);
    return { ...known, namespaces: [...new Set([...known.namespaces, ...read])].sort() };
  };
}
