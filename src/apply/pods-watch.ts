import { linkedAbort } from "../abort.ts";
import type { ProfileSpec } from "../config/group.ts";
import { keyOf, type ObjectKey } from "../objects/key.ts";
import { type KubeObject, marks } from "../objects/object.ts";
import { leavesRunning } from "../render/kinds/leaving.ts";
import { controllerOf, isOver, ownersMaxDepth, slowAfterMs } from "./pods-left.ts";
import { isOperators, stopRuns } from "./runs.ts";
import type { GroupSite } from "./site.ts";

/** Pods of a group at a site that must not run it: an operator that nobody could tell to stop goes on. */

/** A pod that runs, or ends, and the object of the group that it is there for. */
interface LeftPod {
  readonly key: ObjectKey;
  /** The object itself or the controller of its controllers; `undefined` for a bare pod. */
  readonly root: KubeObject | undefined;
  /** It has been told to end. */
  readonly isEnding: boolean;
}

/** Pods of the group's objects in these namespaces of the site. */
async function leftPods(site: GroupSite, namespaces: Iterable<string>, signal: AbortSignal): Promise<LeftPod[]> {
  const resource = site.options.discovery.resource("v1", "Pod");
  if (resource === undefined) return [];
  const found: LeftPod[] = [];
  const known = new Map<ObjectKey, KubeObject | undefined>();
  for (const namespace of namespaces) {
    for await (const page of site.options.client.list(resource, { namespace, signal })) {
      for (const pod of page.items) {
        if (isOver(pod)) continue;
        const isOwn = isGroups(site, pod);
        const root = isOwn ? undefined : await rootOf(site, pod, { known, depth: 0, signal });
        const isEnding = pod.metadata.deletionTimestamp !== undefined;
        if (isOwn || root !== undefined) found.push({ key: keyOf(pod), root, isEnding });
      }
    }
  }
  return found;
}

/** A copy, or what this site ran itself. */
function isGroups(site: GroupSite, { metadata }: KubeObject): boolean {
  return metadata.labels?.[marks.group] === site.journal.group || site.own.has(metadata.uid ?? "");
}

/** The nearest controller of an object that is the group's. */
async function rootOf(
  site: GroupSite,
  object: KubeObject,
  search: { known: Map<ObjectKey, KubeObject | undefined>; depth: number; signal: AbortSignal },
): Promise<KubeObject | undefined> {
  const controller = search.depth < ownersMaxDepth ? controllerOf(site, object) : undefined;
  if (controller === undefined) return undefined;
  const { resource, place, key } = controller;
  if (search.known.has(key)) return search.known.get(key);
  const live = await site.options.client.find(resource, place, { signal: search.signal });
  const root =
    live === undefined || isGroups(site, live)
      ? live
      : await rootOf(site, live, { ...search, depth: search.depth + 1 });
  search.known.set(key, root);
  return root;
}

/** Looked at this often, and more often for a while after a change of role: an operator takes a moment to react. */
const watchMs = 30_000;
const watchSoonMs = 5_000;
const soonMaxCount = 12;

export interface PodsWatchOptions {
  /** Namespaces of the group at this site while it must not run it; `undefined` while it may. */
  readonly namespaces: () => ReadonlySet<string> | undefined;
  readonly profiles: () => readonly ProfileSpec[];
  /** Told of what was found, when that is something else. Must not throw. */
  readonly onFound: (pods: readonly ObjectKey[]) => void;
  readonly signal: AbortSignal;
}

/**
 * Looks for pods of the group while the site must not run it. What runs on because its owner, which this site ran
 * itself, cannot be told to stop is stopped again each time; everything is named. A change of role waits for a look
 * that is under way.
 */
export class PodsWatch {
  readonly #site: GroupSite;
  readonly #options: PodsWatchOptions;
  #looks = 0;
  #found: readonly ObjectKey[] = [];
  /** Since when each object has had pods that are not ending. */
  readonly #sinceMs = new Map<ObjectKey, number>();
  #look: { readonly abort: () => void; readonly ended: Promise<void> } | undefined;
  #paused = false;

  constructor(site: GroupSite, options: PodsWatchOptions) {
    this.#site = site;
    this.#options = options;
  }

  /** Ends the look that is under way; the next one comes soon after {@link resume}. */
  async pause(): Promise<void> {
    this.#paused = true;
    this.#look?.abort();
    await this.#look?.ended;
  }

  resume(): void {
    this.#paused = false;
    this.#looks = 0;
  }

  /** Looks now and then until the signal aborts, then rejects with its reason. */
  async run(): Promise<never> {
    const { clock } = this.#site.options;
    const { signal } = this.#options;
    for (;;) {
      await clock.sleep(this.#looks < soonMaxCount ? watchSoonMs : watchMs, { signal });
      const namespaces = this.#paused ? undefined : this.#options.namespaces();
      if (namespaces === undefined) this.#tell([]);
      else await this.#lookAt(namespaces);
      this.#looks++;
    }
  }

  async #lookAt(namespaces: ReadonlySet<string>): Promise<void> {
    using scope = linkedAbort(this.#options.signal);
    const ended = this.#stopAndTell(namespaces, scope.signal).catch((error: unknown) => {
      if (!scope.signal.aborted)
        this.#site.options.log.warn({ err: error }, "pods of the group could not be looked for");
    });
    this.#look = { abort: () => scope.abort(new Error("the site changes its role")), ended };
    await ended;
    this.#look = undefined;
  }

  async #stopAndTell(namespaces: ReadonlySet<string>, signal: AbortSignal): Promise<void> {
    const pods = await leftPods(this.#site, namespaces, signal);
    this.#tell(pods.map(({ key }) => key));
    const roots = new Map<ObjectKey, KubeObject>();
    for (const { root, isEnding } of pods) if (root !== undefined && !isEnding) roots.set(keyOf(root), root);
    for (const key of this.#sinceMs.keys()) if (!roots.has(key)) this.#sinceMs.delete(key);
    for (const [key, root] of roots) if (this.#isToStop(key, root)) await stopRuns(this.#site, key, signal);
  }

  /**
   * This site ran the object and holds it, by something that does not stop what runs or that nobody has heeded for a
   * while.
   */
  #isToStop(key: ObjectKey, root: KubeObject): boolean {
    const { metadata } = root;
    if (!this.#site.own.has(metadata.uid ?? "") || metadata.annotations?.[marks.held] === undefined) return false;
    if (leavesRunning(root, this.#options.profiles())) return true;
    const nowMs = this.#site.options.clock.monotonicMs();
    const sinceMs = this.#sinceMs.get(key) ?? nowMs;
    this.#sinceMs.set(key, sinceMs);
    return isOperators(key) && nowMs - sinceMs >= slowAfterMs;
  }

  #tell(pods: readonly ObjectKey[]): void {
    if (pods.length === this.#found.length && pods.every((key, index) => key === this.#found[index])) return;
    this.#found = pods;
    if (pods.length > 0) {
      const shown = { pods: pods.slice(0, shownMaxCount), count: pods.length };
      this.#site.options.log.warn(shown, "pods of the group run at a site that must not run it");
    }
    this.#options.onFound(pods);
  }
}

/** Pods named in a log; status has them all. */
const shownMaxCount = 10;
