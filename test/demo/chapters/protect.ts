import { setTimeout as delay } from "node:timers/promises";
import { linkedAbort } from "../../../src/abort.ts";
import type { GroupSpecInput } from "../../../src/config/group.ts";
import { hasCode, messageOf } from "../../../src/errors.ts";
import { hasCondition } from "../../pair/pair.ts";
import { colours } from "../colours.ts";
import type { Step } from "../screen.ts";
import { groupName } from "../stage.ts";
import type { Stage } from "../stage.ts";
import { count, seconds } from "../words.ts";

/** Hundreds of kinds and megabytes of CRDs take their time; what is not there after this is in the list at the end. */
const syncLimitMs = 180_000;
/** The witness hears of a standby that has everything within seconds. */
const armLimitMs = 90_000;
const showEveryMs = 500;
const shownMaxCount = 3;

/** What the group asks for, and is told of where it misses it. */
export const objectives = { rpo: "5s", rto: "2m" } as const;

/** What only the built-in application has. */
const ownMutations: NonNullable<GroupSpecInput["mutations"]> = [
  {
    match: { kinds: ["ConfigMap"], names: ["site"] },
    site: "west",
    when: "always",
    jsonPatch: [{ op: "replace", path: "/data/region", value: "west" }],
  },
];

function groupSpec({ namespaces, options, guarded }: Stage): GroupSpecInput {
  // A user's own pods may use the node's network, which no guard can cut: that must not keep the demo from its story.
  const policy = guarded && options.app === undefined ? "Guard" : "Unproven";
  return {
    sites: [{ name: "east" }, { name: "west" }],
    select: { namespaces: { names: [...namespaces] } },
    mutations: [
      { match: { kinds: ["apps/Deployment"] }, site: "west", when: "standby", labels: { set: { tier: "cold" } } },
      ...(options.app === undefined ? ownMutations : []),
    ],
    objectives,
    failover: { automatic: true, profile: "fast", fencing: { policy } },
  };
}

/** Ends when west has what it takes; that automatic failover is armed is waited for while the application changes. */
export async function protect(stage: Stage, step: Step): Promise<string> {
  const { pair, signal } = stage;
  const startedAtMs = performance.now();
  await pair.applyGroup("east", groupName, groupSpec(stage), signal);
  stage.protectedAtMs = startedAtMs;
  const watching = linkedAbort(signal);
  const showing = showCounts(stage, step, watching.signal);
  try {
    await untilTried(stage, "west", step);
  } finally {
    watching.abort(new Error("synced"));
    await showing;
  }
  const arrivedMs = performance.now() - startedAtMs;
  const objects = (await pair.status("west", groupName, signal)).counts?.objects ?? 0;
  stage.objectCount = objects;
  await showStandby(stage, step);
  return `Protected: ${count(objects, "object")} at west after ${seconds(arrivedMs)}`;
}

/** Waits until the witness would move the group by itself. Returns how long that took since the group was made. */
export async function untilArmed({ pair, protectedAtMs, signal }: Stage): Promise<number> {
  await pair.waitForStatus("east", groupName, "armed", isProtected, { limitMs: armLimitMs, signal });
  return performance.now() - protectedAtMs;
}

/** What the standby refuses is pending for ever: a standby that has tried everything is as whole as it gets. */
export async function untilTried({ pair, signal }: Stage, standby: string, step: Step): Promise<void> {
  const tried = (status: Status): boolean => hasCondition(status, "Synced") && leftOf(status.counts) <= 0;
  try {
    await pair.waitForStatus(standby, groupName, "applied", tried, { limitMs: syncLimitMs, signal });
  } catch (error) {
    // A takeover needs what has arrived in the journal, and not that all of it was applied.
    if (!hasCode(error, "Timeout")) throw error;
    step.fact(colours.yellow(messageOf(error)));
  }
}

type Status = Awaited<ReturnType<Stage["pair"]["status"]>>;

function isProtected(status: Status): boolean {
  return hasCondition(status, "Synced") && hasCondition(status, "Armed");
}

function leftOf(counts: Status["counts"]): number {
  if (counts?.objects === undefined) return 1;
  return (counts.pending ?? 0) - (counts.failed ?? 0);
}

async function showCounts(stage: Stage, step: Step, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    const status = await stage.pair.status("west", groupName, signal).catch(() => undefined);
    const { applied = 0, objects = 0 } = status?.counts ?? {};
    step.live(`${applied} of ${count(objects, "object")} at west`);
    await delay(showEveryMs, undefined, { signal }).catch(() => undefined);
  }
}

async function showStandby(stage: Stage, step: Step): Promise<void> {
  const west = await stage.workloads("west");
  const tier = (labels: Record<string, string> | undefined): string => labels?.["tier"] ?? "(none)";
  const shown = [...stage.before.values()].filter(({ object }) => object.kind === "Deployment").slice(0, shownMaxCount);
  for (const { key, wanted, object } of shown) {
    const copy = west.get(key);
    if (copy === undefined) continue;
    const labels = `label tier ${tier(object.metadata.labels)} → ${tier(copy.object.metadata.labels)}`;
    step.fact(`${key}: replicas ${wanted} → ${copy.wanted}, ${labels}`);
  }
}
