import { cloneJson } from "../objects/json.ts";
import { marks, type KubeObject } from "../objects/object.ts";
import type { KindRule, Scope, Withheld } from "./kinds/rule.ts";
import { ruleFor } from "./kinds/table.ts";
import { applyUndo, setHeld, setUndo, stripMarks } from "./marks.ts";
import { dropFinalizers, dropServerFields, isServed, settleOwners } from "./metadata.ts";
import { mutate, mutationsFor } from "./mutations/mutate.ts";
import { Report, scopeOf } from "./report.ts";
import { rewrite } from "./rewrite.ts";
import { surge, whySurgeIgnored } from "./surge.ts";
import { findNamedNamespaces } from "./text.ts";
import type { RenderContext, Rendered, SourceRecord } from "./types.ts";

/**
 * What a site should have for one object of the source. Pure and deterministic: equal input gives equal output, and
 * `record` is never changed.
 *
 * 1. The source's own mutations are undone, the mappings made, the kind's rule `prepare`d: the object as the site
 *    would have it if nobody asked for more.
 * 2. The mutations for the active role, and a surge, give the *active form*; what they changed is noted for the way
 *    back.
 * 3. For a standby, the mutations for that role and the kind's `hold` give the *standby form*, with everything that
 *    differs from the active form in the `held` annotation.
 */
export function render(record: SourceRecord, context: RenderContext): Rendered {
  const report = new Report(record.key);
  const scope = scopeOf(record, context, report);
  if (context.role === "standby" && context.spec.standby === "PilotLight") {
    return report.withheld({ reason: "PilotLight", message: "a pilot light keeps a journal and applies nothing" });
  }
  const plain = cloneJson(record.object);
  for (const pointer of undoSource(plain)) {
    report.find("UndoSkipped", `${pointer} was changed since a mutation had set it; the new value is kept`);
  }
  rewrite(plain, scope.mapping);
  const taken = takenFrom(plain, context.taken);
  if (taken !== undefined) return report.withheld(taken);
  const rule = ruleFor(plain);
  const without = prepare(plain, rule, scope);
  if (without !== undefined) return report.withheld(without);
  const active = cloneJson(plain);
  const mutations = mutationsFor(scope);
  mutate(active, mutations, "active", scope);
  const ignored = context.spec.mode === "ActiveActive" ? whySurgeIgnored(active) : undefined;
  if (ignored !== undefined) report.find("SurgeIgnored", ignored);
  if (context.surgePercent !== undefined) surge(active, context.surgePercent);
  setUndo(active, plain);
  if (context.role === "active") return report.applied(active, scope);

  const standby = cloneJson(plain);
  mutate(standby, mutations, "standby", scope);
  const held = rule.hold?.(standby, scope);
  if (held !== undefined) return report.withheld(held);
  copyUndo(active, standby);
  if (!setHeld(standby, active)) report.find("HeldTooLarge", "what is held back does not fit into an annotation");
  return report.applied(standby, scope);
}

function undoSource(object: KubeObject): string[] {
  dropServerFields(object);
  const skipped = applyUndo(object);
  stripMarks(object);
  return skipped;
}

function takenFrom(object: KubeObject, taken: RenderContext["taken"]): Withheld | undefined {
  const { namespace, name } = object.metadata;
  const of = namespace ?? (object.kind === "Namespace" && object.apiVersion === "v1" ? name : "");
  const holder = taken?.get(of);
  if (holder === undefined) return undefined;
  return { reason: "NamespaceTaken", message: `namespace ${of} belongs to the group ${holder} here` };
}

function prepare(object: KubeObject, rule: KindRule, scope: Scope): Withheld | undefined {
  const withheld = rule.prepare?.(object, scope);
  if (withheld !== undefined) return withheld;
  dropFinalizers(object);
  settleOwners(object, scope);
  findNamedNamespaces(object, scope);
  return isServed(object, scope) ? undefined : { reason: "Refused", message: "the site does not serve this version" };
}

/** The note travels with the copy, so that the active form can be rebuilt from it alone. */
function copyUndo(active: KubeObject, standby: KubeObject): void {
  const undo = active.metadata.annotations?.[marks.undo];
  if (undo !== undefined) standby.metadata.annotations = { ...standby.metadata.annotations, [marks.undo]: undo };
}
