import type * as grpc from '@grpc/grpc-js';
import type { EnumTypeDefinition, MessageTypeDefinition } from '@grpc/proto-loader';

import type { Ack as _lifeboat_v1_Ack, Ack__Output as _lifeboat_v1_Ack__Output } from './lifeboat/v1/Ack.ts';
import type { Batch as _lifeboat_v1_Batch, Batch__Output as _lifeboat_v1_Batch__Output } from './lifeboat/v1/Batch.ts';
import type { CheckRequest as _lifeboat_v1_CheckRequest, CheckRequest__Output as _lifeboat_v1_CheckRequest__Output } from './lifeboat/v1/CheckRequest.ts';
import type { Compare as _lifeboat_v1_Compare, Compare__Output as _lifeboat_v1_Compare__Output } from './lifeboat/v1/Compare.ts';
import type { Credit as _lifeboat_v1_Credit, Credit__Output as _lifeboat_v1_Credit__Output } from './lifeboat/v1/Credit.ts';
import type { Digest as _lifeboat_v1_Digest, Digest__Output as _lifeboat_v1_Digest__Output } from './lifeboat/v1/Digest.ts';
import type { Entry as _lifeboat_v1_Entry, Entry__Output as _lifeboat_v1_Entry__Output } from './lifeboat/v1/Entry.ts';
import type { GroupNames as _lifeboat_v1_GroupNames, GroupNames__Output as _lifeboat_v1_GroupNames__Output } from './lifeboat/v1/GroupNames.ts';
import type { GroupsRequest as _lifeboat_v1_GroupsRequest, GroupsRequest__Output as _lifeboat_v1_GroupsRequest__Output } from './lifeboat/v1/GroupsRequest.ts';
import type { GroupsUpdate as _lifeboat_v1_GroupsUpdate, GroupsUpdate__Output as _lifeboat_v1_GroupsUpdate__Output } from './lifeboat/v1/GroupsUpdate.ts';
import type { Heartbeat as _lifeboat_v1_Heartbeat, Heartbeat__Output as _lifeboat_v1_Heartbeat__Output } from './lifeboat/v1/Heartbeat.ts';
import type { Hello as _lifeboat_v1_Hello, Hello__Output as _lifeboat_v1_Hello__Output } from './lifeboat/v1/Hello.ts';
import type { Position as _lifeboat_v1_Position, Position__Output as _lifeboat_v1_Position__Output } from './lifeboat/v1/Position.ts';
import type { PullRequest as _lifeboat_v1_PullRequest, PullRequest__Output as _lifeboat_v1_PullRequest__Output } from './lifeboat/v1/PullRequest.ts';
import type { PullResponse as _lifeboat_v1_PullResponse, PullResponse__Output as _lifeboat_v1_PullResponse__Output } from './lifeboat/v1/PullResponse.ts';
import type { Record as _lifeboat_v1_Record, Record__Output as _lifeboat_v1_Record__Output } from './lifeboat/v1/Record.ts';
import type { Records as _lifeboat_v1_Records, Records__Output as _lifeboat_v1_Records__Output } from './lifeboat/v1/Records.ts';
import type { Refuse as _lifeboat_v1_Refuse, Refuse__Output as _lifeboat_v1_Refuse__Output } from './lifeboat/v1/Refuse.ts';
import type { ReplicationClient as _lifeboat_v1_ReplicationClient, ReplicationDefinition as _lifeboat_v1_ReplicationDefinition } from './lifeboat/v1/Replication.ts';
import type { ServedGroup as _lifeboat_v1_ServedGroup, ServedGroup__Output as _lifeboat_v1_ServedGroup__Output } from './lifeboat/v1/ServedGroup.ts';
import type { ServedKind as _lifeboat_v1_ServedKind, ServedKind__Output as _lifeboat_v1_ServedKind__Output } from './lifeboat/v1/ServedKind.ts';
import type { Welcome as _lifeboat_v1_Welcome, Welcome__Output as _lifeboat_v1_Welcome__Output } from './lifeboat/v1/Welcome.ts';

type SubtypeConstructor<Constructor extends new (...args: any) => any, Subtype> = {
  new(...args: ConstructorParameters<Constructor>): Subtype;
};

export interface ProtoGrpcType {
  lifeboat: {
    v1: {
      Ack: MessageTypeDefinition<_lifeboat_v1_Ack, _lifeboat_v1_Ack__Output>
      Batch: MessageTypeDefinition<_lifeboat_v1_Batch, _lifeboat_v1_Batch__Output>
      CheckRequest: MessageTypeDefinition<_lifeboat_v1_CheckRequest, _lifeboat_v1_CheckRequest__Output>
      Compare: MessageTypeDefinition<_lifeboat_v1_Compare, _lifeboat_v1_Compare__Output>
      Compression: EnumTypeDefinition
      Credit: MessageTypeDefinition<_lifeboat_v1_Credit, _lifeboat_v1_Credit__Output>
      Digest: MessageTypeDefinition<_lifeboat_v1_Digest, _lifeboat_v1_Digest__Output>
      DigestPurpose: EnumTypeDefinition
      Entry: MessageTypeDefinition<_lifeboat_v1_Entry, _lifeboat_v1_Entry__Output>
      GroupNames: MessageTypeDefinition<_lifeboat_v1_GroupNames, _lifeboat_v1_GroupNames__Output>
      GroupsRequest: MessageTypeDefinition<_lifeboat_v1_GroupsRequest, _lifeboat_v1_GroupsRequest__Output>
      GroupsUpdate: MessageTypeDefinition<_lifeboat_v1_GroupsUpdate, _lifeboat_v1_GroupsUpdate__Output>
      Heartbeat: MessageTypeDefinition<_lifeboat_v1_Heartbeat, _lifeboat_v1_Heartbeat__Output>
      Hello: MessageTypeDefinition<_lifeboat_v1_Hello, _lifeboat_v1_Hello__Output>
      Position: MessageTypeDefinition<_lifeboat_v1_Position, _lifeboat_v1_Position__Output>
      PullRequest: MessageTypeDefinition<_lifeboat_v1_PullRequest, _lifeboat_v1_PullRequest__Output>
      PullResponse: MessageTypeDefinition<_lifeboat_v1_PullResponse, _lifeboat_v1_PullResponse__Output>
      Record: MessageTypeDefinition<_lifeboat_v1_Record, _lifeboat_v1_Record__Output>
      Records: MessageTypeDefinition<_lifeboat_v1_Records, _lifeboat_v1_Records__Output>
      Refuse: MessageTypeDefinition<_lifeboat_v1_Refuse, _lifeboat_v1_Refuse__Output>
      /**
       * Replication of the objects of protection groups. The standby dials and pulls; the site that is active for a group
       * serves it. Both ends authenticate with certificates of their pair's authority. Every call carries the header
       * `lifeboat-protocol`; a server that does not speak that version refuses the call with FAILED_PRECONDITION.
       */
      Replication: SubtypeConstructor<typeof grpc.Client, _lifeboat_v1_ReplicationClient> & { service: _lifeboat_v1_ReplicationDefinition }
      ServedGroup: MessageTypeDefinition<_lifeboat_v1_ServedGroup, _lifeboat_v1_ServedGroup__Output>
      ServedKind: MessageTypeDefinition<_lifeboat_v1_ServedKind, _lifeboat_v1_ServedKind__Output>
      Welcome: MessageTypeDefinition<_lifeboat_v1_Welcome, _lifeboat_v1_Welcome__Output>
    }
  }
}

