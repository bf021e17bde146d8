import { resources } from "../kube/resource.ts";
import { hasCode } from "../errors.ts";
import { safeError } from "../telemetry/log.ts";
import type { GroupStatus } from "../config/group.ts";
import { buildStatus, type LastRequest } from "./status.ts";
import type { GroupRuntime } from "./group-runtime.ts";
import type { AgentParts } from "./parts.ts";

/** Keeps `status` of the group's object at this site up to date. */
export class StatusWriter {
  readonly #parts: AgentParts;
  readonly #runtime: GroupRuntime;
  #written = "";
  #previous: Partial<GroupStatus> = {};
  #request: LastRequest | undefined;
  #writing = false;
  #again = false;

  constructor(parts: AgentParts, runtime: GroupRuntime) {
    this.#parts = parts;
    this.#runtime = runtime;
  }

  get lastRequest(): LastRequest | undefined {
    return this.#request;
  }

  /** What came of a person's request; written with the next status. */
  set lastRequest(request: LastRequest) {
    this.#request = request;
  }

  /** Writes the status where it differs from the last one written. Failures are logged; the next write repairs them. */
  async write({ signal }: { signal: AbortSignal }): Promise<void> {
    if (this.#writing) {
      this.#again = true;
      return;
    }
    this.#writing = true;
    try {
      do {
        this.#again = false;
        await this.#once(signal);
      } while (this.#again);
    } finally {
      this.#writing = false;
    }
  }

  async #once(signal: AbortSignal): Promise<void> {
    const { client, clock, log } = this.#parts;
    const view = this.#runtime.view();
    if (view.object === undefined) return;
    const status = buildStatus(view, {
      site: this.#parts.config.site,
      nowMs: clock.wallMs(),
      previous: this.#previous.conditions ?? [],
      request: this.#request ?? view.group?.status.lastRequest,
    });
    this.#parts.metrics.update(this.#runtime.name, view, status);
    const text = JSON.stringify(status);
    if (text === this.#written) return;
    const { apiVersion, kind, metadata } = view.object;
    const object = { apiVersion, kind, metadata: { name: metadata.name }, status };
    try {
      const options = { fieldManager: "lifeboat-status", force: true, subresource: "status", signal };
      await client.apply(resources.protectionGroups, object, options);
      this.#written = text;
      this.#previous = status;
    } catch (error) {
      if (signal.aborted || hasCode(error, "NotFound")) return;
      log.warn({ group: this.#runtime.name, error: safeError(error) }, "cannot write the group's status");
    }
  }
}
