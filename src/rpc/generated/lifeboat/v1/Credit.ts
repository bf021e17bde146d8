// Original file: proto/lifeboat/v1/replication.proto

import type { Long } from '@grpc/proto-loader';

export interface Credit {
  'bytes'?: (number | string | Long);
}

export interface Credit__Output {
  'bytes': (number);
}
