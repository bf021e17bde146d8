import { constants, zstdCompressSync, zstdDecompressSync } from "node:zlib";
import * as z from "zod";
import type { Clock, Random } from "../clock.ts";
import { backoffMs } from "../clock.ts";
import { LifeboatError } from "../errors.ts";
import { witnessRecordSchema } from "../failover/runner/schema.ts";
import type { WitnessGroupRecord, WitnessTerm } from "../failover/witness-state.ts";
import { safeError, type Log } from "../telemetry/log.ts";
import { corrupt, replaced, sameTerm } from "./store-errors.ts";
import type { StoreOptions, WitnessStore } from "./store.ts";

/**
 * One text with a version, kept somewhere replicated. All reads are linearizable. Nothing of the place's own leases or
 * elections is used: their clocks are not the protocol's.
 */
export interface Register {
  /** Where it is, for logs and errors. */
  readonly place: string;
  read(options: StoreOptions): Promise<RegisterValue | null>;
  /** Version of what is there; null for nothing. Cheaper than {@link read} where the place can do that. */
  version(options: StoreOptions): Promise<string | null>;
  /**
   * Stores `text` if the version is still `expected` (null: nothing is there). The new version, or undefined when it
   * was not. Rejects with a retryable error when the outcome is unknown.
   */
  replace(expected: string | null, text: string, options: StoreOptions): Promise<string | undefined>;
  close(): Promise<void>;
}

export interface RegisterValue {
  readonly version: string;
  readonly text: string;
}

interface Content {
  readonly version: string | null;
  readonly term: WitnessTerm | null;
  readonly groups: ReadonlyMap<string, WitnessGroupRecord>;
}

const contentSchema = z.object({
  format: z.literal(1),
  term: z.object({ generation: z.int().nonnegative(), nonce: z.string() }),
  groups: z.array(witnessRecordSchema),
});

/** A replicated place elects a leader within a second or so; the witness is silent meanwhile. */
const retryFirstMs = 50;
const retryMaxMs = 1000;

export interface RegisterStoreOptions {
  readonly register: Register;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/**
 * A witness's store in a register: the term and all groups are one value, so that one compare-and-swap is the whole
 * transaction. A batch without records, which is nearly every one, costs a linearizable read of the version. While
 * the place cannot be reached nothing is answered, and everything goes on when it is back.
 */
export class RegisterStore implements WitnessStore {
  readonly #options: RegisterStoreOptions;
  #seen: Content = { version: null, term: null, groups: new Map() };

  constructor(options: RegisterStoreOptions) {
    this.#options = options;
  }

  get place(): string {
    return this.#options.register.place;
  }

  async readTerm(options: StoreOptions): Promise<WitnessTerm | null> {
    return (await this.#load(options)).term;
  }

  async claim(expected: WitnessTerm | null, next: WitnessTerm, options: StoreOptions): Promise<void> {
    for (;;) {
      const content = await this.#load(options);
      // A write with unknown outcome has landed after all.
      if (sameTerm(content.term, next)) return;
      if (!sameTerm(content.term, expected)) throw replaced(this.place, true);
      if (await this.#store({ ...content, term: next }, options)) return;
    }
  }

  async readGroups(): Promise<WitnessGroupRecord[]> {
    return [...this.#seen.groups.values()];
  }

  async commit(term: WitnessTerm, records: readonly WitnessGroupRecord[], options: StoreOptions): Promise<void> {
    if (
      records.length === 0 &&
      (await this.#untilReached((o) => this.#options.register.version(o), options)) === this.#seen.version
    ) {
      this.#confirm(term);
      return;
    }
    for (let fresh = false; ; fresh = true) {
      // Known from the last write unless somebody else has written since.
      if (fresh || records.length === 0) await this.#load(options);
      this.#confirm(term);
      if (records.length === 0) return;
      const groups = new Map(this.#seen.groups);
      for (const record of records) groups.set(record.group, record);
      if (await this.#store({ ...this.#seen, groups }, options)) return;
    }
  }

  async close(): Promise<void> {
    await this.#options.register.close();
  }

  #confirm(term: WitnessTerm): void {
    if (!sameTerm(this.#seen.term, term)) throw replaced(this.place, false);
  }

  async #load(options: StoreOptions): Promise<Content> {
    const value = await this.#untilReached((o) => this.#options.register.read(o), options);
    this.#seen = value === null ? { version: null, term: null, groups: new Map() } : decode(value, this.place);
    return this.#seen;
  }

  /** One attempt; false when the version had changed or the outcome is unknown: then load and look again. */
  async #store(content: Content, options: StoreOptions): Promise<boolean> {
    let version: string | undefined;
    try {
      version = await this.#options.register.replace(content.version, encode(content), options);
    } catch (error) {
      options.signal.throwIfAborted();
      if (!isRetryable(error)) throw error;
      this.#options.log.warn({ place: this.place, error: safeError(error) }, "outcome of a write is unknown");
      return false;
    }
    if (version === undefined) return false;
    this.#seen = { ...content, version };
    return true;
  }

  async #untilReached<T>(read: (options: StoreOptions) => Promise<T>, options: StoreOptions): Promise<T> {
    const { clock, random, log } = this.#options;
    for (let attempt = 0; ; attempt++) {
      try {
        return await read(options);
      } catch (error) {
        options.signal.throwIfAborted();
        if (!isRetryable(error)) throw error;
        if (attempt === 0)
          log.warn({ place: this.place, error: safeError(error) }, "the witness's store is not reached");
      }
      await clock.sleep(backoffMs(attempt, { firstMs: retryFirstMs, maxMs: retryMaxMs }, random), options);
    }
  }
}

function isRetryable(error: unknown): boolean {
  return error instanceof LifeboatError && error.retryable;
}

/** Compressed: the records of a pair's groups are alike, and the places take a few hundred KiB at most. */
function encode({ term, groups }: Content): string {
  const text = JSON.stringify({ format: 1, term, groups: [...groups.values()] });
  const params = { [constants.ZSTD_c_compressionLevel]: 3 };
  return zstdCompressSync(text, { params }).toString("base64");
}

function decode({ version, text }: RegisterValue, place: string): Content {
  try {
    const json = zstdDecompressSync(Buffer.from(text, "base64")).toString("utf8");
    const { term, groups } = contentSchema.parse(JSON.parse(json));
    return { version, term, groups: new Map(groups.map((record) => [record.group, record])) };
  } catch (cause) {
    throw corrupt(place, "its content is malformed", "witness.read", cause);
  }
}
