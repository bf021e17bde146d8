import { LifeboatError } from "../errors.ts";
import { canonicalJson } from "../objects/json.ts";
import type { KubeObject } from "../objects/object.ts";
import { checkSpec } from "./check-group.ts";
import { groupApi, groupSpecSchema, type GroupSpec, type ProtectionGroup } from "./group.ts";
import { describeIssues } from "./issues.ts";
import { parseStoredStatus } from "./stored.ts";

export interface ParsedGroup {
  readonly group: ProtectionGroup;
  /** Sentences on what is accepted but probably not meant. */
  readonly warnings: readonly string[];
}

/** So many problems at once are enough to go on with. */
const problemsMaxCount = 10;

/**
 * A ProtectionGroup as the API server holds it, checked, with all defaults. Throws SpecInvalid whose message has one
 * line per problem, each beginning with the path of the field.
 */
export function parseGroup(object: KubeObject): ParsedGroup {
  const { name, uid, generation, annotations } = object.metadata;
  if (object.kind !== groupApi.kind || !object.apiVersion.startsWith(`${groupApi.group}/`)) {
    throw invalid(name, [
      `kind: must be ${groupApi.kind} of ${groupApi.group}, not ${object.apiVersion} ${object.kind}`,
    ]);
  }
  const { spec, problems, warnings } = readSpec(object["spec"] ?? {});
  if (spec === undefined) throw invalid(name, problems);
  const status = parseStoredStatus(object["status"]);
  return { group: { name, uid, generation, annotations: annotations ?? {}, spec, status }, warnings };
}

interface ReadSpec {
  readonly spec: GroupSpec | undefined;
  readonly problems: readonly string[];
  readonly warnings: readonly string[];
}

/**
 * What was read of the specs that were seen last, by their text: an object is seen again with each change of its own
 * status, and an idle agent did little else than check specs that it knew.
 */
const readSpecs = new Map<string, ReadSpec>();
const readSpecsMaxCount = 256;

function readSpec(stored: unknown): ReadSpec {
  const text = canonicalJson(stored);
  const known = readSpecs.get(text);
  if (known !== undefined) return known;
  const read = checkedSpec(stored);
  const [oldest] = readSpecs.keys();
  if (oldest !== undefined && readSpecs.size >= readSpecsMaxCount) readSpecs.delete(oldest);
  readSpecs.set(text, read);
  return read;
}

function checkedSpec(stored: unknown): ReadSpec {
  const result = groupSpecSchema.safeParse(stored);
  if (!result.success) {
    return { spec: undefined, problems: describeIssues(result.error, groupSpecSchema, "spec"), warnings: [] };
  }
  const { errors, warnings } = checkSpec(result.data);
  return { spec: errors.length > 0 ? undefined : result.data, problems: errors, warnings };
}

function invalid(name: string, problems: readonly string[]): LifeboatError {
  const more = problems.length - problemsMaxCount;
  const lines = more > 0 ? [...problems.slice(0, problemsMaxCount), `and ${more} more`] : problems;
  return new LifeboatError("SpecInvalid", `ProtectionGroup ${name}: ${lines.join("\n")}`, {
    op: "group.parse",
    hint: "`kubectl explain protectiongroup.spec` describes every field",
  });
}
