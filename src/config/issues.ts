import type * as z from "zod";

/** Validation issues of zod as sentences: which field, what is wrong, what was perhaps meant. */

type Issue = z.core.$ZodIssue;

/**
 * One line per issue, `spec.mutations[1].replicas: must be at least 0`.
 * @param root how the value is called, for example `spec`; empty for none
 */
export function describeIssues(error: z.ZodError, schema: z.ZodType, root: string): string[] {
  return error.issues.flatMap((issue) => describeIssue(issue, schema, root));
}

function describeIssue(issue: Issue, schema: z.ZodType, root: string): string[] {
  const path = formatPath(issue.path, root);
  if (issue.code !== "unrecognized_keys") return [`${path || "value"}: ${messageOf(issue)}`];
  const known = knownKeys(schema, issue.path);
  return issue.keys.map((key) => {
    const near = nearest(key, known);
    const advice = near === undefined ? `known here: ${known.join(", ")}` : `did you mean ${near}?`;
    return `${path === "" ? key : `${path}.${key}`}: unknown field; ${advice}`;
  });
}

export function formatPath(path: readonly PropertyKey[], root: string): string {
  let text = root;
  for (const part of path) {
    if (typeof part === "number") text += `[${part}]`;
    else text += text === "" ? String(part) : `.${String(part)}`;
  }
  return text;
}

function messageOf(issue: Issue): string {
  switch (issue.code) {
    case "invalid_type":
      if (issue.message.endsWith("received undefined")) return "is required";
      return `must be ${article(issue.expected)}${received(issue.message)}`;
    case "invalid_value":
      return `must be one of ${issue.values.map(String).join(", ")}`;
    case "too_small":
      return `must ${limit(issue.origin)} at least ${issue.minimum}${unit(issue.origin)}`;
    case "too_big":
      return `must ${limit(issue.origin)} at most ${issue.maximum}${unit(issue.origin)}`;
    default:
      return issue.message;
  }
}

function received(message: string): string {
  const [, type] = /received (\w+)$/.exec(message) ?? [];
  return type === undefined || type === "number" ? "" : `, not ${article(type)}`;
}

const articles: Readonly<Record<string, string>> = {
  int: "a whole number",
  record: "an object",
  array: "a list",
  object: "an object",
  null: "null",
};

function article(type: string): string {
  return articles[type] ?? `a ${type}`;
}

const limit = (origin: string) => (origin === "array" || origin === "string" ? "have" : "be");
const unit = (origin: string) => (origin === "array" ? " entries" : origin === "string" ? " characters" : "");

/** Names of the fields that the schema knows at a path. */
function knownKeys(schema: z.ZodType, path: readonly PropertyKey[]): string[] {
  let at: unknown = schema;
  for (const part of path) {
    const def = definitionOf(at);
    at = def.shape?.[String(part)] ?? def.element ?? def.valueType;
  }
  return Object.keys(definitionOf(at).shape ?? {});
}

interface Definition {
  readonly innerType?: unknown;
  readonly shape?: Readonly<Record<string, unknown>>;
  readonly element?: unknown;
  readonly valueType?: unknown;
}

/** The definition behind defaults and optionals. */
function definitionOf(schema: unknown): Definition {
  const { def } = (schema ?? {}) as { def?: Definition };
  if (def === undefined) return {};
  return def.innerType === undefined ? def : definitionOf(def.innerType);
}

/** Farther apart than this, two names have nothing to do with each other. */
const typoMaxEdits = 3;

/** The name that differs from `key` by the fewest edits, if they are few for its length. */
export function nearest(key: string, names: readonly string[]): string | undefined {
  const ranked = names
    .map((name) => ({ name, edits: editDistance(key.toLowerCase(), name.toLowerCase()) }))
    .sort((a, b) => a.edits - b.edits);
  const best = ranked[0];
  return best !== undefined && best.edits <= Math.min(typoMaxEdits, Math.ceil(key.length / 2)) ? best.name : undefined;
}

/** Levenshtein distance. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (const [i, left] of a.split("").entries()) {
    const next = [i + 1];
    for (const [j, right] of b.split("").entries()) {
      const replaced = (row[j] ?? 0) + (left === right ? 0 : 1);
      next.push(Math.min(replaced, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
