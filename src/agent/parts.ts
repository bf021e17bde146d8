import type { AdmissionGates } from "../admission/gates.ts";
import type { WatchPool } from "../capture/pool.ts";
import type { Clock, Random } from "../clock.ts";
import type { AgentConfig } from "../config/agent.ts";
import type { GroupLinks } from "../failover/runner/links.ts";
import type { DurableRecords } from "../failover/runner/records.ts";
import type { KubeClient } from "../kube/client.ts";
import type { Discovery } from "../kube/discovery.ts";
import type { EventWriter } from "../kube/events.ts";
import type { Link } from "../rpc/link.ts";
import type { GuardDesk } from "./guards.ts";
import type { AgentMetrics } from "./metrics.ts";
import type { PeerVersions } from "./peer-versions.ts";
import type { ServedGroups } from "./served-groups.ts";
import type { SharedRecords } from "./shared-records.ts";
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
  readonly records: DurableRecords;
  /** The same, where several agents take turns to lead this site. */
  readonly shared: SharedRecords | undefined;
  /** Another agent of this site has been heard of; undefined where there is one only. Must not throw. */
  readonly onDeposed: ((incarnation: number) => void) | undefined;
  readonly events: EventWriter;
  readonly metrics: AgentMetrics;
  readonly incarnation: number;
  /** Of the kernels of this machine and, where another agent may go on, of the site's nodes. */
  readonly bootIds: readonly string[];
  /** Encrypts journals, where configured. */
  readonly journalKey: Uint8Array | undefined;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}
