/** What the new active site's agent says about the decision, in its own status. */
import type { Pair } from "../pair/pair.ts";

export interface AgentEvent {
  readonly event: string;
  readonly wallMs: number;
}

/** What the agent's events are called in the story; the others stay out of it. */
const names: Readonly<Record<string, string>> = {
  lastPeerHeartbeat: "last heartbeat of east",
  peerPromiseEnded: "leases expired",
  acquireSent: "west asks the witness",
  grantReceived: "granted",
  startRequested: "west starts the application",
  started: "west has started everything",
};

/** Events of the group's move to `site`, oldest first; of several with one name, the last. */
export async function agentTimeline(
  pair: Pair,
  site: string,
  group: string,
  signal: AbortSignal,
): Promise<AgentEvent[]> {
  const { lastFailover } = await pair.status(site, group, signal);
  const listed = (lastFailover as { readonly timeline?: readonly { event: string; at: string }[] } | undefined)
    ?.timeline;
  const last = new Map((listed ?? []).map(({ event, at }) => [event, Date.parse(at)]));
  return [...last].flatMap(([event, wallMs]) => {
    const name = names[event];
    return name === undefined ? [] : [{ event: name, wallMs }];
  });
}
