import type { KindState, KindTrouble } from "../capture/watch-table.ts";
import { compileSelection } from "../capture/selection.ts";
import type { GroupSpec } from "../config/group.ts";
import { kindName } from "../objects/key.ts";

/** A kind of which objects of a group cannot be followed at present. */
export interface TroubledKind {
  readonly what: KindTrouble | "uncommon";
  /** `group/Kind`. */
  readonly kind: string;
  /** One sentence with what to do. */
  readonly message: string;
}

export interface TroubleQuestion {
  readonly name: string;
  readonly site: string;
  readonly spec: GroupSpec;
  /** Namespaces of the group at this site. */
  readonly namespaces: readonly string[];
  /** Kinds that no version is common of, each with a sentence. */
  readonly uncommon: ReadonlyMap<string, string>;
}

/** Namespaces that are named in one message. */
const namedMaxCount = 5;

/** What of a group cannot be followed, given the state of every watch of the site. Pure. */
export function troubledKinds(states: readonly KindState[], question: TroubleQuestion): TroubledKind[] {
  const selection = compileSelection(question.spec, question.site);
  const byKind = Map.groupBy(states, ({ group, kind }) => kindName(group, kind));
  const found: TroubledKind[] = [];
  for (const [kind, watches] of byKind) {
    const [first] = watches;
    if (first === undefined || selection.excludesKind(first.group, first.kind)) continue;
    const uncommon = question.uncommon.get(kind);
    if (uncommon !== undefined) found.push({ what: "uncommon", kind, message: uncommon });
    const trouble = troubleIn(watches, question.namespaces);
    if (trouble !== undefined) {
      const message = sentenceOf(kind, trouble.state, trouble.namespaces, question.name);
      found.push({ what: trouble.what, kind, message });
    }
  }
  return found;
}

interface Trouble {
  readonly what: KindTrouble;
  readonly state: KindState;
  /** Empty: the whole cluster. */
  readonly namespaces: readonly string[];
}

/** Where the whole cluster may not be read, permission in each of the group's namespaces is enough. */
function troubleIn(watches: readonly KindState[], namespaces: readonly string[]): Trouble | undefined {
  const cluster = watches.find(({ namespace }) => namespace === undefined);
  if (cluster?.trouble === undefined) return undefined;
  const { trouble } = cluster;
  if (!cluster.namespaced || trouble !== "forbidden") return { what: trouble, state: cluster, namespaces: [] };
  const troubled = namespaces.filter((name) => {
    const own = watches.find(({ namespace }) => namespace === name);
    return own === undefined || own.trouble !== undefined;
  });
  return troubled.length === 0 ? undefined : { what: trouble, state: cluster, namespaces: troubled };
}

function sentenceOf(kind: string, state: KindState, namespaces: readonly string[], group: string): string {
  const some = namespaces.slice(0, namedMaxCount).join(", ");
  const more = namespaces.length - namedMaxCount;
  const where = namespaces.length === 0 ? "" : ` in ${some}${more > 0 ? ` and ${more} more` : ""}`;
  switch (state.trouble) {
    case "forbidden":
      return `no permission to read ${kind}${where}: give the agent ${rbacLine(state)}, or exclude the kind`;
    case "missing":
      return `${kind} is defined and not served by the API server; what the standby has of it stays`;
    case "rewound":
      return (
        `the API server was restored from a backup: replication of ${kind} is paused; ` +
        `\`lifeboat accept-rewind ${group}\` replicates what it holds now`
      );
    case "unreadable":
    case undefined:
      return `${kind} cannot be read: ${state.error?.message ?? "the API server does not answer for it"}`;
  }
}

/** A rule as it stands in a ClusterRole. */
function rbacLine({ group, plural }: KindState): string {
  return `{apiGroups: ["${group}"], resources: ["${plural}"], verbs: ["get", "list", "watch"]}`;
}

const reasons: Readonly<Record<TroubledKind["what"], string>> = {
  rewound: "KindsRewound",
  forbidden: "KindsForbidden",
  unreadable: "KindsUnreadable",
  missing: "KindsMissing",
  uncommon: "NoCommonVersion",
};

/** Sentences in a condition; the findings have more. */
const sentencesMaxCount = 3;

/** Reason and message of the condition, or `undefined` where everything is followed. */
export function troubleVerdict(troubles: readonly TroubledKind[]): [reason: string, message: string] | undefined {
  const order = Object.keys(reasons);
  const sorted = troubles.toSorted((a, b) => order.indexOf(a.what) - order.indexOf(b.what));
  const [worst] = sorted;
  if (worst === undefined) return undefined;
  const sentences = sorted.slice(0, sentencesMaxCount).map(({ message }) => message);
  const rest = sorted.slice(sentencesMaxCount).map(({ kind }) => kind);
  if (rest.length > 0)
    sentences.push(`the same for ${rest.length} more kinds, such as ${rest.slice(0, namedMaxCount).join(", ")}`);
  return [reasons[worst.what], sentences.join("; ")];
}

/** Code of the finding and reason of the event. */
export function troubleCode(what: TroubledKind["what"]): (typeof codes)[TroubledKind["what"]] {
  return codes[what];
}

const codes = {
  rewound: "KindRewound",
  forbidden: "KindForbidden",
  unreadable: "KindUnreadable",
  missing: "KindMissing",
  uncommon: "NoCommonVersion",
} as const;

/** Kinds of every cluster that run pods. */
const workloads: ReadonlySet<string> = new Set([
  "Pod",
  "ReplicationController",
  "apps/DaemonSet",
  "apps/Deployment",
  "apps/ReplicaSet",
  "apps/StatefulSet",
  "batch/CronJob",
  "batch/Job",
]);

export function isWorkload(kind: string): boolean {
  return workloads.has(kind);
}

/** Whether something may run by an object of the kind: workloads, and whatever a cluster has been extended with. */
export function mayRun(kind: string): boolean {
  const group = kind.includes("/") ? kind.slice(0, kind.indexOf("/")) : "";
  return isWorkload(kind) || (group.includes(".") && !group.endsWith(".k8s.io"));
}

/** Kinds by which something of the group may run here unseen. */
export function unreadKinds(states: readonly KindState[], question: Omit<TroubleQuestion, "uncommon">): string[] {
  const troubles = troubledKinds(states, { ...question, uncommon: new Map() });
  return troubles.flatMap(({ what, kind }) => (what !== "rewound" && mayRun(kind) ? [kind] : []));
}
