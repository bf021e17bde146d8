import type { ObjectKey } from "../objects/key.ts";
import type { Failure } from "./failures.ts";

/** One step of the order: what is applied together, and what is waited for before the next. */
export interface Stage {
  readonly wave: number;
  readonly keys: ObjectKey[];
}

/** What is to be brought up, and how one key of it is. */
export interface Plan {
  readonly stages: readonly Stage[];
  readonly bring: (key: ObjectKey, signal: AbortSignal) => Promise<Failure | undefined>;
}
