import type { AdmissionGates } from "../admission/gates.ts";
import type { WatchPool } from "../capture/pool.ts";
import type { Clock, Random } from "../clock.ts";
import type { AgentConfig } from "../config/agent.ts";
import type { GroupLinks } from "../failover/runner/links.ts";
import type { StateFile } from "../journal/state.ts";
import type { KubeClient } from "../kube/client.ts";
import type { Discovery } from "../kube/discovery.ts";
import type { EventWriter } from "../kube/events.ts";
import type { Link } from "../rpc/link.ts";
import type { GuardDesk } from "./guards.ts";
import type { AgentMetrics } from "./metrics.ts";
import type { PeerVersions } from "./peer-versions.ts";
import type { ServedGroups } from "./served-groups.ts";
import type { Log } from "../telemetry/log.ts";

/** What all groups of an agent share. */
export interface AgentParts {
  readonly config: AgentConfig;
  readonly client: KubeClient;
  readonly discovery: Discovery;
  readonly pool: WatchPool;
  /** See `mayFollowRestored` of rewind.ts, for all groups at present. */
  readonly mayFollowRestored: () => boolean;
  readonly peerVersions: PeerVersions;
  readonly served: ServedGroups;
  readonly gates: AdmissionGates;
  readonly guards: GuardDesk;
  readonly links: GroupLinks;
  /** Connections for bulk data, by peer site; none for a peer without an address. */
  readonly dataLinks: ReadonlyMap<string, Link>;
  /** Durable records of the agent that must outlive a group's journal. */
  readonly records: StateFile;
  readonly events: EventWriter;
  readonly metrics: AgentMetrics;
  readonly incarnation: number;
  /** Of the machine's kernel. */
  readonly bootId: string;
  /** Encrypts journals, where configured. */
  readonly journalKey: Uint8Array | undefined;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}
