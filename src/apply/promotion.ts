import { runTogether } from "../abort.ts";
import { parseJson } from "../objects/json.ts";
import { type ObjectKey, parseKey } from "../objects/key.ts";
import type { KubeObject } from "../objects/object.ts";
import { waveOf, waveOfKey, waves } from "../render/waves.ts";
import type { Failure } from "./failures.ts";
import { bringBeside, isChanged } from "./beside.ts";
import { observeServices } from "./observe.ts";
import { copiesPlan, giveBackCopy, giveBackKind } from "./from-copies.ts";
import { isOurs } from "./ours.ts";
import type { Plan, Stage } from "./plan.ts";
import { Promoted } from "./promoted.ts";
import { type NotReady, waitReady } from "./readiness.ts";
import { forgetRemoved } from "./removed.ts";
import { restoreAllOwners, restoreOwners } from "./restore-owners.ts";
import { restoreRuns } from "./runs.ts";
import { type GroupSite, isBookkeeping } from "./site.ts";
import { isShared, type Target } from "./view.ts";
import { runWave } from "./waves.ts";

/**
 * Bringing a group up: every key of the journal is rendered for the active role and brought there, lower waves first.
 * Objects that do not differ between the roles cost nothing, so what takes time is what starts the application. The
 * owners of fields are put back last, when everything runs.
 *
 * May be repeated at any point under the same epoch: what was brought up is left as it is then.
 */
export interface PromoteOptions {
  readonly signal: AbortSignal;
  /** Longest time for which a wave is waited for until its objects are ready; then the next wave starts. @default 60 s */
  readonly readyTimeoutMs?: number;
  /** Longest time for which a refused object of a wave is tried again before the next wave starts. @default 20 s */
  readonly applyTimeoutMs?: number;
  /** Told of each step. Must not throw. */
  readonly onProgress?: (event: PromotionEvent) => void;
  /** Whether a delete that was received and not carried out may be. @default none */
  readonly mayDelete?: (key: ObjectKey) => boolean;
  /**
   * Everything that can be is applied; the last of it may not be ready yet, and the owners of fields are to be put
   * back. Gets what could not be brought up, by key at the source. Awaited.
   */
  readonly onUp?: (failures: ReadonlyMap<ObjectKey, Failure>) => Promise<void>;
}

export type PromotionEvent =
  | { readonly step: "opened"; readonly objects: number; readonly atMs: number }
  | {
      readonly step: "applied";
      readonly wave: number;
      readonly objects: number;
      readonly failed: number;
      readonly atMs: number;
    }
  | {
      readonly step: "ready";
      readonly wave: number;
      readonly objects: number;
      readonly notReady: number;
      readonly atMs: number;
    }
  | { readonly step: "owners"; readonly objects: number; readonly failed: number; readonly atMs: number };

export interface PromotionReport {
  /** Objects that were looked at. */
  readonly objects: number;
  /** What is not as it should be; also what this site keeps back. A kind that could not be read is a key without a name. */
  readonly failed: readonly { readonly key: ObjectKey; readonly failure: Failure }[];
  /** Objects that were not ready in time, by their key at this site. */
  readonly notReady: readonly NotReady[];
  /** Kinds (`group/Kind`) that could not be watched; their objects were asked for one by one. */
  readonly unwatched: readonly string[];
  /** Objects whose field owners could not be put back, by their key at this site. */
  readonly ownersFailed: readonly { readonly key: ObjectKey; readonly failure: Failure }[];
  /** From the beginning until everything that can be was ready; the owners come after. */
  readonly readyMs: number;
  readonly durationMs: number;
}

const readyTimeoutMsDefault = 60_000;
const applyTimeoutMsDefault = 20_000;

export async function promote(site: GroupSite, options: PromoteOptions): Promise<PromotionReport> {
  const { clock } = site.options;
  const begun = clock.monotonicMs();
  const atMs = (): number => Math.round(clock.monotonicMs() - begun);
  const say = options.onProgress ?? (() => undefined);
  const { signal } = options;
  if (!site.isOpen) await site.open("active", silent, { signal });
  await forgetRemoved(site.journal);
  const promoted = new Promoted(site.journal);
  if (!promoted.isResumed) await promoted.begin(foreignOf(site));
  const { plan, unread } = await planOf(site, promoted, signal);
  const { stages } = plan;
  const objects = stages.reduce((sum, stage) => sum + stage.keys.length, 0);
  say({ step: "opened", objects, atMs: atMs() });
  const failed = new Map<ObjectKey, Failure>(unread);
  const notReady: NotReady[] = [];
  const waiting: ObjectKey[] = [];
  const timeoutMs = options.readyTimeoutMs ?? readyTimeoutMsDefault;
  const ready = async (stage: Stage, keys: readonly ObjectKey[], own: AbortSignal): Promise<void> => {
    const late = await waitReady(site, keys, { timeoutMs, signal: own });
    notReady.push(...late);
    say({ step: "ready", wave: stage.wave, objects: stage.keys.length, notReady: late.length, atMs: atMs() });
  };
  for (const [index, stage] of stages.entries()) {
    if (stage.wave >= waves.webhooks) await lookAtServices(site, signal);
    const failures = await applyStage(site, plan, promoted.left(stage), options);
    await promoted.done(stage, failures.keys());
    for (const [key, failure] of failures) failed.set(key, failure);
    say({ step: "applied", wave: stage.wave, objects: stage.keys.length, failed: failures.size, atMs: atMs() });
    waiting.push(...stage.keys.filter((key) => !failures.has(key)));
    const next = stages[index + 1];
    if (next !== undefined && isWaitedFor(stage, next)) await ready(stage, waiting.splice(0), signal);
  }
  let readyMs = 0;
  let unwatched: readonly string[] = [];
  const last = stages.at(-1);
  const wait = async ({ signal: own }: { signal: AbortSignal }): Promise<void> => {
    if (last !== undefined) await ready(last, waiting, own);
    readyMs = atMs();
    unwatched = unwatchedKinds(site);
    // The site may have run the group before; its operators are back at work by now.
    await restoreRuns(site, own).catch((error: unknown) => {
      own.throwIfAborted();
      site.options.log.warn({ err: error }, "what operators ran here before could not be scaled back");
    });
  };
  const up = async ({ signal: own }: { signal: AbortSignal }): Promise<void> => {
    for (const [key, failure] of keptBack(site, stages)) failed.set(key, failure);
    for (const [key, failure] of await deletePending(site, { ...options, signal: own })) failed.set(key, failure);
    await options.onUp?.(failed);
  };
  // What starts last is protected while it starts.
  await runTogether([wait, up], { signal });
  const ownersFailed = await restoreAllOwners(site, stages, [...failed.keys()], signal);
  say({ step: "owners", objects, failed: ownersFailed.length, atMs: atMs() });
  const failures = [...failed].map(([key, failure]) => ({ key, failure }));
  return { objects, failed: failures, notReady, unwatched, ownersFailed, readyMs, durationMs: atMs() };
}

function unwatchedKinds(site: GroupSite): readonly string[] {
  const kinds = site.watches.pendingKinds();
  if (kinds.length > 0) {
    site.options.log.warn({ kinds }, "kinds could not be watched; their objects were asked for one by one");
  }
  return kinds;
}

/** Without a journal what the copies say of themselves is all that is known. */
async function planOf(
  site: GroupSite,
  promoted: Promoted,
  signal: AbortSignal,
): Promise<{ plan: Plan; unread: ReadonlyMap<ObjectKey, Failure> }> {
  const stages = stagesOf(site);
  if (stages.length === 0) return copiesPlan(site, signal);
  const bring = (key: ObjectKey, own: AbortSignal): Promise<Failure | undefined> =>
    bringKey(site, key, { ...(promoted.isResumed ? { promoted } : {}), signal: own });
  return { plan: { stages, bring }, unread: new Map() };
}

/** What others hold of the copies at present. */
function foreignOf(site: GroupSite): Map<ObjectKey, string> {
  const foreign = new Map<ObjectKey, string>();
  for (const key of site.copies.keys()) {
    const held = site.copies.get(key)?.foreign ?? "";
    if (held !== "") foreign.set(key, held);
  }
  return foreign;
}

/** @param options.promoted given where people may have written to the copy since the promotion began: that stays */
async function bringKey(
  site: GroupSite,
  key: ObjectKey,
  options: { promoted?: Promoted; signal: AbortSignal },
): Promise<Failure | undefined> {
  const { promoted, signal } = options;
  const targets = promoted === undefined ? [] : targetsOf(site, key);
  for (const target of targets) {
    if (!(await isChanged(site, target.key, promoted?.foreignBefore(target.key) ?? "", signal))) continue;
    return bringBeside(site, key, target, signal);
  }
  // What others have written to a copy goes, to the letter; without any it is enough to apply.
  const exact = site.assignments.targetsOf(key).some((target) => (site.copies.get(target)?.foreign ?? "") !== "");
  const verdict = await site.bring(key, "active", { exact, signal });
  return verdict.kind === "failed" ? verdict.failure : undefined;
}

function targetsOf(site: GroupSite, key: ObjectKey): readonly Target[] {
  try {
    return site.view.renderKey(key, "active")?.targets ?? [];
  } catch {
    // Whoever brings it says why.
    return [];
  }
}

/** What is kept back though the site is active: a webhook without its pods, a version that is not served here. */
function keptBack(site: GroupSite, stages: readonly Stage[]): Map<ObjectKey, Failure> {
  const kept = new Map<ObjectKey, Failure>();
  for (const key of stages.flatMap((stage) => stage.keys)) {
    const failure = withheldAs(site, key);
    if (failure !== undefined) kept.set(key, failure);
  }
  return kept;
}

function withheldAs(site: GroupSite, key: ObjectKey): Failure | undefined {
  const withheld = site.notes.withheld.get(key);
  if (withheld === undefined || withheld.reason === "SiteHasItsOwn") return undefined;
  return { reason: "Withheld", message: withheld.message };
}

/**
 * Deletes that came just before the end and were not carried out yet: what the source had deleted does not come back.
 * Those that the guard holds back are the site's own decision from now on.
 */
async function deletePending(site: GroupSite, options: PromoteOptions): Promise<ReadonlyMap<ObjectKey, Failure>> {
  const due = [...site.journal.entries()]
    .filter(([key, head]) => head.hash === "" && !isBookkeeping(key) && options.mayDelete?.(key) === true)
    .map(([key]) => key)
    .sort((a, b) => waveOfKey(b) - waveOfKey(a));
  const seqs = new Map(due.map((key) => [key, site.journal.head(key)?.seq ?? 0]));
  const failures = await runWave(site, due, {
    timeoutMs: options.applyTimeoutMs ?? applyTimeoutMsDefault,
    signal: options.signal,
    work: (key, signal) => removeKey(site, key, signal),
  });
  const done = due.filter((key) => !failures.has(key));
  await site.journal.settle(done.map((key) => ({ key, seq: seqs.get(key) ?? 0 })));
  return failures;
}

async function removeKey(site: GroupSite, key: ObjectKey, signal: AbortSignal): Promise<Failure | undefined> {
  const { assignments, view } = site;
  const known = assignments.targetsOf(key);
  for (const target of known.length > 0 ? known : [view.keyAtSite(key)]) {
    // Another object of the group has come to this name.
    if ((assignments.sourceOf(target) ?? key) !== key) continue;
    await knowCopy(site, target, signal);
    const verdict = await site.remove(target, "active", { signal });
    // Deleted is enough: its finalizers may take their time.
    if (verdict.kind === "failed" && verdict.failure.reason !== "Terminating") return verdict.failure;
  }
  return undefined;
}

/** Only what is known to be a copy is deleted: where its kind is not watched, it is looked at. */
async function knowCopy(site: GroupSite, target: ObjectKey, signal: AbortSignal): Promise<void> {
  if (isShared(target) || site.copies.get(target) !== undefined) return;
  const { group, kind, namespace, name } = parseKey(target);
  const resource = site.options.discovery.find(group, kind)?.versions[0];
  const place = namespace === "" ? { name } : { namespace, name };
  const live = resource === undefined ? undefined : await site.options.client.find(resource, place, { signal });
  const { manager, own, journal } = site;
  if (live !== undefined && isOurs(live, { name: journal.group, manager, own })) site.copies.observe(live);
}

/** Tries once more what a promotion could not bring up. `undefined` when it is here, owners and all. */
export async function bringLate(site: GroupSite, key: ObjectKey, signal: AbortSignal): Promise<Failure | undefined> {
  const head = site.journal.head(key);
  if (head === undefined)
    return parseKey(key).name === "" ? giveBackKind(site, key, signal) : giveBackCopy(site, key, signal);
  if (head.hash === "") return removeKey(site, key, signal);
  await lookAtNeeds(site, key, signal);
  const failure = await bringKey(site, key, { promoted: new Promoted(site.journal), signal });
  return failure ?? withheldAs(site, key) ?? (await restoreOwners(site, key, signal));
}

/** Owners and Services of which it was not known that they are here. */
async function lookAtNeeds(site: GroupSite, key: ObjectKey, signal: AbortSignal): Promise<void> {
  const { client, discovery } = site.options;
  const needs = site.view.renderKey(key, "active")?.rendered.waitsFor ?? [];
  await observeServices(site.observing, needs, signal);
  for (const need of needs) {
    const { group, kind, namespace, name } = parseKey(need);
    const resource = discovery.find(group, kind)?.versions[0];
    const place = namespace === "" ? { name } : { namespace, name };
    const live = resource === undefined ? undefined : await client.find(resource, place, { signal });
    if (live !== undefined) site.copies.observe(live);
  }
}

const silent = { drifted: () => undefined, stray: () => undefined, came: () => undefined };

function stagesOf(site: GroupSite): Stage[] {
  const stages = new Map<number, Stage>();
  for (const [key, head] of site.journal.entries()) {
    if (head.hash === "" || isBookkeeping(key)) continue;
    const wave = waveOfEntry(site, key);
    const stage = stages.get(wave) ?? { wave, keys: [] };
    stages.set(wave, stage);
    stage.keys.push(key);
  }
  return [...stages.values()].sort((a, b) => a.wave - b.wave);
}

/** Only workloads say their wave themselves; of all others the kind is enough. */
function waveOfEntry(site: GroupSite, key: ObjectKey): number {
  const wave = waveOfKey(key);
  if (wave !== waves.workloads) return wave;
  const entry = site.journal.read(key);
  return entry === undefined ? wave : waveOf(parseJson(entry.object) as KubeObject);
}

/**
 * Definitions and namespaces are needed by what follows, workloads by later workloads and by webhooks. Quotas,
 * autoscalers and routes only lead to workloads: they do not wait for them, so that one that never gets ready does not
 * keep the others from being reached.
 */
function isWaitedFor(stage: Stage, next: Stage): boolean {
  if (next.wave >= waves.webhooks) return true;
  if (stage.wave < waves.clusterNeeds) return true;
  return stage.wave >= waves.customResources && next.wave <= waves.pods;
}

async function applyStage(
  site: GroupSite,
  plan: Plan,
  keys: readonly ObjectKey[],
  options: PromoteOptions,
): Promise<ReadonlyMap<ObjectKey, Failure>> {
  return runWave(site, keys, {
    timeoutMs: options.applyTimeoutMs ?? applyTimeoutMsDefault,
    signal: options.signal,
    work: plan.bring,
  });
}

/** Webhooks and aggregated APIs are created only when their Services have endpoints, which they may have by now. */
async function lookAtServices(site: GroupSite, signal: AbortSignal): Promise<void> {
  try {
    await observeServices(site.observing, site.assignments.awaited(), signal);
  } catch {
    // They then count as not ready and are reported as withheld.
    signal.throwIfAborted();
  }
}
