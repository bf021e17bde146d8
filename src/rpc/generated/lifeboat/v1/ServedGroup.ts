// Original file: proto/lifeboat/v1/replication.proto

import type { Long } from '@grpc/proto-loader';

export interface ServedGroup {
  'name'?: (string);
  /**
   * Epoch under which the serving site is active, e.g. `1763700000.3`.
   */
  'epoch'?: (string);
  /**
   * metadata.generation of the ProtectionGroup.
   */
  'revision'?: (number | string | Long);
}

export interface ServedGroup__Output {
  'name': (string);
  /**
   * Epoch under which the serving site is active, e.g. `1763700000.3`.
   */
  'epoch': (string);
  /**
   * metadata.generation of the ProtectionGroup.
   */
  'revision': (number);
}
