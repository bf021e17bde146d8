import type { Step } from "./steps.ts";
import type { SiteName } from "./stage.ts";

/** Name of every scenario of two faults that were drawn. */
export const drawnName = "double-fault";

export interface Scenario {
  readonly name: string;
  readonly what: string;
  /** Who runs the group when everything that follows from the faults has followed, before anything is mended. */
  readonly runs: SiteName | "nobody" | "anyone";
  /** What the time until the first beat at the other site is held against. */
  readonly bound?: "takeover" | "switchover";
  /** Nobody writes from the fault on, and nothing that was acknowledged may be missing afterwards. */
  readonly lossless?: boolean;
  /** What east has acknowledged and west did not get is kept at east. */
  readonly keepsOwn?: boolean;
  /** Without guards both sites run for a while: the control that shows that the harness sees it. */
  readonly overlapsWithoutGuards?: true | "sometimes";
  readonly faults: Step;
}
