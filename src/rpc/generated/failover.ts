import type * as grpc from '@grpc/grpc-js';
import type { MessageTypeDefinition } from '@grpc/proto-loader';

import type { Envelope as _lifeboat_v1_Envelope, Envelope__Output as _lifeboat_v1_Envelope__Output } from './lifeboat/v1/Envelope.ts';
import type { ExchangeClient as _lifeboat_v1_ExchangeClient, ExchangeDefinition as _lifeboat_v1_ExchangeDefinition } from './lifeboat/v1/Exchange.ts';
import type { GroupMessage as _lifeboat_v1_GroupMessage, GroupMessage__Output as _lifeboat_v1_GroupMessage__Output } from './lifeboat/v1/GroupMessage.ts';

type SubtypeConstructor<Constructor extends new (...args: any) => any, Subtype> = {
  new(...args: ConstructorParameters<Constructor>): Subtype;
};

export interface ProtoGrpcType {
  lifeboat: {
    v1: {
      Envelope: MessageTypeDefinition<_lifeboat_v1_Envelope, _lifeboat_v1_Envelope__Output>
      /**
       * Messages of the failover protocol between agents, and between an agent and the witness. Their content is defined by
       * the state machines and travels as JSON; this service carries it, batched per site.
       */
      Exchange: SubtypeConstructor<typeof grpc.Client, _lifeboat_v1_ExchangeClient> & { service: _lifeboat_v1_ExchangeDefinition }
      GroupMessage: MessageTypeDefinition<_lifeboat_v1_GroupMessage, _lifeboat_v1_GroupMessage__Output>
    }
  }
}

