import { moveAnnotations } from "../config/requests.ts";
import type { FailoverSnapshot } from "../failover/runner/snapshot.ts";
import type { LastRequest } from "./status.ts";

export interface LostRequest {
  readonly group: string;
  /** Of a move `SITE` or `SITE@EPOCH`. */
  readonly id: string;
  readonly verb: string;
}

/**
 * What is said of a request when the process that took it is gone without an answer. An order is not given a second
 * time: it may have been obeyed, and who gave it may have thought of something else since. Undefined while a switchover
 * is open, which goes on without whoever ordered it: its end is the answer.
 */
export function answerLost(
  request: LostRequest,
  failover: Pick<FailoverSnapshot, "holder" | "epoch" | "opId"> | undefined,
): Pick<LastRequest, "outcome" | "message"> | undefined {
  const gone =
    "the agent that took this is gone (restarted, or another one leads): it may have been carried out or not";
  const refused = (advice: string) => ({ outcome: "Refused", message: `${gone}; ${advice} [Interrupted]` });
  const { group, id, verb } = request;
  if (!Object.hasOwn(moveAnnotations, verb)) return refused("ask again");
  if (failover?.opId !== undefined) return undefined;
  const [to = "", ordered] = id.split("@");
  const { holder, epoch } = failover ?? {};
  // What a site holds already it can be forced to run, under another epoch.
  if (holder === to && epoch !== ordered)
    return { outcome: "Done", message: `${to} holds the group under epoch ${epoch}` };
  // What is ordered by the site's name alone is obeyed once.
  const again = `\`lifeboat status ${group}\` shows where the group is; if need be order it again, by annotation as ${to}@EPOCH`;
  return refused(again);
}
