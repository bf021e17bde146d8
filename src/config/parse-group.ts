import { LifeboatError } from "../errors.ts";
import type { KubeObject } from "../objects/object.ts";
import { checkSpec } from "./check-group.ts";
import { groupApi, groupSpecSchema, type ProtectionGroup } from "./group.ts";
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
  const result = groupSpecSchema.safeParse(object["spec"] ?? {});
  if (!result.success) throw invalid(name, describeIssues(result.error, groupSpecSchema, "spec"));
  const spec = result.data;
  const { errors, warnings } = checkSpec(spec);
  if (errors.length > 0) throw invalid(name, errors);
  const status = parseStoredStatus(object["status"]);
  return { group: { name, uid, generation, annotations: annotations ?? {}, spec, status }, warnings };
}

function invalid(name: string, problems: readonly string[]): LifeboatError {
  const more = problems.length - problemsMaxCount;
  const lines = more > 0 ? [...problems.slice(0, problemsMaxCount), `and ${more} more`] : problems;
  return new LifeboatError("SpecInvalid", `ProtectionGroup ${name}: ${lines.join("\n")}`, {
    op: "group.parse",
    hint: "`kubectl explain protectiongroup.spec` describes every field",
  });
}
