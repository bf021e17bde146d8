// Original file: proto/lifeboat/v1/replication.proto

import type { Long } from '@grpc/proto-loader';

/**
 * A place in a source's order. Sequence numbers of two rings do not compare.
 */
export interface Position {
  'ring'?: (string);
  'seq'?: (number | string | Long);
}

/**
 * A place in a source's order. Sequence numbers of two rings do not compare.
 */
export interface Position__Output {
  'ring': (string);
  'seq': (number);
}
