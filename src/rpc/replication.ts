import type { MessageChannel } from "./channel.ts";
import type { ServerDuplexStream, ServerWritableStream } from "@grpc/grpc-js";
import { openDuplex, readStream } from "./calls.ts";
import { callMetadata, type Connection } from "./connection.ts";
import {
  decodeGroupsRequest,
  decodeGroupsUpdate,
  decodePullRequest,
  decodePullResponse,
  encodeGroupsRequest,
  encodeGroupsUpdate,
  encodePullRequest,
  encodePullResponse,
} from "./convert.ts";
import type { GroupsRequest__Output } from "./generated/lifeboat/v1/GroupsRequest.ts";
import type { GroupsUpdate as WireGroupsUpdate, GroupsUpdate__Output } from "./generated/lifeboat/v1/GroupsUpdate.ts";
import type { PullRequest as WirePullRequest, PullRequest__Output } from "./generated/lifeboat/v1/PullRequest.ts";
import type { PullResponse as WirePullResponse, PullResponse__Output } from "./generated/lifeboat/v1/PullResponse.ts";
import { checkSender, type PeerExpectation, type PeerIdentity } from "./identity.ts";
import type { GroupsRequest, GroupsUpdate, PullRequest, PullResponse } from "./messages.ts";
import { proto } from "./proto.ts";
import type { RpcService, ServeContext } from "./server.ts";

/** What the serving site does for its peers. Errors thrown reach the peer with their code, message and hint. */
export interface ReplicationHandlers {
  /** The groups for which this site is active and that the peer takes part in: now, and again at every change. */
  groups(
    peer: PeerIdentity,
    request: Pick<GroupsRequest, "kinds" | "kept">,
    options: { signal: AbortSignal },
  ): AsyncIterable<GroupsUpdate>;
  /** One group's stream; the first message is the peer's hello. Returns when the stream is to end. */
  pull(channel: MessageChannel<PullResponse, PullRequest>, options: { signal: AbortSignal }): Promise<void>;
}

/** The Replication service, for `startRpcServer`. */
export function replicationService(expect: PeerExpectation, handlers: ReplicationHandlers): RpcService {
  return {
    definition: proto.Replication.service,
    handlers: (context: ServeContext) => ({
      groups: (call: ServerWritableStream<GroupsRequest__Output, WireGroupsUpdate>) =>
        context.stream(call, { op: "replication.groups", expect }, (peer, options) =>
          encodeUpdates(handlers.groups(peer, decodeGroupsRequest(call.request), options)),
        ),
      pull: (call: ServerDuplexStream<PullRequest__Output, WirePullResponse>) =>
        context.duplex<PullResponse, PullRequest, WirePullResponse, PullRequest__Output>(
          call,
          { op: "replication.pull", expect, encode: encodePullResponse, decode: decodeFromPeer },
          (channel, options) => handlers.pull(channel, options),
        ),
    }),
  };
}

/** A site speaks for itself only: the name in its hello is the one in its certificate. */
function decodeFromPeer(message: PullRequest__Output, peer: PeerIdentity): PullRequest {
  const request = decodePullRequest(message);
  if (request.kind === "hello") checkSender(request.site, peer);
  return request;
}

async function* encodeUpdates(updates: AsyncIterable<GroupsUpdate>): AsyncIterable<WireGroupsUpdate> {
  for await (const update of updates) yield encodeGroupsUpdate(update);
}

/** Updates of the groups that the peer serves, until the stream fails or the signal aborts. */
export async function* watchGroups(
  connection: Connection,
  request: GroupsRequest,
  { signal }: { signal: AbortSignal },
): AsyncIterableIterator<GroupsUpdate> {
  const { path, requestSerialize, responseDeserialize } = proto.Replication.service.Groups;
  const call = connection.client.makeServerStreamRequest(
    path,
    requestSerialize,
    responseDeserialize,
    encodeGroupsRequest(request),
    callMetadata(),
  );
  for await (const update of readStream<GroupsUpdate__Output>(call, connection, "replication.groups", { signal })) {
    yield decodeGroupsUpdate(update);
  }
}

/** Opens the stream of a group. The caller sends the hello. */
export function openPull(connection: Connection): MessageChannel<PullRequest, PullResponse> {
  const { path, requestSerialize, responseDeserialize } = proto.Replication.service.Pull;
  const call = connection.client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize, callMetadata());
  return openDuplex<PullRequest, PullResponse, WirePullRequest, PullResponse__Output>(call, connection, {
    op: "replication.pull",
    encode: encodePullRequest,
    decode: decodePullResponse,
  });
}
