import type { DatabaseSync, StatementSync } from "node:sqlite";
import { type Codec, createCodec } from "./codec.ts";
import { inTransaction, openDatabase, translate } from "./database.ts";

/**
 * Small named JSON records that survive a crash: each put is durable (fsync) when it returns. Used by each group's
 * journal and, in a file of its own, for records of the whole agent.
 */
export class StateTable {
  readonly #db: DatabaseSync;
  readonly #codec: Codec;
  readonly #path: string;
  /** Prepared once: a statement's memory is not the heap's, so that nothing hurries to collect those left behind. */
  readonly #get: StatementSync;
  readonly #put: StatementSync;
  readonly #drop: StatementSync;

  constructor(db: DatabaseSync, codec: Codec, path: string) {
    this.#db = db;
    this.#codec = codec;
    this.#path = path;
    this.#get = db.prepare("SELECT value FROM state WHERE name = ?");
    this.#put = db.prepare(
      "INSERT INTO state (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
    );
    this.#drop = db.prepare("DELETE FROM state WHERE name = ?");
    this.#checkKey();
  }

  /** The first thing sealed into a file tells at its next opening whether the key file still fits. */
  #checkKey(): void {
    if (this.get(probeName) === undefined) this.put(probeName, true);
  }

  get(name: string): unknown {
    try {
      const row = this.#get.get(name);
      if (row === undefined) return undefined;
      return JSON.parse(this.#codec.decode(name, row["value"] as Uint8Array)) as unknown;
    } catch (error) {
      throw translate(error, "journal.getState", this.#path);
    }
  }

  /** Of all records. */
  names(): string[] {
    const rows = this.#db.prepare("SELECT name FROM state ORDER BY name").all();
    return rows.map((row) => String(row["name"])).filter((name) => name !== probeName);
  }

  /** `undefined` removes the record. */
  put(name: string, value: unknown): void {
    this.putAll(new Map([[name, value]]));
  }

  /** All of them or none. */
  putAll(records: ReadonlyMap<string, unknown>): void {
    try {
      inTransaction(this.#db, () => {
        for (const [name, value] of records) {
          if (value === undefined) this.#drop.run(name);
          else this.#put.run(name, this.#codec.encode(name, JSON.stringify(value)));
        }
      });
    } catch (error) {
      throw translate(error, "journal.putState", this.#path);
    }
  }
}

const probeName = "lifeboat/opened";

/** A file of records that belong to no group (identity of the agent, its incarnation). */
export class StateFile {
  readonly #db: DatabaseSync;
  readonly #table: StateTable;

  static open(options: { path: string; key?: Uint8Array }): StateFile {
    return new StateFile(openDatabase({ path: options.path }), options);
  }

  private constructor(db: DatabaseSync, options: { path: string; key?: Uint8Array }) {
    this.#db = db;
    this.#table = new StateTable(db, createCodec(options.key), options.path);
  }

  getState(name: string): unknown {
    return this.#table.get(name);
  }

  /** Of all records. */
  names(): string[] {
    return this.#table.names();
  }

  /** Durable when it resolves; `undefined` removes the record. */
  async putState(name: string, value: unknown): Promise<void> {
    this.#table.put(name, value);
  }

  close(): void {
    if (this.#db.isOpen) this.#db.close();
  }
}
