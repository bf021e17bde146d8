import type { Condition } from "../config/status.ts";
import { parseStoredStatus } from "../config/stored.ts";
import { hasCode, LifeboatError } from "../errors.ts";
import { resources } from "../kube/resource.ts";
import type { KubeObject } from "../objects/object.ts";
import { safeError } from "../telemetry/log.ts";
import type { AgentParts } from "./parts.ts";

/**
 * Groups whose journal cannot be opened (it is damaged, of a newer version, or its disk is full). Nothing of them is
 * changed at this site; their object says why and what to do. The others go on.
 */
export class UnopenedGroups {
  readonly #parts: Pick<AgentParts, "client" | "clock" | "events" | "log">;
  readonly #errors = new Map<string, LifeboatError>();

  constructor(parts: Pick<AgentParts, "client" | "clock" | "events" | "log">) {
    this.#parts = parts;
  }

  /** The attempt to open the group failed. */
  note(name: string, cause: unknown): void {
    const error =
      cause instanceof LifeboatError
        ? cause
        : new LifeboatError("Internal", `group ${name} cannot be opened`, { op: "agent.open", cause });
    const before = this.#errors.get(name);
    this.#errors.set(name, error);
    // Tried again whenever the group is heard of.
    if (before?.message === error.message) return;
    this.#parts.log.error(
      { group: name, error: safeError(cause), hint: error.hint },
      "cannot open the journal of a group",
    );
  }

  has(name: string): boolean {
    return this.#errors.has(name);
  }

  get names(): string[] {
    return [...this.#errors.keys()];
  }

  /** The group has been opened after all. */
  opened(name: string): void {
    this.#errors.delete(name);
  }

  /** Says in the group's object why it is not opened, where that is so. Failures are logged. */
  async show(object: KubeObject, { signal }: { signal: AbortSignal }): Promise<void> {
    const { client, clock, events, log } = this.#parts;
    const { name } = object.metadata;
    const error = this.#errors.get(name);
    if (error === undefined) return;
    const stored = parseStoredStatus(object["status"]);
    const reason = error.hint === undefined ? error.message : `${error.message}; ${error.hint}`;
    const conditions = unopenedConditions(stored.conditions ?? [], error.code, reason, clock.wallMs());
    const status = { ...stored, role: "unknown", state: "Unopened", reason, conditions };
    if (JSON.stringify(stored) === JSON.stringify(status)) return;
    try {
      const patch = { type: "json", body: [{ op: "add", path: "/status", value: status }] } as const;
      const options = { fieldManager: "lifeboat-status", subresource: "status", signal };
      await client.patch(resources.protectionGroups, { name }, patch, options);
      events.note({ about: object, type: "Warning", reason: error.code, message: reason });
    } catch (cause) {
      if (signal.aborted || hasCode(cause, "NotFound")) return;
      log.warn({ group: name, error: safeError(cause) }, "cannot write the group's status");
    }
  }
}

/** What is known of a group that is not opened: that it is in no good state, and why. Pure. */
export function unopenedConditions(
  before: readonly Condition[],
  code: string,
  message: string,
  nowMs: number,
): Condition[] {
  const set = (type: string, status: Condition["status"]): Condition => {
    const known = before.find((condition) => condition.type === type);
    const lastTransitionTime = known?.status === status ? known.lastTransitionTime : new Date(nowMs).toISOString();
    return { type, status, reason: code, message, lastTransitionTime };
  };
  const told = [set("Degraded", "True"), set("Ready", "False"), set("Synced", "Unknown"), set("Armed", "Unknown")];
  return [...before.filter(({ type }) => !told.some((condition) => condition.type === type)), ...told];
}
