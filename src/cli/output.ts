import Table from "cli-table3";
import { stringify } from "yaml";
import { LifeboatError } from "../errors.ts";

export type OutputFormat = "table" | "wide" | "json" | "yaml";

/** A table in kubectl's manner: no borders, two spaces between columns, headers in capitals. */
export function table(headers: readonly string[], rows: readonly (readonly string[])[]): string {
  const plain = {
    top: "",
    "top-mid": "",
    "top-left": "",
    "top-right": "",
    bottom: "",
    "bottom-mid": "",
    "bottom-left": "",
    "bottom-right": "",
    left: "",
    "left-mid": "",
    mid: "",
    "mid-mid": "",
    right: "",
    "right-mid": "",
    middle: "  ",
  };
  const view = new Table({
    head: [...headers],
    chars: plain,
    style: { head: [], border: [], "padding-left": 0, "padding-right": 0, compact: true },
  });
  for (const row of rows) view.push([...row]);
  return view
    .toString()
    .split("\n")
    .map((line) => line.trimEnd())
    .join("\n");
}

export function formatData(value: unknown, format: "json" | "yaml"): string {
  return format === "json" ? JSON.stringify(value, null, 2) : stringify(value).trimEnd();
}

/** `12s`, `3m`, `5h`, `2d`: an age as kubectl prints it. */
export function formatAge(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 120) return `${seconds}s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)}m`;
  if (seconds < 172_800) return `${Math.floor(seconds / 3600)}h`;
  return `${Math.floor(seconds / 86_400)}d`;
}

/** `340ms` or `12.3s`: a lag or a duration that was measured. */
export function formatMs(ms: number | undefined): string {
  if (ms === undefined) return "-";
  return ms < 1000 ? `${Math.round(ms)}ms` : `${(ms / 1000).toFixed(1)}s`;
}

/** What a failed command prints on stderr. */
export function formatError(error: unknown): string {
  if (!(error instanceof LifeboatError)) return `error: ${error instanceof Error ? error.message : String(error)}`;
  const hint = error.hint === undefined ? "" : `\nHint: ${error.hint}`;
  return `error: ${error.message} [${error.code}]${hint}`;
}
