import { chmodSync, closeSync, mkdirSync, openSync } from "node:fs";
import { dirname } from "node:path";
import { DatabaseSync, type StatementSync } from "node:sqlite";
import { LifeboatError, messageOf } from "../errors.ts";
import { witnessRecordSchema } from "../failover/runner/schema.ts";
import type { WitnessGroupRecord, WitnessTerm } from "../failover/witness-state.ts";
import { corrupt, full, replaced, sameTerm } from "./store-errors.ts";
import type { WitnessStore } from "./store.ts";

/** "lbwt": a file of another program is not touched. */
const applicationId = 0x6c_62_77_74;
const schemaVersion = 1;

/** A second process holds the write lock for one commit, a millisecond or so; a disk may stall for longer. */
const busyTimeoutMs = 5000;

/** 10,000 groups of 2 KiB and as much again for the log; far below any volume. */
const bytesMax = 256 * 1024 ** 2;

/** SQLite's primary result codes that mean something of their own here (https://sqlite.org/rescode.html). */
const sqlite = { ioerr: 10, corrupt: 11, full: 13, notadb: 26 } as const;

/**
 * The store on the witness's own disk: SQLite with a write-ahead log, each commit synced. Everything in it can be
 * relearned from the two sites, so losing the file costs availability for a moment and nothing else.
 */
export class SqliteWitnessStore implements WitnessStore {
  readonly place: string;
  readonly #db: DatabaseSync;
  readonly #selectTerm: StatementSync;
  readonly #putTerm: StatementSync;
  readonly #putGroup: StatementSync;

  /** Opens or creates the file. Throws WitnessStoreCorrupt, WitnessStoreFull or ConfigInvalid. */
  static open(options: { readonly path: string; readonly maxBytes?: number }): SqliteWitnessStore {
    const { path } = options;
    try {
      mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
      closeSync(openSync(path, "a", 0o600));
      chmodSync(path, 0o600);
      const db = new DatabaseSync(path, { timeout: busyTimeoutMs });
      try {
        prepare(db, path, options.maxBytes ?? bytesMax);
        return new SqliteWitnessStore(db, path);
      } catch (error) {
        db.close();
        throw error;
      }
    } catch (error) {
      throw translate(error, "witness.open", path);
    }
  }

  private constructor(db: DatabaseSync, path: string) {
    this.#db = db;
    this.place = path;
    this.#selectTerm = db.prepare("SELECT generation, nonce FROM term");
    this.#putTerm = db.prepare(
      "INSERT INTO term (id, generation, nonce) VALUES (0, ?, ?) " +
        "ON CONFLICT (id) DO UPDATE SET generation = excluded.generation, nonce = excluded.nonce",
    );
    this.#putGroup = db.prepare(
      "INSERT INTO groups (name, record) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET record = excluded.record",
    );
  }

  async readTerm(): Promise<WitnessTerm | null> {
    return this.#guarded("witness.readTerm", () => this.#term());
  }

  async claim(expected: WitnessTerm | null, next: WitnessTerm): Promise<void> {
    this.#guarded("witness.claim", () =>
      this.#transaction(() => {
        if (!sameTerm(this.#term(), expected)) throw replaced(this.place, true);
        this.#putTerm.run(next.generation, next.nonce);
      }),
    );
  }

  async readGroups(): Promise<WitnessGroupRecord[]> {
    return this.#guarded("witness.readGroups", () =>
      this.#db
        .prepare("SELECT name, record FROM groups ORDER BY name")
        .all()
        .map((row) => this.#parse(String(row["name"]), String(row["record"]))),
    );
  }

  async commit(term: WitnessTerm, records: readonly WitnessGroupRecord[]): Promise<void> {
    this.#guarded("witness.commit", () => {
      const confirm = () => {
        if (!sameTerm(this.#term(), term)) throw replaced(this.place, false);
      };
      if (records.length === 0) {
        confirm();
        return;
      }
      this.#transaction(() => {
        confirm();
        for (const record of records) this.#putGroup.run(record.group, JSON.stringify(record));
      });
    });
  }

  async close(): Promise<void> {
    if (this.#db.isOpen) this.#db.close();
  }

  #term(): WitnessTerm | null {
    const row = this.#selectTerm.get();
    return row === undefined ? null : { generation: Number(row["generation"]), nonce: String(row["nonce"]) };
  }

  #parse(group: string, text: string): WitnessGroupRecord {
    const parsed = witnessRecordSchema.safeParse(JSON.parse(text));
    if (parsed.success) return parsed.data;
    throw corrupt(this.place, `the record of group ${group} is malformed`, "witness.readGroups", parsed.error);
  }

  #transaction(body: () => void): void {
    this.#db.exec("BEGIN IMMEDIATE");
    try {
      body();
      this.#db.exec("COMMIT");
    } catch (error) {
      // After some errors (a full disk) SQLite has rolled back by itself.
      if (this.#db.isTransaction) this.#db.exec("ROLLBACK");
      throw error;
    }
  }

  #guarded<T>(op: string, body: () => T): T {
    try {
      return body();
    } catch (error) {
      throw translate(error, op, this.place);
    }
  }
}

function prepare(db: DatabaseSync, path: string, maxBytes: number): void {
  const version = pragma(db, "user_version");
  if (version > schemaVersion) {
    throw new LifeboatError("ConfigInvalid", `the witness's store ${path} was written by a newer version`, {
      op: "witness.open",
      hint: "upgrade this witness, or move the file away; it relearns everything from the sites",
    });
  }
  db.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL");
  db.exec(`PRAGMA max_page_count = ${Math.max(8, Math.floor(maxBytes / pragma(db, "page_size")))}`);
  if (version === 0) {
    db.exec(
      "BEGIN IMMEDIATE;" +
        "CREATE TABLE IF NOT EXISTS term (id INTEGER PRIMARY KEY CHECK (id = 0), generation INTEGER, nonce TEXT) STRICT;" +
        "CREATE TABLE IF NOT EXISTS groups (name TEXT PRIMARY KEY, record TEXT NOT NULL) STRICT, WITHOUT ROWID;" +
        `PRAGMA application_id = ${applicationId}; PRAGMA user_version = ${schemaVersion};` +
        "COMMIT",
    );
    return;
  }
  if (pragma(db, "application_id") !== applicationId) throw corrupt(path, "it is no witness's store", "witness.open");
  const finding = String(Object.values(db.prepare("PRAGMA quick_check(1)").get() ?? { none: "no answer" })[0]);
  if (finding !== "ok") throw corrupt(path, finding, "witness.open");
}

function pragma(db: DatabaseSync, name: string): number {
  return Number(Object.values(db.prepare(`PRAGMA ${name}`).get() ?? { none: 0 })[0]);
}

function translate(error: unknown, op: string, path: string): LifeboatError {
  if (error instanceof LifeboatError) return error;
  const details = error as { errcode?: unknown; code?: unknown };
  const code = typeof details.errcode === "number" ? details.errcode & 0xff : undefined;
  if (code === sqlite.full || details.code === "ENOSPC") {
    return full(path, op, error);
  }
  if (code === sqlite.corrupt || code === sqlite.notadb || code === sqlite.ioerr || error instanceof SyntaxError) {
    return corrupt(path, messageOf(error), op, error);
  }
  return new LifeboatError("ConfigInvalid", `the witness's store ${path} cannot be used: ${messageOf(error)}`, {
    op,
    hint: "its folder must exist on a writable volume",
    cause: error,
  });
}
