/** Results of many rounds, kept in a file and written as a table. */
import { readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import type { RoundResult } from "./round.ts";
import { drawnName } from "./scenario.ts";

const path = fileURLToPath(new URL("results.json", import.meta.url));

/** What all rounds of one scenario, profile and kind of fence came to. */
export interface Row {
  readonly scenario: string;
  readonly what: string;
  readonly profile: string;
  readonly guards: boolean;
  readonly rounds: number;
  readonly failed: number;
  readonly overlapMs: readonly number[];
  readonly gapMs: readonly number[];
  readonly startMs: readonly number[];
  readonly boundMs: number | null;
  readonly lost: readonly number[];
}

export async function readRows(): Promise<Row[]> {
  const text = await readFile(path, "utf8").catch(() => "[]");
  return JSON.parse(text) as Row[];
}

/** Adds a round to the file; each is kept as soon as it is over, so that a run may be ended at any time. */
export async function keep(result: RoundResult): Promise<void> {
  const rows = await readRows();
  const same = (row: Row): boolean =>
    row.scenario === result.scenario && row.profile === result.profile && row.guards === result.guards;
  const next = added(rows.find(same), result);
  const others = rows.filter((row) => !same(row));
  const order = ({ guards, profile, scenario }: Row): string => `${guards ? 0 : 1} ${profile} ${scenario}`;
  const sorted = [...others, next].toSorted((a, b) => (order(a) < order(b) ? -1 : 1));
  await writeFile(path, `${JSON.stringify(sorted, undefined, 1)}\n`);
}

/** The row of all that were drawn. */
const drawnWhat = "two of these faults one after the other, drawn from a seed";

export function added(row: Row | undefined, result: RoundResult): Row {
  const { scenario, what, profile, guards, boundMs } = result;
  const and = (list: readonly number[] | undefined, value: number | null): number[] =>
    value === null ? [...(list ?? [])] : [...(list ?? []), value];
  return {
    scenario,
    what: scenario === drawnName ? drawnWhat : what,
    profile,
    guards,
    rounds: (row?.rounds ?? 0) + 1,
    failed: (row?.failed ?? 0) + (result.problems.length > 0 ? 1 : 0),
    overlapMs: and(row?.overlapMs, result.overlapMs),
    gapMs: and(row?.gapMs, result.gapMs),
    startMs: and(row?.startMs, result.startMs),
    boundMs,
    lost: and(row?.lost, result.lost),
  };
}

const pointsOf = {
  "switchover-": "an agent, a guard or the witness is killed at one of PLACES points of a switchover",
  "return-": "the same at one of PLACES points of the return of a site after a takeover",
} as const;

/** The points of a move as one row; the file has each of them. */
function withoutPoints(rows: readonly Row[]): Row[] {
  const isPoint = ({ scenario }: Row, prefix: string): boolean => scenario.startsWith(prefix);
  const others = rows.filter((row) => !Object.keys(pointsOf).some((prefix) => isPoint(row, prefix)));
  const joined = Object.entries(pointsOf).flatMap(([prefix, what]) =>
    [
      ...Map.groupBy(
        rows.filter((row) => isPoint(row, prefix)),
        ({ profile, guards }) => `${profile} ${guards}`,
      ).values(),
    ].map((group) => joinedAs(what.replace("PLACES", `${group.length}`), group)),
  );
  return [...others, ...joined];
}

function joinedAs(what: string, rows: readonly Row[]): Row {
  const [first] = rows;
  if (first === undefined) throw new Error("no rows");
  const sum = (of: (row: Row) => number): number => rows.reduce((total, row) => total + of(row), 0);
  return {
    ...first,
    what,
    rounds: sum(({ rounds }) => rounds),
    failed: sum(({ failed }) => failed),
    overlapMs: rows.flatMap(({ overlapMs }) => overlapMs),
    lost: rows.flatMap(({ lost }) => lost),
  };
}

/** As it stands in docs/failover.md. */
export function tableOf(all: readonly Row[]): string {
  const seconds = (ms: number): string => (ms / 1000).toFixed(1);
  const lines = withoutPoints(all).map((row) => {
    const overlap = Math.max(0, ...row.overlapMs);
    const gap = row.gapMs.length === 0 ? "–" : seconds(Math.min(...row.gapMs));
    const start =
      row.startMs.length === 0 ? "–" : `${seconds(median(row.startMs))} / ${seconds(Math.max(...row.startMs))}`;
    const bound = row.boundMs === null ? "–" : seconds(row.boundMs);
    const lost = row.lost.length === 0 ? "–" : `${Math.max(...row.lost)}`;
    const cells = [
      row.what,
      row.profile,
      row.guards ? "yes" : "no",
      row.rounds,
      row.failed,
      overlap,
      gap,
      start,
      bound,
      lost,
    ];
    return `| ${cells.join(" | ")} |`;
  });
  return [
    "| what happens | profile | guards | rounds | not as expected | overlap, most (ms) | gap, least (s) | start p50 / max (s) | bound (s) | changes lost, most |",
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ...lines,
  ].join("\n");
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor((sorted.length - 1) / 2)] ?? 0;
}
