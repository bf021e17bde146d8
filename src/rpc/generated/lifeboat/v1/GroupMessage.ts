// Original file: proto/lifeboat/v1/failover.proto


export interface GroupMessage {
  /**
   * Empty for messages that concern all groups.
   */
  'group'?: (string);
  /**
   * JSON text.
   */
  'payload'?: (string);
}

export interface GroupMessage__Output {
  /**
   * Empty for messages that concern all groups.
   */
  'group': (string);
  /**
   * JSON text.
   */
  'payload': (string);
}
