// Original file: proto/lifeboat/v1/guard.proto


export interface GuardedGroup {
  'name'?: (string);
  'namespaces'?: (string)[];
  /**
   * JSON text: the durations that all others are derived from.
   */
  'timing'?: (string);
}

export interface GuardedGroup__Output {
  'name': (string);
  'namespaces': (string)[];
  /**
   * JSON text: the durations that all others are derived from.
   */
  'timing': (string);
}
