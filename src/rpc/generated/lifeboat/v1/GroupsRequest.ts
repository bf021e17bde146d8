// Original file: proto/lifeboat/v1/replication.proto

import type { ServedKind as _lifeboat_v1_ServedKind, ServedKind__Output as _lifeboat_v1_ServedKind__Output } from '../../lifeboat/v1/ServedKind.ts';
import type { GroupNames as _lifeboat_v1_GroupNames, GroupNames__Output as _lifeboat_v1_GroupNames__Output } from '../../lifeboat/v1/GroupNames.ts';

export interface GroupsRequest {
  /**
   * Name of the site that asks.
   */
  'site'?: (string);
  /**
   * What the API server of the asking site serves, so that a kind is sent in a version that it can store. A site whose
   * kinds change asks anew.
   */
  'kinds'?: (_lifeboat_v1_ServedKind)[];
  /**
   * The groups that the asking site keeps; one that lets go of a group asks anew. Absent where that is not known yet, or
   * where the agent that asks is not the one that leads its site.
   */
  'kept'?: (_lifeboat_v1_GroupNames | null);
}

export interface GroupsRequest__Output {
  /**
   * Name of the site that asks.
   */
  'site': (string);
  /**
   * What the API server of the asking site serves, so that a kind is sent in a version that it can store. A site whose
   * kinds change asks anew.
   */
  'kinds': (_lifeboat_v1_ServedKind__Output)[];
  /**
   * The groups that the asking site keeps; one that lets go of a group asks anew. Absent where that is not known yet, or
   * where the agent that asks is not the one that leads its site.
   */
  'kept': (_lifeboat_v1_GroupNames__Output | null);
}
