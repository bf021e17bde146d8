import type { GroupSpec } from "../config/group.ts";
import type { KubeResource } from "../kube/resource.ts";
import { parseJson } from "../objects/json.ts";
import { formatKey, type ObjectKey, parseKey } from "../objects/key.ts";
import { type KubeObject, type ManagedFieldsEntry, marks } from "../objects/object.ts";
import { isWithheld, leavesRunning } from "../render/kinds/leaving.ts";
import { waveOf, waves } from "../render/waves.ts";
import { classify, type Failure } from "./failures.ts";
import { mergePatchOf, setIn } from "./merge.ts";
import { renderLocal } from "./divergence.ts";
import { waitForPods } from "./pods-left.ts";
import { rememberRemoved } from "./removed.ts";
import { isOperators, stopRuns } from "./runs.ts";
import type { GroupSite } from "./site.ts";
import { runWave } from "./waves.ts";

/**
 * Taking a group down at a site that ran it: first the webhooks that would block every write once their pods are gone,
 * then everything that runs pods, all at once. Objects themselves stay; they become the standby's copies.
 */
export interface LocalObject {
  /** Key at this site. */
  readonly key: ObjectKey;
  /** Canonical JSON text of the normalised object, as this site ran it. */
  readonly object: string;
  /** Canonical JSON text of its managedFields. */
  readonly managers: string;
}

export interface DemoteOptions {
  /** The group's objects as this site has them; what the capture of a former active site knows. */
  readonly local: Iterable<LocalObject>;
  /** The spec that is in force at this site. @default the journal's, which a site that was never standby has not */
  readonly spec?: GroupSpec | undefined;
  readonly signal: AbortSignal;
  /** @default 60 s */
  readonly timeoutMs?: number;
  /** Resolves only when no pod of what was stopped is left: for whoever starts the group elsewhere after it. */
  readonly untilGone?: boolean;
  readonly onProgress?: (event: DemotionEvent) => void;
}

export type DemotionEvent = {
  readonly step: "webhooks" | "stopped" | "listed";
  readonly objects: number;
  readonly atMs: number;
};

export interface DemoteReport {
  /** Workloads that were held, and pods, webhooks that were deleted. */
  readonly stopped: readonly ObjectKey[];
  readonly failed: readonly { readonly key: ObjectKey; readonly failure: Failure }[];
  /** UIDs of the objects that this site ran. */
  readonly uids: readonly string[];
  readonly stoppedMs: number;
}

const timeoutMsDefault = 60_000;

interface Held {
  readonly key: ObjectKey;
  readonly record: LocalObject;
  readonly spec: GroupSpec | undefined;
}

/** What has been done so far. */
interface Done {
  readonly stopped: ObjectKey[];
  /** UIDs of what owners that were held had begun. */
  readonly runs: string[];
}

export async function demote(site: GroupSite, options: DemoteOptions): Promise<DemoteReport> {
  const { clock } = site.options;
  const begun = clock.monotonicMs();
  const atMs = (): number => Math.round(clock.monotonicMs() - begun);
  const say = options.onProgress ?? (() => undefined);
  const records = [...options.local];
  const gates = records.filter((record) => isGate(record.key));
  const rest = records.filter((record) => !isGate(record.key));
  const done: Done = { stopped: [], runs: [] };
  const failed: { key: ObjectKey; failure: Failure }[] = [];
  const stop = async (list: readonly LocalObject[], work: typeof removeGate): Promise<void> => {
    const byKey = new Map(list.map((record) => [record.key, record]));
    const failures = await runWave(site, [...byKey.keys()], {
      timeoutMs: options.timeoutMs ?? timeoutMsDefault,
      signal: options.signal,
      work: (key, signal) => work(site, { key, record: byKey.get(key) ?? nobody, spec: options.spec }, done, signal),
    });
    for (const [key, failure] of failures) failed.push({ key, failure });
  };
  const { profiles = [] } = options.spec ?? (site.view.hasSpec ? site.view.spec : {});
  await rememberRemoved(
    site.journal,
    records.filter((record) => isGate(record.key) || isWithheld(parseKey(record.key), profiles)),
  );
  await stop(gates, removeGate);
  say({ step: "webhooks", objects: gates.length, atMs: atMs() });
  // Only what render holds back needs a request; what runs is asked for first, by doing it in one wave.
  await stop(rest, hold);
  const stoppedMs = atMs();
  say({ step: "stopped", objects: done.stopped.length, atMs: stoppedMs });
  if (options.untilGone === true) {
    const stopped = new Set(done.stopped);
    const insist = async (signal: AbortSignal): Promise<void> => {
      for (const key of stopped) if (isOperators(key)) done.runs.push(...(await stopRuns(site, key, signal)));
    };
    await waitForPods(site, stopped, { insist, signal: options.signal });
  }
  const uids = [...(await keepDivergence(site, records, options.signal)), ...done.runs];
  say({ step: "listed", objects: uids.length, atMs: atMs() });
  return { stopped: done.stopped, failed, uids, stoppedMs };
}

const nobody: LocalObject = { key: "///", object: "{}", managers: "[]" };

/** Webhook configurations and aggregated APIs: with their pods gone they would refuse or delay every write. */
function isGate(key: ObjectKey): boolean {
  const { group, kind } = parseKey(key);
  return kind.endsWith("WebhookConfiguration") || (group === "apiregistration.k8s.io" && kind === "APIService");
}

async function removeGate(site: GroupSite, held: Held, done: Done, signal: AbortSignal): Promise<Failure | undefined> {
  const { client } = site.options;
  const { group, kind, name } = parseKey(held.key);
  const resource = site.options.discovery.find(group, kind)?.versions[0];
  if (resource === undefined) return undefined;
  try {
    const live = await client.find(resource, { name }, { signal });
    if (live === undefined) return undefined;
    const uid = live.metadata.uid ?? "";
    await site.writer.remove(resource, { namespace: "", name }, { uid, propagation: "Background", signal });
    done.stopped.push(held.key);
    return undefined;
  } catch (error) {
    signal.throwIfAborted();
    return classify(error, { group, kind, namespace: "" });
  }
}

/** Renders the site's own object as its standby would have it, and writes what that holds back. */
async function hold(site: GroupSite, held: Held, done: Done, signal: AbortSignal): Promise<Failure | undefined> {
  const object = parseJson(held.record.object) as KubeObject;
  if (!mayRun(object)) return undefined;
  const resource = site.options.discovery.resource(object.apiVersion, object.kind);
  if (resource === undefined) return undefined;
  const managers = parseJson(held.record.managers) as ManagedFieldsEntry[];
  const rendered = renderLocal(site, { key: held.key, object, managers }, "standby", held.spec);
  const { group, kind, namespace } = parseKey(held.key);
  try {
    if (rendered.withheld?.reason === "StandbyRole") {
      if (await removeWithheld(site, resource, object, signal)) done.stopped.push(held.key);
      return undefined;
    }
    const [standby] = rendered.objects;
    if (standby === undefined) return undefined;
    const isHeld = await patchHeld(site, resource, object, standby, signal);
    // Also where people have paused the object itself.
    const { profiles = [] } = held.spec ?? site.view.spec;
    const runs = leavesRunning(object, profiles) ? await stopRuns(site, held.key, signal) : [];
    if (isHeld || runs.length > 0) done.stopped.push(held.key);
    done.runs.push(...runs);
    return undefined;
  } catch (error) {
    signal.throwIfAborted();
    const failure = classify(error, { group, kind, namespace });
    return failure.reason === "KindMissing" ? undefined : failure;
  }
}

/** Objects before this wave run nothing; rendering ten thousand of them would only delay the stop. */
function mayRun(object: KubeObject): boolean {
  const wave = waveOf(object);
  return wave >= waves.customResources && wave < waves.ingress;
}

async function removeWithheld(
  site: GroupSite,
  resource: KubeResource,
  object: KubeObject,
  signal: AbortSignal,
): Promise<boolean> {
  const { namespace = "", name } = object.metadata;
  const live = await site.options.client.find(resource, { namespace, name }, { signal });
  if (live === undefined) return false;
  const uid = live.metadata.uid ?? "";
  return site.writer.remove(resource, { namespace, name }, { uid, propagation: "Background", signal });
}

/** One merge patch with the held values and the marks; `false` where nothing is held back of this object. */
async function patchHeld(
  site: GroupSite,
  resource: KubeResource,
  object: KubeObject,
  standby: KubeObject,
  signal: AbortSignal,
): Promise<boolean> {
  const text = standby.metadata.annotations?.[marks.held];
  if (text === undefined) return false;
  const body = mergePatchOf(Object.keys(parseJson(text) as Record<string, unknown>), standby);
  setIn(body, ["metadata", "annotations", marks.held], text);
  setIn(body, ["metadata", "labels", marks.group], site.journal.group);
  const { namespace = "", name } = object.metadata;
  const place = namespace === "" ? { name } : { namespace, name };
  const options = { fieldManager: site.manager, signal };
  await site.options.client.patch(resource, place, { type: "merge", body }, options);
  return true;
}

/** Keeps every object verbatim until it is known how it differs from what took over; returns the UIDs of all. */
async function keepDivergence(
  site: GroupSite,
  records: readonly LocalObject[],
  signal: AbortSignal,
): Promise<string[]> {
  await site.journal.saveDivergence(records.map(({ key, object }) => ({ key, what: "unknown" as const, object })));
  const uids: string[] = [];
  const kinds = Map.groupBy(records, ({ key }) => {
    const { group, kind, namespace } = parseKey(key);
    return `${group}/${kind}/${namespace}`;
  });
  for (const list of kinds.values()) {
    const keys = new Set(list.map(({ key }) => key));
    const [first] = keys;
    if (first === undefined) continue;
    const { group, kind, namespace } = parseKey(first);
    const resource = site.options.discovery.find(group, kind)?.versions[0];
    if (resource === undefined) continue;
    const scope = namespace === "" ? undefined : namespace;
    try {
      const options = { namespace: scope, metadataOnly: true, signal };
      for await (const page of site.options.client.list(resource, options)) {
        for (const { metadata } of page.items) {
          const key = formatKey({ group, kind, namespace: metadata.namespace ?? "", name: metadata.name });
          if (keys.has(key)) uids.push(metadata.uid ?? "");
        }
      }
    } catch (error) {
      signal.throwIfAborted();
      if (classify(error, { group, kind, namespace }).reason === "ApiUnreachable") throw error;
      // A conversion webhook that has just been stopped keeps its kind from being read: later a conflict, not a loss.
      site.options.log.warn(
        { kind: resource.kind, err: error },
        "kind could not be listed while the group is taken down",
      );
    }
  }
  return uids;
}
