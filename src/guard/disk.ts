import { randomUUID } from "node:crypto";
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { LifeboatError } from "../errors.ts";
import type { GuardRecord, GuardState } from "../failover/guard.ts";
import { deriveTiming } from "../failover/timing.ts";
import { recordSchema, stateSchema } from "../rpc/guard-messages.ts";
import { safeError, type Log } from "../telemetry/log.ts";

const bootIdPath = "/proc/sys/kernel/random/boot_id";

export interface GuardDiskOptions {
  /** Survives a reboot. */
  readonly dataDir: string;
  /** Does not: a tmpfs. */
  readonly runDir: string;
  readonly log: Log;
}

/**
 * What a guard remembers. On disk, synced before it is relied on: which groups this node may not run without a grant,
 * with the highest epoch, so that neither a reboot nor an API server that was set back in time opens a gate. On a
 * tmpfs: the copies of the leases, for the next process of the same boot.
 */
export class GuardDisk {
  readonly #options: GuardDiskOptions;
  /** New at each boot, and wherever what must not survive one has been lost. */
  readonly bootId: string;

  /** Throws ConfigInvalid where the folders cannot be written. */
  constructor(options: GuardDiskOptions) {
    this.#options = options;
    try {
      mkdirSync(this.#records, { recursive: true, mode: 0o700 });
      mkdirSync(this.#states, { recursive: true, mode: 0o700 });
      this.bootId = this.#readBootId();
    } catch (cause) {
      throw new LifeboatError("ConfigInvalid", `cannot write to ${options.dataDir} or ${options.runDir}`, {
        op: "guard.disk",
        hint: "the guard runs as root; dataDir and runDir must be writable",
        cause,
      });
    }
  }

  get #records(): string {
    return join(this.#options.dataDir, "groups");
  }

  get #states(): string {
    return join(this.#options.runDir, "groups");
  }

  /** The kernel's boot id alone would bring old copies back where runDir is no tmpfs and lost its files. */
  #readBootId(): string {
    const path = join(this.#options.runDir, "boot");
    const kernel = readFileSync(bootIdPath, "utf8").trim();
    const known = existsSync(path) ? readFileSync(path, "utf8").trim() : "";
    if (known.startsWith(`${kernel}/`)) return known;
    rmSync(this.#states, { recursive: true, force: true });
    mkdirSync(this.#states, { recursive: true, mode: 0o700 });
    const fresh = `${kernel}/${randomUUID()}`;
    replaceFile(path, `${fresh}\n`, { synced: false });
    return fresh;
  }

  /** Throws JournalCorrupt for a record that cannot be read: what it gated is not known, and nothing may start. */
  records(): GuardRecord[] {
    return filesIn(this.#records).map((file) => {
      const path = join(this.#records, file);
      try {
        return recordSchema.parse(JSON.parse(readFileSync(path, "utf8")));
      } catch (cause) {
        throw new LifeboatError("JournalCorrupt", `${path} cannot be read`, {
          op: "guard.disk",
          hint: "it says which namespaces this node must not run without a grant; remove it only if none of them may matter",
          cause,
        });
      }
    });
  }

  /** Durable when it returns. */
  putRecord(record: GuardRecord): void {
    replaceFile(join(this.#records, fileOf(record.group)), JSON.stringify(record), { synced: true });
  }

  /** The state that the last process of this boot left, if it can be read. */
  state(group: string): GuardState | undefined {
    const path = join(this.#states, fileOf(group));
    if (!existsSync(path)) return undefined;
    try {
      const state = stateSchema.parse(JSON.parse(readFileSync(path, "utf8")));
      return { ...state, timing: deriveTiming(state.timing) };
    } catch (error) {
      // Fenced until the agent answers, as after a boot.
      this.#options.log.warn({ path, error: safeError(error) }, "the saved state of a group cannot be read");
      return undefined;
    }
  }

  putState(state: GuardState): void {
    replaceFile(join(this.#states, fileOf(state.record.group)), JSON.stringify(state), { synced: false });
  }

  forget(group: string): void {
    for (const dir of [this.#records, this.#states]) rmSync(join(dir, fileOf(group)), { force: true });
  }
}

function fileOf(group: string): string {
  return `${encodeURIComponent(group)}.json`;
}

function filesIn(dir: string): string[] {
  return readdirSync(dir).filter((name) => name.endsWith(".json"));
}

/** All or nothing, whatever happens in between. */
function replaceFile(path: string, text: string, { synced }: { readonly synced: boolean }): void {
  const next = `${path}.new`;
  const file = openSync(next, "w", 0o600);
  try {
    writeFileSync(file, text);
    if (synced) fsyncSync(file);
  } finally {
    closeSync(file);
  }
  renameSync(next, path);
  if (!synced) return;
  const dir = openSync(join(path, ".."), "r");
  try {
    fsyncSync(dir);
  } finally {
    closeSync(dir);
  }
}
