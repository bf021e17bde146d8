import { setImmediate as nextTurn } from "node:timers/promises";
import { onAbort, Pulse } from "../abort.ts";
import { type Clock, type Random, within } from "../clock.ts";
import type { EntryHead } from "../journal/entries.ts";
import type { Journal, JournalEntry } from "../journal/journal.ts";
import type { KubeClient } from "../kube/client.ts";
import type { Discovery } from "../kube/discovery.ts";
import { keyOf, type ObjectKey, parseKey } from "../objects/key.ts";
import { type KubeObject, managerOf } from "../objects/object.ts";
import type { Role } from "../render/types.ts";
import type { Log } from "../telemetry/log.ts";
import { Assignments } from "./assignments.ts";
import { ContestTable } from "./contest.ts";
import { CopyStore } from "./copies.ts";
import { type Failure, needOf } from "./failures.ts";
import { entriesOf } from "./fields.ts";
import { foreignClaims } from "./foreign.ts";
import { Notes } from "./notes.ts";
import { occupants } from "./occupants.ts";
import { observeNodePorts, type ObserveDeps, observeShared } from "./observe.ts";
import { Reconciler } from "./reconcile.ts";
import { sharedManager } from "./shared.ts";
import type { Verdict } from "./verdict.ts";
import { GroupView, isShared, lacking, type RenderedKey, renderFailure } from "./view.ts";
import { CopyWatches } from "./watches.ts";
import { Writer } from "./writer.ts";

/** Everything that is known of one group at this site, and the means to bring a key of it to what it should be. */

export interface SiteOptions {
  readonly journal: Journal;
  readonly client: KubeClient;
  readonly discovery: Discovery;
  /** Name of this site. */
  readonly site: string;
  /** Namespaces of the group that belong to another one here, with its name: nothing is done in them. @default none */
  readonly taken?: () => ReadonlyMap<string, string>;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** Told of what happens to the group's objects at this site. Called synchronously; must not throw. */
export interface SiteListener {
  /** Somebody else changed or deleted an object of ours: the key is to be looked at. */
  drifted(source: ObjectKey): void;
  /** An object of the group that no key asks for. */
  stray(target: ObjectKey): void;
  /** Something came that others may be waiting for: a key at this site, or a need of {@link needOf}. */
  came(need: string): void;
}

/** What became of one key. */
export type KeyVerdict =
  /** It is as it should be; also when the right thing is that nothing is there. */
  | { readonly kind: "applied"; readonly entry: JournalEntry }
  | { readonly kind: "failed"; readonly entry: JournalEntry; readonly failure: Failure }
  /** The journal does not have it (any more). */
  | { readonly kind: "unknown" };

/** Keys looked at before other work gets its turn: about 5 ms. */
const turnCount = 50;
/** Watches that have not listed by then are waited for no longer; writes are safe without them. */
const watchesMaxMs = 30_000;
/** A site that has to run the group goes on without a watch sooner: it asks for each object instead. */
const watchLateMs = 5_000;

export class GroupSite {
  readonly journal: Journal;
  readonly view: GroupView;
  readonly copies: CopyStore;
  readonly notes = new Notes();
  readonly contests = new ContestTable();
  readonly assignments = new Assignments();
  readonly reconciler: Reconciler;
  readonly writer: Writer;
  readonly watches: CopyWatches;
  readonly manager: string;
  readonly options: SiteOptions;
  readonly observing: ObserveDeps;
  /** UIDs of objects that this site ran under an earlier epoch. */
  own: ReadonlySet<string> = new Set();
  #listener: SiteListener | undefined;
  #role: Role = "standby";
  readonly #writing = new Set<ObjectKey>();
  #verifying = false;
  #isOpen = false;
  readonly #ready = new Pulse();

  constructor(options: SiteOptions) {
    const { journal, client, discovery, site, clock, random, log } = options;
    this.options = options;
    this.journal = journal;
    this.manager = managerOf(journal.group);
    this.copies = new CopyStore(this.manager);
    const { taken = () => new Map() } = options;
    this.view = new GroupView({ journal, discovery, uids: this.copies.uids, site, taken });
    this.observing = { client, discovery, group: journal.group, observed: this.view.observed };
    this.writer = new Writer({ client, manager: this.manager });
    this.reconciler = new Reconciler({
      client,
      discovery,
      writer: this.writer,
      sharedWriter: new Writer({ client, manager: sharedManager }),
      manager: this.manager,
      copies: this.copies,
      contests: this.contests,
      notes: this.notes,
      clock,
      group: journal.group,
    });
    this.watches = new CopyWatches({
      client,
      discovery,
      group: journal.group,
      clock,
      random,
      log,
      onSeen: (object) => this.#seen(object),
      onGone: (key) => this.#gone(key),
      onRewound: (group, kind) => this.#forgetKind(group, kind),
      onReady: (group, kind) => {
        this.#listener?.came(watchNeed(group, kind));
        this.#ready.raise();
      },
    });
  }

  /**
   * Learns what is at this site: works out which object each key is for in `role`, starts the watches, and compares
   * what they list with what is rendered. What is found right is not written again. The watches end with `signal`.
   */
  async open(role: Role, listener: SiteListener, options: { signal: AbortSignal }): Promise<void> {
    const { signal } = options;
    await this.close();
    this.#role = role;
    this.#listener = listener;
    this.#verifying = true;
    this.#isOpen = true;
    let count = 0;
    const targets = new Set<ObjectKey>();
    for (const [key] of this.journal.entries()) {
      for (const target of this.#map(key)) targets.add(target);
      if (++count % turnCount === 0) await nextTurn(undefined, { signal });
    }
    // Only now: what a watch lists can be compared only when it is known which key it belongs to.
    this.watches.start({ signal });
    for (const target of targets) this.watch(target);
    // What a demotion has held of runs is nobody's copy, and may be all that the group has of its kind.
    if (role === "standby" && this.own.size > 0) this.watches.ensure("batch", "Job");
    await this.#watchesReady(role === "active" ? watchLateMs : watchesMaxMs, signal);
    this.#verifying = false;
  }

  /** Whether what is at this site is known and watched. */
  get isOpen(): boolean {
    return this.#isOpen && !this.#verifying;
  }

  /** Whoever was told so far is told no more. */
  listen(listener: SiteListener | undefined): void {
    this.#listener = listener;
  }

  /** Ends the watches and forgets what is at this site. */
  async close(): Promise<void> {
    this.#isOpen = false;
    this.#verifying = false;
    this.#listener = undefined;
    await this.watches.stop();
    this.copies.clear();
    this.assignments.clear();
    this.contests.clear();
    this.notes.clear();
  }

  /** Works out which objects at this site the key is for. */
  #map(key: ObjectKey): readonly ObjectKey[] {
    if (isBookkeeping(key)) return [];
    // Its own turn, which comes soon, renders it; until then it has what it may have.
    if (this.#role === "standby") return this.#claim(key);
    try {
      const made = this.view.renderKey(key, this.#role);
      if (made === undefined) return [];
      const kept = staysWhileWithheld(made) ? [this.view.keyAtSite(key)] : [];
      const targets = [...made.targets.map((target) => target.key), ...kept];
      this.assignments.assign(key, targets);
      return targets;
    } catch (error) {
      this.notes.failed(key, renderFailure(error), this.options.clock.wallMs());
      return this.#claim(key);
    }
  }

  /** What is not or cannot be rendered at present still has its copy: without an owner it would count as left over. */
  #claim(key: ObjectKey): readonly ObjectKey[] {
    try {
      const target = this.view.keyAtSite(key);
      this.assignments.assign(key, [target]);
      return [target];
    } catch {
      // Without a spec nothing is left over either.
      return [];
    }
  }

  async #watchesReady(maxMs: number, signal: AbortSignal): Promise<void> {
    const { clock } = this.options;
    const until = clock.monotonicMs() + maxMs;
    while (this.watches.pendingCount > 0) {
      const left = until - clock.monotonicMs();
      if (left <= 0) return;
      await within((options) => this.#ready.wait(options), left, { clock, signal });
    }
  }

  /** Whether all copies of the key's kind are known. Shared objects are not watched, they are asked for. */
  watch(target: ObjectKey): boolean {
    if (isShared(target)) return true;
    const { group, kind } = parseKey(target);
    return this.watches.ensure(group, kind);
  }

  /** Whether an object may be written: what exists of its kind is known, or waiting for that would take too long. */
  #mayWrite(target: ObjectKey, role: Role): boolean {
    if (this.watch(target)) return true;
    const { group, kind } = parseKey(target);
    return role === "active" && this.watches.isLate(group, kind, watchLateMs);
  }

  /** Brings all objects of a key to what they should be in `role`. Rejects only by the signal. */
  async bring(key: ObjectKey, role: Role, options: { exact?: boolean; signal: AbortSignal }): Promise<KeyVerdict> {
    const made = isBookkeeping(key) ? this.#bookkept(key) : await this.#render(key, role, options.signal);
    if (made === undefined) return { kind: "unknown" };
    if ("failure" in made) return { kind: "failed", ...made };
    const { entry } = made;
    this.#note(key, made);
    for (const left of this.#reassign(key, made)) this.#listener?.stray(left);
    for (const target of made.targets) {
      if (!this.#mayWrite(target.key, role)) return { kind: "failed", entry, failure: watchStarting(target.key) };
      const isNew = this.copies.get(target.key) === undefined;
      const context = { role, adopt: this.view.spec.adopt, own: this.own, exact: options.exact ?? false };
      this.#writing.add(target.key);
      const bringing = this.reconciler.bring(target, { ...context, signal: options.signal });
      const verdict = await bringing.finally(() => this.#writing.delete(target.key));
      if (verdict.kind === "failed")
        return { kind: "failed", entry, failure: await this.#known(verdict.failure, options) };
      if (isNew) this.#came(target.key);
    }
    return { kind: "applied", entry };
  }

  #bookkept(key: ObjectKey): RenderedKey | undefined {
    const entry = this.journal.read(key);
    return entry && { entry, rendered: { objects: [], findings: [], waitsFor: [] }, targets: [] };
  }

  async #render(
    key: ObjectKey,
    role: Role,
    signal: AbortSignal,
  ): Promise<RenderedKey | { entry: JournalEntry; failure: Failure } | undefined> {
    const entry = this.journal.head(key);
    if (entry === undefined) return undefined;
    try {
      if (isShared(key)) await observeShared(this.observing, key, signal);
      return this.view.renderKey(key, role);
    } catch (error) {
      signal.throwIfAborted();
      return { entry: this.#readable(key, entry), failure: { ...renderFailure(error), slow: true } };
    }
  }

  /** The key's record, without its texts where they are damaged. */
  #readable(key: ObjectKey, head: EntryHead): JournalEntry {
    try {
      const entry = this.journal.read(key);
      if (entry !== undefined) return entry;
    } catch {
      // That is what the failure says.
    }
    const { seq, hash } = head;
    return { key, seq, hash, deleted: hash === "", object: "", managers: "[]" };
  }

  #note(key: ObjectKey, made: RenderedKey): void {
    const { withheld, findings, waitsFor } = made.rendered;
    this.notes.foundIn(key, findings);
    if (withheld === undefined) this.notes.withheld.delete(key);
    else this.notes.withheld.set(key, withheld);
    this.assignments.waitFor(key, waitsFor);
  }

  /** Returns the objects that the key had and that are to go. */
  #reassign(key: ObjectKey, made: RenderedKey): ObjectKey[] {
    if (staysWhileWithheld(made)) return [];
    return this.assignments.assign(
      key,
      made.targets.map((target) => target.key),
    );
  }

  /** A taken node port is looked up, so that the next try renders without it. */
  async #known(failure: Failure, options: { signal: AbortSignal }): Promise<Failure> {
    if (failure.reason !== "NodePortTaken") return failure;
    try {
      await observeNodePorts(this.observing, options.signal);
    } catch {
      // The next try finds it taken again and asks again.
      options.signal.throwIfAborted();
    }
    return failure;
  }

  /** Deletes one object of this site. */
  async remove(target: ObjectKey, role: Role, options: { signal: AbortSignal }): Promise<Verdict> {
    if (!this.#mayWrite(target, role)) return { kind: "failed", failure: watchStarting(target) };
    const { group, kind, name } = parseKey(target);
    if (group === "" && kind === "Namespace" && this.copies.get(target) !== undefined) {
      const inside = this.#copiesIn(name);
      const message = `${inside} objects of the group are still in it`;
      if (inside > 0) return { kind: "failed", failure: { reason: "Needed", message } };
      const occupied = await this.mayDeleteNamespace(name, options);
      if (occupied !== undefined) return { kind: "failed", failure: occupied };
    }
    return this.reconciler.remove(target, { role, signal: options.signal });
  }

  /** `undefined` when everything in a namespace of this site is the group's, or comes with every namespace. */
  mayDeleteNamespace(name: string, options: { signal: AbortSignal }): Promise<Failure | undefined> {
    const { client, discovery } = this.options;
    const group = { name: this.journal.group, manager: this.manager, own: this.own };
    return occupants(name, { client, discovery, group, ...options });
  }

  #copiesIn(namespace: string): number {
    let count = 0;
    for (const key of this.copies.keys()) if (parseKey(key).namespace === namespace) count++;
    return count;
  }

  #seen(object: KubeObject): void {
    const key = keyOf(object);
    this.view.observeClaim(key, object);
    const change = this.copies.observe(object);
    if (change === "same") return;
    const source = this.assignments.sourceOf(key);
    if (source === undefined) {
      if (!this.#verifying) this.#listener?.stray(key);
      return;
    }
    // What is being written is compared with the answer to the write, which often comes after its event.
    const writing = this.#writing.has(key);
    if (change === "appeared" && !writing && this.#verify(source, object)) return this.#came(key);
    if (this.#verifying) return;
    if (!writing) this.#listener?.drifted(source);
    if (change === "appeared") this.#came(key);
  }

  /** Compares an object that was there before us with what it should be. */
  #verify(source: ObjectKey, object: KubeObject): boolean {
    const key = keyOf(object);
    try {
      const target = this.view.renderKey(source, this.#role)?.targets.find((item) => item.key === key);
      if (target === undefined || object.metadata.deletionTimestamp !== undefined) return false;
      // Of a site that was active nothing is ours. A copy is, and that alone says so if its journal is ever lost.
      if (entriesOf(object, this.manager).length === 0) return false;
      if (lacking(target, object).length > 0) return false;
      if (foreignClaims(object, target.object, this.manager).length > 0) return false;
      this.copies.expect(object, target.hash);
      return true;
    } catch {
      // It cannot be rendered: its own turn says why.
      return false;
    }
  }

  #gone(key: ObjectKey): void {
    this.view.observed.claimSizes.delete(key);
    if (!this.copies.gone(key)) return;
    this.#listener?.came(key);
    const source = this.assignments.sourceOf(key);
    if (source !== undefined) this.#listener?.drifted(source);
  }

  #came(key: ObjectKey): void {
    this.#listener?.came(key);
    const { group, kind } = parseKey(key);
    if (group === "apiextensions.k8s.io" && kind === "CustomResourceDefinition") this.options.discovery.lookSoon();
  }

  /** Told of every change of the kinds that are served here, until disposed or aborted. */
  followKinds(options: { signal: AbortSignal; onKinds: () => void }): Disposable {
    const following = this.options.discovery.onChange((change) => {
      this.view.kindsChanged();
      for (const { group, kind } of [...change.removed, ...change.changed]) this.watches.restart(group, kind);
      for (const { group, kind } of change.removed) this.#forgetKind(group, kind);
      for (const { group, kind } of [...change.added, ...change.changed])
        this.#listener?.came(needOf.kind(group, kind));
      options.onKinds();
    });
    const aborted = onAbort(options.signal, () => following[Symbol.dispose]());
    return {
      [Symbol.dispose]: () => {
        following[Symbol.dispose]();
        aborted[Symbol.dispose]();
      },
    };
  }

  #forgetKind(group: string, kind: string): void {
    for (const key of this.copies.keys()) {
      const parts = parseKey(key);
      if (parts.group === group && parts.kind === kind) this.#gone(key);
    }
  }
}

/** Lifeboat's own objects steer the applier; they are not the application's. */
export function isBookkeeping(key: ObjectKey): boolean {
  return key.startsWith("lifeboat.dev/");
}

/** Of what is kept back for now a copy that exists stays, except where being there means to run. */
function staysWhileWithheld(made: RenderedKey): boolean {
  const reason = made.rendered.withheld?.reason;
  return reason !== undefined && reason !== "StandbyRole";
}

export function watchNeed(group: string, kind: string): string {
  return `watch:${group}/${kind}`;
}

function watchStarting(target: ObjectKey): Failure {
  const { group, kind } = parseKey(target);
  const message = "waits until the objects that exist are known";
  return { reason: "Needed", message, need: watchNeed(group, kind) };
}
