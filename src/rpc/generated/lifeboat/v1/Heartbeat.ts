// Original file: proto/lifeboat/v1/replication.proto

import type { Long } from '@grpc/proto-loader';

export interface Heartbeat {
  /**
   * From the source: its highest sequence number. From the standby: 0.
   */
  'head'?: (number | string | Long);
}

export interface Heartbeat__Output {
  /**
   * From the source: its highest sequence number. From the standby: 0.
   */
  'head': (number);
}
