// Original file: proto/lifeboat/v1/replication.proto

import type { ServedGroup as _lifeboat_v1_ServedGroup, ServedGroup__Output as _lifeboat_v1_ServedGroup__Output } from '../../lifeboat/v1/ServedGroup.ts';

export interface GroupsUpdate {
  'site'?: (string);
  'groups'?: (_lifeboat_v1_ServedGroup)[];
}

export interface GroupsUpdate__Output {
  'site': (string);
  'groups': (_lifeboat_v1_ServedGroup__Output)[];
}
