import type * as grpc from '@grpc/grpc-js';
import type { MessageTypeDefinition } from '@grpc/proto-loader';

import type { GuardOrders as _lifeboat_v1_GuardOrders, GuardOrders__Output as _lifeboat_v1_GuardOrders__Output } from './lifeboat/v1/GuardOrders.ts';
import type { GuardReport as _lifeboat_v1_GuardReport, GuardReport__Output as _lifeboat_v1_GuardReport__Output } from './lifeboat/v1/GuardReport.ts';
import type { GuardedGroup as _lifeboat_v1_GuardedGroup, GuardedGroup__Output as _lifeboat_v1_GuardedGroup__Output } from './lifeboat/v1/GuardedGroup.ts';
import type { GuardsClient as _lifeboat_v1_GuardsClient, GuardsDefinition as _lifeboat_v1_GuardsDefinition } from './lifeboat/v1/Guards.ts';
import type { NodeFacts as _lifeboat_v1_NodeFacts, NodeFacts__Output as _lifeboat_v1_NodeFacts__Output } from './lifeboat/v1/NodeFacts.ts';

type SubtypeConstructor<Constructor extends new (...args: any) => any, Subtype> = {
  new(...args: ConstructorParameters<Constructor>): Subtype;
};

export interface ProtoGrpcType {
  lifeboat: {
    v1: {
      GuardOrders: MessageTypeDefinition<_lifeboat_v1_GuardOrders, _lifeboat_v1_GuardOrders__Output>
      GuardReport: MessageTypeDefinition<_lifeboat_v1_GuardReport, _lifeboat_v1_GuardReport__Output>
      GuardedGroup: MessageTypeDefinition<_lifeboat_v1_GuardedGroup, _lifeboat_v1_GuardedGroup__Output>
      /**
       * What node guards and their site's agent say to each other. The guard speaks: every report is answered once, and a
       * guard that hears nothing stops the groups of its node when its copies of the leases end.
       */
      Guards: SubtypeConstructor<typeof grpc.Client, _lifeboat_v1_GuardsClient> & { service: _lifeboat_v1_GuardsDefinition }
      NodeFacts: MessageTypeDefinition<_lifeboat_v1_NodeFacts, _lifeboat_v1_NodeFacts__Output>
    }
  }
}

