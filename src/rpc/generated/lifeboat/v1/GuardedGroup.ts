// Original file: proto/lifeboat/v1/guard.proto


export interface GuardedGroup {
  'name'?: (string);
  'namespaces'?: (string)[];
  /**
   * JSON text: the durations that all others are derived from.
   */
  'timing'?: (string);
  /**
   * JSON text: the certificate under which, and the incarnation of the agent by which, these are known to be all its
   * namespaces. Empty where there may be more.
   */
  'complete'?: (string);
}

export interface GuardedGroup__Output {
  'name': (string);
  'namespaces': (string)[];
  /**
   * JSON text: the durations that all others are derived from.
   */
  'timing': (string);
  /**
   * JSON text: the certificate under which, and the incarnation of the agent by which, these are known to be all its
   * namespaces. Empty where there may be more.
   */
  'complete': (string);
}
