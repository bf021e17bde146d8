/** The committed table of seeds run so far, per version of the reducers and mode. Resumable: it knows the next seed. */
import { createHash } from "node:crypto";
import { existsSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { sourceFolder } from "./mutants.ts";
import type { Mode } from "./options.ts";
import type { SeedReport } from "./seeds.ts";

const path = fileURLToPath(new URL("accumulated.json", import.meta.url));

export interface Row {
  /** Digest of the reducers' sources: rows of other versions do not count for this one. */
  readonly reducers: string;
  readonly mode: Mode;
  readonly nextSeed: number;
  readonly seeds: number;
  readonly violations: number;
  readonly takeovers: number;
  readonly switchovers: number;
  readonly exactlyOneShare: number;
  readonly excusedOverlaps: number;
  /** Distinct fault × state pairs met. */
  readonly coverage: number;
  readonly met: readonly string[];
}

export function reducersDigest(): string {
  const hash = createHash("sha256");
  for (const file of readdirSync(sourceFolder).toSorted()) {
    if (file.endsWith(".ts")) hash.update(readFileSync(join(sourceFolder, file)));
  }
  return hash.digest("hex").slice(0, 12);
}

export function readRows(): Row[] {
  return existsSync(path) ? (JSON.parse(readFileSync(path, "utf8")) as Row[]) : [];
}

export function rowOf(mode: Mode): Row {
  const reducers = reducersDigest();
  const empty = { seeds: 0, violations: 0, takeovers: 0, switchovers: 0, exactlyOneShare: 0, excusedOverlaps: 0 };
  const found = readRows().find((row) => row.reducers === reducers && row.mode === mode);
  return found ?? { reducers, mode, nextSeed: 1, ...empty, coverage: 0, met: [] };
}

export function addReport(report: SeedReport): Row {
  const row = rowOf(report.mode);
  const met = [...new Set([...row.met, ...report.met])].toSorted();
  const seeds = row.seeds + report.seeds;
  const next: Row = {
    ...row,
    nextSeed: report.from + report.seeds,
    seeds,
    violations: row.violations + report.violations,
    takeovers: row.takeovers + report.takeovers,
    switchovers: row.switchovers + report.switchovers,
    exactlyOneShare: (row.exactlyOneShare * row.seeds + report.exactlyOneShare * report.seeds) / seeds,
    excusedOverlaps: row.excusedOverlaps + report.excusedOverlaps,
    coverage: met.length,
    met,
  };
  // Rows of earlier versions of the reducers prove nothing about this one.
  const others = readRows().filter((other) => other.reducers === row.reducers && other.mode !== row.mode);
  writeFileSync(path, `${JSON.stringify([...others, next], null, 1)}\n`);
  return next;
}
