import { hasCode } from "../errors.ts";
import type { KubeResource } from "../kube/resource.ts";
import { canaryName } from "../objects/canary.ts";
import { groupOf, type KubeObject, marks } from "../objects/object.ts";
import { type ObjectKey, parseKey } from "../objects/key.ts";
import type { Role } from "../render/types.ts";
import { classify, type Failure, needOf, terminating } from "./failures.ts";
import { entriesOf, foreignEntries } from "./fields.ts";
import { foreignClaims, leftovers } from "./foreign.ts";
import { reconcileShared, removeShared } from "./shared.ts";
import { applied, failed, noteDropped, type ReconcileContext, type ReconcileDeps, type Verdict } from "./verdict.ts";
import { isShared, lacking, type Target } from "./view.ts";

/** Brings single objects of the standby's API server to what was rendered, whatever is there now. */

export class Reconciler {
  readonly #deps: ReconcileDeps;

  constructor(deps: ReconcileDeps) {
    this.#deps = deps;
  }

  /** Creates or changes one object. Never rejects but by the signal. */
  async bring(target: Target, context: ReconcileContext): Promise<Verdict> {
    const { object } = target;
    const resource = this.#deps.discovery.resource(object.apiVersion, object.kind);
    const place = { group: groupOf(object.apiVersion), kind: object.kind, namespace: object.metadata.namespace ?? "" };
    if (resource === undefined) {
      const message = `${object.apiVersion} ${object.kind} is not served`;
      return failed({ reason: "KindMissing", message, need: needOf.kind(place.group, place.kind) });
    }
    try {
      if (isShared(target.key)) return await reconcileShared(this.#deps, resource, target, context);
      return await this.#bring(resource, target, context);
    } catch (error) {
      context.signal.throwIfAborted();
      const failure = classify(error, place);
      if (failure.reason === "KindMissing") this.#deps.discovery.lookSoon();
      if (failure.reason === "Replaced") this.#deps.copies.gone(target.key);
      return failed(failure);
    }
  }

  async #bring(resource: KubeResource, target: Target, context: ReconcileContext): Promise<Verdict> {
    const { copies, notes } = this.#deps;
    const seen = copies.get(target.key);
    if (seen === undefined) return this.#create(resource, target, context);
    if (seen.deleting) return failed(terminating);
    const isWhole = copies.isCurrent(target.key, target.hash) && !notes.dropped.has(target.key);
    if (context.exact !== true && isWhole) return applied;
    if (seen.foreign === "" && context.exact !== true) {
      return this.#apply(resource, target, seen.uid, context);
    }
    return this.#settleAndApply(resource, target, context);
  }

  async #create(resource: KubeResource, target: Target, context: ReconcileContext): Promise<Verdict> {
    const { made, live } = await this.#deps.writer.createOrFind(resource, target.object, context.signal);
    return made === undefined ? this.#meet(resource, target, live, context) : this.#written(target, made);
  }

  /** Something of this name is there that we did not know of. */
  async #meet(
    resource: KubeResource,
    target: Target,
    live: KubeObject | undefined,
    context: ReconcileContext,
  ): Promise<Verdict> {
    const { copies, notes } = this.#deps;
    if (live === undefined) return failed({ reason: "Replaced", message: "it came and went" });
    if (live.metadata.deletionTimestamp !== undefined) return failed(terminating);
    if (!this.#isOurs(live, context) && !context.adopt) {
      const message = "exists on the standby and was not put there by this group; set spec.adopt to take it over";
      notes.conflicts.set(target.key, { key: target.key, message });
      return failed({ reason: "Exists", message, slow: true });
    }
    copies.observe(live);
    return this.#settleAndApply(resource, target, context, live);
  }

  #isOurs(live: KubeObject, context: ReconcileContext): boolean {
    const { labels, annotations } = live.metadata;
    // The label alone anybody may set.
    const isMarked = annotations?.[marks.source] !== undefined || annotations?.[marks.held] !== undefined;
    return (
      (isMarked && labels?.[marks.group] === this.#deps.group) ||
      entriesOf(live, this.#deps.manager).length > 0 ||
      context.own.has(live.metadata.uid ?? "") ||
      // Written here while this site was the source.
      (live.kind === "ConfigMap" && live.metadata.name === canaryName(this.#deps.group)) ||
      // Every namespace has this account from its controller; rendered only where somebody has customised it.
      (live.kind === "ServiceAccount" && live.metadata.name === "default")
    );
  }

  /** The long way: looks at who owns what before it applies. */
  async #settleAndApply(
    resource: KubeResource,
    target: Target,
    context: ReconcileContext,
    known?: KubeObject,
  ): Promise<Verdict> {
    const { writer, manager, copies, contests, clock } = this.#deps;
    const live = known ?? (await writer.find(resource, target.object, context.signal));
    if (live === undefined) {
      copies.gone(target.key);
      return failed({ reason: "Replaced", message: "it was deleted on the standby" });
    }
    copies.observe(live);
    const claims = foreignClaims(live, target.object, manager);
    const drift = copies.hadHash(target.key, target.hash);
    const own = entriesOf(live, manager);
    if (drift && context.exact !== true) {
      const worst = claims.find((claim) => claim.lost.length + claim.extra.length > 0);
      if (worst === undefined && own.length > 0 && lacking(target, live).length === 0) {
        if (contests.isContested(target.key)) contests.forget(target.key);
        return copies.expect(live, target.hash) ? failed(changedMeanwhile) : applied;
      }
      const fields = worst === undefined ? [] : [...worst.lost, ...worst.extra];
      if (worst !== undefined && !contests.enter(target.key, worst.manager, fields, clock.monotonicMs())) {
        return applied;
      }
    }
    const absorbed = context.exact === true ? foreignEntries(live, manager) : absorbable(live, claims, manager);
    const settled = await writer.settle(resource, live, absorbed, context.signal);
    return this.#apply(resource, target, settled.metadata.uid ?? "", context);
  }

  async #apply(resource: KubeResource, target: Target, uid: string, context: ReconcileContext): Promise<Verdict> {
    const { writer } = this.#deps;
    const { signal } = context;
    try {
      let answer = await writer.apply(resource, target.object, { uid, force: true, signal });
      if (leftovers(answer, target.object, this.#deps.manager).length > 0) {
        await writer.settle(resource, answer, [], signal);
        answer = await writer.apply(resource, target.object, { uid, force: true, signal });
      }
      if (!this.#hasExtras(target, answer)) return this.#written(target, answer);
      // Somebody wrote into it just before us; taken for granted it would stay for ever.
      this.#deps.copies.observe(answer);
      this.#deps.contests.repaired(target.key);
      return failed(changedMeanwhile);
    } catch (error) {
      signal.throwIfAborted();
      const { namespace } = target.object.metadata;
      const place = { group: resource.group, kind: resource.kind, namespace: namespace ?? "" };
      const failure = classify(error, place);
      if (failure.reason === "Invalid" && context.settled !== true && (await this.#settle(resource, target, signal))) {
        return this.#apply(resource, target, uid, { ...context, settled: true });
      }
      if (failure.reason === "NotAppliable") return this.#put(resource, target, context);
      if (failure.reason === "Immutable") return this.#recreate(resource, target, uid, failure, context);
      throw error;
    }
  }

  /**
   * What was created is ours by an update, and an apply takes nothing of that away: an item of a list that has got
   * another key would stand beside its successor. Returns whether there was such a thing.
   */
  async #settle(resource: KubeResource, target: Target, signal: AbortSignal): Promise<boolean> {
    const { writer, manager } = this.#deps;
    const live = await writer.find(resource, target.object, signal);
    if (live === undefined || !entriesOf(live, manager).some(({ operation }) => operation === "Update")) return false;
    await writer.settle(resource, live, [], signal);
    return true;
  }

  #hasExtras(target: Target, answer: KubeObject): boolean {
    const { manager } = this.#deps;
    return foreignClaims(answer, target.object, manager).some((claim) => claim.extra.length > 0);
  }

  async #put(resource: KubeResource, target: Target, context: ReconcileContext): Promise<Verdict> {
    const { writer } = this.#deps;
    const live = await writer.find(resource, target.object, context.signal);
    if (live === undefined) return failed({ reason: "Replaced", message: "it was deleted on the standby" });
    return this.#written(target, await writer.put(resource, target.object, live, context.signal));
  }

  async #recreate(
    resource: KubeResource,
    target: Target,
    uid: string,
    failure: Failure,
    context: ReconcileContext,
  ): Promise<Verdict> {
    if (context.role === "active" || neverRecreated.has(resource.kind)) return failed({ ...failure, slow: true });
    const { namespace = "", name } = target.object.metadata;
    // A StatefulSet's claims may be set to go with it; its data must not.
    const propagation = resource.kind === "StatefulSet" ? "Orphan" : "Background";
    await this.#deps.writer.remove(resource, { namespace, name }, { uid, propagation, signal: context.signal });
    return failed({ reason: "Recreating", message: failure.message, need: target.key });
  }

  /** The server has answered with the object as it is now: what of it was not kept is noted. */
  #written(target: Target, answer: KubeObject): Verdict {
    const { copies, contests, notes } = this.#deps;
    const changedSince = copies.expect(answer, target.hash);
    contests.repaired(target.key);
    noteDropped(notes, target, answer);
    notes.conflicts.delete(target.key);
    return changedSince ? failed(changedMeanwhile) : applied;
  }

  /** Deletes one object. `applied` when it is gone. Never rejects but by the signal. */
  async remove(key: ObjectKey, context: { role: Role; signal: AbortSignal }): Promise<Verdict> {
    const { discovery, copies, notes, contests, writer } = this.#deps;
    const { group, kind, namespace, name } = parseKey(key);
    const resource = discovery.find(group, kind)?.versions[0];
    if (resource === undefined) {
      copies.gone(key);
      return applied;
    }
    try {
      if (isShared(key)) return await removeShared(this.#deps, resource, key, context.signal);
      const seen = copies.get(key);
      if (seen === undefined) {
        notes.forgetTarget(key);
        contests.forget(key);
        return applied;
      }
      if (!seen.deleting) {
        const options = { uid: seen.uid, propagation: "Background", signal: context.signal } as const;
        const existed = await writer.remove(resource, { namespace, name }, options);
        if (!existed) {
          copies.gone(key, seen.uid);
          return applied;
        }
      }
      return failed({ ...terminating, need: key });
    } catch (error) {
      context.signal.throwIfAborted();
      if (hasCode(error, "NotFound")) {
        copies.gone(key);
        return applied;
      }
      return failed(classify(error, { group, kind, namespace }));
    }
  }
}

const changedMeanwhile: Failure = { reason: "Replaced", message: "somebody else changed it at the same moment" };

/** Recreating one of these would lose data, or everything in it. */
const neverRecreated: ReadonlySet<string> = new Set([
  "PersistentVolumeClaim",
  "PersistentVolume",
  "Namespace",
  "CustomResourceDefinition",
]);

/** Entries whose fields beyond ours have to go. */
function absorbable(
  live: KubeObject,
  claims: ReturnType<typeof foreignClaims>,
  manager: string,
): ReturnType<typeof foreignEntries> {
  const managers = new Set(claims.filter((claim) => claim.extra.length > 0).map((claim) => claim.manager));
  return foreignEntries(live, manager).filter((entry) => managers.has(entry.manager));
}
