import { chmodSync, closeSync, mkdirSync, openSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { LifeboatError, messageOf } from "../errors.ts";
import { applicationId, migrations, schemaVersion } from "./schema.ts";

/**
 * Opening of the SQLite files in which a standby keeps what it must not lose, and the translation of SQLite's errors.
 *
 * The file is locked exclusively: a second process that opens it fails at once instead of writing beside the first,
 * and no shared-memory file is needed. Readable by its owner only (0600).
 */

/**
 * 4 GiB. A journal holds the present state of one group, about 2 KiB per object: two million objects. At the limit
 * commits fail with JournalFull instead of taking the whole disk.
 */
export const journalMaxBytesDefault = 4 * 1024 ** 3;

/** Files up to this size are checked page by page when opened (about 0.3 s); of larger ones only what is read. */
const checkedMaxBytes = 256 * 1024 ** 2;

/** The write-ahead log is cut back to this after a checkpoint, so that one burst does not keep its disk for ever. */
const logMaxBytes = 16 * 1024 ** 2;

/** SQLite's primary result codes that mean something of their own here (https://sqlite.org/rescode.html). */
const sqlite = { busy: 5, readonly: 8, ioerr: 10, corrupt: 11, full: 13, cantopen: 14, notadb: 26 } as const;

export interface DatabaseOptions {
  readonly path: string;
  /** @default journalMaxBytesDefault */
  readonly maxBytes?: number;
}

/**
 * Opens or creates a file with the present schema. Throws JournalCorrupt, JournalVersion, JournalFull, or
 * ConfigInvalid when the path cannot be used.
 */
export function openDatabase(options: DatabaseOptions): DatabaseSync {
  const { path } = options;
  try {
    createPrivate(path);
    const db = new DatabaseSync(path, { timeout: 0 });
    try {
      prepare(db, path, options.maxBytes ?? journalMaxBytesDefault);
      return db;
    } catch (error) {
      db.close();
      throw error;
    }
  } catch (error) {
    throw translate(error, "journal.open", path);
  }
}

function createPrivate(path: string): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  closeSync(openSync(path, "a", 0o600));
  chmodSync(path, 0o600);
}

function prepare(db: DatabaseSync, path: string, maxBytes: number): void {
  db.exec("PRAGMA locking_mode = EXCLUSIVE");
  const version = pragma(db, "user_version");
  if (version > schemaVersion) {
    throw new LifeboatError("JournalVersion", `journal ${path} has version ${version}, known is ${schemaVersion}`, {
      op: "journal.open",
      hint: "upgrade this agent, or move the file away to synchronise again from the peer",
    });
  }
  if (version === 0) db.exec("PRAGMA auto_vacuum = INCREMENTAL");
  db.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = OFF");
  db.exec(`PRAGMA journal_size_limit = ${logMaxBytes}`);
  const pageBytes = pragma(db, "page_size");
  db.exec(`PRAGMA max_page_count = ${Math.max(16, Math.floor(maxBytes / pageBytes))}`);
  if (version > 0) checkPages(db, path);
  migrate(db, version);
}

function checkPages(db: DatabaseSync, path: string): void {
  if (pragma(db, "application_id") !== applicationId) throw corrupt(path, "it is not a journal of Lifeboat");
  if (statSync(path).size > checkedMaxBytes) return;
  const result = db.prepare("PRAGMA quick_check(1)").get();
  const finding = result === undefined ? "no answer" : String(Object.values(result)[0]);
  if (finding !== "ok") throw corrupt(path, finding);
}

function migrate(db: DatabaseSync, from: number): void {
  if (from === schemaVersion) return;
  inTransaction(db, () => {
    for (const step of migrations.slice(from)) db.exec(step);
    db.exec(`PRAGMA user_version = ${schemaVersion}; PRAGMA application_id = ${applicationId}`);
  });
}

function pragma(db: DatabaseSync, name: string): number {
  const row = db.prepare(`PRAGMA ${name}`).get();
  return row === undefined ? 0 : Number(Object.values(row)[0]);
}

/** Runs `body` in one durable transaction: when this returns, it is on the disk; when it throws, nothing changed. */
export function inTransaction<T>(db: DatabaseSync, body: () => T): T {
  db.exec("BEGIN IMMEDIATE");
  try {
    const result = body();
    db.exec("COMMIT");
    return result;
  } catch (error) {
    // SQLite itself has rolled back after some errors (a full disk); then there is no transaction left to end.
    if (db.isTransaction) db.exec("ROLLBACK");
    throw error;
  }
}

/** A LifeboatError for anything that SQLite or the file system threw; a LifeboatError passes through. */
export function translate(error: unknown, op: string, path: string): LifeboatError {
  if (error instanceof LifeboatError) return error;
  const details = error as { errcode?: unknown; code?: unknown };
  const code = typeof details.errcode === "number" ? details.errcode & 0xff : undefined;
  if (code === sqlite.full || details.code === "ENOSPC") {
    return new LifeboatError("JournalFull", `no space left for journal ${path}`, {
      op,
      retryable: true,
      hint: "free space on the volume of the journal or enlarge it; replication goes on by itself",
      cause: error,
    });
  }
  if (code === sqlite.corrupt || code === sqlite.notadb || code === sqlite.ioerr) {
    return corrupt(path, messageOf(error), op, error);
  }
  if (code === sqlite.busy) {
    return new LifeboatError("ConfigInvalid", `journal ${path} is in use by another process`, {
      op,
      retryable: true,
      hint: "give each agent a volume of its own",
      cause: error,
    });
  }
  if (code === sqlite.cantopen || code === sqlite.readonly || typeof details.code === "string") {
    const unusable = code !== undefined || /^E[A-Z]+$/.test(String(details.code));
    if (unusable) {
      return new LifeboatError("ConfigInvalid", `journal ${path} cannot be used: ${messageOf(error)}`, {
        op,
        hint: "the folder of the journal must exist on a writable volume",
        cause: error,
      });
    }
  }
  return new LifeboatError("Internal", `journal ${path}: ${messageOf(error)}`, { op, cause: error });
}

export function corrupt(path: string, finding: string, op = "journal.open", cause?: unknown): LifeboatError {
  return new LifeboatError("JournalCorrupt", `journal ${path} is damaged: ${finding}`, {
    op,
    hint: `move ${path} and the files beside it (-wal) away and restart; everything is fetched again from the peer`,
    cause,
  });
}
