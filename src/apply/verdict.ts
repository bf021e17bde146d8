import type { Clock } from "../clock.ts";
import type { KubeClient } from "../kube/client.ts";
import type { KubeResource } from "../kube/resource.ts";
import type { KubeObject } from "../objects/object.ts";
import type { Role } from "../render/types.ts";
import { differences } from "./compare.ts";
import type { ContestTable } from "./contest.ts";
import type { CopyStore } from "./copies.ts";
import type { Failure } from "./failures.ts";
import type { Notes } from "./notes.ts";
import type { Target } from "./view.ts";
import type { Writer } from "./writer.ts";

/** The words that the parts of a reconciliation share. */

export interface ReconcileDeps {
  readonly client: KubeClient;
  readonly discovery: {
    resource(apiVersion: string, kind: string): KubeResource | undefined;
    find(group: string, kind: string): { readonly versions: readonly [KubeResource, ...KubeResource[]] } | undefined;
    lookSoon(): void;
  };
  readonly writer: Writer;
  /** Writes shared objects, under the manager that all groups have in common. */
  readonly sharedWriter: Writer;
  readonly manager: string;
  readonly copies: CopyStore;
  readonly contests: ContestTable;
  readonly notes: Notes;
  readonly clock: Clock;
  readonly group: string;
}

export interface ReconcileContext {
  readonly role: Role;
  /** Our part of the object was made one that an apply can take away from. */
  readonly settled?: boolean;
  /** spec.adopt */
  readonly adopt: boolean;
  /** UIDs of objects that this site ran under an earlier epoch: they are its own. */
  readonly own: ReadonlySet<string>;
  /** Take over everything that other managers hold, to the letter: for a promotion. @default false */
  readonly exact?: boolean;
  readonly signal: AbortSignal;
}

export type Verdict = { readonly kind: "applied" } | { readonly kind: "failed"; readonly failure: Failure };

export const applied: Verdict = { kind: "applied" };

export function failed(failure: Failure): Verdict {
  return { kind: "failed", failure };
}

/** Notes what the API server did not keep of a target, as its answer shows. */
export function noteDropped(notes: Notes, target: Target, answer: KubeObject): void {
  const fields = differences(target.object, answer)
    .filter((difference) => difference.what !== "value")
    .map((difference) => difference.path);
  notes.droppedFrom(target.key, fields);
}
