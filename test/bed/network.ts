/**
 * The network of a bed that runs as root: one bridge in a namespace of its own ("wire"), one namespace per place, a
 * veth between each and the bridge, one more to the host. The bridge is not in the host's namespace because firewalls
 * there (Docker's, say) see bridged packets, too. Everything vanishes with the processes that hold the namespaces.
 */

/** Places that are not sites, on every bed. */
export const hostNumber = 1;
export const witnessNumber = 5;

/** Ports in a namespace of its own are the same everywhere. */
export const isolatedPorts = { apiserver: 6443, etcdClient: 2379, etcdPeer: 2380 } as const;

/** More sites than a machine has memory for; bounded by the last octet of an address. */
export const siteCountMax = 20;

/** 10.87.B.0/24 for bed number B. */
export const subnetMin = 1;
export const subnetMax = 250;

export function addressOf(subnet: number, number: number): string {
  return `10.87.${subnet}.${number}`;
}

export interface SiteAddresses {
  readonly site: string;
  readonly agent: string;
}

/** Addresses of the site at `index` (from 0) and of its agent. */
export function siteAddresses(subnet: number, index: number): SiteAddresses {
  return { site: addressOf(subnet, 10 + index * 10), agent: addressOf(subnet, 11 + index * 10) };
}

/** Ranges inside the site at `index`; no two sites share them, so that a mapping that was forgotten is seen. */
export function clusterRanges(index: number): { services: string; firstService: string; pods: string } {
  return {
    services: `10.${100 + index}.0.0/16`,
    firstService: `10.${100 + index}.0.1`,
    pods: `10.${150 + index}.0.0/16`,
  };
}

/** Name of the host's end of the veth to bed `subnet`; the only link of a bed that is seen on the host. */
export function hostLink(subnet: number): string {
  return `lifeboat${subnet}`;
}

/**
 * A MAC that follows from the address: a site that comes back has the same one, so that no neighbour table of the
 * others is stale.
 */
export function macOf(address: string): string {
  const octets = address.split(".").map((octet) => Number(octet).toString(16).padStart(2, "0"));
  return `02:87:${octets.join(":")}`;
}

/** Name of the bridge's port that leads to an address. */
export function portName(address: string): string {
  return `p${address.split(".")[3]}`;
}

/** `ip -batch` lines that connect the namespace of process `holder` to the bridge in that of `wire`. */
export function plugLines(holder: number, wire: number, address: string): string[] {
  return [
    `link add name eth0 address ${macOf(address)} netns ${holder} type veth peer name ${portName(address)} netns ${wire}`,
  ];
}

/** `ip -batch` lines inside the bridge's namespace, for the port that {@link plugLines} made. */
export function portLines(address: string): string[] {
  return [`link set ${portName(address)} master bridge up`];
}

/** `ip -batch` lines inside a place's namespace. The default route lets packets to service addresses be translated. */
export function interfaceLines(subnet: number, address: string): string[] {
  return [
    "link set lo up",
    `addr add ${address}/24 dev eth0`,
    "link set eth0 up",
    `route add default via ${addressOf(subnet, hostNumber)} dev eth0`,
  ];
}
