import { LifeboatError } from "../errors.ts";
import type { WitnessTerm } from "../failover/witness-state.ts";

/** What all stores have in common. */

export function sameTerm(a: WitnessTerm | null, b: WitnessTerm | null): boolean {
  return a?.generation === b?.generation && a?.nonce === b?.nonce;
}

/** For a term that is another process's. */
export function replaced(place: string, retryable: boolean): LifeboatError {
  return new LifeboatError("WitnessReplaced", `another witness process owns ${place}`, {
    op: "witness.term",
    retryable,
    hint: "one witness process per store; two only for the moments of a rolling update",
  });
}

export function corrupt(place: string, finding: string, op: string, cause?: unknown): LifeboatError {
  return new LifeboatError("WitnessStoreCorrupt", `the witness's store ${place} is damaged: ${finding}`, {
    op,
    hint: `move ${place} away (with the files beside it, where it is a file) and restart`,
    cause,
  });
}

export function full(place: string, op: string, cause?: unknown): LifeboatError {
  return new LifeboatError("WitnessStoreFull", `no space left for the witness's store ${place}`, {
    op,
    hint: "free space there and start the witness again",
    cause,
  });
}
