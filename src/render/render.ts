import { cloneJson } from "../objects/json.ts";
import type { RenderContext, Rendered, SourceRecord } from "./types.ts";

/**
 * What a site should have for one object of the source: per-kind rules, mappings, mutations and the standby level.
 * Pure and deterministic: equal input gives equal output. `record` is never changed.
 */
export function render(record: SourceRecord, context: RenderContext): Rendered {
  void context;
  return { objects: [cloneJson(record.object)], findings: [], waitsFor: [] };
}
