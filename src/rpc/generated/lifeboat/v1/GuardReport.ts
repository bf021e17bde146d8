// Original file: proto/lifeboat/v1/guard.proto

import type { NodeFacts as _lifeboat_v1_NodeFacts, NodeFacts__Output as _lifeboat_v1_NodeFacts__Output } from '../../lifeboat/v1/NodeFacts.ts';

/**
 * Guard to agent, several times a second.
 */
export interface GuardReport {
  /**
   * Version of these two messages; an agent that speaks another one refuses the stream.
   */
  'version'?: (number);
  /**
   * Name of the Node object.
   */
  'node'?: (string);
  /**
   * One per group: JSON text of a poll as the protocol's state machines define it.
   */
  'polls'?: (string)[];
  'facts'?: (_lifeboat_v1_NodeFacts | null);
}

/**
 * Guard to agent, several times a second.
 */
export interface GuardReport__Output {
  /**
   * Version of these two messages; an agent that speaks another one refuses the stream.
   */
  'version': (number);
  /**
   * Name of the Node object.
   */
  'node': (string);
  /**
   * One per group: JSON text of a poll as the protocol's state machines define it.
   */
  'polls': (string)[];
  'facts': (_lifeboat_v1_NodeFacts__Output | null);
}
