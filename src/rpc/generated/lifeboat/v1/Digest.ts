// Original file: proto/lifeboat/v1/replication.proto

import type { DigestPurpose as _lifeboat_v1_DigestPurpose, DigestPurpose__Output as _lifeboat_v1_DigestPurpose__Output } from '../../lifeboat/v1/DigestPurpose.ts';
import type { Long } from '@grpc/proto-loader';

/**
 * Digests of all live keys and hashes, taken when everything up to `seq` had been sent (CHECK) or was current (RESET).
 */
export interface Digest {
  'purpose'?: (_lifeboat_v1_DigestPurpose);
  'seq'?: (number | string | Long);
  /**
   * 1,024 buckets of 8 bytes.
   */
  'buckets'?: (Buffer | Uint8Array | string);
}

/**
 * Digests of all live keys and hashes, taken when everything up to `seq` had been sent (CHECK) or was current (RESET).
 */
export interface Digest__Output {
  'purpose': (_lifeboat_v1_DigestPurpose__Output);
  'seq': (number);
  /**
   * 1,024 buckets of 8 bytes.
   */
  'buckets': (Buffer);
}
