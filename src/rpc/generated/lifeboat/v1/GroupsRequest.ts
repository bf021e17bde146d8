// Original file: proto/lifeboat/v1/replication.proto

import type { ServedKind as _lifeboat_v1_ServedKind, ServedKind__Output as _lifeboat_v1_ServedKind__Output } from '../../lifeboat/v1/ServedKind.ts';

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
}
