import { linkedAbort, Pulse, runTogether } from "../abort.ts";
import { backoffMs, type Clock, type Random, within } from "../clock.ts";
import { hasCode, LifeboatError, messageOf } from "../errors.ts";
import type { KubeClient } from "../kube/client.ts";
import { Reflector } from "../kube/reflector.ts";
import { pathOf, placeOf, resources, type KubeResource } from "../kube/resource.ts";
import { hasReason } from "../kube/status.ts";
import { canonicalJson } from "../objects/json.ts";
import type { KubeObject } from "../objects/object.ts";
import { safeError, type Log } from "../telemetry/log.ts";
import {
  gateBinding,
  gateLabel,
  gateManager,
  gateName,
  gateParameter,
  gatePolicy,
  isAsWanted,
  type GateEpoch,
  type GateState,
  type GateSubject,
} from "./policy.ts";

/** A stop goes on after this, with its gate still being closed. */
const closeMaxMs = 2_000;
/** An API server reads the kinds that it serves anew every 30 s: after this it knows that of the gates. */
const looseMs = 40_000;
/** Others may write and delete at the same moment; what does not come to rest is left to the repair. */
const bringRoundsMax = 5;
/** An opened gate takes effect when the API server has seen its parameter: milliseconds, unless it is very busy. */
const effectMaxMs = 5_000;
const effectPollMs = 20;
const repairLimits = { firstMs: 100, maxMs: 15_000 };

export interface GatesOptions {
  readonly client: KubeClient;
  readonly site: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

interface Gate {
  subject: GateSubject | undefined;
  state: GateState | undefined;
  /** Where pods of the group may be placed; undefined for everywhere. */
  nodes: readonly string[] | undefined;
  /** One writer at a time. */
  work: Promise<void>;
  /** The group has ended: what is left of it is removed. */
  isOver: boolean;
  /** Until then it does not refuse, closed, what the API server cannot decide; undefined where it does. */
  looseUntilMs: number | undefined;
  problem: string | undefined;
  failures: number;
}

/**
 * The gates of all groups at one site: what is wanted, written, and written again whenever somebody changes or removes
 * it. A site whose API server has no ValidatingAdmissionPolicy, or does not let the agent write one, goes on without;
 * {@link problem} says so.
 */
export class AdmissionGates {
  readonly #options: GatesOptions;
  readonly #gates = new Map<string, Gate>();
  readonly #dirty = new Set<string>();
  readonly #wake = new Pulse();

  constructor(options: GatesOptions) {
    this.#options = options;
  }

  /** What keeps a group's gate from being in force, for people; `undefined` where it is. */
  problem(group: string): string | undefined {
    return this.#gates.get(group)?.problem;
  }

  /** What the gate of a group covers. Until {@link open} or {@link close} has been called nothing is installed. */
  cover(group: string, subject: Pick<GateSubject, "spec" | "namespaces">): void {
    const gate = this.#gate(group);
    const { spec, namespaces } = subject;
    const had = gate.subject;
    const next: GateSubject = { group, site: this.#options.site, spec, namespaces };
    gate.subject = next;
    // Asked often: a spec that is the same object need not be read.
    if (had?.spec === spec && had.namespaces.join() === namespaces.join()) return;
    if (had !== undefined && canonicalJson(had) === canonicalJson(next)) return;
    this.#touch(group);
  }

  /**
   * On which nodes pods of the group may be placed, `undefined` for all. Takes effect as soon as that is possible; pods
   * that are placed already stay. A pod's binding shows nothing of its pod: only groups that take all of their namespaces
   * are held to it.
   */
  place(group: string, nodes: readonly string[] | undefined): void {
    const gate = this.#gate(group);
    const said = (names: readonly string[] | undefined) => names?.toSorted().join();
    if (said(gate.nodes) === said(nodes)) return;
    gate.nodes = nodes;
    this.#touch(group);
  }

  /**
   * The group may be started here. Resolves when the API server lets it; rejects with a retryable error where that
   * takes too long.
   */
  async open(group: string, epoch: GateEpoch, { signal }: { signal: AbortSignal }): Promise<void> {
    const gate = this.#gate(group);
    gate.isOver = false;
    gate.looseUntilMs = undefined;
    gate.state = { open: true, epoch, message: "" };
    await this.#bring(group, gate, signal);
    await this.#whenOpen(group, gate, signal);
  }

  /** The group must not be started here. A gate that cannot be closed is retried; {@link problem} tells. */
  async close(
    group: string,
    state: { readonly epoch: GateEpoch; readonly message: string },
    { signal }: { signal: AbortSignal },
  ): Promise<void> {
    const gate = this.#gate(group);
    const { clock } = this.#options;
    gate.isOver = false;
    // What is to be stopped is stopped by writes that an API server which cannot decide would refuse as well.
    if (gate.state?.open !== false) this.#loosen(gate);
    gate.state = { open: false, ...state };
    using scope = linkedAbort(signal);
    const written = this.#bring(group, gate, signal);
    // What is to be stopped must not wait for an API server that is slow with this one: the repair goes on with it.
    await Promise.race([written, clock.sleep(closeMaxMs, { signal: scope.signal })]).finally(() => scope.abort());
  }

  /** The group has ended: its gate is removed as soon as that is possible, while {@link run} is at work. */
  remove(group: string): void {
    this.#gate(group).isOver = true;
    this.#touch(group);
  }

  /** Watches over all gates until the signal aborts. */
  async run({ signal }: { signal: AbortSignal }): Promise<void> {
    const { client, clock, random, log } = this.#options;
    const follow = (resource: KubeResource) => {
      const reflector = new Reflector({
        client,
        resource,
        labelSelector: gateLabel,
        clock,
        random,
        log,
        handler: {
          upsert: (object) => this.#look(object.metadata.labels?.[gateLabel], object),
          removed: ({ name }) => this.#missing(name),
          synced: () => this.#touchAll(),
        },
      });
      return (options: { signal: AbortSignal }) => reflector.run(options);
    };
    await runTogether(
      [
        follow(resources.gates),
        follow(resources.admissionPolicies),
        follow(resources.admissionBindings),
        (options) => this.#repair(options),
        (options) => this.#followRestarts(options),
      ],
      { signal },
    );
  }

  #gate(group: string): Gate {
    const found = this.#gates.get(group);
    if (found !== undefined) return found;
    const gate: Gate = {
      subject: undefined,
      state: undefined,
      nodes: undefined,
      work: Promise.resolve(),
      isOver: false,
      looseUntilMs: undefined,
      problem: undefined,
      failures: 0,
    };
    this.#gates.set(group, gate);
    return gate;
  }

  #look(group: string | undefined, object: KubeObject): void {
    const wanted = this.#wanted(group ?? "").find((one) => one.kind === object.kind);
    if (group !== undefined && wanted !== undefined && !isAsWanted(object, wanted)) this.#touch(group);
  }

  #missing(name: string): void {
    for (const group of this.#gates.keys()) if (gateName(group) === name) this.#touch(group);
  }

  #loosen(gate: Gate): void {
    gate.looseUntilMs = this.#options.clock.monotonicMs() + looseMs;
  }

  /** Time until the next gate is to become firm; at most as long as one that is closed meanwhile stays loose. */
  #firmInMs(): number {
    const nowMs = this.#options.clock.monotonicMs();
    const due = [...this.#gates.values()].map(({ looseUntilMs = Infinity }) => looseUntilMs - nowMs);
    return Math.max(0, Math.min(looseMs, ...due));
  }

  #firm(): void {
    const nowMs = this.#options.clock.monotonicMs();
    for (const [group, gate] of this.#gates) {
      if (gate.looseUntilMs === undefined || gate.looseUntilMs > nowMs) continue;
      gate.looseUntilMs = undefined;
      this.#dirty.add(group);
    }
  }

  /** An API server that has just started may not know the gates' kind, and must take what keeps a standby in step. */
  async #followRestarts({ signal }: { signal: AbortSignal }): Promise<never> {
    for (;;) {
      // Also at first: what was closed before this ran may have waited for the API server for longer than it was loose.
      for (const [group, gate] of this.#gates) {
        if (gate.state?.open !== false) continue;
        this.#loosen(gate);
        this.#touch(group);
      }
      await this.#options.client.readiness.whenBack({ signal });
    }
  }

  #touchAll(): void {
    for (const group of this.#gates.keys()) this.#touch(group);
  }

  #touch(group: string): void {
    this.#dirty.add(group);
    this.#wake.raise();
  }

  async #repair({ signal }: { signal: AbortSignal }): Promise<never> {
    const { client, clock, random } = this.#options;
    for (;;) {
      await within((options) => this.#wake.wait(options), this.#firmInMs(), { clock, signal });
      this.#firm();
      const groups = [...this.#dirty];
      this.#dirty.clear();
      await Promise.all(
        groups.map(async (group) => {
          const gate = this.#gates.get(group);
          if (gate === undefined) return;
          await this.#bring(group, gate, signal);
        }),
      );
      const failures = Math.max(0, ...groups.map((group) => this.#gates.get(group)?.failures ?? 0));
      if (failures > 0) {
        await client.readiness.pause(backoffMs(failures - 1, repairLimits, random), { clock, signal });
      }
    }
  }

  /** In this order nothing is refused for want of a parameter. */
  #wanted(group: string): KubeObject[] {
    const { subject, state, nodes, looseUntilMs } = this.#gates.get(group) ?? {};
    if (subject === undefined || state === undefined) return [];
    const policy = gatePolicy(subject, { firm: !state.open && looseUntilMs === undefined });
    return [gateParameter(group, state, nodes), policy, gateBinding(subject)];
  }

  /** Brings the gate to what is wanted now; never rejects but for the signal. */
  async #bring(group: string, gate: Gate, signal: AbortSignal): Promise<void> {
    const before = gate.work;
    const work = before.then(async () => this.#write(group, gate, signal));
    gate.work = work.catch(() => undefined);
    await work;
  }

  async #write(group: string, gate: Gate, signal: AbortSignal): Promise<void> {
    const { client, log } = this.#options;
    const had = gate.problem;
    try {
      if (gate.isOver) {
        await removeGate(client, group, { signal });
        // Somebody may have begun a group of its name meanwhile.
        if (gate.isOver && this.#gates.get(group) === gate) this.#gates.delete(group);
        return;
      }
      const wanted = this.#wanted(group);
      if (wanted.length === 0) return;
      for (const object of wanted) await bring(client, object, { signal });
      gate.problem = undefined;
      gate.failures = 0;
    } catch (error) {
      signal.throwIfAborted();
      gate.problem = hasCode(error, "NotFound")
        ? "the API server has no gates.lifeboat.dev, or no ValidatingAdmissionPolicy (Kubernetes 1.30 or later)"
        : messageOf(error);
      gate.failures++;
      this.#touch(group);
      if (had !== gate.problem) log.warn({ group, error: safeError(error) }, "the group's gate could not be written");
    }
  }

  /** Asks, by something that is not stored, until it is not the gate that refuses. */
  async #whenOpen(group: string, gate: Gate, signal: AbortSignal): Promise<void> {
    const { client, clock } = this.#options;
    const namespace = gate.subject?.namespaces[0];
    if (namespace === undefined) return;
    const endMs = clock.monotonicMs() + effectMaxMs;
    while (await isRefused(client, group, namespace, signal)) {
      if (gate.problem !== undefined) await this.#bring(group, gate, signal);
      if (clock.monotonicMs() > endMs) {
        throw new LifeboatError("FailoverRefused", `the API server still enforces the closed gate of group ${group}`, {
          op: "admission.open",
          retryable: true,
          hint: `look at: kubectl get gate ${gateName(group)} -o yaml`,
        });
      }
      await clock.sleep(effectPollMs, { signal });
    }
  }
}

/** Removes the three objects of a gate, if they are there; the binding first, so that nothing is refused meanwhile. */
export async function removeGate(
  client: KubeClient,
  group: string,
  { signal }: { signal: AbortSignal },
): Promise<void> {
  const place = { name: gateName(group) };
  await client.delete(resources.admissionBindings, place, { signal });
  await client.delete(resources.admissionPolicies, place, { signal });
  await dropFinalizers(client, resources.gates, place, { signal });
  await client.delete(resources.gates, place, { signal });
}

async function dropFinalizers(
  client: KubeClient,
  resource: KubeResource,
  place: { readonly name: string },
  { signal }: { signal: AbortSignal },
): Promise<void> {
  const patch = { type: "merge", body: { metadata: { finalizers: null } } } as const;
  try {
    await client.patch(resource, place, patch, { fieldManager: gateManager, signal });
  } catch (error) {
    if (!hasCode(error, "NotFound")) throw error;
  }
}

/** Brings one object to what is wanted, whatever is there now. */
async function bring(client: KubeClient, wanted: KubeObject, { signal }: { signal: AbortSignal }): Promise<void> {
  const resource = resourceOf(wanted);
  const options = { fieldManager: gateManager, signal };
  for (let round = 1; ; round++) {
    const live = await client.find(resource, placeOf(wanted), { signal });
    try {
      if (live === undefined) await client.create(resource, wanted, options);
      else if (isAsWanted(live, wanted)) return;
      else if (live.metadata.deletionTimestamp === undefined) {
        const { resourceVersion = "" } = live.metadata;
        await client.put(resource, { ...wanted, metadata: { ...wanted.metadata, resourceVersion } }, options);
      } else {
        // What is being deleted cannot be kept; it is let go and made anew at once.
        await dropFinalizers(client, resource, { name: wanted.metadata.name }, { signal });
        if (round < bringRoundsMax) continue;
        throw new LifeboatError("KubeRejected", `${wanted.kind} ${wanted.metadata.name} is being deleted`, {
          op: "admission.write",
          retryable: true,
        });
      }
      return;
    } catch (error) {
      if (!hasReason(error, "Conflict") && !hasReason(error, "AlreadyExists")) throw error;
      if (round >= bringRoundsMax) throw error;
    }
  }
}

function resourceOf({ kind }: KubeObject): KubeResource {
  if (kind === "Gate") return resources.gates;
  return kind === "ValidatingAdmissionPolicy" ? resources.admissionPolicies : resources.admissionBindings;
}

/** Whether the gate, and nothing else, refuses a Deployment of this group. */
async function isRefused(client: KubeClient, group: string, namespace: string, signal: AbortSignal): Promise<boolean> {
  const labels = { "lifeboat.dev/probe": "gate", "lifeboat.dev/group": group };
  const probe = {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name: "lifeboat-gate-probe", namespace, labels },
    spec: {
      replicas: 1,
      selector: { matchLabels: labels },
      template: { metadata: { labels }, spec: { containers: [{ name: "probe", image: "probe" }] } },
    },
  };
  try {
    await client.request("POST", pathOf(resources.deployments, { namespace }), {
      query: { dryRun: "All", fieldManager: gateManager },
      body: JSON.stringify(probe),
      signal,
    });
    return false;
  } catch (error) {
    signal.throwIfAborted();
    if (hasCode(error, "KubeUnreachable") || hasCode(error, "Timeout")) throw error;
    return messageOf(error).includes(`'${gateName(group)}'`);
  }
}
