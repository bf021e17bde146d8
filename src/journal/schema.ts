/**
 * The journal's schema as a list of migrations: entry `n` brings a file from `user_version` n to n + 1. Entries are
 * never edited once released; a change of schema is a new entry at the end.
 */
export const migrations: readonly string[] = [
  `CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
   CREATE TABLE objects (
     id INTEGER PRIMARY KEY,
     key TEXT NOT NULL UNIQUE,
     seq INTEGER NOT NULL,
     hash TEXT NOT NULL,
     object BLOB NOT NULL,
     managers BLOB NOT NULL
   );
   CREATE TABLE state (name TEXT PRIMARY KEY, value BLOB NOT NULL);
   CREATE TABLE divergence (key TEXT PRIMARY KEY, what TEXT NOT NULL, object BLOB NOT NULL);`,
];

/** Schema version that this program writes. */
export const schemaVersion = migrations.length;

/** `PRAGMA application_id` of a journal ("LBJ1"), so that `file` and a wrong path are told apart from a journal. */
export const applicationId = 0x4c424a31;
