import { setImmediate as nextTurn } from "node:timers/promises";
import { hasReason } from "../kube/status.ts";
import { type ObjectKey, parseKey } from "../objects/key.ts";
import type { KubeObject } from "../objects/object.ts";
import { classify, type Failure } from "./failures.ts";
import { type FailingKey, Notes, shown } from "./notes.ts";
import type { GroupSite } from "./site.ts";
import { isShared, renderFailure } from "./view.ts";

/**
 * Proof before the disaster: what is held back on the standby is also written as active, in a dry run, so that a
 * missing kind, a full quota or a webhook that refuses is known before a promotion meets it. What does not differ
 * between the roles has been proven by being applied.
 */

/** Twenty dry runs a second cost an API server about 4 % of a core; a thousand workloads are through in a minute. */
const everyMs = 50;
/** With nothing due it is looked seldom: changes come one by one then. */
const restMs = 1_000;
/** What was refused may be mended without a change of the object: a quota raised, a webhook that works again. */
const againMs = 15_000;
/** What was accepted may be refused by what has come to the site since: everything is asked anew this often. */
const roundMs = 3_600_000;
/** Keys looked at before other work gets its turn: about 10 ms. */
const turnCount = 50;

export interface ProofResult {
  readonly ok: boolean;
  /** Of all that is refused; of them up to twenty are listed. */
  readonly count: number;
  readonly findings: readonly FailingKey[];
}

export class Proof {
  readonly #site: GroupSite;
  readonly #due = new Set<ObjectKey>();
  readonly #failed = new Notes();
  /** Of which nothing can be said before the promotion. */
  readonly #later = new Set<ObjectKey>();
  #proven = false;

  constructor(site: GroupSite) {
    this.#site = site;
  }

  /** The key has been applied, or is kept back until the site is active. */
  add(key: ObjectKey): void {
    this.#due.add(key);
  }

  forget(key: ObjectKey): void {
    this.#due.delete(key);
    this.#failed.failing.delete(key);
    this.#later.delete(key);
  }

  /** `undefined` until every key has been through once, and while nothing can be said of some and nothing of the rest. */
  result(): ProofResult | undefined {
    const count = this.#failed.failing.size;
    if (!this.#proven || (count === 0 && this.#later.size > 0)) return undefined;
    return { ok: count === 0, count, findings: shown(this.#failed.failing) };
  }

  /** Works through what is due while `idle` says that nothing else is, until `signal` aborts. */
  async run(options: { idle: () => boolean; onChange: () => void; signal: AbortSignal }): Promise<void> {
    const { clock } = this.#site.options;
    const { signal } = options;
    let lookedMs = clock.monotonicMs();
    let roundedMs = lookedMs;
    for (;;) {
      if (clock.monotonicMs() - roundedMs >= roundMs) {
        roundedMs = clock.monotonicMs();
        for (const [key] of this.#site.options.journal.entries()) this.#due.add(key);
      }
      if (clock.monotonicMs() - lookedMs >= againMs) {
        lookedMs = clock.monotonicMs();
        for (const key of this.#failed.failing.keys()) this.#due.add(key);
      }
      await clock.sleep(this.#proven && this.#due.size === 0 ? restMs : everyMs, { signal });
      if (!options.idle()) continue;
      const failing = this.#failed.failing.size;
      const asked = await this.#next(signal);
      const done = !asked && !this.#proven;
      if (done) this.#proven = true;
      if (done || failing !== this.#failed.failing.size) options.onChange();
    }
  }

  /** Proves the next key that needs it; `false` when none is left. */
  async #next(signal: AbortSignal): Promise<boolean> {
    let looked = 0;
    for (const key of this.#due) {
      this.#due.delete(key);
      if (++looked % turnCount === 0) await nextTurn(undefined, { signal });
      const outcome = await this.#prove(key, signal);
      if (outcome === "not said") return true;
      if (outcome === "accepted" || outcome === "nothing to ask") this.#failed.failing.delete(key);
      else this.#failed.failed(key, outcome, this.#site.options.clock.wallMs());
      if (outcome !== "nothing to ask") return true;
    }
    return false;
  }

  async #prove(key: ObjectKey, signal: AbortSignal): Promise<Failure | "accepted" | "nothing to ask" | "not said"> {
    const { view, copies } = this.#site;
    try {
      const made = view.renderKey(key, "active");
      this.#later.delete(key);
      if (made === undefined || made.entry.deleted) return "nothing to ask";
      if (this.#comesLater(key)) {
        this.#later.add(key);
        return "nothing to ask";
      }
      const due = made.targets.filter((target) => !isShared(target.key) && !copies.isCurrent(target.key, target.hash));
      if (due.length === 0) return "nothing to ask";
      for (const target of due) await this.#dryRun(target.object, copies.get(target.key)?.uid, signal);
      return "accepted";
    } catch (error) {
      signal.throwIfAborted();
      const failure = classify(error, parseKey(key));
      return failure.reason === "Defect" ? renderFailure(error) : transient.has(failure.reason) ? "not said" : failure;
    }
  }

  /** Its namespace or its kind comes with the group's promotion: until then no API server can say anything of it. */
  #comesLater(key: ObjectKey): boolean {
    const { group, kind, namespace } = parseKey(key);
    const { notes, copies, view, options } = this.#site;
    const own: ObjectKey = `/Namespace//${namespace}`;
    if (notes.withheld.has(own) && copies.get(view.keyAtSite(own)) === undefined) return true;
    if (options.discovery.find(group, kind) !== undefined) return false;
    const definitions = "apiextensions.k8s.io/CustomResourceDefinition//";
    const groupOf = (name: string): string => name.slice(name.indexOf(".", definitions.length) + 1);
    return notes.withheld.keys().some((other) => other.startsWith(definitions) && groupOf(other) === group);
  }

  async #dryRun(object: KubeObject, uid: string | undefined, signal: AbortSignal): Promise<void> {
    const { client, discovery } = this.#site.options;
    const resource = discovery.resource(object.apiVersion, object.kind);
    if (resource === undefined) throw new TypeError(`${object.apiVersion} ${object.kind} is not served`);
    const options = { fieldManager: this.#site.manager, dryRun: true, signal };
    if (uid !== undefined) {
      const body = { ...object, metadata: { ...object.metadata, uid } };
      await client.apply(resource, body, { ...options, force: true });
      return;
    }
    try {
      await client.create(resource, object, options);
    } catch (error) {
      if (!hasReason(error, "AlreadyExists")) throw error;
    }
  }
}

/** Says nothing about the object, and what was known of it stays: it was changed just now, or the server was away. */
const transient: ReadonlySet<Failure["reason"]> = new Set([
  "ApiUnreachable",
  "Replaced",
  "NotAppliable",
  "Terminating",
]);
