// Original file: proto/lifeboat/v1/replication.proto


export interface GroupsRequest {
  /**
   * Name of the site that asks.
   */
  'site'?: (string);
}

export interface GroupsRequest__Output {
  /**
   * Name of the site that asks.
   */
  'site': (string);
}
