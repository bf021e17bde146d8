// Original file: proto/lifeboat/v1/replication.proto


/**
 * The standby has stored a newer epoch than the one that the source serves under: the source is not active any more.
 */
export interface Refuse {
  'epoch'?: (string);
}

/**
 * The standby has stored a newer epoch than the one that the source serves under: the source is not active any more.
 */
export interface Refuse__Output {
  'epoch': (string);
}
