import { parseFailover, parseRequest, requestAnnotation, resultName, type GroupRequest } from "../config/requests.ts";
import { LifeboatError, messageOf } from "../errors.ts";
import { resources } from "../kube/resource.ts";
import { marks, type KubeObject } from "../objects/object.ts";
import { safeError } from "../telemetry/log.ts";
import type { GroupRuntime } from "./group-runtime.ts";
import type { AgentParts } from "./parts.ts";
import type { LastRequest } from "./status.ts";
import type { StatusWriter } from "./status-writer.ts";

interface DeskOptions {
  readonly parts: AgentParts;
  readonly runtime: GroupRuntime;
  readonly status: StatusWriter;
  readonly signal: AbortSignal;
}

/** The command asks for its answer several times a second. */
const retireAfterMs = 5000;
/** Keys in a result; a ConfigMap holds 1 MiB. */
const resultMaxCount = 5000;

/** Takes a person's one-shot requests from the group's annotations and writes back what came of them. */
export class RequestDesk {
  readonly #options: DeskOptions;
  /** Annotation texts that are being worked on, until they are gone from the object. */
  readonly #taken = new Set<string>();
  /** The order that is being carried out. */
  #failover: { readonly text: string; readonly nonce: string } | undefined;

  constructor(options: DeskOptions) {
    this.#options = options;
  }

  /** The group's object appeared or changed. */
  observe(object: KubeObject): void {
    const annotations = object.metadata.annotations ?? {};
    this.#take(marks.failover, annotations[marks.failover], (text) => this.#failOver(text));
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
    const { parts, runtime, status, signal } = this.#options;
    try {
      await work(text);
    } catch (error) {
      const verb = annotation === marks.failover ? "failover" : "request";
      this.#answer({ id: text, verb, outcome: "Refused", message: messageOf(error) });
    }
    try {
      await status.write({ signal });
      const body = { metadata: { annotations: { [annotation]: null } } };
      const patch = { type: "merge", body } as const;
      await parts.client.patch(resources.protectionGroups, { name: runtime.name }, patch, {
        fieldManager: "lifeboat-requests",
        signal,
      });
    } catch (error) {
      if (!signal.aborted) parts.log.warn({ group: runtime.name, error: safeError(error) }, "cannot consume a request");
    }
  }

  /**
   * The protocol obeys an order once, by its nonce. The long form is held to one move by its epoch, and may be given
   * again after a refusal. The short form has nothing but its text: it works once, whoever is active later.
   */
  async #failOver(text: string): Promise<void> {
    const { to, epoch } = parseFailover(text);
    const { failover } = this.#options.runtime.view();
    if (failover?.epoch === undefined) {
      throw new LifeboatError("FailoverRefused", "the group was never granted to a site; there is nothing to move");
    }
    const nonce = `annotation ${text}${epoch === undefined ? "" : ` ${this.#options.parts.clock.wallMs()}`}`;
    this.#failover = { text, nonce };
    this.#answer({ id: text, verb: "failover", outcome: "Running", message: `moving to ${to}` });
    this.#options.runtime.command({ verb: "failover", to, epoch: epoch ?? failover.epoch, nonce });
  }

  /** To be called when the protocol may have answered. */
  settle(): void {
    if (this.#failover === undefined) return;
    const { text, nonce } = this.#failover;
    const outcome = this.#options.runtime.view().outcomes.findLast((each) => each.nonce === nonce);
    if (outcome === undefined) return;
    this.#failover = undefined;
    const message = outcome.ok ? outcome.message : `${outcome.message} [${outcome.code}]`;
    this.#answer({ id: text, verb: "failover", outcome: outcome.ok ? "Done" : "Refused", message });
  }

  async #serve(text: string): Promise<void> {
    const request = parseRequest(text);
    this.#answer({ id: request.id, verb: request.verb, outcome: "Running", message: "" });
    try {
      const message = await this.#perform(request);
      this.#answer({ id: request.id, verb: request.verb, outcome: "Done", message });
    } catch (error) {
      this.#answer({ id: request.id, verb: request.verb, outcome: "Refused", message: messageOf(error) });
    }
  }

  async #perform(request: GroupRequest): Promise<string> {
    const { runtime, signal } = this.#options;
    switch (request.verb) {
      case "diff": {
        const differences = await runtime.diff({ signal });
        await this.#writeResult(differences.slice(0, resultMaxCount));
        return `${differences.length} objects differ`;
      }
      case "deletes-confirm":
        return `${await runtime.applier.confirmDeletes()} deletes are carried out`;
      case "purge": {
        const report = await runtime.applier.purge({ dryRun: request.dryRun, signal });
        await this.#writeResult(report.keys.slice(0, resultMaxCount));
        if (!request.dryRun && runtime.orphaned) void this.#retire();
        return request.dryRun
          ? `${report.keys.length} objects would be removed`
          : `${report.keys.length} objects removed`;
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

  #answer(request: Omit<LastRequest, "at">): void {
    const { status, parts, runtime } = this.#options;
    status.lastRequest = { ...request, at: new Date(parts.clock.wallMs()).toISOString() };
    parts.log.info({ group: runtime.name, ...request }, "a person's request");
  }
}
