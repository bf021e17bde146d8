import type { StreamPosition, KeyAndHash } from "../stream/doors.ts";

/**
 * Messages of the wire as the rooms above see them. proto/lifeboat/v1 documents each.
 */

export interface ServedGroup {
  readonly name: string;
  /** Epoch under which the serving site is active. */
  readonly epoch: string;
  /** `metadata.generation` of the ProtectionGroup. */
  readonly revision: number;
}

export interface GroupsUpdate {
  readonly site: string;
  readonly groups: readonly ServedGroup[];
}

/** A kind with the versions in which a site serves it. */
export interface ServedKind {
  readonly group: string;
  readonly kind: string;
  readonly versions: readonly string[];
}

/** What a site asks with for the groups that its peer serves. */
export interface GroupsRequest {
  readonly site: string;
  /** Kinds that travel, as the asking site serves them. */
  readonly kinds: readonly ServedKind[];
  /** Names of the groups that the asking site keeps, as far as the agent that asks can tell. */
  readonly kept?: readonly string[] | undefined;
}

export type Compression = "NONE" | "ZSTD";

export type PullRequest =
  | {
      readonly kind: "hello";
      readonly site: string;
      readonly group: string;
      /** `""` when nothing was ever stored. */
      readonly epoch: string;
      readonly position: StreamPosition | undefined;
      readonly creditBytes: number;
      readonly accepts: readonly Compression[];
    }
  | { readonly kind: "credit"; readonly bytes: number }
  | { readonly kind: "ack"; readonly durable: number; readonly applied: number }
  | { readonly kind: "check" }
  | {
      readonly kind: "compare";
      readonly buckets: readonly number[];
      readonly entries: readonly KeyAndHash[];
      readonly last: boolean;
    }
  | { readonly kind: "refuse"; readonly epoch: string }
  | { readonly kind: "heartbeat"; readonly head: number };

export interface BatchMessage {
  readonly kind: "batch";
  readonly epoch: string;
  readonly position: StreamPosition;
  readonly complete: boolean;
  readonly answered: boolean;
  readonly compression: Compression;
  /** Encoded and perhaps compressed: see records.ts. */
  readonly records: Buffer;
}

export interface DigestMessage {
  readonly kind: "digest";
  readonly purpose: "CHECK" | "RESET";
  readonly seq: number;
  readonly buckets: Buffer;
}

export type PullResponse =
  | {
      readonly kind: "welcome";
      readonly site: string;
      readonly ring: string;
      readonly epoch: string;
      readonly resumed: boolean;
      readonly head: number;
    }
  | BatchMessage
  | DigestMessage
  | { readonly kind: "heartbeat"; readonly head: number };

/** What one process has to say at one moment, for any number of groups. */
export interface Envelope {
  /** Site of the sender; `""` for the witness. The receiver has checked it against the certificate. */
  readonly from: string;
  readonly incarnation: number;
  readonly messages: readonly GroupMessage[];
}

export interface GroupMessage {
  /** `""` for what concerns all groups. */
  readonly group: string;
  /** JSON text. */
  readonly payload: string;
}
