// Original file: proto/lifeboat/v1/guard.proto

import type * as grpc from '@grpc/grpc-js'
import type { MethodDefinition } from '@grpc/proto-loader'
import type { GuardOrders as _lifeboat_v1_GuardOrders, GuardOrders__Output as _lifeboat_v1_GuardOrders__Output } from '../../lifeboat/v1/GuardOrders.ts';
import type { GuardReport as _lifeboat_v1_GuardReport, GuardReport__Output as _lifeboat_v1_GuardReport__Output } from '../../lifeboat/v1/GuardReport.ts';

/**
 * What node guards and their site's agent say to each other. The guard speaks: every report is answered once, and a
 * guard that hears nothing stops the groups of its node when its copies of the leases end.
 */
export interface GuardsClient extends grpc.Client {
  Connect(metadata: grpc.Metadata, options?: grpc.CallOptions): grpc.ClientDuplexStream<_lifeboat_v1_GuardReport, _lifeboat_v1_GuardOrders__Output>;
  Connect(options?: grpc.CallOptions): grpc.ClientDuplexStream<_lifeboat_v1_GuardReport, _lifeboat_v1_GuardOrders__Output>;
  connect(metadata: grpc.Metadata, options?: grpc.CallOptions): grpc.ClientDuplexStream<_lifeboat_v1_GuardReport, _lifeboat_v1_GuardOrders__Output>;
  connect(options?: grpc.CallOptions): grpc.ClientDuplexStream<_lifeboat_v1_GuardReport, _lifeboat_v1_GuardOrders__Output>;
  
}

/**
 * What node guards and their site's agent say to each other. The guard speaks: every report is answered once, and a
 * guard that hears nothing stops the groups of its node when its copies of the leases end.
 */
export interface GuardsHandlers extends grpc.UntypedServiceImplementation {
  Connect: grpc.handleBidiStreamingCall<_lifeboat_v1_GuardReport__Output, _lifeboat_v1_GuardOrders>;
  
}

export interface GuardsDefinition extends grpc.ServiceDefinition {
  Connect: MethodDefinition<_lifeboat_v1_GuardReport, _lifeboat_v1_GuardOrders, _lifeboat_v1_GuardReport__Output, _lifeboat_v1_GuardOrders__Output>
}
