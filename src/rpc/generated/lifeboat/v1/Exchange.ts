// Original file: proto/lifeboat/v1/failover.proto

import type * as grpc from '@grpc/grpc-js'
import type { MethodDefinition } from '@grpc/proto-loader'
import type { Envelope as _lifeboat_v1_Envelope, Envelope__Output as _lifeboat_v1_Envelope__Output } from '../../lifeboat/v1/Envelope.ts';

/**
 * Messages of the failover protocol between agents, and between an agent and the witness. Their content is defined by
 * the state machines and travels as JSON; this service carries it, batched per site.
 */
export interface ExchangeClient extends grpc.Client {
  /**
   * Either end sends whenever it has something to say. A new stream of the same peer and incarnation replaces the
   * older one. Messages may be lost with the stream; the protocol above repeats what matters.
   */
  Connect(metadata: grpc.Metadata, options?: grpc.CallOptions): grpc.ClientDuplexStream<_lifeboat_v1_Envelope, _lifeboat_v1_Envelope__Output>;
  Connect(options?: grpc.CallOptions): grpc.ClientDuplexStream<_lifeboat_v1_Envelope, _lifeboat_v1_Envelope__Output>;
  /**
   * Either end sends whenever it has something to say. A new stream of the same peer and incarnation replaces the
   * older one. Messages may be lost with the stream; the protocol above repeats what matters.
   */
  connect(metadata: grpc.Metadata, options?: grpc.CallOptions): grpc.ClientDuplexStream<_lifeboat_v1_Envelope, _lifeboat_v1_Envelope__Output>;
  connect(options?: grpc.CallOptions): grpc.ClientDuplexStream<_lifeboat_v1_Envelope, _lifeboat_v1_Envelope__Output>;
  
}

/**
 * Messages of the failover protocol between agents, and between an agent and the witness. Their content is defined by
 * the state machines and travels as JSON; this service carries it, batched per site.
 */
export interface ExchangeHandlers extends grpc.UntypedServiceImplementation {
  /**
   * Either end sends whenever it has something to say. A new stream of the same peer and incarnation replaces the
   * older one. Messages may be lost with the stream; the protocol above repeats what matters.
   */
  Connect: grpc.handleBidiStreamingCall<_lifeboat_v1_Envelope__Output, _lifeboat_v1_Envelope>;
  
}

export interface ExchangeDefinition extends grpc.ServiceDefinition {
  Connect: MethodDefinition<_lifeboat_v1_Envelope, _lifeboat_v1_Envelope, _lifeboat_v1_Envelope__Output, _lifeboat_v1_Envelope__Output>
}
