import { failureReasons } from "../apply/failures.ts";
import { findingCodes } from "../render/types.ts";
import { troubleCode, type TroubledKind } from "./kind-troubles.ts";
import type { LateObject } from "./late.ts";
import type { GroupView } from "./status.ts";

/** Codes of a status's findings, with what each means: why an object cannot be applied, and what else was found. */
export const findingMeanings = {
  ...findingCodes,
  ...failureReasons,
  Conflict: "An object of this name is at the standby that no group has put there; `spec.adopt` takes it over.",
  FieldsDropped: "The standby's API server does not keep these fields of the object.",
  Contested: "Somebody at the standby changes the object back again and again; it is left alone.",
  NotPromotable: "The object would be refused if this site became active.",
  NotReady: "A workload is not ready since the group was started here.",
  OwnersNotRestored: "Some fields stay Lifeboat's since the group was started here, instead of their owners'.",
  NoCommonVersion: "The two sites serve no version of the kind in common; its objects are not replicated.",
  KindForbidden: "The agent may not read the kind; its objects are not replicated.",
  KindRewound: "The API server was restored from a backup; replication of the kind waits for a person's word.",
  KindUnreadable: "The API server does not answer for the kind.",
} as const;

export interface StatusFinding {
  readonly code: keyof typeof findingMeanings;
  /** Key of an object, or a kind. */
  readonly object: string;
  readonly message: string;
}

/** All of them, what keeps most from being as it should be first. `isActive`: by the role that the status shows. */
export function statusFindings(
  { applier, late }: GroupView,
  isActive: boolean,
  troubles: readonly TroubledKind[],
): StatusFinding[] {
  const contested = "somebody changes it back again and again";
  return [
    ...troubles.map(({ what, kind, message }) => ({ code: troubleCode(what), object: kind, message })),
    ...applier.failing.map(({ key, reason, message }) => ({ code: reason, object: key, message })),
    // At a site that runs the group no more it is what another start finds.
    ...(isActive ? late : []).map(lateFinding),
    ...applier.conflicts.map(({ key, message }) => ({ code: "Conflict" as const, object: key, message })),
    ...applier.fieldsDropped.map(({ key, fields }) => ({
      code: "FieldsDropped" as const,
      object: key,
      message: fields.join(", "),
    })),
    ...applier.contested.map(({ key }) => ({ code: "Contested" as const, object: key, message: contested })),
    ...(applier.promotable?.findings ?? []).map(({ key, reason, message }) => ({
      code: "NotPromotable" as const,
      object: key,
      message: `${reason}: ${message}`,
    })),
    ...applier.findings.map(({ code, key, message }) => ({ code, object: key, message })),
  ];
}

function lateFinding({ key, what, why }: LateObject): StatusFinding {
  const message =
    what === "NotReady"
      ? `is not ready since the group was started here: ${why}`
      : `some of its fields stay Lifeboat's instead of their owners': ${why}`;
  return { code: what, object: key, message };
}
