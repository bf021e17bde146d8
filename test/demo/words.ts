/** Figures in words. */
import type { Reported } from "./manifests.ts";

export function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}

export function count(n: number, what: string): string {
  return `${n} ${what}${n === 1 ? "" : "s"}`;
}

const shownMaxCount = 3;

/** The first few, and how many there are. */
export function listed(entries: readonly Reported[]): string {
  const first = entries.slice(0, shownMaxCount).map(({ object, reason }) => `${object} ${reason}`);
  return `${count(entries.length, "object")}: ${first.join("; ")}${entries.length > shownMaxCount ? " …" : ""}`;
}
