import { readdirSync, readFileSync, writeFileSync } from "node:fs";

/**
 * Reading and writing of the kernel's files. Synchronous on purpose: each takes microseconds, never waits for a disk,
 * and a kill must not queue behind other work of the event loop. What is gone counts as empty: pods come and go.
 */

export function readText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

export function foldersIn(path: string): string[] {
  try {
    return readdirSync(path, { withFileTypes: true }).flatMap((entry) => (entry.isDirectory() ? [entry.name] : []));
  } catch {
    return [];
  }
}

/** Returns whether it could be written. */
export function writeText(path: string, text: string): boolean {
  try {
    writeFileSync(path, text);
    return true;
  } catch {
    return false;
  }
}
