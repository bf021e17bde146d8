// Original file: proto/lifeboat/v1/replication.proto

import type { Entry as _lifeboat_v1_Entry, Entry__Output as _lifeboat_v1_Entry__Output } from '../../lifeboat/v1/Entry.ts';

export interface Compare {
  /**
   * Numbers of buckets that differ. Every live entry that the standby holds in them is listed.
   */
  'buckets'?: (number)[];
  'entries'?: (_lifeboat_v1_Entry)[];
  /**
   * No further Compare follows for this digest.
   */
  'last'?: (boolean);
}

export interface Compare__Output {
  /**
   * Numbers of buckets that differ. Every live entry that the standby holds in them is listed.
   */
  'buckets': (number)[];
  'entries': (_lifeboat_v1_Entry__Output)[];
  /**
   * No further Compare follows for this digest.
   */
  'last': (boolean);
}
