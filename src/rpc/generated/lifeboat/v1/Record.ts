// Original file: proto/lifeboat/v1/replication.proto

import type { Long } from '@grpc/proto-loader';

export interface Record {
  'seq'?: (number | string | Long);
  /**
   * `group/Kind/namespace/name`.
   */
  'key'?: (string);
  /**
   * Hash of object and managers; empty for a delete.
   */
  'hash'?: (string);
  /**
   * Canonical JSON of the object; empty for a delete.
   */
  'object'?: (string);
  /**
   * Canonical JSON of its managedFields.
   */
  'managers'?: (string);
}

export interface Record__Output {
  'seq': (number);
  /**
   * `group/Kind/namespace/name`.
   */
  'key': (string);
  /**
   * Hash of object and managers; empty for a delete.
   */
  'hash': (string);
  /**
   * Canonical JSON of the object; empty for a delete.
   */
  'object': (string);
  /**
   * Canonical JSON of its managedFields.
   */
  'managers': (string);
}
