// Original file: proto/lifeboat/v1/replication.proto

import type { Position as _lifeboat_v1_Position, Position__Output as _lifeboat_v1_Position__Output } from '../../lifeboat/v1/Position.ts';
import type { Compression as _lifeboat_v1_Compression, Compression__Output as _lifeboat_v1_Compression__Output } from '../../lifeboat/v1/Compression.ts';
import type { Long } from '@grpc/proto-loader';

export interface Hello {
  'site'?: (string);
  'group'?: (string);
  /**
   * Highest epoch that the standby has stored; empty when none.
   */
  'epoch'?: (string);
  /**
   * Where to resume. An empty ring: from nothing, or from a comparison that did not finish.
   */
  'position'?: (_lifeboat_v1_Position | null);
  /**
   * Initial credit in bytes.
   */
  'creditBytes'?: (number | string | Long);
  /**
   * Compressions that the standby can read.
   */
  'accepts'?: (_lifeboat_v1_Compression)[];
}

export interface Hello__Output {
  'site': (string);
  'group': (string);
  /**
   * Highest epoch that the standby has stored; empty when none.
   */
  'epoch': (string);
  /**
   * Where to resume. An empty ring: from nothing, or from a comparison that did not finish.
   */
  'position': (_lifeboat_v1_Position__Output | null);
  /**
   * Initial credit in bytes.
   */
  'creditBytes': (number);
  /**
   * Compressions that the standby can read.
   */
  'accepts': (_lifeboat_v1_Compression__Output)[];
}
