// Original file: proto/lifeboat/v1/replication.proto

import type * as grpc from '@grpc/grpc-js'
import type { MethodDefinition } from '@grpc/proto-loader'
import type { GroupsRequest as _lifeboat_v1_GroupsRequest, GroupsRequest__Output as _lifeboat_v1_GroupsRequest__Output } from '../../lifeboat/v1/GroupsRequest.ts';
import type { GroupsUpdate as _lifeboat_v1_GroupsUpdate, GroupsUpdate__Output as _lifeboat_v1_GroupsUpdate__Output } from '../../lifeboat/v1/GroupsUpdate.ts';
import type { PullRequest as _lifeboat_v1_PullRequest, PullRequest__Output as _lifeboat_v1_PullRequest__Output } from '../../lifeboat/v1/PullRequest.ts';
import type { PullResponse as _lifeboat_v1_PullResponse, PullResponse__Output as _lifeboat_v1_PullResponse__Output } from '../../lifeboat/v1/PullResponse.ts';

/**
 * Replication of the objects of protection groups. The standby dials and pulls; the site that is active for a group
 * serves it. Both ends authenticate with certificates of their pair's authority. Every call carries the header
 * `lifeboat-protocol`; a server that does not speak that version refuses the call with FAILED_PRECONDITION.
 */
export interface ReplicationClient extends grpc.Client {
  /**
   * The groups for which the serving site is active: the whole list at once, and again whenever it changes.
   */
  Groups(argument: _lifeboat_v1_GroupsRequest, metadata: grpc.Metadata, options?: grpc.CallOptions): grpc.ClientReadableStream<_lifeboat_v1_GroupsUpdate__Output>;
  Groups(argument: _lifeboat_v1_GroupsRequest, options?: grpc.CallOptions): grpc.ClientReadableStream<_lifeboat_v1_GroupsUpdate__Output>;
  /**
   * The groups for which the serving site is active: the whole list at once, and again whenever it changes.
   */
  groups(argument: _lifeboat_v1_GroupsRequest, metadata: grpc.Metadata, options?: grpc.CallOptions): grpc.ClientReadableStream<_lifeboat_v1_GroupsUpdate__Output>;
  groups(argument: _lifeboat_v1_GroupsRequest, options?: grpc.CallOptions): grpc.ClientReadableStream<_lifeboat_v1_GroupsUpdate__Output>;
  
  /**
   * The changes of one group, for as long as the stream lives. The first request is a Hello, the first response a
   * Welcome.
   * 
   * - Where the ring still reaches back to the standby's position, batches follow from there.
   * - Where it does not, a Digest with purpose RESET comes first. The standby answers with Compare for the buckets
   * that differ (none, when all are equal), the source sends the difference, and the batch that answers the last
   * Compare is `complete`; ordinary batches follow from the digest's sequence number.
   * - A standby may ask for a Digest with purpose CHECK at any time.
   * - Batches cost credit, granted by the standby in bytes of `records`; at or below zero the source waits.
   * - Both ends send a Heartbeat or something else at least once a second.
   */
  Pull(metadata: grpc.Metadata, options?: grpc.CallOptions): grpc.ClientDuplexStream<_lifeboat_v1_PullRequest, _lifeboat_v1_PullResponse__Output>;
  Pull(options?: grpc.CallOptions): grpc.ClientDuplexStream<_lifeboat_v1_PullRequest, _lifeboat_v1_PullResponse__Output>;
  /**
   * The changes of one group, for as long as the stream lives. The first request is a Hello, the first response a
   * Welcome.
   * 
   * - Where the ring still reaches back to the standby's position, batches follow from there.
   * - Where it does not, a Digest with purpose RESET comes first. The standby answers with Compare for the buckets
   * that differ (none, when all are equal), the source sends the difference, and the batch that answers the last
   * Compare is `complete`; ordinary batches follow from the digest's sequence number.
   * - A standby may ask for a Digest with purpose CHECK at any time.
   * - Batches cost credit, granted by the standby in bytes of `records`; at or below zero the source waits.
   * - Both ends send a Heartbeat or something else at least once a second.
   */
  pull(metadata: grpc.Metadata, options?: grpc.CallOptions): grpc.ClientDuplexStream<_lifeboat_v1_PullRequest, _lifeboat_v1_PullResponse__Output>;
  pull(options?: grpc.CallOptions): grpc.ClientDuplexStream<_lifeboat_v1_PullRequest, _lifeboat_v1_PullResponse__Output>;
  
}

/**
 * Replication of the objects of protection groups. The standby dials and pulls; the site that is active for a group
 * serves it. Both ends authenticate with certificates of their pair's authority. Every call carries the header
 * `lifeboat-protocol`; a server that does not speak that version refuses the call with FAILED_PRECONDITION.
 */
export interface ReplicationHandlers extends grpc.UntypedServiceImplementation {
  /**
   * The groups for which the serving site is active: the whole list at once, and again whenever it changes.
   */
  Groups: grpc.handleServerStreamingCall<_lifeboat_v1_GroupsRequest__Output, _lifeboat_v1_GroupsUpdate>;
  
  /**
   * The changes of one group, for as long as the stream lives. The first request is a Hello, the first response a
   * Welcome.
   * 
   * - Where the ring still reaches back to the standby's position, batches follow from there.
   * - Where it does not, a Digest with purpose RESET comes first. The standby answers with Compare for the buckets
   * that differ (none, when all are equal), the source sends the difference, and the batch that answers the last
   * Compare is `complete`; ordinary batches follow from the digest's sequence number.
   * - A standby may ask for a Digest with purpose CHECK at any time.
   * - Batches cost credit, granted by the standby in bytes of `records`; at or below zero the source waits.
   * - Both ends send a Heartbeat or something else at least once a second.
   */
  Pull: grpc.handleBidiStreamingCall<_lifeboat_v1_PullRequest__Output, _lifeboat_v1_PullResponse>;
  
}

export interface ReplicationDefinition extends grpc.ServiceDefinition {
  Groups: MethodDefinition<_lifeboat_v1_GroupsRequest, _lifeboat_v1_GroupsUpdate, _lifeboat_v1_GroupsRequest__Output, _lifeboat_v1_GroupsUpdate__Output>
  Pull: MethodDefinition<_lifeboat_v1_PullRequest, _lifeboat_v1_PullResponse, _lifeboat_v1_PullRequest__Output, _lifeboat_v1_PullResponse__Output>
}
