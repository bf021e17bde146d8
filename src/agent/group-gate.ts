import type { AdmissionGates } from "../admission/gates.ts";
import type { GroupSpec } from "../config/group.ts";
import { formatEpoch, type Cert } from "../failover/epoch.ts";
import type { DurableRecords } from "../failover/runner/records.ts";
import { safeError, type Log } from "../telemetry/log.ts";

export interface GroupGateOptions {
  readonly name: string;
  readonly site: string;
  readonly gates: AdmissionGates;
  /** The spec in force and the group's namespaces here; undefined before the first spec. */
  readonly covered: () => { readonly spec: GroupSpec; readonly namespaces: readonly string[] } | undefined;
  /** Of whoever holds the group, as far as this site knows. */
  readonly cert: () => Cert | null;
  readonly records: DurableRecords;
  readonly log: Log;
}

/** Durable record of whether the group's pods may be placed where no guard works. */
function recordOf(name: string): string {
  return `gates/unguarded/${name}`;
}

/** The gate of one group at this site: whether the site's own API server lets it be started. */
export class GroupGate {
  readonly #options: GroupGateOptions;
  /** Pods may be where a guard works, and nowhere else: until the protocol says otherwise, also to an earlier process. */
  #guardedOnly: boolean;
  #guarded: readonly string[] = [];

  constructor(options: GroupGateOptions) {
    this.#options = options;
    this.#guardedOnly = options.records.getState(recordOf(options.name)) !== true;
  }

  /** What keeps the gate from being in force; undefined where nothing does. */
  get problem(): string | undefined {
    return this.#options.gates.problem(this.#options.name);
  }

  /** To be called when the spec, or which namespaces there are, may have changed. */
  refresh(): void {
    const { gates, name, covered } = this.#options;
    const subject = covered();
    if (subject !== undefined) gates.cover(name, subject);
  }

  /** The nodes whose guards work and keep the group's pods. */
  setGuarded(nodes: readonly string[]): void {
    this.#guarded = nodes;
    this.#place();
  }

  /** Whether the group's pods may be placed where no guard works. */
  allowUnguarded(allowed: boolean): void {
    if (this.#guardedOnly === !allowed) return;
    this.#guardedOnly = !allowed;
    this.#place();
    const { records, name, log } = this.#options;
    records.putState(recordOf(name), allowed).catch((error: unknown) => {
      log.warn({ error: safeError(error) }, "where the group's pods may be placed could not be noted");
    });
  }

  #place(): void {
    const { gates, name } = this.#options;
    gates.place(name, this.#guardedOnly ? this.#guarded : undefined);
  }

  /** Before anything of the group is started here. */
  async open(options: { signal: AbortSignal }): Promise<void> {
    const { gates, name, cert } = this.#options;
    this.refresh();
    await gates.open(name, epochOf(cert()), options);
  }

  /** Before anything of the group is stopped here, and while it is not this site's to run. */
  async close(options: { signal: AbortSignal }): Promise<void> {
    const { gates, name, cert } = this.#options;
    this.refresh();
    await gates.close(name, { epoch: epochOf(cert()), message: this.#message(cert()) }, options);
  }

  /** The group has ended here: what is left of it is its users' to start. */
  remove(): void {
    this.#options.gates.remove(this.#options.name);
  }

  #message(cert: Cert | null): string {
    const { name, site } = this.#options;
    if (cert === null || cert.holder === site) {
      return `group ${name} is stopped at ${site} and is not to be started by hand; \`lifeboat status ${name}\` says why`;
    }
    return (
      `group ${name} runs at ${cert.holder} (epoch ${formatEpoch(cert.epoch)}), not at ${site}: change it there, or ` +
      `move it with \`lifeboat switchover ${name} --to ${site}\``
    );
  }
}

function epochOf(cert: Cert | null): { readonly generation: number; readonly counter: number } {
  return { generation: cert?.epoch.generation ?? 0, counter: cert?.epoch.counter ?? 0 };
}
