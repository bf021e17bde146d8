import { LifeboatError } from "../errors.ts";
import type { StreamPosition } from "../stream/doors.ts";
import type { Envelope as WireEnvelope, Envelope__Output } from "./generated/lifeboat/v1/Envelope.ts";
import type {
  GroupsRequest as WireGroupsRequest,
  GroupsRequest__Output,
} from "./generated/lifeboat/v1/GroupsRequest.ts";
import type { GroupsUpdate as WireGroupsUpdate, GroupsUpdate__Output } from "./generated/lifeboat/v1/GroupsUpdate.ts";
import type { Position__Output } from "./generated/lifeboat/v1/Position.ts";
import type { PullRequest as WirePullRequest, PullRequest__Output } from "./generated/lifeboat/v1/PullRequest.ts";
import type { PullResponse as WirePullResponse, PullResponse__Output } from "./generated/lifeboat/v1/PullResponse.ts";
import type { Envelope, GroupsRequest, GroupsUpdate, PullRequest, PullResponse } from "./messages.ts";

/** Wire messages to ours and back. Decoding throws Internal on a message that no version of ours sends. */

export function encodePullRequest(message: PullRequest): WirePullRequest {
  switch (message.kind) {
    case "hello":
      return { hello: { ...message, position: message.position ?? null, accepts: [...message.accepts] } };
    case "compare":
      return { compare: { ...message, buckets: [...message.buckets], entries: [...message.entries] } };
    case "credit":
      return { credit: message };
    case "ack":
      return { ack: message };
    case "check":
      return { check: {} };
    case "refuse":
      return { refuse: message };
    case "heartbeat":
      return { heartbeat: message };
  }
}

export function decodePullRequest(message: PullRequest__Output): PullRequest {
  const { hello, compare, credit, ack, refuse, heartbeat } = message;
  if (hello) {
    return {
      kind: "hello",
      site: hello.site,
      group: hello.group,
      epoch: hello.epoch,
      position: decodePosition(hello.position),
      creditBytes: safeInteger(hello.creditBytes),
      accepts: hello.accepts,
    };
  }
  if (compare) return { kind: "compare", ...compare };
  if (credit) return { kind: "credit", bytes: safeInteger(credit.bytes) };
  if (ack) return { kind: "ack", durable: safeInteger(ack.durable), applied: safeInteger(ack.applied) };
  if (message.kind === "check") return { kind: "check" };
  if (refuse) return { kind: "refuse", epoch: refuse.epoch };
  if (heartbeat) return { kind: "heartbeat", head: safeInteger(heartbeat.head) };
  throw unknownMessage("PullRequest");
}

export function encodePullResponse(message: PullResponse): WirePullResponse {
  switch (message.kind) {
    case "welcome":
      return { welcome: message };
    case "batch":
      return { batch: message };
    case "digest":
      return { digest: message };
    case "heartbeat":
      return { heartbeat: message };
  }
}

export function decodePullResponse(message: PullResponse__Output): PullResponse {
  const { welcome, batch, digest, heartbeat } = message;
  if (batch) {
    const position = decodePosition(batch.position) ?? { ring: "", seq: 0 };
    return { kind: "batch", ...batch, position };
  }
  if (welcome) return { kind: "welcome", ...welcome, head: safeInteger(welcome.head) };
  if (digest) return { kind: "digest", ...digest, seq: safeInteger(digest.seq) };
  if (heartbeat) return { kind: "heartbeat", head: safeInteger(heartbeat.head) };
  throw unknownMessage("PullResponse");
}

function decodePosition(position: Position__Output | null): StreamPosition | undefined {
  if (position === null || position.ring === "") return undefined;
  return { ring: position.ring, seq: safeInteger(position.seq) };
}

export function encodeGroupsRequest({ site, kinds, kept }: GroupsRequest): WireGroupsRequest {
  const served = kinds.map((each) => ({ ...each, versions: [...each.versions] }));
  return { site, kinds: served, kept: kept === undefined ? null : { names: [...kept] } };
}

export function decodeGroupsRequest({ site, kinds, kept }: GroupsRequest__Output): GroupsRequest {
  return { site, kinds, kept: kept?.names };
}

export function encodeGroupsUpdate(update: GroupsUpdate): WireGroupsUpdate {
  return { site: update.site, groups: [...update.groups] };
}

export function decodeGroupsUpdate(update: GroupsUpdate__Output): GroupsUpdate {
  return {
    site: update.site,
    groups: update.groups.map(({ name, epoch, revision }) => ({ name, epoch, revision: safeInteger(revision) })),
  };
}

export function encodeEnvelope(envelope: Envelope): WireEnvelope {
  return { ...envelope, messages: [...envelope.messages] };
}

export function decodeEnvelope(envelope: Envelope__Output): Envelope {
  return { from: envelope.from, incarnation: safeInteger(envelope.incarnation), messages: envelope.messages };
}

/** 64-bit integers of the wire arrive as numbers, rounded above 2^53; nothing of ours is ever that high. */
export function safeInteger(value: number): number {
  if (Number.isSafeInteger(value) && value >= 0) return value;
  throw new LifeboatError("Internal", `the peer sent the number ${value}, which is out of range`);
}

function unknownMessage(type: string): LifeboatError {
  return new LifeboatError("PeerVersion", `the peer sent a ${type} of an unknown kind`, {
    hint: "upgrade the older of the two agents",
  });
}
