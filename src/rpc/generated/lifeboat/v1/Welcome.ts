// Original file: proto/lifeboat/v1/replication.proto

import type { Long } from '@grpc/proto-loader';

export interface Welcome {
  'site'?: (string);
  'ring'?: (string);
  'epoch'?: (string);
  /**
   * Whether batches follow from the standby's position; otherwise a Digest with purpose RESET does.
   */
  'resumed'?: (boolean);
  /**
   * Highest sequence number given out.
   */
  'head'?: (number | string | Long);
}

export interface Welcome__Output {
  'site': (string);
  'ring': (string);
  'epoch': (string);
  /**
   * Whether batches follow from the standby's position; otherwise a Digest with purpose RESET does.
   */
  'resumed': (boolean);
  /**
   * Highest sequence number given out.
   */
  'head': (number);
}
