import type { LogFn } from "./report.ts";

/** - `none`: API objects only; Pods stay Pending
 *  - `simulated`: kwok nodes; any image "runs" at once
 *  - `real`: one node per site with kubelet, containerd and kube-proxy; needs root */
export type NodeKind = "none" | "simulated" | "real";

/** - `netns`: each site a network, mount and process namespace; needs root
 *  - `loopback`: processes of the user on 127.0.0.1 */
export type Isolation = "netns" | "loopback";

/** What one site consists of. */
export interface SiteOptions {
  /** kube-controller-manager and kube-scheduler. @default true */
  readonly controllers?: boolean;
  /** @default "none" */
  readonly nodes?: NodeKind;
  /** Simulated nodes. @default 3 */
  readonly nodeCount?: number;
  /** The API server behaves like this minor version, e.g. `1.33`. */
  readonly emulatedVersion?: string;
  /** Further flags of kube-apiserver, e.g. `--max-requests-inflight=2000`. */
  readonly apiserverFlags?: readonly string[];
}

/** One bed. Options of a site stand before those of the bed. */
export interface BedOptions extends SiteOptions {
  /** Folder name of the bed; two living beds cannot share one. @default unique */
  readonly name?: string;
  /** Names, or names with options. @default ["east", "west"] */
  readonly sites?: readonly (string | (SiteOptions & { readonly name: string }))[];
  /** @default "netns" as root, else "loopback" */
  readonly isolation?: Isolation;
  /** As root on Debian or Ubuntu, install missing packages after saying so. @default false */
  readonly install?: boolean;
  /** Told what is going on, one line each. @default silent */
  readonly report?: LogFn;
}

/** A site with every option decided. */
export interface SitePlan {
  readonly name: string;
  /** From 0, in the order given; addresses and ranges follow from it. */
  readonly index: number;
  readonly controllers: boolean;
  readonly nodes: NodeKind;
  readonly nodeCount: number;
  readonly emulatedVersion: string | undefined;
  readonly apiserverFlags: readonly string[];
}
