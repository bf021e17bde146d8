import {
  moveAnnotations,
  parseRequest,
  requestAnnotation,
  resultName,
  type GroupRequest,
  type MoveVerb,
} from "../config/requests.ts";
import { backoffMs } from "../clock.ts";
import { parseStoredStatus } from "../config/stored.ts";
import { hasCode, LifeboatError, messageOf } from "../errors.ts";
import { resources } from "../kube/resource.ts";
import type { PurgeReport } from "../apply/purge.ts";
import type { KubeObject } from "../objects/object.ts";
import { safeError } from "../telemetry/log.ts";
import { OrderDesk, type SteeringVerb } from "./order-desk.ts";
import type { GroupRuntime } from "./group-runtime.ts";
import type { KeptObject } from "./kept.ts";
import { answerLost } from "./lost-order.ts";
import type { AgentParts } from "./parts.ts";
import { acceptRewind } from "./rewind.ts";
import type { LastRequest } from "./status.ts";
import type { StatusWriter } from "./status-writer.ts";

interface DeskOptions {
  readonly parts: AgentParts;
  readonly runtime: GroupRuntime;
  readonly status: StatusWriter;
  readonly signal: AbortSignal;
}

/** An annotation that stays would be obeyed again by the next process. */
const takeAwayLimits = { firstMs: 500, maxMs: 30_000 };
/** The command asks for its answer several times a second. */
const retireAfterMs = 5000;
/** Keys in a result; a ConfigMap holds 1 MiB. */
const resultMaxCount = 5000;
const resultMaxBytes = 500_000;

/** Takes a person's one-shot requests from the group's annotations and writes back what came of them. */
export class RequestDesk {
  readonly #options: DeskOptions;
  /** Annotation texts that are being worked on, until they are gone from the object. */
  readonly #taken = new Set<string>();
  readonly #orders: OrderDesk;
  /** The last request that an earlier process has answered. */
  #answered: Partial<LastRequest> | undefined;

  constructor(options: DeskOptions) {
    this.#options = options;
    const { parts, runtime } = options;
    this.#orders = new OrderDesk({
      site: parts.config.site,
      runtime,
      nowMs: () => parts.clock.wallMs(),
      answer: (request) => this.#answer(request),
    });
  }

  /** The group's object appeared or changed. */
  observe(object: KubeObject): void {
    const annotations = object.metadata.annotations ?? {};
    this.#answered ??= parseStoredStatus(object["status"]).lastRequest;
    for (const [verb, annotation] of Object.entries(moveAnnotations)) {
      this.#take(annotation, annotations[annotation], async (text) => this.#orders.move(verb as MoveVerb, text));
    }
    this.#take(requestAnnotation, annotations[requestAnnotation], (text) => this.#serve(text));
  }

  #take(annotation: string, text: string | undefined, work: (text: string) => Promise<void>): void {
    const id = `${annotation}=${text}`;
    if (text === undefined) {
      for (const taken of this.#taken) if (taken.startsWith(`${annotation}=`)) this.#taken.delete(taken);
      return;
    }
    if (this.#taken.has(id)) return;
    this.#taken.add(id);
    void this.#consume(annotation, text, work);
  }

  async #consume(annotation: string, text: string, work: (text: string) => Promise<void>): Promise<void> {
    const { parts, signal } = this.#options;
    try {
      await work(text);
    } catch (error) {
      const [verb = "request"] = Object.entries(moveAnnotations).find(([, one]) => one === annotation) ?? [];
      this.#answer({ id: text, verb, outcome: "Refused", message: messageOf(error) });
    }
    for (let attempt = 0; !signal.aborted; attempt++) {
      if (await this.#takeAway(annotation)) return;
      await parts.clock.sleep(backoffMs(attempt, takeAwayLimits, parts.random), { signal }).catch(() => undefined);
    }
  }

  /** Resolves with whether the answer is written and the annotation gone. */
  async #takeAway(annotation: string): Promise<boolean> {
    const { parts, runtime, status, signal } = this.#options;
    try {
      await status.write({ signal });
      const body = { metadata: { annotations: { [annotation]: null } } };
      const patch = { type: "merge", body } as const;
      await parts.client.patch(resources.protectionGroups, { name: runtime.name }, patch, {
        fieldManager: "lifeboat-requests",
        signal,
      });
      return true;
    } catch (error) {
      // A group that is deleted takes its requests along.
      if (hasCode(error, "NotFound")) return true;
      if (!signal.aborted) parts.log.warn({ group: runtime.name, error: safeError(error) }, "cannot consume a request");
      return false;
    }
  }

  /** To be called when the protocol may have answered. */
  settle(): void {
    this.#orders.settle();
    this.#settleLost();
  }

  /**
   * A request that is still said to be worked on, by another process than this one: what this one takes is in its
   * `lastRequest` from that moment on, whatever is read back.
   */
  #settleLost(): void {
    const { status, runtime } = this.#options;
    const stored = parseStoredStatus(runtime.object?.["status"]).lastRequest;
    if (status.lastRequest !== undefined || stored?.outcome !== "Running") return;
    const { failover } = runtime;
    // What came of a move only the protocol knows; in a group that has ended there is none.
    if (failover === undefined && !runtime.orphaned) return;
    const { id = "", verb = "request" } = stored;
    const answer = answerLost({ group: runtime.name, id, verb }, failover);
    if (answer !== undefined) this.#answer({ id, verb, ...answer });
  }

  async #serve(text: string): Promise<void> {
    const request = parseRequest(text);
    const { id, verb } = request;
    // Done by an earlier process, which could not take the annotation away.
    if (this.#answered?.id === id && this.#answered.outcome !== "Running") return;
    if (verb === "abort" || verb === "pause" || verb === "resume") {
      this.#orders.steer(id, verb);
      return;
    }
    this.#answer({ id: request.id, verb: request.verb, outcome: "Running", message: "" });
    try {
      this.#refuseElsewhere(request.site);
      const message = await this.#perform({ ...request, verb });
      this.#answer({ id: request.id, verb: request.verb, outcome: "Done", message });
    } catch (error) {
      this.#answer({ id: request.id, verb: request.verb, outcome: "Refused", message: messageOf(error) });
    }
  }

  async #perform(
    request: GroupRequest & { readonly verb: Exclude<GroupRequest["verb"], SteeringVerb> },
  ): Promise<string> {
    const { runtime, signal } = this.#options;
    switch (request.verb) {
      case "preflight": {
        const findings = runtime.preflight();
        await this.#writeResult(findings);
        return findings.length === 0 ? "nothing stands in the way" : `${findings.length} findings`;
      }
      case "divergence": {
        const kept = runtime.divergence();
        await this.#writeResult(withinResult(kept));
        return `${kept.length} objects are kept`;
      }
      case "diff": {
        const differences = await runtime.diff({ signal });
        await this.#writeResult(differences.slice(0, resultMaxCount));
        return `${differences.length} objects differ`;
      }
      case "accept-rewind":
        return acceptRewind(this.#options.parts.pool);
      case "deletes-confirm":
        return confirmed(await runtime.confirmDeletes(), this.#options.parts.config.site);
      case "purge": {
        const report = await runtime.applier.purge({ dryRun: request.dryRun, signal });
        await this.#writeResult(report.keys.slice(0, resultMaxCount));
        if (!request.dryRun && runtime.orphaned && report.failed.every(isForGood)) void this.#retire();
        return purged(report, request.dryRun);
      }
    }
  }

  /** With the copies of a deleted group gone, its mirror goes too, once whoever asked has read the answer. */
  async #retire(): Promise<void> {
    const { parts, runtime, signal } = this.#options;
    try {
      await parts.clock.sleep(retireAfterMs, { signal });
      await parts.client.delete(resources.protectionGroups, { name: runtime.name }, { signal });
    } catch (error) {
      if (!signal.aborted) parts.log.warn({ group: runtime.name, error: safeError(error) }, "cannot remove a mirror");
    }
  }

  async #writeResult(result: unknown): Promise<void> {
    const { parts, runtime, signal } = this.#options;
    const object = {
      apiVersion: "v1",
      kind: "ConfigMap",
      metadata: { name: resultName(runtime.name), namespace: parts.config.namespace },
      data: { result: JSON.stringify(result) },
    };
    await parts.client.apply(resources.configMaps, object, { fieldManager: "lifeboat-requests", force: true, signal });
  }

  #tell(outcome: string, message: string): void {
    const { parts, runtime } = this.#options;
    const about = runtime.object;
    if (outcome === "Running" || about === undefined) return;
    const type = outcome === "Done" ? "Normal" : "Warning";
    parts.events.note({ about, type, reason: `Request${outcome}`, message });
  }

  #refuseElsewhere(wanted: string | undefined): void {
    const { site } = this.#options.parts.config;
    if (wanted === undefined || wanted === site) return;
    throw new LifeboatError("FailoverRefused", `this is ${site}, not ${wanted}`, {
      hint: `ask the API server of ${wanted}`,
    });
  }

  #answer(request: Omit<LastRequest, "at">): void {
    const { status, parts, runtime } = this.#options;
    status.lastRequest = { ...request, at: new Date(parts.clock.wallMs()).toISOString() };
    this.#tell(String(request.outcome), `${String(request.verb)}: ${String(request.message)}`);
    parts.log.info({ group: runtime.name, ...request }, "a person's request");
  }
}

/** Whole objects as far as a ConfigMap has room for them; of the others the names. */
function withinResult(kept: readonly KeptObject[]): KeptObject[] {
  let bytes = 0;
  return kept.slice(0, resultMaxCount).map((item) => {
    bytes += Buffer.byteLength(JSON.stringify(item));
    return bytes <= resultMaxBytes ? item : { key: item.key, what: item.what };
  });
}

/** Whether what stays is not the group's to remove, however often it is asked for. */
function isForGood({ failure }: PurgeReport["failed"][number]): boolean {
  return failure.reason === "Occupied" || failure.reason === "Exists";
}

function confirmed(count: number, site: string): string {
  if (count === 0) return `no deletes are held back at ${site}; they wait at the standby, if anywhere`;
  return `${count} deletes are carried out`;
}

function purged({ keys, failed }: PurgeReport, dryRun: boolean): string {
  const gone = `${keys.length} objects ${dryRun ? "would be removed" : "removed"}`;
  const [first] = failed;
  if (first === undefined) return gone;
  return `${gone}, ${failed.length} ${dryRun ? "would stay" : "stay"}, such as ${first.key}: ${first.failure.message}`;
}
