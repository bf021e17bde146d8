import { resources } from "../kube/resource.ts";
import { kubeStatusOf } from "../kube/status.ts";
import { hasCode } from "../errors.ts";
import { parseStoredStatus } from "../config/stored.ts";
import type { KubeObject } from "../objects/object.ts";
import { safeError } from "../telemetry/log.ts";
import type { GroupStatus } from "../config/group.ts";
import { conditionEvents } from "./condition-events.ts";
import { troubleCode, type TroubledKind, troubledKinds } from "./kind-troubles.ts";
import { buildStatus, type GroupView, type LastRequest } from "./status.ts";
import type { GroupRuntime } from "./group-runtime.ts";
import type { AgentParts } from "./parts.ts";

/** A status that differs from the last one by its lag alone waits so long: it comes back as a change of the object. */
const lagEveryMs = 4000;

/** Keeps `status` of the group's object at this site up to date. */
export class StatusWriter {
  readonly #parts: AgentParts;
  readonly #runtime: GroupRuntime;
  #written = "";
  #writtenBesideLag = "";
  #writtenAtMs = 0;
  #previous: Partial<GroupStatus> | undefined;
  #request: LastRequest | undefined;
  #troubled: ReadonlyMap<string, TroubledKind> = new Map();
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

  /** An event for each condition that has come to hold, or no longer does. */
  #tell(about: KubeObject, previous: Partial<GroupStatus>, status: GroupStatus): void {
    for (const event of conditionEvents(previous.conditions ?? [], status.conditions ?? [])) {
      this.#parts.events.note({ about, ...event });
    }
  }

  #troubles(view: GroupView): TroubledKind[] {
    const { pool, config, peerVersions } = this.#parts;
    if (view.capture === undefined || view.group === undefined) return [];
    const { name, spec } = view.group;
    const { namespaces } = view.capture;
    const uncommon = peerVersions.uncommon();
    return troubledKinds(pool.states(), { name, site: config.site, spec, namespaces, uncommon });
  }

  /** An event for each kind that is followed no more, and one for each that is again. */
  #tellTroubles(about: KubeObject, troubles: readonly TroubledKind[]): void {
    const now = new Map(troubles.map((trouble) => [`${trouble.what} ${trouble.kind}`, trouble]));
    for (const [id, { what, message }] of now) {
      if (this.#troubled.has(id)) continue;
      this.#parts.events.note({ about, type: "Warning", reason: troubleCode(what), message });
    }
    for (const [id, { kind }] of this.#troubled) {
      if (now.has(id)) continue;
      this.#parts.events.note({ about, type: "Normal", reason: "KindFollowed", message: `${kind} is followed again` });
    }
    this.#troubled = now;
  }

  async #once(signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#parts;
    this.#runtime.refreshNamespaces();
    const view = this.#runtime.view();
    if (view.object === undefined) return;
    const stored = parseStoredStatus(view.object["status"]);
    const troubles = this.#troubles(view);
    const previous = this.#previous ?? stored;
    const status = buildStatus(view, {
      site: this.#parts.config.site,
      nowMs: clock.wallMs(),
      previous: previous.conditions ?? [],
      request: this.#request ?? stored.lastRequest,
      lastFailover: stored.lastFailover,
      troubles,
      peers: this.#parts.config.peers.map(({ site }) => site),
    });
    this.#parts.metrics.update(this.#runtime.name, view, status, troubles);
    this.#tellTroubles(view.object, troubles);
    const text = JSON.stringify(status);
    const besideLag = withoutLag(status);
    const nowMs = clock.monotonicMs();
    if (text === this.#written) return;
    if (besideLag === this.#writtenBesideLag && nowMs - this.#writtenAtMs < lagEveryMs) return;
    try {
      await this.#patch(view.object.metadata.name, status, signal);
      this.#written = text;
      this.#writtenBesideLag = besideLag;
      this.#writtenAtMs = nowMs;
      this.#previous = status;
      this.#tell(view.object, previous, status);
    } catch (error) {
      if (signal.aborted || hasCode(error, "NotFound")) return;
      log.warn({ group: this.#runtime.name, error: safeError(error) }, "cannot write the group's status");
    }
  }

  /** A part that the API server's schema refuses is left out: the rest of the status must not grow old with it. */
  async #patch(name: string, status: GroupStatus, signal: AbortSignal): Promise<void> {
    const { client, log } = this.#parts;
    // Replaced as a whole: where server-side apply takes the last field of a part away, it leaves a null behind that
    // the schema refuses.
    const write = (value: object): Promise<unknown> => {
      const options = { fieldManager: "lifeboat-status", subresource: "status", signal };
      const patch = { type: "json", body: [{ op: "add", path: "/status", value }] } as const;
      return client.patch(resources.protectionGroups, { name }, patch, options);
    };
    try {
      await write(status);
    } catch (error) {
      const refused = refusedParts(error);
      if (refused.size === 0) throw error;
      log.error(
        { group: name, parts: [...refused], error: safeError(error) },
        "parts of the group's status are refused",
      );
      await write(Object.fromEntries(Object.entries(status).filter(([part]) => !refused.has(part))));
    }
  }
}

/** Names of the fields of a status in which an API server has found something wrong: a part of `status.NAME`. */
export function refusedParts(error: unknown): ReadonlySet<string> {
  const { reason, causes } = kubeStatusOf(error) ?? { reason: "", causes: [] };
  if (reason !== "Invalid") return new Set();
  return new Set(causes.flatMap(({ field }) => /^status\.(\w+)/.exec(field ?? "")?.[1] ?? []));
}

/** What a status says beside how old it is: whether there is a lag at all counts. */
function withoutLag(status: GroupStatus): string {
  return JSON.stringify({ ...status, lag: status.lag?.ageMs !== undefined });
}
