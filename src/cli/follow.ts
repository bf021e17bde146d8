import { setTimeout as delay } from "node:timers/promises";
import type { StoredGroup } from "../config/stored.ts";
import type { KubeClient } from "../kube/client.ts";
import { getGroup } from "./access.ts";
import { formatMs } from "./output.ts";
import { exitCodes, type Terminal } from "./terminal.ts";

export interface Followed {
  readonly name: string;
  /** `status.lastRequest.id` that is waited for. */
  readonly request: string;
  readonly to: string;
  /** `status.lastRequest.at` of before: an answer that is still there is that of an earlier request of the same text. */
  readonly answeredAt: string | undefined;
  readonly timeoutMs: number;
}

const askEveryMs = 300;
/** The start that a restarted agent has gone on with is told as no move: everything being up for this long is enough. */
const upForMs = 60_000;

/**
 * Shows the phases of a move as they come, with the time since it was asked for, until it is done or refused. Ctrl-C
 * ends the showing; the move goes on.
 */
export async function followMove(client: KubeClient, move: Followed, terminal: Terminal): Promise<void> {
  const begunMs = Date.now();
  let shown = "";
  let upSinceMs = Infinity;
  try {
    while (Date.now() - begunMs < move.timeoutMs) {
      const group = await getGroup(client, move.name, terminal.signal);
      const line = phaseOf(group);
      if (line !== shown) terminal.out(`${elapsed(begunMs)}  ${line}\n`);
      shown = line;
      if (!isUp(group)) upSinceMs = Infinity;
      else if (upSinceMs === Infinity) upSinceMs = Date.now();
      if (isOver(group, move, { begunMs, isUp: Date.now() - upSinceMs >= upForMs }, terminal)) return;
      await delay(askEveryMs, undefined, { signal: terminal.signal });
    }
    terminal.err(`not finished within ${move.timeoutMs / 1000} s. ${goesOn(move.name, terminal)}\n`);
  } catch (error) {
    if (!terminal.signal.aborted) throw error;
    terminal.err(`\n${goesOn(move.name, terminal)}\n`);
  }
  terminal.setExitCode(exitCodes.pending);
}

/** Everything of the group has been brought up at this site, ready or not. */
function isUp({ status: { role, conditions = [] } }: StoredGroup): boolean {
  return role === "active" && conditions.some(({ type, status }) => type === "Ready" && status === "True");
}

function isOver(
  { status }: StoredGroup,
  move: Followed,
  { begunMs, isUp }: { readonly begunMs: number; readonly isUp: boolean },
  terminal: Terminal,
): boolean {
  const { lastRequest: last, lastFailover: moved } = status;
  if (last === undefined || last.at === move.answeredAt) return false;
  // One answer is shown at a time, and that of an abort comes with that of the move.
  const stays = status.state === "Active" && status.active !== move.to;
  const isCalledOff = last.verb === "abort" && last.outcome === "Done" && stays;
  const isAnswer = last.id === move.request;
  if (isCalledOff || (isAnswer && last.outcome === "Refused")) {
    terminal.out(`${elapsed(begunMs)}  refused: ${last.message ?? ""}\n`);
    terminal.setExitCode(exitCodes.refused);
    return true;
  }
  if (!isAnswer || last.outcome !== "Done") return false;
  // Granted is not started: where the group comes to, its objects come up wave by wave. The other site follows by then.
  const isTold = moved !== undefined && moved.epoch === status.epoch;
  const follows = status.state === "Standby" || status.state === "Orphaned";
  if (!follows && !isTold && !isUp) return false;
  terminal.out(`${elapsed(begunMs)}  done: ${last.message ?? ""}\n`);
  for (const { event, at, detail } of (isTold ? moved.timeline : undefined) ?? []) {
    terminal.out(`           ${at}  ${event}${detail === undefined || detail === "" ? "" : `: ${detail}`}\n`);
  }
  return true;
}

function goesOn(name: string, terminal: Terminal): string {
  return (
    `The request stands: \`${terminal.program} status ${name}\` shows how far it is, ` +
    `\`${terminal.program} abort ${name}\` calls a switchover off that is not committed`
  );
}

function phaseOf({ status }: StoredGroup): string {
  const { state = "Unknown", reason, active } = status;
  return `${state}${active === undefined ? "" : ` (active: ${active})`}${reason === undefined ? "" : `: ${reason}`}`;
}

function elapsed(begunMs: number): string {
  return `+${formatMs(Date.now() - begunMs)}`.padStart(9);
}
