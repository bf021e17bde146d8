/** What of the application is not at west, and why. */
import { leftOut, isCaptured } from "../../src/capture/rules.ts";
import type { LeftOut } from "../../src/capture/rules.ts";
import { messageOf } from "../../src/errors.ts";
import type { KubeClient } from "../../src/kube/client.ts";
import type { KubeResource } from "../../src/kube/resource.ts";
import { parseKey } from "../../src/objects/key.ts";
import type { ObjectKey } from "../../src/objects/key.ts";
import { spread } from "../bench/bare/writer.ts";
import type { Reported } from "./manifests.ts";
import { groupName } from "./stage.ts";
import type { Stage } from "./stage.ts";

const readersCount = 8;
/** Hundreds of objects at an API server that answers; one that does not must not hold the list up. */
const readLimitMs = 30_000;

const leftOutWords: Readonly<Record<LeftOut, string>> = {
  Controlled: "a controller makes it anew",
  SiteHasItsOwn: "each cluster has its own",
  Finished: "its work was done",
  Bookkeeping: "Lifeboat's own",
  Provisioned: "a provisioner makes it anew",
};

/** Kinds whose objects do not travel any more once their work is done. */
export function mayEnd({ group, kind }: KubeResource): boolean {
  return (group === "batch" && kind === "Job") || (group === "" && kind === "Pod");
}

/** Notes of each object of the kinds that never travels why that is, while there is an east to ask. */
export async function noteStaying(
  { installed, pair, staying, signal }: Stage,
  isAsked: (resource: KubeResource) => boolean = () => true,
): Promise<void> {
  const limit = AbortSignal.any([signal, AbortSignal.timeout(readLimitMs)]);
  const asked = [...installed.resources].filter(([, resource]) => isAsked(resource));
  await spread(asked, readersCount, async ([key, resource]: [ObjectKey, KubeResource]) => {
    if (!isCaptured(resource)) {
      staying.set(key, resource.namespaced ? "never replicated" : "cluster-scoped, of a kind that no group needs");
      return;
    }
    try {
      const object = await pair.client("east").find(resource, placeIn(key), { signal: limit });
      const reason = object === undefined ? undefined : leftOut(object);
      if (object === undefined) staying.set(key, "east does not have it any more");
      else if (reason !== undefined) staying.set(key, leftOutWords[reason]);
    } catch {
      // Without an answer it is told as missing alone.
      signal.throwIfAborted();
    }
  });
}

/**
 * Reports each object of the application that west does not have, with the best reason that can be found. Rejects only
 * when the stage's signal aborts.
 * @param known reasons that somebody knows already
 */
export async function listMissing(stage: Stage, known: readonly Reported[]): Promise<void> {
  const { pair, signal } = stage;
  const limit = AbortSignal.any([signal, AbortSignal.timeout(readLimitMs)]);
  const reasons = new Map([
    ...stage.staying,
    ...(await findingsAt(stage, limit)),
    ...known.map(({ object, reason }) => [object, reason] as const),
  ]);
  const west = pair.client("west");
  const missing = new Map<ObjectKey, string>();
  await spread([...stage.installed.resources], readersCount, async ([key, resource]: [ObjectKey, KubeResource]) => {
    const problem = await whyMissing(west, key, resource, limit);
    signal.throwIfAborted();
    if (problem !== undefined) missing.set(key, reasons.get(key) ?? problem);
  });
  for (const [object, reason] of [...missing].toSorted(([a], [b]) => (a < b ? -1 : 1)))
    stage.reports.push({ object, reason });
  stage.hasListed = true;
}

/** What the sites that are up say about single objects; a status holds the first few only. */
async function findingsAt({ pair, killedAtMs, signal }: Stage, limit: AbortSignal): Promise<Map<ObjectKey, string>> {
  const found = new Map<ObjectKey, string>();
  for (const site of killedAtMs === undefined ? ["east", "west"] : ["west"]) {
    const { findings = [] } = await pair.status(site, groupName, limit).catch(() => ({ findings: [] }));
    signal.throwIfAborted();
    for (const { object, message } of findings) if (object !== undefined) found.set(object, message);
  }
  return found;
}

async function whyMissing(
  west: KubeClient,
  key: ObjectKey,
  resource: KubeResource,
  signal: AbortSignal,
): Promise<string | undefined> {
  try {
    if ((await west.find(resource, placeIn(key), { signal })) !== undefined) return undefined;
    return resource.namespaced ? "is not at west" : "cluster-scoped, and nothing in the group needs it";
  } catch (error) {
    return `west could not be asked: ${messageOf(error)}`;
  }
}

function placeIn(key: ObjectKey): { readonly namespace?: string; readonly name: string } {
  const { namespace, name } = parseKey(key);
  return namespace === "" ? { name } : { namespace, name };
}
