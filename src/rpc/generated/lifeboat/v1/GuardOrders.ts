// Original file: proto/lifeboat/v1/guard.proto

import type { GuardedGroup as _lifeboat_v1_GuardedGroup, GuardedGroup__Output as _lifeboat_v1_GuardedGroup__Output } from '../../lifeboat/v1/GuardedGroup.ts';

/**
 * Agent to guard.
 */
export interface GuardOrders {
  /**
   * All groups of the site. One that is missing is not forgotten by the guard: only `released` does that.
   */
  'groups'?: (_lifeboat_v1_GuardedGroup)[];
  /**
   * JSON text of the answers to the polls that could be answered.
   */
  'answers'?: (string)[];
  /**
   * Groups that have ended in order; what runs of them is nobody's business any more.
   */
  'released'?: (string)[];
}

/**
 * Agent to guard.
 */
export interface GuardOrders__Output {
  /**
   * All groups of the site. One that is missing is not forgotten by the guard: only `released` does that.
   */
  'groups': (_lifeboat_v1_GuardedGroup__Output)[];
  /**
   * JSON text of the answers to the polls that could be answered.
   */
  'answers': (string)[];
  /**
   * Groups that have ended in order; what runs of them is nobody's business any more.
   */
  'released': (string)[];
}
