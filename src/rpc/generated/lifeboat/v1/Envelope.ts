// Original file: proto/lifeboat/v1/failover.proto

import type { GroupMessage as _lifeboat_v1_GroupMessage, GroupMessage__Output as _lifeboat_v1_GroupMessage__Output } from '../../lifeboat/v1/GroupMessage.ts';
import type { Long } from '@grpc/proto-loader';

/**
 * What one process has to say at one moment, for any number of groups.
 */
export interface Envelope {
  /**
   * Name of the sending site; empty for the witness. Checked against the sender's certificate.
   */
  'from'?: (string);
  /**
   * Life of the sending process or leadership; a receiver refuses a lower one than it has seen.
   */
  'incarnation'?: (number | string | Long);
  'messages'?: (_lifeboat_v1_GroupMessage)[];
}

/**
 * What one process has to say at one moment, for any number of groups.
 */
export interface Envelope__Output {
  /**
   * Name of the sending site; empty for the witness. Checked against the sender's certificate.
   */
  'from': (string);
  /**
   * Life of the sending process or leadership; a receiver refuses a lower one than it has seen.
   */
  'incarnation': (number);
  'messages': (_lifeboat_v1_GroupMessage__Output)[];
}
