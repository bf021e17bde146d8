import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type ChangeRecord, hashOf } from "../../../src/objects/record.ts";
import type { SinkBatch } from "../../../src/stream/doors.ts";

export const never = new AbortController().signal;

/** A folder that is gone when the test's scope ends. */
export function scratchFolder(): { path: (name: string) => string } & Disposable {
  const folder = mkdtempSync(join(tmpdir(), "lifeboat-journal-"));
  return {
    path: (name) => join(folder, name),
    [Symbol.dispose]: () => rmSync(folder, { recursive: true, force: true }),
  };
}

export function configMap(name: string, value: string): string {
  return JSON.stringify({
    apiVersion: "v1",
    data: { value },
    kind: "ConfigMap",
    metadata: { name, namespace: "shop" },
  });
}

export function change(seq: number, name: string, value: string): ChangeRecord {
  const object = configMap(name, value);
  return { seq, key: `/ConfigMap/shop/${name}`, hash: hashOf(object, "[]"), object, managers: "[]" };
}

export function tombstone(seq: number, name: string): ChangeRecord {
  return { seq, key: `/ConfigMap/shop/${name}`, hash: "", object: undefined, managers: "[]" };
}

export function batch(records: ChangeRecord[], rest: Partial<SinkBatch> = {}): SinkBatch {
  const seq = records.at(-1)?.seq ?? 0;
  return { epoch: "10.1", position: { ring: "r1", seq }, complete: false, records, ...rest };
}

/** What `work` rejects with, or `undefined`. */
export async function rejection(work: Promise<unknown>): Promise<unknown> {
  try {
    await work;
    return undefined;
  } catch (error) {
    return error;
  }
}
