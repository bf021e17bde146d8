// Original file: proto/lifeboat/v1/replication.proto


export interface Entry {
  'key'?: (string);
  'hash'?: (string);
}

export interface Entry__Output {
  'key': (string);
  'hash': (string);
}
