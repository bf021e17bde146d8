import type { Journal } from "../journal/journal.ts";
import type { ObjectKey } from "../objects/key.ts";

/**
 * What a demotion has to delete (bare pods, webhooks, aggregated APIs), kept durably before it does, so that the way
 * back can create it anew whatever happened in between. Of one demotion only: an older one's would bring back what
 * people have deleted since.
 */
export interface RemovedObject {
  readonly key: ObjectKey;
  /** Canonical JSON text, as this site ran it. */
  readonly object: string;
}

const recordName = "apply/removed";

export function removedObjects(journal: Journal): readonly RemovedObject[] {
  return (journal.getState(recordName) as readonly RemovedObject[] | undefined) ?? [];
}

/** Adds to what the demotion under way has removed: repeated, it no longer finds what it removed before. */
export async function rememberRemoved(journal: Journal, objects: readonly RemovedObject[]): Promise<void> {
  if (objects.length === 0) return;
  const known = new Map(removedObjects(journal).map((removed) => [removed.key, removed]));
  for (const { key, object } of objects) known.set(key, { key, object });
  await journal.putState(recordName, [...known.values()]);
}

/** The demotion is undone, or what followed it counts now. */
export async function forgetRemoved(journal: Journal): Promise<void> {
  if (journal.getState(recordName) !== undefined) await journal.putState(recordName, undefined);
}
