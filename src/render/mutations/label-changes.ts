import type { Mutation } from "../../config/group.ts";
import type { LabelSelector } from "../../config/fields.ts";
import type { Labels } from "../../config/match.ts";

/** Label changes as functions on labels and on selectors. */
export type LabelChange = NonNullable<Mutation["labels"]>;

/** New labels, and the label that a rename would overwrite, if one would. */
export function rewriteLabels(labels: Labels, change: LabelChange): { labels: Labels; collision: string | undefined } {
  const result: Record<string, string> = { ...labels };
  for (const [from, to] of Object.entries(change.rename ?? {})) {
    const value = result[from];
    if (value === undefined) continue;
    if (result[to] !== undefined && result[to] !== value) return { labels, collision: to };
    delete result[from];
    result[to] = value;
  }
  for (const name of change.remove ?? []) delete result[name];
  return { labels: Object.assign(result, change.set), collision: undefined };
}

/** A selector in which the names of renamed labels are followed. */
export function renameKeys(selector: LabelSelector, change: LabelChange): LabelSelector {
  const renamed = (name: string) => change.rename?.[name] ?? name;
  const result: LabelSelector = { ...selector };
  if (selector.matchLabels !== undefined) {
    result.matchLabels = Object.fromEntries(
      Object.entries(selector.matchLabels).map(([name, value]) => [renamed(name), value]),
    );
  }
  if (selector.matchExpressions !== undefined) {
    result.matchExpressions = selector.matchExpressions.map((entry) => ({ ...entry, key: renamed(entry.key) }));
  }
  return result;
}
