// Original file: proto/lifeboat/v1/replication.proto

import type { Long } from '@grpc/proto-loader';

/**
 * What the standby has made durable and applied, in the numbers of the ring named in Welcome.
 */
export interface Ack {
  'durable'?: (number | string | Long);
  'applied'?: (number | string | Long);
}

/**
 * What the standby has made durable and applied, in the numbers of the ring named in Welcome.
 */
export interface Ack__Output {
  'durable': (number);
  'applied': (number);
}
