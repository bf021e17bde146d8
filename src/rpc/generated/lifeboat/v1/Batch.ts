// Original file: proto/lifeboat/v1/replication.proto

import type { Position as _lifeboat_v1_Position, Position__Output as _lifeboat_v1_Position__Output } from '../../lifeboat/v1/Position.ts';
import type { Compression as _lifeboat_v1_Compression, Compression__Output as _lifeboat_v1_Compression__Output } from '../../lifeboat/v1/Compression.ts';

export interface Batch {
  'epoch'?: (string);
  /**
   * What the standby stores as its position together with the records. Its ring is empty while a comparison after a
   * RESET is not finished: what is stored then is a part, and only a new comparison can complete it.
   */
  'position'?: (_lifeboat_v1_Position | null);
  /**
   * After this batch the standby holds everything up to the position.
   */
  'complete'?: (boolean);
  /**
   * This batch is the last one that answers a Compare.
   */
  'answered'?: (boolean);
  'compression'?: (_lifeboat_v1_Compression);
  /**
   * A Records message, compressed as said.
   */
  'records'?: (Buffer | Uint8Array | string);
}

export interface Batch__Output {
  'epoch': (string);
  /**
   * What the standby stores as its position together with the records. Its ring is empty while a comparison after a
   * RESET is not finished: what is stored then is a part, and only a new comparison can complete it.
   */
  'position': (_lifeboat_v1_Position__Output | null);
  /**
   * After this batch the standby holds everything up to the position.
   */
  'complete': (boolean);
  /**
   * This batch is the last one that answers a Compare.
   */
  'answered': (boolean);
  'compression': (_lifeboat_v1_Compression__Output);
  /**
   * A Records message, compressed as said.
   */
  'records': (Buffer);
}
