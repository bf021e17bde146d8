import { linkedAbort, type Pulse } from "../abort.ts";
import type { Clock } from "../clock.ts";
import type { Discovery } from "../kube/discovery.ts";
import type { Link } from "../rpc/link.ts";
import type { GroupsUpdate } from "../rpc/messages.ts";
import { watchGroups } from "../rpc/replication.ts";
import { safeError, type Log } from "../telemetry/log.ts";
import { servedKinds } from "./peer-versions.ts";

/** After a list has ended, or was asked for in vain: the link itself waits for the connection. */
const askAgainMs = 1000;

export interface PeerGroupsOptions {
  readonly link: Link;
  /** The peer, and this site: the peer chooses versions by what is served here. */
  readonly peer: string;
  readonly site: string;
  readonly discovery: Discovery;
  readonly clock: Clock;
  readonly log: Log;
  readonly signal: AbortSignal;
  readonly onUpdate: (update: GroupsUpdate) => void | Promise<void>;
  /** Told to the peer by the agent that leads the site. */
  readonly keeping?: Keeping;
}

/** Which groups this site keeps. */
export interface Keeping {
  /** Undefined while that is not known. */
  readonly names: () => readonly string[] | undefined;
  /** Raised when the peer is to be told anew. */
  readonly changed: Pulse;
}

/** Follows what groups a peer serves, over all breaks of the link, until the signal aborts; rejects with its reason. */
export async function followPeerGroups(options: PeerGroupsOptions): Promise<never> {
  const { link, peer, site, discovery, clock, log, signal, onUpdate, keeping } = options;
  for (;;) {
    const connection = await link.ready({ signal });
    using scope = linkedAbort(signal);
    try {
      // It is not to be told that nothing is served here, and is asked anew when other kinds or versions are.
      if (discovery.kinds().length === 0) await discovery.refresh({ signal });
      using _change = discovery.onChange(() => scope.abort(new Error("other kinds are served here now")));
      keeping?.changed.wait(scope).then(
        () => scope.abort(new Error("other groups are kept here now")),
        () => undefined,
      );
      const request = { site, kinds: servedKinds(discovery.kinds()), kept: keeping?.names() };
      for await (const update of watchGroups(connection, request, { signal: scope.signal })) await onUpdate(update);
    } catch (error) {
      signal.throwIfAborted();
      // What is asked anew has not failed.
      if (!scope.signal.aborted) log.info({ peer, error: safeError(error) }, "list of the peer's groups ended");
    } finally {
      // Who waits on for a change would take the next one's.
      scope.abort(new Error("the list has ended"));
    }
    await clock.sleep(askAgainMs, { signal });
  }
}
